// What a terminal would show of a line, as runs of text with a style. Pure: no page, no network.
//
// Understood are colours and styles (SGR), and what progress bars do within a line: carriage return, backspace, tab, moves of the
// cursor along the line, erasing and deleting in it. Everything else (titles, links, device control, other modes) is left out.

/** Columns that the cursor may be sent to, so that a line that asks for a billion stays small. */
const WIDEST = 2000;

const ESCAPE = /\x1b(?:\[([0-?]*)([ -/]*)([@-~])?|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)/y;
const MOVES = /[\r\b\v\f]|\x1b\[[0-?]*[ -/]*[ABCDEFGHJKPXd@`afs]/;
// Invisible characters that change what is read: overrides and isolates of direction, and marks of it.
const DIRECTION = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufff9-\ufffb\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
const JOINS = /[\p{Mn}\p{Me}\u200d\ufe0f]/u;

/** No colours, no style. */
export const PLAIN = Object.freeze({ fg: null, bg: null, on: 0 });
export const [BOLD, DIM, ITALIC, UNDERLINE, INVERSE, HIDDEN, STRIKE] = [1, 2, 4, 8, 16, 32, 64];
const STYLES = { 1: BOLD, 2: DIM, 3: ITALIC, 4: UNDERLINE, 7: INVERSE, 8: HIDDEN, 9: STRIKE };
const OFF = { 21: BOLD, 22: BOLD | DIM, 23: ITALIC, 24: UNDERLINE, 27: INVERSE, 28: HIDDEN, 29: STRIKE };

function numbers(parameters) {
  const found = [];
  for (const part of parameters.split(";")) {
    const sub = part.split(":");
    if (sub.length > 1 && (sub[0] === "38" || sub[0] === "48")) {
      found.push(Number(sub[0]), Number(sub[1]), ...(sub[1] === "2" ? sub.slice(-3) : sub.slice(2, 3)).map(Number));
    } else if (sub.length > 1) found.push(sub[0] === "4" && sub[1] === "0" ? 24 : Number(sub[0]));
    else found.push(Number(part));
  }
  return found;
}

/** The style after an SGR sequence with these parameters. */
export function styled(style, parameters) {
  if (!/^[0-9;:]*$/.test(parameters)) return style;
  let { fg, bg, on } = style;
  const list = numbers(parameters);
  for (let at = 0; at < list.length; at++) {
    const number = list[at];
    if (number === 0) [fg, bg, on] = [null, null, 0];
    else if (STYLES[number]) on |= STYLES[number];
    else if (OFF[number]) on &= ~OFF[number];
    else if (number >= 30 && number <= 37) fg = number - 30;
    else if (number >= 90 && number <= 97) fg = number - 82;
    else if (number >= 40 && number <= 47) bg = number - 40;
    else if (number >= 100 && number <= 107) bg = number - 92;
    else if (number === 39) fg = null;
    else if (number === 49) bg = null;
    else if (number === 38 || number === 48) {
      const [colour, used] = extended(list.slice(at + 1));
      if (colour !== null) number === 38 ? (fg = colour) : (bg = colour);
      at += used;
    }
  }
  return fg === null && bg === null && on === 0 ? PLAIN : { fg, bg, on };
}

/** [colour, numbers used]: one of 256, or "r,g,b". */
function extended(list) {
  const ok = (value) => Number.isInteger(value) && value >= 0 && value <= 255;
  if (list[0] === 5) return [ok(list[1]) ? list[1] : null, 2];
  if (list[0] !== 2) return [null, 1];
  const rgb = list.slice(1, 4);
  return [rgb.length === 3 && rgb.every(ok) ? rgb.join() : null, 4];
}

/** The style after all that a line prints. */
export function after(style, line) {
  if (!line.includes("\x1b[")) return style;
  for (const found of line.matchAll(/\x1b\[([0-9;:]*)m/g)) style = styled(style, found[1]);
  return style;
}

/** What is shown of a line, as [{ text, style }], if `style` is in force where it begins. */
export function runs(line, style = PLAIN) {
  if (line.endsWith("\r")) line = line.replace(/\r+$/, "");
  if (!line.includes("\x1b") && !UNSEEN.test(line)) return line ? [{ text: line, style }] : [];
  return MOVES.test(line) ? drawn(line, style) : inOrder(line, style);
}

/** The text alone. */
export function plain(line) {
  return runs(line).map((run) => run.text).join("");
}

function inOrder(line, style) {
  const found = [];
  const add = (text) => {
    text = visible(text);
    if (!text) return;
    const last = found.at(-1);
    if (last && last.style === style) last.text += text;
    else found.push({ text, style });
  };
  for (let at = 0; at < line.length; ) {
    const next = line.indexOf("\x1b", at);
    add(line.slice(at, next < 0 ? line.length : next));
    if (next < 0) break;
    ESCAPE.lastIndex = next;
    const escape = ESCAPE.exec(line);
    if (escape[3] === "m" && !escape[2]) style = styled(style, escape[1]);
    at = ESCAPE.lastIndex;
  }
  return found;
}

/** Text with what can't be seen made visible or left out. */
function visible(text) {
  if (!UNSEEN.test(text)) return text;
  let shown = "";
  for (const character of text) shown += UNSEEN.test(character) ? sign(character) : character;
  return shown;
}

function sign(character) {
  const code = character.codePointAt(0);
  const told = code === 0 || code >= 0x2028 || DIRECTION.test(character);
  return told ? `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩` : "";
}

/** A line drawn cell by cell, as what moves the cursor asks for it. */
class Cells {
  cells = []; // [text, style], null for the second half of a wide character
  at = 0;

  put(text, style) {
    const wide = WIDE.test(text);
    if (JOINS.test(text)) {
      const before = this.cells[this.at - 1] ?? this.cells[this.at - 2];
      if (before) before[0] += text;
      return;
    }
    while (this.cells.length < this.at) this.cells.push([" ", PLAIN]);
    this.#split(this.at);
    this.cells[this.at++] = [text, style];
    if (wide) {
      this.#split(this.at);
      this.cells[this.at++] = null;
    }
    if (this.cells[this.at] === null) this.cells[this.at] = [" ", PLAIN];
  }

  /** Half of a wide character is overwritten: nothing of it is left. */
  #split(at) {
    if (this.cells[at] === null && this.cells[at - 1]) this.cells[at - 1] = [" ", this.cells[at - 1][1]];
  }

  move(column) {
    this.at = Math.max(0, Math.min(WIDEST + this.cells.length, column));
  }

  erase(from, to) {
    for (let at = from; at < Math.min(to, this.cells.length); at++) this.cells[at] = [" ", PLAIN];
    if (to >= this.cells.length) this.cells.length = Math.min(this.cells.length, from);
  }

  control(final, parameters, style) {
    const [first = 0, second = 0] = parameters.split(";").map((each) => Math.min(Number.parseInt(each, 10) || 0, WIDEST));
    const count = Math.max(1, first);
    if (final === "G" || final === "`") this.move(count - 1);
    else if (final === "H" || final === "f") this.move(Math.max(1, second) - 1);
    else if (final === "C" || final === "a") this.move(this.at + count);
    else if (final === "D") this.move(this.at - count);
    else if (final === "E" || final === "F") this.move(0);
    else if (final === "K") this.erase(first === 0 ? this.at : 0, first === 1 ? this.at + 1 : Infinity);
    else if (final === "J") this.erase(first === 0 ? this.at : 0, first === 1 ? this.at + 1 : Infinity);
    else if (final === "P") this.cells.splice(this.at, count);
    else if (final === "X") this.erase(this.at, this.at + count);
    else if (final === "@" && this.at < this.cells.length) {
      this.cells.splice(this.at, 0, ...Array.from({ length: count }, () => [" ", style]));
    }
  }

  runs() {
    const found = [];
    for (const cell of this.cells) {
      if (!cell) continue;
      const last = found.at(-1);
      if (last && last.style === cell[1]) last.text += cell[0];
      else found.push({ text: cell[0], style: cell[1] });
    }
    return found;
  }
}

function drawn(line, style) {
  const cells = new Cells();
  for (let at = 0; at < line.length; ) {
    const character = String.fromCodePoint(line.codePointAt(at));
    if (character === "\x1b") {
      ESCAPE.lastIndex = at;
      const [, parameters = "", between, final] = ESCAPE.exec(line);
      at = ESCAPE.lastIndex;
      if (final === "m" && !between) style = styled(style, parameters);
      else if (final && !between && /^[0-9;]*$/.test(parameters)) cells.control(final, parameters, style);
      continue;
    }
    at += character.length;
    if (character === "\r") cells.move(0);
    else if (character === "\b") cells.move(cells.at - 1);
    else if (character === "\t") cells.move((Math.floor(cells.at / 8) + 1) * 8);
    else for (const shown of visible(character)) cells.put(shown, style);
  }
  return cells.runs();
}
