import type { Problem } from "./types";

/** An answer of the platform that is not success; `message` says the cause, `hint` the next step. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string;
  readonly fields: Record<string, string>;

  constructor(status: number, problem: Problem) {
    super(problem.detail ?? problem.title ?? `The platform answered with status ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? "unknown";
    this.hint = problem.hint ?? "";
    this.fields = {};
    for (const [name, text] of Object.entries(problem.errors ?? {})) {
      if (typeof text === "string") this.fields[name] = text;
    }
  }

  /** Whether asking again later can help without the person changing anything. */
  get isTemporary(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Makes an ApiError of anything thrown, so that every component shows errors in one way. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  return new ApiError(0, {
    code: "no-connection",
    detail: "The platform cannot be reached.",
    hint: "Check your connection; the page keeps trying.",
  });
}
