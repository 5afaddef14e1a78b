import { localizeTimes } from "@gavip/ui";
import { startAvi } from "./avi";
import { startCatalogue } from "./catalogue";
import { startFiles } from "./files";
import { startHome } from "./home";
import { startInstance } from "./instance";
import { startInstances } from "./instances";
import { startJob } from "./job";
import { startJobs } from "./jobs";
import { type Page, readPage } from "./page";
import { startPermissions } from "./permissions";
import { startSchedules } from "./schedules";

const pages: Record<string, (page: Page) => void> = {
  home: startHome,
  catalogue: startCatalogue,
  avi: startAvi,
  jobs: startJobs,
  job: startJob,
  schedules: startSchedules,
  permissions: startPermissions,
  instances: startInstances,
  instance: startInstance,
  files: startFiles,
};

localizeTimes();
const page = readPage();
if (page) pages[page.name]?.(page);
document.documentElement.dataset["ready"] = "true";
