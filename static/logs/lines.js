// The lines of an output that are in memory: pages of them, fetched when they are wanted and forgotten when they are far away.

import { PLAIN, after, styled } from "./ansi.js";

/** Lines of a page; pages and characters that are kept. */
export const PAGE = 500;
const PAGES = 40;
const CHARACTERS = 8_000_000;
/** Bytes after which a line is continued on the next (logs/line_index.py). */
const LONGEST = 16 * 1024;
/** Milliseconds until pages that are passed by while one drags the scroll bar are asked for. */
const REST = 60;
/** Milliseconds until lines that could not be fetched are asked for again, at first and at most. */
const [AGAIN, LATEST] = [1000, 15_000];

export const pageOf = (line) => Math.floor((line - 1) / PAGE);

class Page {
  rows = [];
  times = []; // [row, milliseconds]: from that row on
  styles = []; // in force where each row begins, as far as it was asked
  characters = 0;
  full = false; // nothing is missing: it has all its lines, or all that there are

  constructor(number, style) {
    this.first = number * PAGE + 1;
    this.style = style;
  }

  take(rows, times) {
    for (const [row, at] of times) if (this.times.at(-1)?.[1] !== at) this.times.push([this.rows.length + row, at]);
    for (const row of rows) {
      this.rows.push(row);
      this.characters += row.length;
    }
  }

  styleOf(row) {
    if (!this.styles.length) this.styles.push(this.style);
    for (let at = this.styles.length; at <= row; at++) this.styles.push(after(this.styles[at - 1], this.rows[at - 1] ?? ""));
    return this.styles[row];
  }

  timeOf(row) {
    let found = null;
    for (const [first, at] of this.times) {
      if (first > row) break;
      found = at;
    }
    return found;
  }
}

export class Lines {
  total = 0;
  #source;
  #pages = new Map();
  #asked = new Map(); // page → AbortController
  #timer = 0;
  #partial = false; // the last line is not ended yet
  #tail = -1; // the page that the live stream writes to
  #failures = 0; // in a row
  #notBefore = 0; // when to ask again after one

  /** `changed(first, last)` is called when lines have come, `failed(problem)` when they could not be fetched. */
  constructor(source, changed, failed) {
    this.#source = source;
    this.changed = changed;
    this.failed = failed;
  }

  /** { text, style, time } of a line, null where it is not here (yet). */
  get(line) {
    const page = this.#pages.get(pageOf(line));
    const row = line - 1 - pageOf(line) * PAGE;
    if (!page || row >= page.rows.length) return null;
    return { text: page.rows[row], style: page.styleOf(row), time: page.timeOf(row) };
  }

  /** See to it that these lines come, soon; what was asked for and is not wanted any more is given up. `near` is in view. */
  want(missing, near) {
    const wanted = new Set(missing.map(pageOf));
    for (const [page, abort] of this.#asked) {
      if (wanted.has(page)) continue;
      abort.abort();
      this.#asked.delete(page);
    }
    const pages = [...wanted].filter((page) => !this.#asked.has(page));
    clearTimeout(this.#timer);
    const pause = Math.max(this.#pages.size ? REST : 0, this.#notBefore - Date.now());
    if (pages.length) this.#timer = setTimeout(() => pages.forEach((page) => this.#fetch(page)), pause);
    this.#forget(pageOf(near));
  }

  async #fetch(number) {
    if (this.#asked.has(number) || number === this.#tail) return;
    const abort = new AbortController();
    this.#asked.set(number, abort);
    try {
      await this.load(number, abort.signal);
      this.#failures = 0;
    } catch (problem) {
      if (abort.signal.aborted) return;
      this.#notBefore = Date.now() + Math.min(LATEST, AGAIN * 2 ** this.#failures++);
      setTimeout(() => this.changed(0, 0), this.#notBefore - Date.now()); // what is still in view is asked for anew
      this.failed(problem);
    } finally {
      if (this.#asked.get(number) === abort) this.#asked.delete(number);
    }
  }

  /** Fetch a page; returns the last answer. Throws Problem. */
  async load(number, signal) {
    let page = null;
    for (;;) {
      const first = number * PAGE + 1 + (page?.rows.length ?? 0);
      const answer = await this.#source.lines(first, PAGE - (page?.rows.length ?? 0), signal);
      page ??= new Page(number, styled(PLAIN, answer.colours || "0"));
      page.take(answer.rows, answer.times);
      const all = answer.first + answer.rows.length > answer.lines;
      if (all || page.rows.length >= PAGE || !answer.rows.length) {
        page.full = page.rows.length >= PAGE || (all && page.rows.length > 0);
        this.#pages.set(number, page);
        this.changed(page.first, page.first + page.rows.length - 1);
        return answer;
      }
    }
  }

  #forget(near) {
    const far = [...this.#pages.keys()].filter((page) => page !== this.#tail).sort((a, b) => Math.abs(b - near) - Math.abs(a - near));
    let characters = 0;
    for (const page of this.#pages.values()) characters += page.characters;
    while (far.length > 4 && (this.#pages.size > PAGES || characters > CHARACTERS)) {
      const gone = far.shift();
      characters -= this.#pages.get(gone).characters;
      this.#pages.delete(gone);
    }
  }

  /** Fetch the end anew; returns the offset from which the live stream goes on. Throws Problem. */
  async end(total, signal) {
    let page = pageOf(Math.max(1, total));
    for (const known of this.#pages.keys()) if (known >= page || !this.#pages.get(known).full) this.#pages.delete(known);
    for (;;) {
      this.#tail = page;
      const answer = await this.load(page, signal);
      this.total = Math.max(answer.lines, 0);
      this.#partial = answer.partial;
      if (answer.first + answer.rows.length > answer.lines) return answer.end;
      page = pageOf(answer.first + answer.rows.length);
    }
  }

  /** Nothing comes any more. */
  close() {
    this.#tail = -1;
  }

  /** Take text that was printed now; returns false where a line got so long that the portal must say where it is cut. */
  append(text) {
    const now = Date.now();
    const before = this.total;
    for (let start = 0; start < text.length; ) {
      const end = text.indexOf("\n", start);
      const piece = end < 0 ? text.slice(start) : text.slice(start, end);
      if (!this.#partial) this.total += 1;
      const page = this.#openPage(this.#partial);
      const length = this.#put(page, piece, now);
      this.#partial = end < 0;
      if (3 * length >= LONGEST && new TextEncoder().encode(page.rows.at(-1)).length >= LONGEST - 1) return false;
      start = end < 0 ? text.length : end + 1;
    }
    this.changed(before, this.total);
    return true;
  }

  #openPage() {
    const number = pageOf(this.total);
    if (!this.#pages.has(number)) {
      const last = this.#pages.get(number - 1);
      this.#pages.set(number, new Page(number, last ? after(last.styleOf(last.rows.length - 1), last.rows.at(-1)) : PLAIN));
      this.#pages.get(number).full = true;
      this.#tail = number;
    }
    return this.#pages.get(number);
  }

  #put(page, piece, now) {
    page.characters += piece.length;
    if (this.#partial) page.rows[page.rows.length - 1] += piece;
    else {
      const last = page.times.at(-1);
      if (!last || now - last[1] >= 1000) page.times.push([page.rows.length, now]);
      page.rows.push(piece);
    }
    return page.rows.at(-1).length;
  }
}
