// The states every list has besides showing its items: loading, empty, error, forbidden.

import { h, icon, replace } from "./dom";
import type { ApiError } from "./errors";

export function showLoading(box: HTMLElement, what: string, rows = 3): void {
  box.setAttribute("aria-busy", "true");
  replace(
    box,
    h("p", { class: "visually-hidden", role: "status" }, `Loading ${what}…`),
    ...Array.from({ length: rows }, () =>
      h("div", { class: "gv-skeleton", "aria-hidden": "true" }),
    ),
  );
}

export function showEmpty(
  box: HTMLElement,
  message: string,
  action?: { text: string; href: string },
): void {
  box.removeAttribute("aria-busy");
  replace(
    box,
    h(
      "div",
      { class: "gv-empty" },
      icon("empty"),
      h("p", {}, message),
      action && h("a", { class: "btn btn-primary", href: action.href }, action.text),
    ),
  );
}

/** Shows why something failed and what to do; a 401 leads to signing in, a 403 offers no retry. */
export function showError(box: HTMLElement, error: ApiError, retry?: () => void): void {
  box.removeAttribute("aria-busy");
  replace(box, errorBox(error, retry));
}

export function errorBox(error: ApiError, retry?: () => void): HTMLElement {
  const box = h(
    "div",
    { class: "alert alert-danger gv-alert", role: "alert" },
    icon(error.status === 403 ? "lock" : "warning"),
    h(
      "div",
      {},
      h("p", { class: "gv-alert-cause" }, error.message),
      error.hint !== "" && h("p", { class: "gv-alert-hint" }, error.hint),
    ),
  );
  const body = box.lastElementChild as HTMLElement;
  if (error.status === 401) {
    const again = h("button", { type: "button", class: "btn btn-sm btn-primary" }, "Sign in again");
    again.addEventListener("click", () => location.reload());
    body.append(again);
  } else if (retry && error.status !== 403 && error.status !== 404) {
    const again = h("button", { type: "button", class: "btn btn-sm btn-outline-primary" }, "Retry");
    again.addEventListener("click", retry);
    body.append(again);
  }
  return box;
}
