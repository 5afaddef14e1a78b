import {
  formatLocalAndUtc,
  formatUtc,
  h,
  errorBox,
  part,
  type PermissionGrant,
  permissionList,
  replace,
  revokedText,
  revokePermissions,
  setText,
  showEmpty,
  showError,
  showLoading,
  toApiError,
} from "@gavip/ui";
import type { Page } from "./page";

/** What the person allows AVIs to do. */
export function startPermissions({ root, api, prefix }: Page): void {
  const box = part("grants", root);
  const result = part("result", root);
  showLoading(box, "permissions");
  void load();

  async function load(): Promise<void> {
    try {
      const grants = await api.grants();
      box.removeAttribute("aria-busy");
      if (grants.length === 0) {
        showEmpty(
          box,
          "You have allowed nothing yet. An AVI asks you when you open it for the first time.",
          { text: "Browse the catalogue", href: `${prefix}avis` },
        );
        return;
      }
      box.replaceChildren(h("ul", { class: "gv-rows" }, ...grants.map(row)));
    } catch (error) {
      showError(box, toApiError(error), () => {
        showLoading(box, "permissions");
        void load();
      });
    }
  }

  async function revoke(grant: PermissionGrant): Promise<void> {
    replace(result);
    try {
      const ended = await revokePermissions(api, grant.avi, grant.title);
      if (ended === null) return;
      setText(result, `${grant.title}: ${revokedText(ended)}`);
      await load();
    } catch (error) {
      replace(
        result,
        errorBox(toApiError(error), () => void revoke(grant)),
      );
    }
  }

  function row(grant: PermissionGrant): HTMLElement {
    const button = h(
      "button",
      {
        type: "button",
        class: "btn btn-sm btn-outline-danger",
        "aria-label": `Revoke the permissions of ${grant.title}`,
      },
      "Revoke",
    );
    button.addEventListener("click", () => void revoke(grant));
    return h(
      "li",
      { class: "gv-row" },
      h(
        "div",
        { class: "gv-row-head" },
        h("a", { class: "gv-row-title", href: `${prefix}avis/${grant.avi}` }, grant.title),
        button,
      ),
      permissionList(grant.in_words),
      h(
        "p",
        { class: "gv-row-meta" },
        `${grant.avi} · since `,
        h(
          "time",
          { datetime: grant.since, title: formatUtc(grant.since) },
          formatLocalAndUtc(grant.since),
        ),
        ` · first for release ${grant.first_release.slice(0, 12)}`,
      ),
    );
  }
}
