// Follows an output to its end over a stream that may break at any byte: it is taken up where it was, for as long as it takes.

import { Problem } from "../ci_portal/api.js";

/** Milliseconds until the first attempt to connect again, and between two at most. */
const FIRST = 500;
const MOST = 15_000;
/** Answers of which another attempt would only bring the same. */
const FINAL = new Set([401, 403, 404, 410]);

export class Live {
  #source;
  #abort = new AbortController();
  #wake = () => {};

  /**
   * `on.start()` resolves to the offset from which to go on, or to null where nothing will come; `on.text(text, end)` takes what
   * comes and returns false where it wants to start again; `on.state(name, values)` is told "live", "lost" or "ended", `on.end(said)` what the
   * portal says at the end.
   */
  constructor(source, on) {
    this.#source = source;
    this.on = on;
    const wake = () => document.hidden || this.#wake();
    addEventListener("online", wake, { signal: this.#abort.signal });
    document.addEventListener("visibilitychange", wake, { signal: this.#abort.signal });
  }

  stop() {
    this.#abort.abort();
    this.#wake();
  }

  async run() {
    const signal = this.#abort.signal;
    for (let failures = 0; !signal.aborted; ) {
      let heard = false;
      try {
        if (await this.#once(signal, () => (heard = true))) return;
      } catch (problem) {
        if (signal.aborted) return;
        if (!(problem instanceof Problem)) throw problem;
        if (FINAL.has(problem.status)) return this.on.state("ended", problem);
      }
      if (heard) failures = 0;
      if (signal.aborted) return;
      await this.#pause(failures++);
    }
  }

  /** One connection; returns whether the output has ended. */
  async #once(signal, heard) {
    const offset = await this.on.start(signal);
    if (offset === null) return true;
    for await (const { type, id, data } of this.#source.live(offset, signal, () => this.on.state("live"))) {
      heard();
      if (type === "end") {
        this.on.end(data);
        return true;
      }
      if (type === "output" && this.on.text(data, id) === false) return false;
    }
    return false;
  }

  async #pause(failures) {
    const wait = Math.min(MOST, FIRST * 2 ** failures) * (0.75 + Math.random() / 2);
    this.on.state("lost", { s: Math.max(1, Math.round(wait / 1000)) });
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }
}
