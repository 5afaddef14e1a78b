import { describe, expect, it } from "vitest";
import { readFields, type FieldType, type RawField } from "../src/form";

function field(type: FieldType, text: string, more: Partial<RawField> = {}): RawField {
  return { name: "p", type, text, checked: false, required: false, ...more };
}

describe("readFields", () => {
  it.each<[FieldType, string, unknown]>([
    ["number", " 1.5e3 ", 1500],
    ["integer", "42", 42],
    ["string", " kept as typed ", " kept as typed "],
    ["enum", '"plasma"', "plasma"],
    ["enum", "3", 3],
  ])("%s %s", (type, text, value) =>
    expect(readFields([field(type, text)])).toEqual({ values: { p: value }, errors: {} }),
  );

  it("reads a switch", () =>
    expect(readFields([field("boolean", "on", { checked: true })]).values).toEqual({ p: true }));

  it("leaves an empty optional field to its default", () =>
    expect(readFields([field("number", "")])).toEqual({ values: {}, errors: {} }));

  it.each<[FieldType, string, string]>([
    ["number", "1,5", "must be a number"],
    ["number", "Infinity", "must be a number"],
    ["integer", "1.5", "must be a whole number"],
    ["string", "", "is required"],
  ])("refuses %s %s", (type, text, error) =>
    expect(readFields([field(type, text, { required: true })]).errors).toEqual({ p: error }),
  );
});
