import { h, setText } from "./dom";
import { estimateRemaining, formatDuration } from "./format";
import { isFinalJob, type Job, type JobState } from "./types";

export const JOB_LABELS: Record<JobState, string> = {
  queued: "Queued",
  starting: "Starting",
  running: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
  "timed-out": "Timed out",
  lost: "Lost",
};

/** A state as word and shape, never as colour alone. */
export function stateBadge(state: string, label: string): HTMLElement {
  return h(
    "span",
    { class: `gv-badge gv-badge-${state}` },
    h("i", { "aria-hidden": "true" }),
    label,
  );
}

export function jobFraction(job: Pick<Job, "state" | "progress">): number | null {
  if (job.state === "succeeded") return 1;
  return job.progress.total > 0 ? Math.min(1, job.progress.done / job.progress.total) : null;
}

/** What a job does now, in one line. */
export function jobStep(job: Job): string {
  if (job.state === "queued") {
    const place = job.position === null ? "" : `Place ${job.position} in the queue. `;
    return place + (job.waiting_for ?? "Waiting for its turn.");
  }
  if (job.state === "starting") return "Preparing the environment.";
  if (job.state === "running") {
    const { done, total, task, message } = job.progress;
    // "Cell 3 of 8: …" counts for itself
    const counted = total <= 0 || / \d+ of \d+/.test(task);
    const count = counted ? "" : `Step ${Math.min(Math.floor(done) + 1, total)} of ${total}`;
    return [count, task || message].filter(Boolean).join(": ") || "Running.";
  }
  return job.error?.message ?? "";
}

/** Elapsed time, and the time left when the progress allows an estimate. */
export function jobTiming(job: Job, now: number = Date.now()): string {
  const from = new Date(job.started ?? job.created).getTime();
  const until = job.ended === null ? now : new Date(job.ended).getTime();
  const elapsed = (until - from) / 1000;
  if (isFinalJob(job.state)) return job.started === null ? "" : `took ${formatDuration(elapsed)}`;
  if (job.started === null) return `waiting ${formatDuration(elapsed)}`;
  const left = estimateRemaining(jobFraction(job) ?? 0, elapsed);
  return formatDuration(elapsed) + (left === null ? "" : `, about ${formatDuration(left)} left`);
}

/** A progress bar with words: keeps its elements, so that updates never move the page. */
export class JobProgress {
  readonly element: HTMLElement;
  private readonly bar = h("div", { class: "gv-bar-fill" });
  private readonly track: HTMLElement;
  private readonly step = h("span", { class: "gv-step" });
  private readonly timing = h("span", { class: "gv-timing" });
  private job: Job;

  constructor(
    job: Job,
    private readonly describe: (job: Job) => string = jobStep,
  ) {
    this.job = job;
    this.track = h(
      "div",
      {
        class: "gv-bar",
        role: "progressbar",
        "aria-label": `Progress of ${job.title || job.pipeline}`,
        "aria-valuemin": 0,
        "aria-valuemax": 100,
      },
      this.bar,
    );
    this.element = h(
      "div",
      { class: "gv-progress" },
      this.track,
      h("div", { class: "gv-progress-text" }, this.step, this.timing),
    );
    this.update(job);
  }

  update(job: Job): void {
    this.job = job;
    const fraction = jobFraction(job);
    const live = !isFinalJob(job.state);
    this.track.dataset["state"] = job.state;
    const works = live && job.state !== "queued";
    this.track.classList.toggle("gv-bar-unknown", fraction === null && works);
    if (fraction === null) this.track.removeAttribute("aria-valuenow");
    else this.track.setAttribute("aria-valuenow", String(Math.round(fraction * 100)));
    this.bar.style.width = fraction === null ? "" : `${fraction * 100}%`;
    setText(this.step, this.describe(job));
    this.tick();
  }

  /** Moves the clock on. */
  tick(now: number = Date.now()): void {
    setText(this.timing, jobTiming(this.job, now));
  }
}
