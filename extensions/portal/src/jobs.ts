import { part } from "@gavip/ui";
import { JobList } from "./joblist";
import type { Page } from "./page";

export function startJobs({ root, api, prefix }: Page): void {
  new JobList(part("jobs", root), api, prefix, 25, part<HTMLButtonElement>("more", root));
}
