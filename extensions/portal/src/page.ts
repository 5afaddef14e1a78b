import { ApiClient } from "@gavip/ui";

/** What the server told about this page. */
export interface Page {
  name: string;
  root: HTMLElement;
  api: ApiClient;
  /** Prefix of the portal's pages, with a slash at the end. */
  prefix: string;
}

export function readPage(): Page | null {
  const root = document.querySelector<HTMLElement>("main[data-page]");
  const { page: name, prefix, xsrf = "" } = root?.dataset ?? {};
  if (!root || !name || !prefix) return null;
  return { name, root, prefix, api: new ApiClient(`${prefix}api/v1`, () => xsrf) };
}
