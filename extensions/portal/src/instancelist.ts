import {
  type ApiClient,
  confirmAction,
  errorBox,
  followEvents,
  formatAgo,
  formatUtc,
  h,
  type Instance,
  isFinalInstance,
  showEmpty,
  showError,
  showLoading,
  stateBadge,
  toApiError,
} from "@gavip/ui";

export const INSTANCE_LABELS: Record<Instance["state"], string> = {
  requested: "Requested",
  starting: "Starting",
  ready: "Running",
  stopping: "Stopping",
  stopped: "Stopped",
  failed: "Failed",
};

/** A live list of the person's running AVIs. */
export class InstanceList {
  private items = new Map<string, Instance>();

  constructor(
    private readonly box: HTMLElement,
    private readonly api: ApiClient,
    private readonly prefix: string,
    private readonly onChange: () => void = () => undefined,
  ) {
    showLoading(box, "running AVIs", 2);
    void this.load();
    followEvents(api.url("instances/events"), {
      onEvent: (event) => {
        const instance = JSON.parse(event.data) as Instance;
        this.items.set(instance.id, instance);
        this.draw();
        this.onChange();
      },
      onConnection: (connected) => {
        // what happened before the connection was there, the first one too, is not repeated
        if (connected) void this.load();
      },
    });
  }

  private async load(): Promise<void> {
    try {
      const instances = await this.api.instances();
      // an answer may be older than an event that overtook it: what has ended stays ended
      this.items = new Map(
        instances.map((instance) => {
          const known = this.items.get(instance.id);
          return [instance.id, known && isFinalInstance(known.state) ? known : instance];
        }),
      );
      this.draw();
    } catch (error) {
      showError(this.box, toApiError(error), () => {
        showLoading(this.box, "running AVIs", 2);
        void this.load();
      });
    }
  }

  private draw(): void {
    this.box.removeAttribute("aria-busy");
    const shown = [...this.items.values()]
      .filter((instance) => !isFinalInstance(instance.state))
      .sort((a, b) => b.created.localeCompare(a.created));
    if (shown.length === 0) {
      showEmpty(this.box, "No AVI is running. Open one from the catalogue.", {
        text: "Browse the catalogue",
        href: `${this.prefix}avis`,
      });
      return;
    }
    // redrawing must not take the focus away from somebody who works with the keyboard
    const focused = document.activeElement?.getAttribute("data-key");
    this.box.replaceChildren(h("ul", { class: "gv-rows" }, ...shown.map((i) => this.row(i))));
    if (focused) this.box.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
  }

  private row(instance: Instance): HTMLElement {
    const ready = instance.state === "ready" && instance.url !== null;
    const stop = h(
      "button",
      {
        type: "button",
        class: "btn btn-sm btn-outline-danger",
        "data-key": `stop-${instance.id}`,
        "aria-label": `Stop ${instance.title}`,
        disabled: instance.state === "stopping",
      },
      "Stop",
    );
    const row = h(
      "li",
      { class: "gv-row", "data-instance": instance.id },
      h(
        "div",
        { class: "gv-row-head" },
        h("span", { class: "gv-row-title" }, instance.title),
        stateBadge(instance.state, INSTANCE_LABELS[instance.state]),
      ),
      h(
        "p",
        { class: "gv-row-meta" },
        `${instance.avi} · ${instance.view} · started `,
        h(
          "time",
          { datetime: instance.created, title: formatUtc(instance.created) },
          formatAgo(instance.created),
        ),
        ready ? "" : ` · ${instance.message}`,
      ),
      h(
        "div",
        { class: "gv-row-actions" },
        h(
          "a",
          {
            class: "btn btn-sm btn-primary",
            "data-key": `open-${instance.id}`,
            href: ready ? instance.url : `${this.prefix}instances/${instance.id}`,
            "aria-label": `${ready ? "Open" : "Follow the start of"} ${instance.title}`,
          },
          ready ? "Open" : "Follow",
        ),
        stop,
      ),
    );
    stop.addEventListener("click", () => void this.stop(instance, row));
    return row;
  }

  private async stop(instance: Instance, row: HTMLElement): Promise<void> {
    const sure = await confirmAction({
      title: `Stop ${instance.title}?`,
      text: "What it shows now is lost; files it saved stay in your files, and its jobs go on.",
      action: "Stop it",
    });
    if (!sure) return;
    try {
      await this.api.stopInstance(instance.id);
      this.items.set(instance.id, { ...instance, state: "stopping", message: "Stopping." });
      this.draw();
      void this.load();
    } catch (error) {
      row.append(errorBox(toApiError(error), () => void this.stop(instance, row)));
    }
  }
}
