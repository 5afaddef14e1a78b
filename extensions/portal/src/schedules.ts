import {
  confirmAction,
  errorBox,
  formatLocalAndUtc,
  formatUtc,
  h,
  part,
  replace,
  type Schedule,
  showEmpty,
  showError,
  showLoading,
  toApiError,
} from "@gavip/ui";
import type { Page } from "./page";

/** The person's recurring submissions. */
export function startSchedules({ root, api, prefix }: Page): void {
  const box = part("schedules", root);
  const problem = part("problem", root);
  showLoading(box, "schedules");
  void load();

  async function load(): Promise<void> {
    try {
      const { items } = await api.schedules();
      box.removeAttribute("aria-busy");
      if (items.length === 0) {
        showEmpty(box, "You have no schedules. Make one below the form of a pipeline.", {
          text: "Browse the catalogue",
          href: `${prefix}avis`,
        });
        return;
      }
      box.replaceChildren(h("ul", { class: "gv-rows" }, ...items.map(row)));
    } catch (error) {
      showError(box, toApiError(error), () => {
        showLoading(box, "schedules");
        void load();
      });
    }
  }

  async function act(action: () => Promise<unknown>): Promise<void> {
    replace(problem);
    try {
      await action();
      await load();
    } catch (error) {
      replace(
        problem,
        errorBox(toApiError(error), () => void act(action)),
      );
    }
  }

  async function remove(schedule: Schedule): Promise<void> {
    const sure = await confirmAction({
      title: "Delete this schedule?",
      text: "It submits no more jobs. Jobs that it has submitted stay, with their results.",
      action: "Delete the schedule",
    });
    if (sure) await act(() => api.deleteSchedule(schedule.id));
  }

  function row(schedule: Schedule): HTMLElement {
    const pause = h(
      "button",
      { type: "button", class: "btn btn-sm btn-outline-primary" },
      schedule.paused ? "Resume" : "Pause",
    );
    pause.setAttribute("aria-label", `${pause.textContent} ${schedule.title}`);
    pause.addEventListener(
      "click",
      () => void act(() => api.pauseSchedule(schedule.id, !schedule.paused)),
    );
    const trash = h("button", { type: "button", class: "btn btn-sm btn-outline-danger" }, "Delete");
    trash.setAttribute("aria-label", `Delete ${schedule.title}`);
    trash.addEventListener("click", () => void remove(schedule));
    const [next] = schedule.next_runs;
    return h(
      "li",
      { class: "gv-row" },
      h(
        "div",
        { class: "gv-row-head" },
        h("span", { class: "gv-row-title" }, schedule.title),
        h("span", { class: "gv-form-actions" }, pause, trash),
      ),
      h("p", { class: "gv-row-meta" }, `${schedule.avi} · ${schedule.cron} · ${schedule.timezone}`),
      h(
        "p",
        {},
        next === undefined
          ? "Paused."
          : h(
              "span",
              {},
              "Runs next at ",
              h("time", { datetime: next, title: formatUtc(next) }, formatLocalAndUtc(next)),
            ),
        schedule.last_job !== null &&
          h(
            "span",
            {},
            " · ",
            h("a", { href: `${prefix}jobs/${schedule.last_job}` }, "Its last job"),
          ),
      ),
      schedule.last_message !== "" && h("p", { class: "gv-quiet" }, schedule.last_message),
    );
  }
}
