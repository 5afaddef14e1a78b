import assert from "node:assert/strict";
import { test } from "node:test";
import { readFields, type FieldType, type RawField } from "../src/form";

function field(type: FieldType, text: string, more: Partial<RawField> = {}): RawField {
  return { name: "p", type, text, checked: false, required: false, ...more };
}

const VALUES: [FieldType, string, unknown][] = [
  ["number", " 1.5e3 ", 1500],
  ["integer", "42", 42],
  ["string", " kept as typed ", " kept as typed "],
  ["enum", '"plasma"', "plasma"],
  ["enum", "3", 3],
];
for (const [type, text, value] of VALUES) {
  test(`${type} ${text}`, () =>
    assert.deepEqual(readFields([field(type, text)]), { values: { p: value }, errors: {} }));
}

const FAULTS: [FieldType, string, string][] = [
  ["number", "1,5", "must be a number"],
  ["number", "Infinity", "must be a number"],
  ["integer", "1.5", "must be a whole number"],
  ["string", "", "is required"],
];
for (const [type, text, error] of FAULTS) {
  test(`refuses ${type} ${text}`, () =>
    assert.deepEqual(readFields([field(type, text, { required: true })]).errors, { p: error }));
}

test("reads a switch", () =>
  assert.deepEqual(readFields([field("boolean", "on", { checked: true })]).values, { p: true }));

test("leaves an empty optional field to its default", () =>
  assert.deepEqual(readFields([field("number", "")]), { values: {}, errors: {} }));
