// The search field of the viewer: what was found, where one is among it, and going from one to the next.

import { format } from "./rows.js";
import { Search } from "./search.js";
import { text } from "../ci_portal/texts.js";

export class Finding {
  /** The found line that one is at; 0: none. */
  current = 0;
  #viewer;
  #search;
  #hits;

  constructor(viewer) {
    this.#viewer = viewer;
    this.#hits = viewer.querySelector(".ov-hits");
    this.#search = new Search(viewer.source, () => this.changed());
    viewer.query.addEventListener("input", () => this.start());
    viewer.querySelector(".ov-search").addEventListener("submit", (event) => event.preventDefault());
    viewer.querySelector(".ov-previous").addEventListener("click", () => this.go(true));
    viewer.querySelector(".ov-next").addEventListener("click", () => this.go(false));
    for (const option of viewer.querySelectorAll("[data-option]")) {
      option.addEventListener("click", () => {
        option.setAttribute("aria-pressed", String(option.getAttribute("aria-pressed") !== "true"));
        this.start();
      });
    }
  }

  get lines() {
    return this.#search.lines;
  }

  /** What to mark in a line; null: nothing. */
  get pattern() {
    return this.#search.pattern;
  }

  has(line) {
    return this.#search.found.has(line);
  }

  /** Search for what the field says. */
  start() {
    const options = {};
    for (const button of this.#viewer.querySelectorAll("[data-option]")) {
      options[button.dataset.option] = button.getAttribute("aria-pressed") === "true";
    }
    this.current = 0;
    this.#search.start(this.#viewer.query.value, options);
  }

  stop() {
    this.#viewer.query.value = "";
    this.start();
  }

  /** There are so many lines now. */
  more(total) {
    this.#search.more(total);
  }

  /** Tell what is known by now. */
  changed() {
    const { query, total, lines, done, problem, part } = this.#search;
    if (this.current && !this.has(this.current)) this.current = 0;
    let words = problem;
    if (!problem && query && done) words = total ? this.#place() : text("ov_no_hits");
    else if (!problem && query) words = text("ov_searching", { n: format(total), part: Math.floor(part * 100) });
    this.#hits.textContent = words;
    this.#hits.title = problem;
    this.#hits.classList.toggle("bad", Boolean(problem));
    for (const name of ["previous", "next"]) this.#viewer.querySelector(`.ov-${name}`).hidden = !lines.length;
    if (query && lines.length && !this.current && this.#viewer.total) this.#nearest();
    this.#viewer.redraw();
  }

  #place() {
    const at = this.current ? format(this.lines.indexOf(this.current) + 1) : "–";
    return text("ov_hits", { at, n: format(this.#search.total) });
  }

  /** While one types, what is found first at or after what is in view is shown. */
  #nearest() {
    const from = this.#viewer.firstLine;
    const next = this.lines.find((line) => line >= from) ?? (this.#search.done ? this.lines[0] : null);
    if (next) this.#go(next);
  }

  /** To the next found line, or back to the one before. */
  go(backwards) {
    const next = this.#viewer.total && this.#search.next(this.current || this.#viewer.firstLine, backwards);
    if (next) this.#go(next);
  }

  #go(line) {
    this.current = line;
    this.#viewer.goTo(line);
    this.#hits.textContent = this.#place();
    this.#viewer.redraw();
  }
}
