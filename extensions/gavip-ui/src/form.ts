// A pipeline's form. The server renders it from the declared parameters; this reads typed values back and puts errors in place.

export type FieldType = "number" | "integer" | "string" | "boolean" | "enum";

export interface RawField {
  name: string;
  type: FieldType;
  text: string;
  checked: boolean;
  required: boolean;
}

export interface Reading {
  values: Record<string, unknown>;
  errors: Record<string, string>;
}

/** Turns what people typed into JSON values; the server checks again with the full schema. */
export function readFields(fields: readonly RawField[]): Reading {
  const values: Record<string, unknown> = {};
  const errors: Record<string, string> = {};
  for (const field of fields) {
    const text = field.text.trim();
    if (field.type === "boolean") {
      values[field.name] = field.checked;
    } else if (text === "") {
      if (field.required) errors[field.name] = "is required";
    } else if (field.type === "enum") {
      values[field.name] = JSON.parse(text);
    } else if (field.type === "string") {
      values[field.name] = field.text;
    } else {
      const value = Number(text);
      if (!Number.isFinite(value)) errors[field.name] = "must be a number";
      else if (field.type === "integer" && !Number.isInteger(value))
        errors[field.name] = "must be a whole number";
      else values[field.name] = value;
    }
  }
  return { values, errors };
}

type Control = HTMLInputElement | HTMLSelectElement;

/** The form of one pipeline. */
export class ParameterForm {
  private readonly controls: Control[];

  constructor(readonly form: HTMLFormElement) {
    this.controls = [...form.querySelectorAll<Control>("[data-type]")];
    for (const control of this.controls) {
      control.addEventListener("input", () => this.mark(control, ""));
    }
  }

  read(): Reading {
    return readFields(
      this.controls.map((control) => ({
        name: control.name,
        type: control.dataset["type"] as FieldType,
        text: control.value,
        checked: control instanceof HTMLInputElement && control.checked,
        required: control.required,
      })),
    );
  }

  /** Shows each error below its field and moves the focus to the first; returns errors without a field. */
  show(errors: Record<string, string>): string[] {
    const rest = new Map(Object.entries(errors));
    let first: Control | null = null;
    for (const control of this.controls) {
      const text = rest.get(control.name) ?? "";
      rest.delete(control.name);
      this.mark(control, text);
      if (text !== "" && first === null) first = control;
    }
    first?.focus();
    return [...rest].map(([name, text]) => `${name} ${text}`);
  }

  private mark(control: Control, text: string): void {
    const place = this.form.querySelector(`#${CSS.escape(control.id)}-error`);
    control.classList.toggle("is-invalid", text !== "");
    if (text === "") control.removeAttribute("aria-invalid");
    else control.setAttribute("aria-invalid", "true");
    if (place)
      place.textContent = text === "" ? "" : `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
  }
}
