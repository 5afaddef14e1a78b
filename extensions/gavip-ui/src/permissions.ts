// Asking a person before an AVI may do more than they have allowed, and taking that back.

import type { ApiClient } from "./api";
import { confirmAction } from "./confirm";
import { h, icon, replace } from "./dom";
import { ApiError, toApiError } from "./errors";
import { errorBox } from "./states";
import type { AviPermissions, PermissionWords, Revoked } from "./types";

/** Event of the document after something was granted; its detail is the AVI. */
export const GRANTED = "gavip:granted";

const ICONS: Record<string, string> = {
  userspace: "folder",
  archive: "search",
  network: "network",
};

export function permissionList(words: PermissionWords[], consequences = true): HTMLElement {
  return h(
    "ul",
    { class: "gv-permissions" },
    ...words.map((word) =>
      h(
        "li",
        {},
        icon(ICONS[word.permission] ?? "lock"),
        h(
          "div",
          {},
          h("strong", {}, word.text),
          consequences && h("span", { class: "gv-quiet" }, word.consequence),
        ),
      ),
    ),
  );
}

/**
 * Does something that starts code of an AVI, after asking the person for permissions that are missing.
 *
 * Whether they are is looked up before, unless `first` is "do": then the platform judges the request itself first, so
 * that a person corrects a form before they decide. Resolves to null when the person does not allow it.
 */
export async function withPermissions<T>(
  api: ApiClient,
  avi: string,
  release: string | undefined,
  action: () => Promise<T>,
  first: "ask" | "do" = "ask",
): Promise<T | null> {
  const allowed = async (which = release): Promise<boolean> => {
    const shown = await api.permissions(avi, which);
    // nothing is missing when it was allowed meanwhile, in another tab say
    return shown.needed_in_words.length === 0 || askPermissions(api, shown);
  };
  if (first === "ask" && !(await allowed())) return null;
  for (let tries = 1; ; tries++) {
    try {
      return await action();
    } catch (error) {
      const asked = error instanceof ApiError && error.code === "permissions-needed";
      // more than once when a new release comes out meanwhile, but not for ever
      if (!asked || tries === 3) throw error;
      if (!(await allowed(error.fields["release"]))) return null;
    }
  }
}

/** Shows what an AVI asks for; resolves to true once the person has allowed it and the platform knows. */
export function askPermissions(api: ApiClient, first: AviPermissions): Promise<boolean> {
  let shown = first;
  const body = h("div", { id: "gv-permissions-text" });
  const problem = h("div", {});
  const title = h("h2", { id: "gv-dialog-title" });
  const cancel = h("button", { type: "button", class: "btn btn-outline-secondary" }, "Cancel");
  const allow = h("button", { type: "submit", class: "btn btn-primary" }, "Allow and start");
  const form = h(
    "form",
    { method: "dialog" },
    title,
    body,
    problem,
    h("div", { class: "gv-dialog-actions" }, cancel, allow),
  );
  const dialog = h(
    "dialog",
    {
      class: "gv-dialog gv-dialog-wide",
      "aria-labelledby": "gv-dialog-title",
      "aria-describedby": "gv-permissions-text",
    },
    form,
  );

  function draw(): void {
    const had = shown.granted_in_words;
    replace(title, `Allow ${shown.title} to do this?`);
    replace(
      body,
      h(
        "p",
        {},
        had.length > 0
          ? `Version ${shown.version} asks for more than you have allowed:`
          : `Version ${shown.version} (${shown.avi}) asks for your permission to:`,
      ),
      permissionList(shown.needed_in_words),
      had.length > 0 && h("p", {}, "You have allowed it already:"),
      had.length > 0 && permissionList(had, false),
      h(
        "p",
        { class: "gv-quiet" },
        "Like every AVI it reads and writes its own folder in your files and runs its own pipelines for you. You can revoke this at any time on its page.",
      ),
    );
  }

  async function grant(): Promise<void> {
    allow.disabled = true;
    allow.setAttribute("aria-busy", "true");
    replace(problem);
    try {
      await api.grantPermissions(shown);
      document.dispatchEvent(new CustomEvent(GRANTED, { detail: shown.avi }));
      dialog.close("yes");
    } catch (caught) {
      const error = toApiError(caught);
      replace(problem, errorBox(error));
      if (error.status === 409) {
        // a new release came out while the dialogue was open: what it asks now is what is decided on
        shown = await api.permissions(shown.avi).catch(() => shown);
        draw();
      }
    } finally {
      allow.disabled = false;
      allow.removeAttribute("aria-busy");
    }
  }

  draw();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void grant();
  });
  cancel.addEventListener("click", () => dialog.close("no"));
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal();
    cancel.focus();
  });
}

/** Takes back what an AVI was allowed, after asking; resolves to null when the person keeps it. */
export async function revokePermissions(
  api: ApiClient,
  avi: string,
  title: string,
): Promise<Revoked | null> {
  const sure = await confirmAction({
    title: `Revoke the permissions of ${title}?`,
    text: "Its running instances are stopped, and its queued and running jobs are cancelled. Its schedules submit nothing until you allow it again. Files it has made stay.",
    action: "Revoke",
  });
  return sure ? api.revokePermissions(avi) : null;
}

/** Says what ended with a revocation. */
export function revokedText({ stopping, cancelling }: Revoked): string {
  const parts = [
    stopping > 0 &&
      `${stopping} running ${stopping === 1 ? "instance is" : "instances are"} being stopped`,
    cancelling > 0 && `${cancelling} ${cancelling === 1 ? "job is" : "jobs are"} being cancelled`,
  ].filter((text) => text !== false);
  return parts.length > 0 ? `Revoked: ${parts.join(", ")}.` : "Revoked.";
}
