import { type ApiClient, followEvents, setText } from "@gavip/ui";

const MOST_CHARACTERS = 500_000;

interface Piece {
  attempt: number;
  text: string;
}

/** The log of a job: grows while the job runs, and stays at its end as long as the reader is there. */
export class LogView {
  private attempt = 0;
  private live = true;
  private length = 0;
  private connected: boolean | null = null;
  private refused = 0;

  constructor(
    private readonly place: HTMLElement,
    private readonly state: HTMLElement,
    api: ApiClient,
    id: string,
  ) {
    followEvents(api.url(`jobs/${encodeURIComponent(id)}/log?follow=true`), {
      onEvent: (event) => this.add(JSON.parse(event.data) as Piece),
      onConnection: (connected) => {
        this.connected = connected;
        this.say();
      },
      onRefused: (status) => {
        this.refused = status;
        this.say();
      },
      // the stream also ends when the platform restarts
      again: () => this.live,
    });
  }

  /** Says whether more may come. */
  follow(live: boolean): void {
    this.live = live;
    this.say();
  }

  private say(): void {
    if (this.refused)
      setText(
        this.state,
        this.refused === 404 ? "There is no log yet." : "The log cannot be read: reload the page.",
      );
    else if (!this.live) {
      // what is over has been sent completely once the stream has ended
      setText(this.state, this.connected === false && this.length === 0 ? "The log is empty." : "");
    } else if (this.connected !== null) {
      setText(
        this.state,
        this.connected
          ? this.length === 0
            ? "Nothing yet."
            : "Live."
          : "The log cannot be read now: trying again.",
      );
    }
  }

  private add({ attempt, text }: Piece): void {
    if (attempt !== this.attempt) {
      // an attempt that was lost is tried again from the beginning
      this.place.textContent = "";
      this.length = 0;
      this.attempt = attempt;
    }
    const atEnd = this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < 40;
    this.place.append(text);
    this.length += text.length;
    if (this.length > MOST_CHARACTERS) {
      this.length = MOST_CHARACTERS / 2;
      this.place.textContent = (this.place.textContent ?? "").slice(-this.length);
    }
    if (atEnd) this.place.scrollTop = this.place.scrollHeight;
    this.say();
  }
}
