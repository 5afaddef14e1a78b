import {
  type ApiClient,
  formatSize,
  h,
  showError,
  showLoading,
  toApiError,
  type Pool,
} from "@gavip/ui";

/** How much of the machine the person holds, and how much they may. */
export class PoolMeter {
  constructor(
    private readonly box: HTMLElement,
    private readonly api: ApiClient,
  ) {
    showLoading(box, "your resources", 1);
    void this.load();
  }

  async load(): Promise<void> {
    try {
      this.draw(await this.api.pool());
    } catch (error) {
      showError(this.box, toApiError(error), () => void this.load());
    }
  }

  private draw(pool: Pool): void {
    this.box.removeAttribute("aria-busy");
    this.box.replaceChildren(
      meter("Memory", pool.used.memory, pool.limit.memory, formatSize),
      meter("Processors", pool.used.cpu, pool.limit.cpu, cores),
    );
  }
}

function cores(value: number): string {
  const text = String(Math.round(value * 100) / 100);
  return `${text} ${value === 1 ? "core" : "cores"}`;
}

function meter(
  label: string,
  used: number,
  limit: number,
  format: (value: number) => string,
): HTMLElement {
  const share = limit > 0 ? Math.min(1, used / limit) : 0;
  const text = `${format(used)} of ${format(limit)}`;
  const fill = h("div", { class: "gv-bar-fill" });
  fill.style.width = `${share * 100}%`;
  return h(
    "div",
    { class: "gv-meter" },
    h("div", { class: "gv-meter-text" }, h("span", {}, label), h("span", {}, text)),
    h(
      "div",
      {
        class: "gv-bar",
        role: "meter",
        "aria-label": label,
        "aria-valuemin": 0,
        "aria-valuemax": limit,
        "aria-valuenow": Math.min(used, limit),
        "aria-valuetext": text,
        "data-state": share > 0.9 ? "full" : "normal",
      },
      fill,
    ),
  );
}
