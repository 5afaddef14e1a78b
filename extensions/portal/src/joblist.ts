import {
  ApiClient,
  followEvents,
  formatAgo,
  formatUtc,
  h,
  isFinalJob,
  type Job,
  type JobEvent,
  JOB_LABELS,
  JobProgress,
  showEmpty,
  showError,
  showLoading,
  stateBadge,
  toApiError,
} from "@gavip/ui";

/** One job in a list; keeps its elements while the job changes. */
class JobRow {
  readonly element: HTMLElement;
  private badge: HTMLElement;
  private readonly progress: JobProgress;

  constructor(
    public job: Job,
    prefix: string,
  ) {
    this.badge = stateBadge(job.state, JOB_LABELS[job.state]);
    this.progress = new JobProgress(job);
    this.element = h(
      "li",
      { class: "gv-row", "data-job": job.id },
      h(
        "div",
        { class: "gv-row-head" },
        h(
          "a",
          { class: "gv-row-title", href: `${prefix}jobs/${job.id}` },
          job.title || job.pipeline,
        ),
        this.badge,
      ),
      h(
        "p",
        { class: "gv-row-meta" },
        `${job.avi} · `,
        h("time", { datetime: job.created, title: formatUtc(job.created) }, formatAgo(job.created)),
      ),
      this.progress.element,
    );
  }

  update(job: Job): void {
    if (job.state !== this.job.state) {
      const badge = stateBadge(job.state, JOB_LABELS[job.state]);
      this.badge.replaceWith(badge);
      this.badge = badge;
    }
    this.job = job;
    this.progress.update(job);
  }

  tick(): void {
    if (!isFinalJob(this.job.state)) this.progress.tick();
  }
}

/** A live list of the person's jobs, newest first. */
export class JobList {
  private rows = new Map<string, JobRow>();
  private list: HTMLElement | null = null;
  private cursor: string | null = null;
  private loading = false;
  private stale = false;

  constructor(
    private readonly box: HTMLElement,
    private readonly api: ApiClient,
    private readonly prefix: string,
    private readonly limit: number,
    private readonly more: HTMLButtonElement | null = null,
    private readonly onChange: () => void = () => undefined,
    private states: readonly string[] = [],
  ) {
    showLoading(box, "jobs");
    more?.addEventListener("click", () => void this.loadMore());
    setInterval(() => this.rows.forEach((row) => row.tick()), 1000);
    void this.load();
    followEvents(api.url("events"), {
      onEvent: (event) => {
        if (event.event !== "instance") this.apply(JSON.parse(event.data) as JobEvent);
      },
      // what happened while there was no connection, the first one too, is not repeated: read the list again
      onConnection: (connected) => {
        if (connected) void this.load();
      },
    });
  }

  /** Show only jobs in these states; all when there are none. */
  narrow(states: readonly string[]): void {
    this.states = states;
    showLoading(this.box, "jobs");
    void this.load();
  }

  async load(): Promise<void> {
    if (this.loading) {
      // asked again meanwhile: the answer on its way may be older than the reason for asking
      this.stale = true;
      return;
    }
    this.loading = true;
    this.stale = false;
    try {
      const page = await this.api.jobs({ limit: this.limit, state: this.states });
      this.rows = new Map(page.items.map((job) => [job.id, new JobRow(job, this.prefix)]));
      this.cursor = page.next;
      this.draw();
    } catch (error) {
      showError(this.box, toApiError(error), () => {
        showLoading(this.box, "jobs");
        void this.load();
      });
    } finally {
      this.loading = false;
    }
    if (this.stale) void this.load();
  }

  private async loadMore(): Promise<void> {
    if (this.cursor === null || !this.more) return;
    this.more.disabled = true;
    try {
      const page = await this.api.jobs({
        limit: this.limit,
        cursor: this.cursor,
        state: this.states,
      });
      for (const job of page.items) {
        const row = new JobRow(job, this.prefix);
        this.rows.set(job.id, row);
        this.list?.append(row.element);
      }
      this.cursor = page.next;
      this.more.hidden = page.next === null;
    } catch (error) {
      showError(this.box, toApiError(error), () => void this.load());
    } finally {
      this.more.disabled = false;
    }
  }

  private draw(): void {
    this.box.removeAttribute("aria-busy");
    if (this.more) this.more.hidden = this.cursor === null;
    if (this.rows.size === 0) {
      this.list = null;
      if (this.states.length > 0) {
        showEmpty(this.box, "You have no such jobs.");
        return;
      }
      showEmpty(this.box, "You have no jobs yet. Run a pipeline of an AVI to make data products.", {
        text: "Browse the catalogue",
        href: `${this.prefix}avis`,
      });
      return;
    }
    this.list = h("ul", { class: "gv-rows" }, ...[...this.rows.values()].map((row) => row.element));
    this.box.replaceChildren(this.list);
  }

  private apply(event: JobEvent): void {
    const row = this.rows.get(event.job);
    if (!row) {
      void this.load();
      return;
    }
    if (event.kind === "progress") {
      row.update({ ...row.job, state: event.state, progress: event.progress });
      return;
    }
    void this.api.job(event.job).then(
      (job) => {
        row.update(job);
        this.onChange();
      },
      () => undefined, // the next event or reconnection shows it
    );
  }
}
