import { describe, expect, it } from "vitest";
import { estimateRemaining, formatAgo, formatDuration, formatSize, formatUtc } from "../src/format";

describe("formatSize", () => {
  it.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.0 KiB"],
    [1536, "1.5 KiB"],
    [200 * 1024, "200 KiB"],
    [5 * 1024 ** 3, "5.0 GiB"],
    [3000 * 1024 ** 4, "3000 TiB"],
  ])("%d bytes are %s", (bytes, text) => expect(formatSize(bytes)).toBe(text));
});

describe("formatDuration", () => {
  it.each([
    [-3, "0 s"],
    [59.4, "59 s"],
    [185, "3 min 05 s"],
    [7800, "2 h 10 min"],
    [90_000, "1 d 1 h"],
  ])("%d s are %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));
});

describe("times", () => {
  it("shows UTC", () =>
    expect(formatUtc("2026-11-21T20:15:09.123+01:00")).toBe("2026-11-21 19:15:09 UTC"));
  it("leaves what is no time as it is", () => expect(formatUtc("soon")).toBe("soon"));
  it("says how long ago", () =>
    expect(formatAgo("2026-01-01T00:00:00Z", Date.parse("2026-01-01T03:20:00Z"))).toBe("3 h ago"));
});

describe("estimateRemaining", () => {
  it("extrapolates", () => expect(estimateRemaining(0.25, 30)).toBe(90));
  it("does not guess from nothing", () => expect(estimateRemaining(0.01, 300)).toBeNull());
  it("does not guess at once", () => expect(estimateRemaining(0.5, 1)).toBeNull());
});
