import { part, setText } from "@gavip/ui";
import type { Page } from "./page";

/** Filters the cards while typing; the form itself works without scripts. */
export function startCatalogue({ root }: Page): void {
  if (!root.querySelector("[data-part=count]")) return; // the catalogue is empty
  const search = part<HTMLInputElement>("search", root);
  const cards = [...root.querySelectorAll<HTMLElement>("[data-words]")];
  const count = part("count", root);
  const none = part("none", root);

  function filter(): void {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const text = card.dataset["words"] ?? "";
      card.hidden = !words.every((word) => text.includes(word));
      if (!card.hidden) shown += 1;
    }
    setText(count, `${shown} of ${cards.length} ${cards.length === 1 ? "AVI" : "AVIs"}`);
    none.hidden = shown > 0;
    const url = new URL(location.href);
    if (search.value) url.searchParams.set("q", search.value);
    else url.searchParams.delete("q");
    history.replaceState(null, "", url);
  }

  search.addEventListener("input", filter);
  part("clear", root).addEventListener("click", (event) => {
    event.preventDefault();
    search.value = "";
    filter();
    search.focus();
  });
  search.form?.addEventListener("submit", (event) => event.preventDefault());
}
