import { ApiError, toApiError } from "./errors";
import type {
  Deletion,
  AviPermissions,
  Instance,
  InstanceRequest,
  Job,
  JobPage,
  JobRequest,
  PermissionGrant,
  Pool,
  Problem,
  Revoked,
  Schedule,
  SchedulePage,
  ScheduleRequest,
} from "./types";

/** Typed calls of the public API. The browser's cookie says who asks; the XSRF token shows that a page of ours asks. */
export class ApiClient {
  constructor(
    readonly base: string,
    private readonly xsrf: () => string,
  ) {}

  instances(): Promise<Instance[]> {
    return this.request("GET", "instances");
  }

  instance(id: string): Promise<Instance> {
    return this.request("GET", `instances/${encodeURIComponent(id)}`);
  }

  startInstance(request: InstanceRequest): Promise<Instance> {
    return this.request("POST", "instances", request);
  }

  stopInstance(id: string): Promise<void> {
    return this.request("DELETE", `instances/${encodeURIComponent(id)}`);
  }

  jobs(
    query: { limit?: number; cursor?: string; avi?: string; state?: readonly string[] } = {},
  ): Promise<JobPage> {
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) {
      for (const one of Array.isArray(value) ? value : [value]) search.append(key, String(one));
    }
    return this.request("GET", `jobs?${search}`);
  }

  job(id: string): Promise<Job> {
    return this.request("GET", `jobs/${encodeURIComponent(id)}`);
  }

  submitJob(request: JobRequest): Promise<Job> {
    return this.request("POST", "jobs", request);
  }

  cancelJob(id: string): Promise<Job> {
    return this.request("POST", `jobs/${encodeURIComponent(id)}/cancel`);
  }

  retryJob(id: string): Promise<Job> {
    return this.request("POST", `jobs/${encodeURIComponent(id)}/retry`);
  }

  schedules(): Promise<SchedulePage> {
    return this.request("GET", "schedules?limit=200");
  }

  makeSchedule(request: ScheduleRequest): Promise<Schedule> {
    return this.request("POST", "schedules", request);
  }

  pauseSchedule(id: string, paused: boolean): Promise<Schedule> {
    const what = paused ? "pause" : "resume";
    return this.request("POST", `schedules/${encodeURIComponent(id)}/${what}`);
  }

  deleteSchedule(id: string): Promise<void> {
    return this.request("DELETE", `schedules/${encodeURIComponent(id)}`);
  }

  permissions(avi: string, release?: string): Promise<AviPermissions> {
    const search = release === undefined ? "" : `?${new URLSearchParams({ release })}`;
    return this.request("GET", `${aviPath(avi)}/permissions${search}`);
  }

  /** Grants what the person was shown; a conflict when the release asks for something else by now. */
  grantPermissions(shown: AviPermissions): Promise<AviPermissions> {
    return this.request("PUT", `${aviPath(shown.avi)}/permissions`, {
      permissions: shown.asked,
      release: shown.release,
    });
  }

  revokePermissions(avi: string): Promise<Revoked> {
    return this.request("DELETE", `${aviPath(avi)}/permissions`);
  }

  grants(): Promise<PermissionGrant[]> {
    return this.request("GET", "permissions");
  }

  pool(): Promise<Pool> {
    return this.request("GET", "pools/me");
  }

  /** Deletes for good; a large folder takes several calls, until `done`. */
  deleteFile(path: string): Promise<Deletion> {
    return this.request("DELETE", `files?${new URLSearchParams({ path })}`);
  }

  contentUrl(path: string, inline = false): string {
    const search = new URLSearchParams({ path });
    if (inline) search.set("inline", "1");
    return `${this.base}/files/content?${search}`;
  }

  url(path: string): string {
    return `${this.base}/${path}`;
  }

  private async request<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await this.send(method, path, body);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  private async send(method: string, path: string, body?: unknown): Promise<Response> {
    const headers: Record<string, string> = { Accept: "application/json" };
    if (method !== "GET") headers["X-XSRFToken"] = this.xsrf();
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(this.url(path), {
        method,
        headers,
        credentials: "same-origin",
        redirect: "error",
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch (error) {
      throw toApiError(error);
    }
    if (!response.ok) throw new ApiError(response.status, await problemOf(response));
    return response;
  }
}

function aviPath(avi: string): string {
  return `avis/${avi.split("/").map(encodeURIComponent).join("/")}`;
}

async function problemOf(response: Response): Promise<Problem> {
  if (!/json/.test(response.headers.get("Content-Type") ?? "")) {
    return response.status >= 502
      ? {
          detail: "A part of the platform does not answer.",
          hint: "It may be restarting: try again in a moment.",
        }
      : {};
  }
  try {
    return (await response.json()) as Problem;
  } catch {
    return {};
  }
}
