// Server-sent events over fetch. EventSource gives up for good when a proxy answers 502 during a restart and cannot be told
// the last event it saw after that; this reader goes on where it was, with growing pauses.

export interface ServerEvent {
  id: string;
  event: string;
  data: string;
}

/** Parses a text/event-stream piece by piece (HTML standard, section 9.2.6). */
export class EventParser {
  private buffer = "";
  private data: string[] = [];
  private event = "";
  lastId = "";
  retry: number | null = null;

  push(chunk: string): ServerEvent[] {
    this.buffer += chunk;
    const found: ServerEvent[] = [];
    for (;;) {
      // a CR at the very end may be the first half of CRLF: wait for the next piece
      const match = /\r\n|\n|\r(?!$)/.exec(this.buffer);
      if (!match) return found;
      const line = this.buffer.slice(0, match.index);
      this.buffer = this.buffer.slice(match.index + match[0].length);
      const event = this.line(line);
      if (event) found.push(event);
    }
  }

  private line(line: string): ServerEvent | null {
    if (line === "") {
      const event =
        this.data.length > 0
          ? { id: this.lastId, event: this.event || "message", data: this.data.join("\n") }
          : null;
      this.data = [];
      this.event = "";
      return event;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.data.push(value);
    else if (field === "event") this.event = value;
    else if (field === "id" && !value.includes("\0")) this.lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }
}

export interface StreamOptions {
  onEvent: (event: ServerEvent) => void;
  /** Told whenever the connection is made (true) or lost (false). */
  onConnection?: (connected: boolean) => void;
  /** Told once when the stream cannot be had at all (4xx). */
  onRefused?: (status: number) => void;
  /** Asked when the server ends the stream: whether to connect again. */
  again?: () => boolean;
  /** Id of the last event already known. */
  lastId?: string;
}

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;

/** Follows an event stream until the returned function is called. */
export function followEvents(url: string, options: StreamOptions): () => void {
  const stop = new AbortController();
  void run(url, options, stop.signal);
  return () => stop.abort();
}

// HTTP/1.1 allows six connections per host: a dozen tabs in the background would starve the one that is looked at.
function whileVisible(signal: AbortSignal): AbortController {
  const connection = new AbortController();
  const end = (): void => {
    if (document.hidden || signal.aborted) connection.abort();
  };
  document.addEventListener("visibilitychange", end, { signal: connection.signal });
  signal.addEventListener("abort", end, { signal: connection.signal });
  return connection;
}

function untilVisible(signal: AbortSignal): Promise<void> {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const done = new AbortController();
    const check = (): void => {
      if (document.hidden && !signal.aborted) return;
      done.abort();
      resolve();
    };
    document.addEventListener("visibilitychange", check, { signal: done.signal });
    signal.addEventListener("abort", check, { signal: done.signal });
  });
}

async function run(url: string, options: StreamOptions, signal: AbortSignal): Promise<void> {
  let lastId = options.lastId ?? "";
  let pause = FIRST_PAUSE;
  for (;;) {
    await untilVisible(signal);
    if (signal.aborted) return;
    const parser = new EventParser();
    parser.lastId = lastId;
    const connection = whileVisible(signal);
    let ended = false;
    try {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (lastId) headers["Last-Event-ID"] = lastId;
      const response = await fetch(url, {
        headers,
        signal: connection.signal,
        credentials: "same-origin",
        redirect: "error",
        cache: "no-store",
      });
      if (response.status >= 400 && response.status < 500 && response.status !== 429) {
        options.onRefused?.(response.status);
        return;
      }
      if (response.ok && response.body) {
        options.onConnection?.(true);
        pause = FIRST_PAUSE;
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          for (const event of parser.push(value)) {
            lastId = event.id;
            options.onEvent(event);
          }
        }
        ended = true;
      }
    } catch {
      if (signal.aborted) return;
      if (connection.signal.aborted) continue;
    } finally {
      connection.abort();
    }
    options.onConnection?.(false);
    if (ended && options.again && !options.again()) return;
    await sleep(parser.retry ?? pause * (0.75 + Math.random() / 2), signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
