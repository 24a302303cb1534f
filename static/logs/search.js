// Search over the whole output: asked of the portal as one types, told as it is found.

import { Problem } from "../ci_portal/api.js";

/** Milliseconds after the last key until a search begins, and until one is asked again that the portal had no room for. */
const PAUSE = 200;
const BUSY = 700;
/** Line numbers that are kept; what is found beyond is counted. */
const KEPT = 20_000;

export class Search {
  #source;
  #abort = null;
  #timer = 0;
  #reached = 1; // the line that was not searched yet

  /** `changed()` is called whenever `query`, `lines`, `total`, `done` or `problem` are others. */
  constructor(source, changed) {
    this.#source = source;
    this.changed = changed;
    this.#clear("", {});
  }

  #clear(query, options) {
    Object.assign(this, { query, options, lines: [], found: new Set(), total: 0, done: true, problem: "", pattern: null, part: 0 });
    this.#reached = 1;
    if (query && !options.regex) {
      const escaped = query.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
      const [before, after] = options.word ? ["(?<![\\p{L}\\p{N}_])", "(?![\\p{L}\\p{N}_])"] : ["", ""];
      this.pattern = new RegExp(before + escaped + after, options.case ? "gu" : "giu");
    }
  }

  /** Search for something else. */
  start(query, options) {
    this.#abort?.abort();
    clearTimeout(this.#timer);
    this.#clear(query, options);
    if (query) {
      this.done = false;
      this.#timer = setTimeout(() => this.#run(), PAUSE);
    }
    this.changed();
  }

  /** More was printed: search that too, once what runs has ended. */
  more(total) {
    if (!this.query || !this.done || this.problem || total < this.#reached) return;
    this.done = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), 1000);
  }

  async #run() {
    const abort = (this.#abort = new AbortController());
    try {
      while (!(await this.#once(abort.signal)));
      this.done = true;
    } catch (problem) {
      if (abort.signal.aborted) return;
      if (!(problem instanceof Problem)) throw problem;
      [this.done, this.problem] = [true, problem.message];
    }
    this.changed();
  }

  /** Returns whether the end was reached. */
  async #once(signal) {
    const flags = Object.entries(this.options).filter(([, on]) => on).map(([name]) => [name, "1"]);
    const before = this.total;
    for await (const told of this.#source.search([["q", this.query], ["from", String(this.#reached)], ...flags], signal)) {
      if (told.busy) {
        await new Promise((resolve) => setTimeout(resolve, BUSY));
        return false;
      }
      for (const line of told.lines) {
        if (this.lines.length >= KEPT) break;
        if (this.found.has(line)) continue;
        this.lines.push(line);
        this.found.add(line);
      }
      this.total = before + told.total;
      this.#reached = told.line;
      this.part = told.size ? told.searched / told.size : 1;
      this.changed();
      if (told.done) return true;
    }
    return false;
  }

  /** The found line after (or, backwards, before) `line`; beyond the end it begins anew. Null where nothing is found. */
  next(line, backwards) {
    const { lines } = this;
    if (!lines.length) return null;
    if (backwards) return lines.findLast((each) => each < line) ?? lines.at(-1);
    return lines.find((each) => each > line) ?? lines[0];
  }
}
