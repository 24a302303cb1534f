// What of an output is folded: the containers and the builder's steps, as the portal's index has them, and what the reader chose.

import { format } from "./rows.js";
import { duration, text } from "../ci_portal/texts.js";

/** Lines from which on a section that went well is folded by itself. */
const LONG = 20;
const WELL = new Set(["done", "cached"]);

/** A container as a section, with a note of its own as heading. */
function container(one, next, lines, outcome) {
  const last = (next ? next.line : lines + 1) - 1;
  const state = one.ended ? (outcome === "failed" && !next ? "failed" : "done") : outcome ? "" : "running";
  return { id: `c${one.name}`, title: one.name, first: one.line, last, state, seconds: one.seconds, note: true, container: one };
}

export class Sections {
  list = [];
  containers = [];
  steps = [];
  byLine = new Map();
  #chosen = new Map(); // id → folded, as the reader or the page chose

  /** Take in what the portal's index says. */
  take(index) {
    const containers = index.containers.map((one, at) => container(one, index.containers[at + 1], index.lines, index.outcome));
    const steps = index.sections.map((one) => ({ ...one, id: `s${one.first}`, last: one.last ?? index.lines, open: one.last === null }));
    this.containers = containers;
    this.steps = steps;
    this.byLine = new Map(steps.map((one) => [one.first, one]));
    this.list = [...containers, ...steps];
  }

  /** Decide for what nobody has decided yet: long and went well is folded. */
  settle() {
    for (const one of this.list) {
      if (this.#chosen.has(one.id) || one.open || !WELL.has(one.state)) continue;
      if (one.note && one.title === "build") continue;
      this.#chosen.set(one.id, one.last - one.first >= LONG);
    }
  }

  isFolded(section) {
    return Boolean(this.#chosen.get(section.id)) && !section.open;
  }

  find(id) {
    return this.list.find((one) => one.id === id);
  }

  fold(section, folded) {
    this.#chosen.set(section.id, folded);
  }

  foldAll(folded) {
    for (const one of this.list) if (!one.note || !folded) this.#chosen.set(one.id, folded && !one.open);
  }

  get anyFolded() {
    return this.list.some((one) => this.isFolded(one));
  }

  /** Unfold whatever hides that line; returns whether something did. */
  reveal(line) {
    let hidden = false;
    for (const one of this.list) {
      if (!this.isFolded(one) || line < one.first + (one.note ? 0 : 1) || line > one.last) continue;
      this.#chosen.set(one.id, false);
      hidden = true;
    }
    return hidden;
  }

  /** Lines that are hidden, in order and apart from one another. */
  get hidden() {
    const ranges = this.list
      .filter((one) => this.isFolded(one))
      .map((one) => ({ first: one.first + (one.note ? 0 : 1), last: one.last }))
      .filter(({ first, last }) => last >= first)
      .sort((a, b) => a.first - b.first);
    const found = [];
    for (const range of ranges) {
      const before = found.at(-1);
      if (before && range.first <= before.last) before.last = Math.max(before.last, range.last);
      else found.push({ ...range });
    }
    return found;
  }

  /** The step after (or before) a line. */
  next(line, backwards) {
    const firsts = this.list.map((one) => one.first).sort((a, b) => a - b);
    return (backwards ? firsts.findLast((each) => each < line) : firsts.find((each) => each > line)) ?? null;
  }
}

/** Notes between lines: headings of containers, and gaps. */
export function notes(index, sections) {
  const found = [];
  for (const section of sections.containers) {
    const { verdict, verdict_detail: detail } = section.container;
    const words = verdict ? text(`ov_verdict_${verdict}`) : "";
    found.push({ line: section.first, kind: "container", key: section.id, section, text: section.title, detail: verdict === "verified" ? words : [words, detail].filter(Boolean).join(": ") });
  }
  for (const { line, missing, container: name } of index.gaps) {
    found.push({ line, kind: "gap", key: `g${line}-${name}`, sign: "⚠", text: missing ? text("ov_gap", { n: format(missing) }) : text("ov_gap_unknown") });
  }
  return found.sort((a, b) => a.line - b.line);
}

/** The note after the last line: whether the output is complete. */
export function ending(index) {
  if (!index.closed || !index.lines) return null;
  const { verdict, verdict_detail: detail } = index;
  const sign = verdict === "verified" ? "✓" : "⚠";
  return { kind: verdict || "unproven", key: "end", sign, text: text(`ov_verdict_${verdict || "unproven"}`), detail: verdict === "verified" ? "" : detail };
}

export { duration };
