import {
  errorBox,
  followEvents,
  formatDuration,
  type Instance,
  isFinalInstance,
  part,
  replace,
  setText,
  toApiError,
  withPermissions,
} from "@gavip/ui";
import type { Page } from "./page";

const STEPS: Instance["state"][] = ["requested", "starting", "ready"];

/** Follows the start of an instance, then goes to it. */
export function startInstance({ root, api, prefix }: Page): void {
  const id = root.dataset["instance"] ?? "";
  const fill = part("fill", root);
  const bar = part("bar", root);
  const message = part("message", root);
  const elapsed = part("elapsed", root);
  const problem = part("problem", root);
  const cancel = part<HTMLButtonElement>("cancel", root);
  const retry = part<HTMLButtonElement>("retry", root);
  let current: Instance | null = null;

  function show(instance: Instance): void {
    current = instance;
    fill.style.width = `${instance.progress}%`;
    bar.setAttribute("aria-valuenow", String(instance.progress));
    setText(message, instance.message);
    root.dataset["state"] = instance.state;
    const reached = STEPS.indexOf(instance.state);
    for (const step of root.querySelectorAll<HTMLElement>("[data-step]")) {
      const at = STEPS.indexOf(step.dataset["step"] as Instance["state"]);
      step.dataset["done"] = String(reached > at || instance.state === "ready");
      if (reached === at) step.setAttribute("aria-current", "step");
      else step.removeAttribute("aria-current");
    }
    if (instance.state === "ready" && instance.url) {
      setText(message, "Ready: opening it now.");
      location.replace(instance.url);
      return;
    }
    const over = isFinalInstance(instance.state);
    cancel.hidden = over;
    retry.hidden = !over;
    if (instance.state === "failed") {
      setText(part("heading", root), `${instance.title} did not start`);
      part("progress", root).hidden = true;
      problem.hidden = false;
      setText(part("cause", problem), instance.message);
      setText(part("hint", problem), instance.hint);
    } else if (instance.state === "stopped") {
      setText(message, "It was stopped.");
    }
  }

  const follow = (): (() => void) =>
    followEvents(api.url(`instances/${id}/events`), {
      onEvent: (event) => show(JSON.parse(event.data) as Instance),
      onConnection: (connected) => {
        part("connection", root).hidden = connected;
      },
      onRefused: () => void load(),
      again: () => current === null || !isFinalInstance(current.state),
    });

  async function load(): Promise<void> {
    try {
      show(await api.instance(id));
    } catch (error) {
      replace(
        part("actions-error", root),
        errorBox(toApiError(error), () => void load()),
      );
    }
  }

  cancel.addEventListener("click", () => {
    cancel.disabled = true;
    api.stopInstance(id).then(
      () => location.assign(root.dataset["aviUrl"] ?? prefix),
      (error: unknown) => {
        cancel.disabled = false;
        replace(part("actions-error", root), errorBox(toApiError(error)));
      },
    );
  });

  retry.addEventListener("click", () => {
    if (!current) return;
    retry.disabled = true;
    const { avi, view, release } = current;
    withPermissions(api, avi, release, () => api.startInstance({ avi, view, release })).then(
      (instance) => {
        if (instance === null) {
          retry.disabled = false;
          retry.focus();
        } else location.replace(`${prefix}instances/${instance.id}`);
      },
      (error: unknown) => {
        retry.disabled = false;
        replace(part("actions-error", root), errorBox(toApiError(error)));
      },
    );
  });

  const began = new Date(root.dataset["created"] ?? Date.now()).getTime();
  const tick = (): void => {
    if (current === null || !isFinalInstance(current.state))
      setText(elapsed, formatDuration((Date.now() - began) / 1000));
  };
  tick();
  setInterval(tick, 1000);
  void load();
  follow();
}
