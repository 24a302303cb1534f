// The elements of rows: a line with its number, time and text, or a note between lines. Output only ever becomes text.

import { BOLD, DIM, HIDDEN, INVERSE, ITALIC, STRIKE, UNDERLINE, runs } from "./ansi.js";
import { colours } from "./palette.js";
import { duration, text } from "../ci_portal/texts.js";

const CLASSES = [[BOLD, "b"], [DIM, "d"], [ITALIC, "i"], [UNDERLINE, "u"], [HIDDEN, "h"], [STRIKE, "s"]];
const SIGNS = { done: "✓", cached: "✓", failed: "✗", cancelled: "⊘", running: "●" };
const clock = new Intl.DateTimeFormat(document.documentElement.lang || undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const moment = new Intl.DateTimeFormat(document.documentElement.lang || undefined, { dateStyle: "medium", timeStyle: "long" });
const numbers = new Intl.NumberFormat(document.documentElement.lang || undefined);

export const format = (number) => numbers.format(number);

export function element(name, className = "", content = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (content) made.textContent = content;
  return made;
}

function span(content, style) {
  const made = element("span", "", content);
  dress(made, style);
  return made;
}

function dress(made, { fg, bg, on }) {
  for (const [flag, name] of CLASSES) if (on & flag) made.classList.add(`ov-${name}`);
  const found = colours({ fg, bg, inverse: Boolean(on & INVERSE) });
  if (found?.color) made.style.color = found.color;
  if (found?.background) made.style.backgroundColor = found.background;
}

/** Runs, with what `pattern` matches marked. */
function marked(content, line, pattern) {
  const parts = runs(line.text, line.style);
  const whole = parts.map((part) => part.text).join("");
  const hits = [...whole.matchAll(pattern)].map((hit) => [hit.index, hit.index + hit[0].length]).filter(([start, end]) => end > start);
  let at = 0;
  let next = 0;
  for (const part of parts) {
    let rest = part.text;
    while (rest) {
      while (next < hits.length && hits[next][1] <= at) next++;
      const [start, end] = hits[next] ?? [Infinity, Infinity];
      const inside = at >= start;
      const size = Math.min(rest.length, (inside ? end : start) - at);
      const piece = span(rest.slice(0, size), part.style);
      if (inside) {
        const mark = element("mark");
        mark.append(piece);
        content.append(mark);
      } else content.append(piece);
      rest = rest.slice(size);
      at += size;
    }
  }
}

/**
 * A line: `{ text, style, time }`, or null while it is fetched. `look` has what else decides how it is shown: its section (of which
 * it is the heading), whether that is folded, whether the line is selected or found, what to mark in it.
 */
export function lineRow(number, line, { section, folded, selected, found, current, pattern, width }) {
  const row = element("div", "ov-row");
  row.dataset.line = number;
  if (selected) row.classList.add("ov-selected");
  if (found) row.classList.add("ov-found");
  if (current) row.classList.add("ov-current");
  const gutter = element("span", "ov-gutter");
  const link = element("a", "ov-number", String(number));
  link.href = `#L${number}`;
  link.tabIndex = -1;
  link.setAttribute("aria-label", text("ov_line", { n: number }));
  link.style.minWidth = `${width}ch`;
  gutter.append(section ? toggle(section, folded) : element("span", "ov-fold"), link);
  row.append(gutter);
  if (line?.time) {
    const time = element("time", "ov-time", clock.format(line.time));
    time.dateTime = new Date(line.time).toISOString();
    time.title = moment.format(line.time);
    row.append(time);
  } else row.append(element("span", "ov-time"));
  const content = element("span", "ov-text");
  if (!line) {
    row.classList.add("ov-missing");
    content.append(element("span", "ov-pending"));
  } else if (pattern) marked(content, line, pattern);
  else for (const part of runs(line.text, line.style)) content.append(span(part.text, part.style));
  if (section) {
    row.classList.add("ov-heading", `ov-${section.state || "unknown"}`);
    row.append(badge(section, folded));
  }
  row.append(content);
  return row;
}

function toggle(section, folded) {
  if (section.last === section.first && !section.note) return element("span", "ov-fold");
  const button = element("button", "ov-fold", folded ? "▸" : "▾");
  button.type = "button";
  button.dataset.fold = section.id;
  button.setAttribute("aria-expanded", String(!folded));
  button.setAttribute("aria-label", text(folded ? "ov_unfold" : "ov_fold", { name: section.title }));
  return button;
}

/** How a step went, how long it took, and how many lines are folded away. */
function badge(section, folded) {
  const made = element("span", "ov-badge");
  if (SIGNS[section.state]) {
    const sign = element("span", "ov-sign", SIGNS[section.state]);
    sign.setAttribute("aria-hidden", "true");
    made.append(sign, element("span", "ov-state", text(`ov_${section.state}`)));
  }
  if (section.seconds !== null && section.seconds !== undefined) made.append(element("span", "", seconds(section.seconds)));
  if (folded && section.last > section.first) {
    made.append(element("span", "ov-count", text("ov_folded", { n: format(section.last - section.first + (section.note ? 1 : 0)) })));
  }
  return made;
}

function seconds(value) {
  if (value >= 10) return duration(Math.round(value));
  return text("seconds", { s: value.toFixed(1) });
}

/** A note: a container's heading, a gap, how it ended. */
export function noteRow(note, folded) {
  const row = element("div", `ov-row ov-note ov-note-${note.kind}`);
  const gutter = element("span", "ov-gutter");
  if (note.section) {
    gutter.append(toggle(note.section, folded));
    row.classList.add(`ov-${note.section.state || "unknown"}`);
  } else gutter.append(element("span", "ov-fold", note.sign ?? ""));
  row.append(gutter, element("span", "ov-words", note.text));
  if (note.section) row.append(badge(note.section, folded));
  if (note.detail) row.append(element("span", "ov-detail", note.detail));
  return row;
}
