import {
  type ApiClient,
  confirmAction,
  errorBox,
  followEvents,
  formatLocalAndUtc,
  formatSize,
  formatUtc,
  h,
  icon,
  isFinalJob,
  type Job,
  type JobEvent,
  JOB_LABELS,
  JobProgress,
  jobStep,
  part,
  replace,
  setText,
  stateBadge,
  toApiError,
  withPermissions,
} from "@gavip/ui";
import { LogView } from "./log";
import type { Page } from "./page";

/** The page of one job: live while it runs, complete afterwards. */
export function startJob({ root, api, prefix }: Page): void {
  // the server has sent the job with the page, so that nothing appears late and pushes the rest down
  const first = JSON.parse(root.dataset["job"] ?? "") as Job;
  const log = new LogView(part("log", root), part("log-state", root), api, first.id);
  const connection = part("connection", root);
  const view = new JobView(root, first, api, prefix, () => void load());
  log.follow(!isFinalJob(first.state));
  if (isFinalJob(first.state)) return;

  async function load(): Promise<void> {
    try {
      view.update(await api.job(first.id));
      log.follow(!isFinalJob(view.job.state));
      if (isFinalJob(view.job.state)) connection.hidden = true;
    } catch {
      connection.hidden = false; // the stream reconnects, and reads the job again when it does
    }
  }

  followEvents(api.url(`jobs/${first.id}/events`), {
    onEvent: (event) => {
      const change = JSON.parse(event.data) as JobEvent;
      if (change.kind === "progress") view.progress(change);
      else void load();
    },
    onConnection: (connected) => {
      connection.hidden = connected || isFinalJob(view.job.state);
      if (connected) void load();
    },
    again: () => !isFinalJob(view.job.state),
  });
}

class JobView {
  private readonly bar: JobProgress;
  private readonly cancelButton: HTMLButtonElement;
  private readonly retryButton: HTMLButtonElement;
  private outputs = "";

  constructor(
    private readonly root: HTMLElement,
    public job: Job,
    private readonly api: ApiClient,
    private readonly prefix: string,
    private readonly reload: () => void,
  ) {
    // why a job waits or ended badly has its own place on this page
    this.bar = new JobProgress(job, (shown) => {
      if (isFinalJob(shown.state)) return "";
      return jobStep(shown.waiting ? { ...shown, waiting_for: "" } : shown);
    });
    replace(part("job", root), this.bar.element);
    this.cancelButton = part<HTMLButtonElement>("cancel", root);
    this.cancelButton.addEventListener("click", () => void this.cancel());
    this.retryButton = part<HTMLButtonElement>("retry", root);
    this.retryButton.addEventListener("click", () => void this.retry());
    setInterval(() => {
      if (!isFinalJob(this.job.state)) this.bar.tick();
    }, 1000);
    replace(part("facts", root), ...facts(job, prefix));
    replace(part("parameters", root), parameterTable(job));
    this.update(job);
  }

  progress(change: JobEvent): void {
    this.job = { ...this.job, state: change.state, progress: change.progress };
    this.bar.update(this.job);
  }

  update(job: Job): void {
    this.job = job;
    this.bar.update(job);
    setText(part("title", this.root), job.title || job.pipeline);
    replace(part("state", this.root), stateBadge(job.state, JOB_LABELS[job.state]));
    this.cancelButton.hidden = isFinalJob(job.state);
    this.retryButton.hidden = !isFinalJob(job.state);
    const waiting = part("waiting", this.root);
    waiting.hidden = job.state !== "queued" || !job.waiting;
    replace(waiting, ...(waiting.hidden ? [] : waitingFor(job)));
    replace(part("error", this.root), job.error ? jobError(job, this.prefix) : null);
    replace(part("facts", this.root), ...facts(job, this.prefix));
    const key = `${job.state}${job.product}${job.outputs.join("\n")}`;
    if (key !== this.outputs) {
      this.outputs = key;
      replace(part("results", this.root), ...results(job, this.api, this.prefix));
    }
  }

  private async retry(): Promise<void> {
    this.retryButton.disabled = true;
    try {
      const { id, avi, release } = this.job;
      const again = (): Promise<Job> => this.api.retryJob(id);
      const made = await withPermissions(this.api, avi, release, again, "do");
      if (made === null) {
        this.retryButton.disabled = false;
        this.retryButton.focus();
      } else location.assign(`${this.prefix}jobs/${made.id}`);
    } catch (error) {
      replace(
        part("error", this.root),
        errorBox(toApiError(error), () => void this.retry()),
      );
      this.retryButton.disabled = false;
    }
  }

  private async cancel(): Promise<void> {
    const sure = await confirmAction({
      title: "Cancel this job?",
      text: "It stops now. What it has written so far stays in your files.",
      action: "Cancel the job",
    });
    if (!sure) return;
    this.cancelButton.disabled = true;
    try {
      this.update(await this.api.cancelJob(this.job.id));
      this.reload();
    } catch (error) {
      replace(
        part("error", this.root),
        errorBox(toApiError(error), () => void this.cancel()),
      );
    } finally {
      this.cancelButton.disabled = false;
    }
  }
}

function waitingFor(job: Job): HTMLElement[] {
  const {
    reason,
    hint,
    holders,
    estimated_start: start,
    estimate,
  } = job.waiting ?? {
    reason: "",
    hint: "",
    holders: [],
    estimated_start: null,
    estimate: "",
  };
  const elements: (HTMLElement | false)[] = [
    h("h2", { id: "h-waiting", class: "gv-section-title" }, "Why it waits"),
    h("p", {}, [reason, hint].filter(Boolean).join(" ")),
    holders.length > 0 &&
      h(
        "ul",
        { class: "gv-plain" },
        ...holders.map((holder) =>
          h(
            "li",
            {},
            `${holder.title || holder.kind}: ${formatSize(holder.amount.memory)} of memory, ${holder.amount.cpu} ${holder.amount.cpu === 1 ? "core" : "cores"}`,
          ),
        ),
      ),
    start !== null &&
      h(
        "p",
        {},
        "It should start at ",
        h("time", { datetime: start, title: formatUtc(start) }, formatLocalAndUtc(start)),
        ".",
      ),
    estimate !== "" && h("p", { class: "gv-quiet" }, estimate),
  ];
  return elements.filter((element) => element !== false);
}

function jobError(job: Job, prefix: string): HTMLElement {
  const { message = "", hint = "", cell = null, task = null } = job.error ?? {};
  const where = [task, cell === null ? null : `code cell ${cell}`].filter(Boolean).join(", ");
  return h(
    "div",
    { class: "alert alert-danger gv-alert", role: "alert" },
    icon("warning"),
    h(
      "div",
      {},
      h("p", { class: "gv-alert-cause" }, message),
      where !== "" && h("p", {}, `Where: ${where}.`),
      hint !== "" && h("p", { class: "gv-alert-hint" }, hint),
      h(
        "p",
        { class: "gv-alert-links" },
        h("a", { href: "#log-heading" }, "Read the log"),
        h(
          "a",
          { href: `${prefix}avis/${job.avi}?again=${job.id}#pipeline-${job.pipeline}` },
          "Run it again",
        ),
      ),
    ),
  );
}

function facts(job: Job, prefix: string): HTMLElement[] {
  const time = (iso: string | null): Node | string =>
    iso === null
      ? "–"
      : h("time", { datetime: iso, title: formatUtc(iso) }, formatLocalAndUtc(iso));
  const rows: [string, Node | string][] = [
    ["AVI", h("a", { href: `${prefix}avis/${job.avi}` }, job.avi)],
    ["Pipeline", job.pipeline],
    ["Submitted", time(job.created)],
    ["Started", time(job.started)],
    ["Ended", time(job.ended)],
    ["Release", h("code", {}, job.release.slice(0, 12))],
    ["Attempt", String(job.attempt)],
  ];
  return rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

function parameterTable(job: Job): HTMLElement {
  const entries = Object.entries(job.parameters);
  if (entries.length === 0)
    return h("p", { class: "gv-quiet" }, "This pipeline has no parameters.");
  return h(
    "dl",
    { class: "gv-facts" },
    ...entries.map(([name, value]) =>
      h("div", {}, h("dt", {}, h("code", {}, name)), h("dd", {}, String(value))),
    ),
  );
}

const PREVIEW = /\.(png|jpe?g)$/i;

function results(job: Job, api: ApiClient, prefix: string): HTMLElement[] {
  if (!isFinalJob(job.state)) {
    return [h("p", { class: "gv-quiet" }, "Results appear here when the job has ended.")];
  }
  if (job.product === null || job.outputs.length === 0) {
    return [h("p", { class: "gv-quiet" }, "This job left no results.")];
  }
  const product = job.product;
  const pictures = job.outputs.filter((name) => PREVIEW.test(name));
  const elements: (HTMLElement | false)[] = [
    pictures.length > 0 &&
      h(
        "div",
        { class: "gv-pictures" },
        ...pictures.map((name) =>
          h(
            "figure",
            {},
            h(
              "a",
              { href: api.contentUrl(`${product}/${name}`, true) },
              h("img", {
                src: api.contentUrl(`${product}/${name}`, true),
                alt: name,
                loading: "lazy",
              }),
            ),
            h("figcaption", {}, name),
          ),
        ),
      ),
    h(
      "ul",
      { class: "gv-files" },
      ...job.outputs.map((name) =>
        h(
          "li",
          {},
          icon("file"),
          h("a", { href: api.contentUrl(`${product}/${name}`), download: "" }, name),
        ),
      ),
    ),
    h(
      "a",
      {
        class: "btn btn-outline-primary",
        href: `${prefix}files?${new URLSearchParams({ path: product })}`,
      },
      "Show the folder in my files",
    ),
  ];
  return elements.filter((element) => element !== false);
}
