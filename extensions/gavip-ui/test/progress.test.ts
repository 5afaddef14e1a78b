import assert from "node:assert/strict";
import { test } from "node:test";
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

test("a running job shows its share", () => assert.equal(jobFraction(JOB), 0.25));

test("a running job names its step", () => assert.equal(jobStep(JOB), "Step 3 of 8: Query"));

test("a step that counts for itself is not counted twice", () =>
  assert.equal(
    jobStep({ ...JOB, progress: { ...JOB.progress, task: "Cell 3 of 8: Query" } }),
    "Cell 3 of 8: Query",
  ));

test("a running job estimates the rest", () =>
  assert.equal(jobTiming(JOB, NOW), "30 s, about 1 min 30 s left"));

test("a job has no share while the total is unknown", () =>
  assert.equal(jobFraction({ ...JOB, progress: { ...JOB.progress, total: 0 } }), null));

test("a queued job says why it waits", () =>
  assert.equal(
    jobStep({ ...JOB, state: "queued", position: 2, waiting_for: "The pool is full." }),
    "Place 2 in the queue. The pool is full.",
  ));

test("an ended job says how long it took", () =>
  assert.equal(
    jobTiming({ ...JOB, state: "succeeded", ended: "2026-01-01T00:02:10Z" }),
    "took 2 min 00 s",
  ));
