// The wire models of /api/v1 that pages use; gavip_api/models.py is their source.

export type JobState =
  "queued" | "starting" | "running" | "succeeded" | "failed" | "cancelled" | "timed-out" | "lost";

export type InstanceState = "requested" | "starting" | "ready" | "stopping" | "stopped" | "failed";

export interface Progress {
  done: number;
  total: number;
  task: string;
  message: string;
}

export interface ResourceAmount {
  memory: number;
  cpu: number;
}

export interface JobError {
  code: string;
  message: string;
  hint: string;
  cell: number | null;
  task: string | null;
}

export interface Job {
  id: string;
  owner: string;
  avi: string;
  release: string;
  pipeline: string;
  title: string;
  parameters: Record<string, unknown>;
  resources: ResourceAmount;
  time_limit: number;
  state: JobState;
  attempt: number;
  progress: Progress;
  waiting_for: string | null;
  waiting?: Waiting | null;
  position: number | null;
  error: JobError | null;
  product: string | null;
  outputs: string[];
  origin?: { kind: "retry" | "clone" | "schedule"; id: string } | null;
  created: string;
  started: string | null;
  ended: string | null;
}

/** Why a queued job does not run yet. */
export interface Waiting {
  kind: "pool" | "machine" | "archive" | "turn";
  reason: string;
  hint: string;
  holders: Reservation[];
  estimated_start: string | null;
  estimate: string;
}

export interface ScheduleRequest {
  avi: string;
  pipeline: string;
  parameters: Record<string, unknown>;
  cron: string;
  timezone: string;
  overlap: "allow" | "skip" | "queue-one";
}

export interface Schedule extends ScheduleRequest {
  id: string;
  title: string;
  paused: boolean;
  next_runs: string[];
  last_due: string | null;
  last_job: string | null;
  last_message: string;
  created: string;
}

export interface SchedulePage {
  items: Schedule[];
  next: string | null;
}

export interface JobEvent {
  seq: number;
  job: string;
  time: string;
  kind: "state" | "progress";
  state: JobState;
  progress: Progress;
  message: string;
}

export interface JobPage {
  items: Job[];
  next: string | null;
}

export interface JobRequest {
  avi: string;
  pipeline: string;
  parameters: Record<string, unknown>;
  release?: string;
}

export interface Instance {
  id: string;
  owner: string;
  avi: string;
  title: string;
  view: string;
  release: string;
  state: InstanceState;
  message: string;
  hint: string;
  progress: number;
  url: string | null;
  created: string;
  stopped: string | null;
}

export interface InstanceRequest {
  avi: string;
  view?: string;
  release?: string;
}

export interface Reservation {
  id: string;
  owner: string;
  kind: "notebook" | "interface" | "job" | "archive-query";
  amount: ResourceAmount;
  title: string;
  state: "granted" | "waiting" | "refused";
  reason: string;
  created: string;
}

export interface Pool {
  owner: string;
  limit: ResourceAmount;
  used: ResourceAmount;
  holders: Reservation[];
}

export interface Deletion {
  removed: number;
  done: boolean;
}

/** What an AVI may do besides what every AVI may. */
export interface Permissions {
  userspace: "none" | "read";
  archive: boolean;
  network: string[];
}

/** One permission as people read it. */
export interface PermissionWords {
  permission: string;
  text: string;
  consequence: string;
}

/** What a release asks of the person, what they granted, and what is missing. */
export interface AviPermissions {
  avi: string;
  title: string;
  release: string;
  version: string;
  asked: Permissions;
  granted: Permissions | null;
  needed: Permissions;
  asked_in_words: PermissionWords[];
  granted_in_words: PermissionWords[];
  needed_in_words: PermissionWords[];
  first_release: string | null;
  since: string | null;
}

/** What the person granted one AVI. */
export interface PermissionGrant {
  avi: string;
  title: string;
  granted: Permissions;
  in_words: PermissionWords[];
  first_release: string;
  since: string;
}

/** What ended with a revocation. */
export interface Revoked {
  stopping: number;
  cancelling: number;
}

/** RFC 9457 problem details with our members. */
export interface Problem {
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  hint?: string;
  errors?: Record<string, unknown>;
}

const FINAL_JOBS: ReadonlySet<JobState> = new Set([
  "succeeded",
  "failed",
  "cancelled",
  "timed-out",
  "lost",
]);

export function isFinalJob(state: JobState): boolean {
  return FINAL_JOBS.has(state);
}

export function isFinalInstance(state: InstanceState): boolean {
  return state === "stopped" || state === "failed";
}
