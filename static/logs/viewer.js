// <output-viewer src="/job/7/output/" data-run="7" data-active="true">: what a run printed, from the first line to the last.
//
// Only the rows in view are in the page, and only some pages of lines in memory; all else is asked of the portal when it is wanted.

import { Problem } from "../ci_portal/api.js";
import { text } from "../ci_portal/texts.js";
import { listenToKeys } from "./keyboard.js";
import { Finding } from "./finding.js";
import { Going } from "./going.js";
import { Layout } from "./layout.js";
import { Lines } from "./lines.js";
import { Live } from "./live.js";
import { Minimap } from "./minimap.js";
import { Preferences } from "./preferences.js";
import { element, format, lineRow, noteRow } from "./rows.js";
import { Scroller } from "./scroller.js";
import { Sections, ending, notes } from "./sections.js";
import { Selection } from "./selection.js";
import { Source } from "./source.js";
import { applyPreferences, bytes, listenToTools } from "./tools.js";

/** Pixels that a line is high where it is not wrapped: --ov-line of viewer.css. */
const LINE = 24;
/** Milliseconds between two looks at the index while the output grows, or while it is being made. */
const INDEX = 2000;
const MAKING = 300;
/** Milliseconds until what could not be opened is tried again by itself. */
const AGAIN = 5000;
/** Bytes that are read through to catch up after a loss of connection; beyond, only the end is fetched. */
const CATCH_UP = 1 << 20;

class OutputViewer extends HTMLElement {
  #index = { lines: 0, size: 0, closed: false, containers: [], sections: [], gaps: [], first_error: null };
  #layout = new Layout();
  #sections = new Sections();
  #generation = 0; // rows that were made before it are to be made anew
  #following = false;
  #unread = 0; // lines that came while one looked at others
  #offset = null; // where the live stream goes on
  #drawing = false;
  #indexing = 0;
  #target = null; // where one was brought to: lines that come still change heights, until one scrolls by oneself

  connectedCallback() {
    if (this.view) return;
    for (const name of ["view", "space", "rows", "message", "status", "pill", "map", "query", "help", "body"]) {
      this[name] = this.querySelector(`.ov-${name}`);
    }
    this.preferences = new Preferences({ wrap: innerWidth < 700, times: false, keys: true });
    this.source = new Source(this.getAttribute("src"));
    this.lines = new Lines(this.source, () => this.draw(), (problem) => this.#failed(problem));
    this.scroller = new Scroller(this.view, this.space, this.rows, LINE, {
      draw: (row) => this.#row(row),
      moved: ({ up, atEnd }) => this.#moved(up, atEnd),
      drawn: (first, last) => this.#wanted(first, last),
    });
    this.finding = new Finding(this);
    this.minimap = new Minimap(this.map, () => this.#marks());
    this.selection = new Selection(this);
    this.going = new Going(this);
    applyPreferences(this);
    listenToTools(this);
    listenToKeys(this);
    this.message.textContent = text("ov_loading");
    this.#open();
  }

  disconnectedCallback() {
    this.live?.stop();
    clearTimeout(this.#indexing);
  }

  get total() {
    return this.lines.total;
  }

  get #rowCount() {
    return this.#layout.rows(this.total);
  }

  // Opening, and what comes while it is open

  async #open() {
    try {
      await this.#look();
    } catch (problem) {
      return this.#failed(problem, () => this.#open());
    }
    if (this.#index.removed_at) return location.reload();
    this.#sections.settle();
    this.#lay();
    if (this.#index.closed || this.#index.outcome) this.#show();
    else {
      this.#following = !this.selection.fromAddress();
      this.#follow();
    }
    if (!this.#following) this.#begin();
    this.finding.changed();
    this.#say();
  }

  /** Where to begin: at the line of the address, at the first error, at the end of the step that failed (nothing ran after it), at the top. */
  #begin() {
    if (this.selection.fromAddress()) this.selection.goThere();
    else if (this.#index.first_error) this.goTo(this.#index.first_error, { show: false });
    else if (this.dataset.failedStep && this.total) this.goTo(this.total, { show: false });
    else this.scroller.render();
  }

  /** Ask what there is. Throws Problem. */
  async #look(signal) {
    const index = await this.source.index(signal);
    this.#index = index;
    if (this.#offset === null) this.lines.total = index.lines; // else the stream counts: the index may be ahead of it
    this.#sections.take(index);
    if (!index.complete) this.#lookAgain(MAKING);
    return index;
  }

  #lookAgain(pause) {
    if (this.#indexing) return;
    this.#indexing = setTimeout(async () => {
      this.#indexing = 0;
      try {
        await this.#look();
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        return this.#lookAgain(INDEX);
      }
      if (this.#following || this.#index.closed) this.#sections.settle();
      this.#lay(true);
      this.#say();
    }, pause);
  }

  /** Make the layout of what is known; what is in view stays there. */
  #lay(stay = false) {
    const at = stay && this.total ? this.#place() : null;
    this.#layout.set(notes(this.#index, this.#sections), this.#sections.hidden, ending(this.#index));
    this.#generation++;
    this.scroller.forget();
    this.scroller.resize(this.#rowCount);
    if (this.#following) this.scroller.end();
    else if (this.#target) this.scroller.go(this.#layout.rowOf(this.#target.line), this.#target);
    else if (at) this.scroller.go(this.#layout.rowOf(at.line), { above: at.above });
    else this.scroller.render();
    this.minimap.draw();
    this.#tools();
  }

  /** The first line that is in view, and how many pixels of it are above. */
  #place() {
    const { row, above } = this.scroller.anchor;
    for (let at = row; at < this.#rowCount; at++) {
      const { line } = this.#layout.at(at, this.#rowCount);
      if (line) return { line, above: above - (at - row) * LINE };
    }
    return null;
  }

  #follow() {
    this.live = new Live(this.source, {
      start: (signal) => this.#start(signal),
      text: (piece, end) => this.#take(piece, end),
      state: (name, values) => this.#state(name, values),
      end: () => this.#ended(),
    });
    this.live.run();
  }

  /** From where the stream goes on: where it was lost, or the end, where too much came since. */
  async #start(signal) {
    const index = await this.#look(signal);
    if (index.closed || index.outcome) {
      await this.#ended();
      return null;
    }
    if (this.#offset === null || index.size < this.#offset || index.size - this.#offset > CATCH_UP) {
      this.#offset = index.lines ? await this.lines.end(index.lines, signal) : 0;
      this.#lay(!this.#following);
      if (this.total > index.lines) this.#lookAgain(INDEX); // of what came meanwhile the index has not told
    }
    return this.#offset;
  }

  #take(piece, end) {
    const before = this.total;
    const whole = this.lines.append(piece);
    this.#offset = whole ? end : null;
    if (!this.#following) this.#unread += this.total - before;
    this.finding.more(this.total);
    this.#lookAgain(INDEX);
    if (this.#lastState !== "live" || before === 0) this.#state("live");
    return whole;
  }

  async #ended() {
    this.lines.close();
    this.#offset = null;
    for (;;) {
      try {
        await this.#look();
        break;
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        await new Promise((resolve) => setTimeout(resolve, INDEX));
      }
    }
    const was = this.#following;
    const failed = this.#index.first_error;
    this.#show();
    this.finding.more(this.total);
    if (was && failed) this.goTo(failed, { show: false });
    this.dispatchEvent(new CustomEvent("output-ended", { bubbles: true, detail: { outcome: this.#index.outcome } }));
  }

  /** All has come. */
  #show() {
    if (this.#following) this.#sections.settle();
    this.#lay(!this.#following);
    this.#following = false;
    this.#unread = 0;
    this.#lastState = "closed";
    this.#say();
  }

  // What is told

  #lastState = "";

  #state(name, values = {}) {
    this.#lastState = name;
    if (name === "ended") return this.#tell(values.message, true);
    const words = name === "live" && !this.total ? "waiting_output" : name === "lost" ? "ov_lost" : name;
    this.#tell(text(words, values), name === "lost");
    this.#say();
  }

  #tell(words, bad = false) {
    if (this.status.textContent !== words) this.status.textContent = words;
    this.status.classList.toggle("bad", bad);
  }

  #say() {
    const { closed, outcome, size, complete } = this.#index;
    const empty = !this.total && complete;
    this.message.hidden = !empty && (this.total > 0 || complete);
    if (!complete) this.message.textContent = text("ov_indexing");
    else if (empty) this.message.textContent = text(closed || outcome ? "no_output" : "waiting_output");
    if (closed || outcome) this.body.classList.toggle("ov-short", this.total < 12);
    if (closed || outcome) this.#tell(text("ov_size", { lines: format(this.total), size: bytes(size) }));
    this.view.setAttribute("aria-busy", String(!complete));
    this.#tools();
  }

  #failed(problem, again) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status === 410) return location.reload();
    if (!again) return this.#tell(problem.message, true);
    const button = element("button", "", text("ov_again"));
    button.type = "button";
    const timer = setTimeout(() => button.click(), AGAIN);
    button.addEventListener("click", () => (clearTimeout(timer), again()), { once: true });
    this.message.replaceChildren(problem.message, " ", button);
    this.message.hidden = false;
  }

  #tools() {
    const over = this.#index.closed || Boolean(this.#index.outcome);
    const tool = (name) => this.querySelector(`[data-do="${name}"]`);
    tool("error").hidden = !this.#index.first_error;
    tool("follow").hidden = over;
    tool("follow").setAttribute("aria-pressed", String(this.#following));
    tool("folds").hidden = !this.#sections.list.some((one) => one.last > one.first);
    tool("folds").textContent = text(this.#sections.anyFolded ? "ov_unfold_all" : "ov_fold_all");
    this.pill.hidden = over || this.#following || !this.#unread;
    const words = text(this.#unread === 1 ? "ov_new_line" : "ov_new_lines", { n: format(this.#unread) });
    if (this.pill.textContent !== words) this.pill.textContent = words;
    this.going.tellRange();
  }

  // Drawing

  /** Draw with the next frame; a hidden tab draws none, and a timer keeps what waits there small. */
  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    const now = () => {
      this.#drawing = false;
      this.scroller.resize(this.#rowCount);
      if (this.#following) this.scroller.end();
      else if (this.#target) this.scroller.go(this.#layout.rowOf(this.#target.line), this.#target);
      else this.scroller.render();
      this.#say();
    };
    if (document.hidden) setTimeout(now, 500);
    else requestAnimationFrame(now);
  }

  /** Every row looks different now. */
  redraw() {
    this.#generation++;
    this.scroller.render();
    this.minimap.draw();
  }

  #row(row) {
    const { line, note } = this.#layout.at(row, this.#rowCount);
    if (note) return { key: note.key, make: (old) => this.#make(old, note, () => noteRow(note, note.section && this.#sections.isFolded(note.section))) };
    const content = this.lines.get(line);
    return { key: line, make: (old) => this.#make(old, content?.text ?? null, () => lineRow(line, content, this.#looks(line))) };
  }

  #make(old, content, make) {
    if (old && old.content === content && old.generation === this.#generation) return old;
    const made = make();
    [made.content, made.generation] = [content, this.#generation];
    return made;
  }

  #looks(line) {
    const section = this.#sections.byLine.get(line);
    return {
      section,
      folded: section && this.#sections.isFolded(section),
      selected: this.selection.has(line),
      found: this.finding.has(line),
      current: line === this.finding.current,
      pattern: this.finding.pattern,
      width: Math.max(3, String(this.total).length),
    };
  }

  #wanted(first, last) {
    if (!this.total || last < first) return;
    const rows = this.#rowCount;
    const missing = [];
    let near = 1;
    for (let row = first; row <= last; row++) {
      const { line } = this.#layout.at(row, rows);
      if (line) near = line;
      if (line && !this.lines.get(line)) missing.push(line);
    }
    this.lines.want(missing, near);
  }

  #marks() {
    const rows = Math.max(1, this.#rowCount);
    const place = (line) => this.#layout.rowOf(line) / rows;
    const gaps = this.#index.gaps.map(({ line }) => place(line));
    const { first, last } = this.selection;
    return [
      ["found", this.finding.lines.map(place)],
      ["chosen", first ? [place(first), place(last)] : []],
      ["wrong", this.#index.first_error ? [...gaps, place(this.#index.first_error)] : gaps],
    ];
  }

  // Moving

  #moved(up, atEnd) {
    this.#target = null;
    const active = !this.#index.closed && !this.#index.outcome;
    if (active && atEnd) {
      this.#following = true;
      this.#unread = 0;
    } else if (up) this.#following = false;
    this.#tools();
  }

  /** Bring a line into view, and with it the viewer; what hides it is unfolded. */
  goTo(line, { middle = true, show = true } = {}) {
    if (show) this.scrollIntoView({ block: "nearest" });
    const wanted = Math.max(1, Math.min(line, this.total || 1));
    this.#following = false;
    if (this.#sections.reveal(wanted)) this.#lay();
    this.#target = { line: wanted, middle };
    this.scroller.go(this.#layout.rowOf(wanted), { middle });
    this.#tools();
  }

  toEnd() {
    this.scrollIntoView({ block: "nearest" });
    this.#target = null;
    this.#following = !this.#index.closed && !this.#index.outcome;
    this.#unread = 0;
    this.scroller.end();
    this.#tools();
  }

  /** One has scrolled with a key. */
  movedBy(pixels) {
    this.#moved(pixels < 0, this.scroller.atEnd);
  }

  stopFollowing() {
    this.#following = false;
    this.#tools();
  }

  toggleFollowing() {
    this.#following ? this.stopFollowing() : this.toEnd();
  }

  /** The first line that is in view. */
  get firstLine() {
    return this.#place()?.line ?? 1;
  }

  toError() {
    if (this.#index.first_error) this.selection.choose(this.#index.first_error);
    if (this.#index.first_error) this.goTo(this.#index.first_error);
  }

  step(backwards) {
    const next = this.#sections.next(this.firstLine, backwards);
    if (next) this.goTo(next, { middle: false });
  }

  // Folding

  fold(id) {
    const section = this.#sections.find(id);
    if (!section) return;
    this.#sections.fold(section, !this.#sections.isFolded(section));
    this.#following = false;
    this.#target = null;
    this.#lay(true);
    this.querySelector(`[data-fold="${CSS.escape(id)}"]`)?.focus({ preventScroll: true });
  }

  foldAll() {
    this.#target = null;
    this.#sections.foldAll(!this.#sections.anyFolded);
    this.#lay(true);
  }

  // Preferences

  prefer(name) {
    this.preferences.set(name, !this.preferences.get(name));
    applyPreferences(this);
    this.#lay(true);
  }

  /** Say something where the state is told. */
  tell(words) {
    this.#tell(words);
  }
}

customElements.define("output-viewer", OutputViewer);
