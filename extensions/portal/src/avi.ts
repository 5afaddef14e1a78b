import {
  errorBox,
  GRANTED,
  ParameterForm,
  part,
  replace,
  revokedText,
  revokePermissions,
  setText,
  toApiError,
  withPermissions,
} from "@gavip/ui";
import type { Page } from "./page";

export function startAvi(page: Page): void {
  const avi = page.root.dataset["avi"] ?? "";
  for (const button of page.root.querySelectorAll<HTMLButtonElement>("button[data-open]")) {
    button.addEventListener("click", () => void open(page, avi, button));
  }
  for (const form of page.root.querySelectorAll<HTMLFormElement>("form[data-pipeline]")) {
    submitWith(page, avi, form);
  }
  const revoke = page.root.querySelector<HTMLButtonElement>("[data-part=revoke]");
  revoke?.addEventListener("click", () => void takeBack(page, avi, revoke));
  document.addEventListener(GRANTED, () => showGranted(page, true));
}

function showGranted(page: Page, granted: boolean): void {
  part("granted", page.root).hidden = !granted;
  part("not-granted", page.root).hidden = granted;
  replace(part("revoke-result", page.root));
}

async function takeBack(page: Page, avi: string, button: HTMLButtonElement): Promise<void> {
  const place = part("revoke-result", page.root);
  replace(place);
  button.disabled = true;
  try {
    const ended = await revokePermissions(page.api, avi, page.root.dataset["title"] ?? avi);
    if (ended === null) return;
    showGranted(page, false);
    setText(place, revokedText(ended));
  } catch (error) {
    replace(
      place,
      errorBox(toApiError(error), () => void takeBack(page, avi, button)),
    );
  } finally {
    button.disabled = false;
  }
}

async function open(page: Page, avi: string, button: HTMLButtonElement): Promise<void> {
  const place = part("open-error", page.root);
  replace(place);
  button.disabled = true;
  button.setAttribute("aria-busy", "true");
  try {
    const view = button.dataset["open"];
    const instance = await withPermissions(page.api, avi, undefined, () =>
      page.api.startInstance(view ? { avi, view } : { avi }),
    );
    if (instance === null) {
      release();
      // the browser gives the focus back to no button that was disabled
      button.focus();
      return;
    }
    // an instance that is already running opens at once
    location.assign(
      instance.state === "ready" && instance.url
        ? instance.url
        : `${page.prefix}instances/${instance.id}`,
    );
  } catch (error) {
    replace(
      place,
      errorBox(toApiError(error), () => void open(page, avi, button)),
    );
    release();
  }

  function release(): void {
    button.disabled = false;
    button.removeAttribute("aria-busy");
  }
}

function submitWith(page: Page, avi: string, element: HTMLFormElement): void {
  const form = new ParameterForm(element);
  const place = part("form-error", element);
  const button = part<HTMLButtonElement>("submit", element);

  element.addEventListener("reset", () => {
    replace(place);
    form.show({});
  });

  async function submit(): Promise<void> {
    replace(place);
    const { values, errors } = form.read();
    if (Object.keys(errors).length > 0) {
      form.show(errors);
      return;
    }
    button.disabled = true;
    try {
      const pipeline = element.dataset["pipeline"] ?? "";
      const job = await withPermissions(
        page.api,
        avi,
        undefined,
        () => page.api.submitJob({ avi, pipeline, parameters: values }),
        "do",
      );
      if (job === null) {
        button.disabled = false;
        button.focus();
      } else location.assign(`${page.prefix}jobs/${job.id}`);
    } catch (caught) {
      const error = toApiError(caught);
      const unplaced = form.show(error.fields);
      const allPlaced = Object.keys(error.fields).length > 0 && unplaced.length === 0;
      if (!allPlaced)
        replace(
          place,
          errorBox(error, () => void submit()),
        );
      button.disabled = false;
    }
  }

  async function schedule(): Promise<void> {
    replace(place);
    const { values, errors } = form.read();
    if (Object.keys(errors).length > 0) {
      form.show(errors);
      return;
    }
    scheduleButton.disabled = true;
    try {
      const made = await withPermissions(
        page.api,
        avi,
        undefined,
        () =>
          page.api.makeSchedule({
            avi,
            pipeline: element.dataset["pipeline"] ?? "",
            parameters: values,
            cron: part<HTMLInputElement>("cron", element).value,
            timezone: part<HTMLInputElement>("zone", element).value,
            overlap: part<HTMLSelectElement>("overlap", element).value as "skip",
          }),
        "do",
      );
      if (made === null) {
        scheduleButton.disabled = false;
        scheduleButton.focus();
      } else location.assign(`${page.prefix}schedules`);
    } catch (caught) {
      const error = toApiError(caught);
      form.show(error.fields);
      replace(
        place,
        errorBox(error, () => void schedule()),
      );
      scheduleButton.disabled = false;
    }
  }
  const scheduleButton = part<HTMLButtonElement>("schedule", element);
  part<HTMLInputElement>("zone", element).value =
    Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  scheduleButton.addEventListener("click", () => void schedule());

  element.addEventListener("submit", (event) => {
    event.preventDefault();
    void submit();
  });
}
