import { describe, expect, it } from "vitest";
import { jobFraction, jobStep, jobTiming } from "../src/progress";
import type { Job } from "../src/types";

const JOB: Job = {
  id: "1",
  owner: "ada",
  avi: "gavip/demo",
  release: "a",
  pipeline: "p",
  title: "T",
  parameters: {},
  resources: { memory: 1, cpu: 1 },
  time_limit: 60,
  state: "running",
  attempt: 1,
  progress: { done: 2, total: 8, task: "Query", message: "" },
  waiting_for: null,
  position: null,
  error: null,
  product: null,
  outputs: [],
  created: "2026-01-01T00:00:00Z",
  started: "2026-01-01T00:00:10Z",
  ended: null,
};
const NOW = Date.parse("2026-01-01T00:00:40Z");

describe("a running job", () => {
  it("shows its share", () => expect(jobFraction(JOB)).toBe(0.25));
  it("names its step", () => expect(jobStep(JOB)).toBe("Step 3 of 8: Query"));
  it("estimates the rest", () => expect(jobTiming(JOB, NOW)).toBe("30 s, about 1 min 30 s left"));
  it("has no share while the total is unknown", () =>
    expect(jobFraction({ ...JOB, progress: { ...JOB.progress, total: 0 } })).toBeNull());
});

it("a queued job says why it waits", () =>
  expect(jobStep({ ...JOB, state: "queued", position: 2, waiting_for: "The pool is full." })).toBe(
    "Place 2 in the queue. The pool is full.",
  ));

it("an ended job says how long it took", () =>
  expect(jobTiming({ ...JOB, state: "succeeded", ended: "2026-01-01T00:02:10Z" })).toBe(
    "took 2 min 00 s",
  ));
