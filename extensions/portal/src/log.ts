import { type ApiClient, setText, toApiError } from "@gavip/ui";

const PERIOD = 2000;
const MOST_CHARACTERS = 500_000;

/** The log of a job: grows while the job runs, and stays at its end as long as the reader is there. */
export class LogView {
  private next = 0;
  private running = false;
  private live = false;

  constructor(
    private readonly place: HTMLElement,
    private readonly state: HTMLElement,
    private readonly api: ApiClient,
    private readonly id: string,
  ) {}

  /** Reads on; `live` says whether more may come. */
  follow(live: boolean): void {
    this.live = live;
    if (!this.running) void this.run();
  }

  private async run(): Promise<void> {
    this.running = true;
    let last: boolean;
    do {
      last = !this.live;
      const grew = await this.read();
      if (grew) last = false;
      else if (!last) await new Promise((resolve) => setTimeout(resolve, PERIOD));
    } while (!last);
    this.running = false;
  }

  private async read(): Promise<boolean> {
    try {
      const { text, next } = await this.api.log(this.id, this.next);
      if (next === this.next) {
        setText(this.state, this.live ? "Live." : this.next === 0 ? "The log is empty." : "");
        return false;
      }
      this.next = next;
      const atEnd = this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < 40;
      this.place.append(text);
      if ((this.place.textContent ?? "").length > MOST_CHARACTERS) {
        this.place.textContent = (this.place.textContent ?? "").slice(-MOST_CHARACTERS / 2);
      }
      if (atEnd) this.place.scrollTop = this.place.scrollHeight;
      return true;
    } catch (error) {
      const { message, status } = toApiError(error);
      setText(
        this.state,
        status === 404 ? "There is no log yet." : `The log cannot be read now: ${message}`,
      );
      return false;
    }
  }
}
