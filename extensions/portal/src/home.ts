import { part } from "@gavip/ui";
import { InstanceList } from "./instancelist";
import { JobList } from "./joblist";
import type { Page } from "./page";
import { PoolMeter } from "./pool";

export function startHome({ root, api, prefix }: Page): void {
  const meter = new PoolMeter(part("pool", root), api);
  const refresh = (): void => void meter.load();
  new InstanceList(part("instances", root), api, prefix, refresh);
  new JobList(part("jobs", root), api, prefix, 5, null, refresh);
}
