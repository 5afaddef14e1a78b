import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser } from "../src/events";

const STREAM =
  ": hello\r\nretry: 1500\r\n\r\nid: 7\nevent: state\ndata: one\ndata: two\n\ndata:three\r\rid\ndata: 4\n\ndata: cut";
const EVENTS = [
  { id: "7", event: "state", data: "one\ntwo" },
  { id: "7", event: "message", data: "three" },
  { id: "", event: "message", data: "4" },
];

for (const size of [1, 2, 3, 7, STREAM.length]) {
  test(`reads fields, comments and all line ends in pieces of ${size} characters`, () => {
    const parser = new EventParser();
    const pieces = STREAM.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [];
    assert.deepEqual(
      pieces.flatMap((piece) => parser.push(piece)),
      EVENTS,
    );
  });
}

test("remembers id and retry for the next connection", () => {
  const parser = new EventParser();
  parser.push("retry: 250\nid: 12\ndata: x\n\n");
  assert.deepEqual([parser.lastId, parser.retry], ["12", 250]);
});
