import { describe, expect, it } from "vitest";
import { EventParser } from "../src/events";

const STREAM =
  ": hello\r\nretry: 1500\r\n\r\nid: 7\nevent: state\ndata: one\ndata: two\n\ndata:three\r\rid\ndata: 4\n\ndata: cut";

function parse(pieces: string[]): unknown[] {
  const parser = new EventParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

describe("EventParser", () => {
  const whole = parse([STREAM]);

  it("reads fields, comments and all three line ends", () => {
    expect(whole).toEqual([
      { id: "7", event: "state", data: "one\ntwo" },
      { id: "7", event: "message", data: "three" },
      { id: "", event: "message", data: "4" },
    ]);
  });

  it.each([1, 2, 3, 7])("reads the same in pieces of %d characters", (size) => {
    const pieces = STREAM.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [];
    expect(parse(pieces)).toEqual(whole);
  });

  it("remembers id and retry for the next connection", () => {
    const parser = new EventParser();
    parser.push("retry: 250\nid: 12\ndata: x\n\n");
    expect([parser.lastId, parser.retry]).toEqual(["12", 250]);
  });
});
