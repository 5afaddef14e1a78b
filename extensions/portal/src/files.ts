import { confirmAction, errorBox, part, replace, setText, toApiError } from "@gavip/ui";
import type { Page } from "./page";

/** The person's files: what is deleted is named before, and how full the user-space is is seen after. */
export function startFiles({ root, api }: Page): void {
  fillBar(root);
  const problem = part("problem", root);
  const said = part("said", root);
  root.addEventListener("click", (event) => {
    const button = (event.target as Element).closest<HTMLButtonElement>("button[data-delete]");
    if (button) void ask(button);
  });

  async function ask(button: HTMLButtonElement): Promise<void> {
    const { name = "", kind = "" } = button.dataset;
    const sure = await confirmAction({
      title: `Delete ${name}?`,
      text: `${what(button)} for good. This cannot be undone.`,
      action: kind === "folder" ? "Delete the folder" : "Delete",
    });
    if (sure) await remove(button);
    else button.focus();
  }

  async function remove(button: HTMLButtonElement): Promise<void> {
    const { delete: path = "", name = "" } = button.dataset;
    replace(problem);
    button.disabled = true;
    button.textContent = "Deleting…";
    let removed = 0;
    try {
      for (;;) {
        const step = await api.deleteFile(path);
        removed += step.removed;
        if (step.done) break;
        setText(said, `${removed} entries of ${name} are deleted, it goes on.`);
        button.textContent = `Deleting… ${removed}`;
      }
    } catch (error) {
      button.disabled = false;
      button.textContent = "Delete";
      replace(
        problem,
        errorBox(toApiError(error), () => void remove(button)),
      );
      return;
    }
    // listing and meter come from the server, which is the only one to know
    location.reload();
  }
}

function what(button: HTMLButtonElement): string {
  const { delete: path = "", kind = "", size = "" } = button.dataset;
  if (kind === "folder") return `The folder ${path} and everything in it goes`;
  if (kind === "file") return `The file ${path} (${size}) goes`;
  return `${path} goes; what it may point to stays,`;
}

function fillBar(root: HTMLElement): void {
  const bar = root.querySelector<HTMLElement>('[data-part="usage-bar"]');
  const fill = bar?.firstElementChild as HTMLElement | null | undefined;
  if (!bar || !fill) return;
  const share = (used: unknown, limit: unknown): number =>
    Number(limit) > 0 ? Math.min(1, Number(used) / Number(limit)) : 0;
  const most = Math.max(
    share(bar.getAttribute("aria-valuenow"), bar.getAttribute("aria-valuemax")),
    share(bar.dataset["entries"], bar.dataset["entriesLimit"]),
  );
  fill.style.width = `${most * 100}%`;
}
