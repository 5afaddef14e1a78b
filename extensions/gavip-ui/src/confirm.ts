import { h } from "./dom";

/** Asks before something that cannot be undone; resolves to true only when the person confirms. */
export function confirmAction(options: {
  title: string;
  text: string;
  action: string;
}): Promise<boolean> {
  const cancel = h(
    "button",
    { type: "submit", value: "no", class: "btn btn-outline-secondary" },
    "Keep",
  );
  const confirm = h(
    "button",
    { type: "submit", value: "yes", class: "btn btn-danger" },
    options.action,
  );
  const dialog = h(
    "dialog",
    { class: "gv-dialog", "aria-labelledby": "gv-dialog-title" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "gv-dialog-title" }, options.title),
      h("p", {}, options.text),
      h("div", { class: "gv-dialog-actions" }, cancel, confirm),
    ),
  );
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    dialog.showModal();
    cancel.focus();
  });
}
