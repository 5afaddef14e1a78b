import { part } from "@gavip/ui";
import { InstanceList } from "./instancelist";
import type { Page } from "./page";

export function startInstances({ root, api, prefix }: Page): void {
  new InstanceList(part("instances", root), api, prefix);
}
