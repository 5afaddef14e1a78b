import assert from "node:assert/strict";
import { test } from "node:test";
import {
  estimateRemaining,
  formatAgo,
  formatDuration,
  formatLocalAndUtc,
  formatSize,
  formatUtc,
} from "../src/format";

const SIZES: [number, string][] = [
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [1536, "1.5 KiB"],
  [200 * 1024, "200 KiB"],
  [5 * 1024 ** 3, "5.0 GiB"],
  [3000 * 1024 ** 4, "3000 TiB"],
];
for (const [bytes, text] of SIZES) {
  test(`${bytes} bytes are ${text}`, () => assert.equal(formatSize(bytes), text));
}

const DURATIONS: [number, string][] = [
  [-3, "0 s"],
  [59.4, "59 s"],
  [185, "3 min 05 s"],
  [7800, "2 h 10 min"],
  [90_000, "1 d 1 h"],
];
for (const [seconds, text] of DURATIONS) {
  test(`${seconds} s are ${text}`, () => assert.equal(formatDuration(seconds), text));
}

test("shows UTC", () =>
  assert.equal(formatUtc("2026-11-21T20:15:09.123+01:00"), "2026-11-21 19:15:09 UTC"));

test("leaves what is no time as it is", () => assert.equal(formatUtc("soon"), "soon"));

test("says how long ago", () =>
  assert.equal(formatAgo("2026-01-01T00:00:00Z", Date.parse("2026-01-01T03:20:00Z")), "3 h ago"));

test("shows UTC beside the local time, with its day when that differs", () => {
  const zone = process.env["TZ"];
  try {
    process.env["TZ"] = "Europe/Vienna";
    assert.match(formatLocalAndUtc("2026-11-21T20:15:00Z", "en-GB"), /21:15 \(20:15 UTC\)$/);
    assert.match(formatLocalAndUtc("2026-11-21T23:30:00Z", "en-GB"), /\(2026-11-21 23:30 UTC\)$/);
    process.env["TZ"] = "UTC";
    assert.match(formatLocalAndUtc("2026-11-21T20:15:00Z", "en-GB"), /20:15 UTC$/);
  } finally {
    process.env["TZ"] = zone;
  }
});

test("extrapolates the rest of a job", () => assert.equal(estimateRemaining(0.25, 30), 90));
test("does not guess from nothing", () => assert.equal(estimateRemaining(0.01, 300), null));
test("does not guess at once", () => assert.equal(estimateRemaining(0.5, 1), null));
