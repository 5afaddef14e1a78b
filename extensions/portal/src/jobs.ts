import { part } from "@gavip/ui";
import { JobList } from "./joblist";
import type { Page } from "./page";

export function startJobs({ root, api, prefix }: Page): void {
  const more = part<HTMLButtonElement>("more", root);
  const list = new JobList(part("jobs", root), api, prefix, 25, more);
  const filter = part<HTMLSelectElement>("filter", root);
  filter.addEventListener("change", () => list.narrow(filter.value.split(",").filter(Boolean)));
}
