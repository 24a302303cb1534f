// Which row of the view shows which line: lines that are folded away have none, and notes have rows of their own. Pure.

/** The last of `parts` whose `key` is at most `value`; the first if none is. */
function lastUpTo(parts, key, value) {
  let [low, high] = [0, parts.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (parts[middle][key] <= value) low = middle;
    else high = middle - 1;
  }
  return parts[low];
}

export class Layout {
  #parts = [];
  #ofLines = [];
  #end = null;

  constructor() {
    this.set([], [], null);
  }

  /**
   * `notes` are { line, … } in order, each shown before that line; `folds` are { first, last }, lines that are hidden, in order
   * and apart from one another; `end` is a note after the last line, or null.
   */
  set(notes, folds, end) {
    this.#parts = [];
    this.#end = end;
    let [row, line, fold] = [0, 1, 0];
    const lines = (until) => {
      while (line < until) {
        while (fold < folds.length && folds[fold].last < line) fold++;
        const next = folds[fold];
        if (next && next.first <= line) {
          line = next.last + 1;
          continue;
        }
        const stop = Math.min(until, next ? next.first : Infinity);
        this.#parts.push({ row, line, count: stop - line });
        row += stop - line;
        line = stop;
      }
    };
    for (const note of notes) {
      lines(note.line);
      if (line > note.line) continue; // inside of what is folded away
      this.#parts.push({ row, line: note.line, count: 1, note });
      row += 1;
    }
    lines(Infinity);
    this.#ofLines = this.#parts.filter((part) => !part.note);
  }

  /** How many rows there are, if there are `total` lines. */
  rows(total) {
    let rows = 0;
    for (const part of this.#parts) {
      if (part.line > total + (part.note ? 1 : 0)) break;
      rows = part.row + Math.min(part.count, part.note ? 1 : total - part.line + 1);
    }
    return rows + (this.#end ? 1 : 0);
  }

  /** What row `row` of `rows` shows: { line } or { note }. */
  at(row, rows) {
    if (this.#end && row === rows - 1) return { note: this.#end };
    const part = lastUpTo(this.#parts, "row", row);
    return part.note ? { note: part.note } : { line: part.line + row - part.row };
  }

  /** The row of a line; of one that is folded away, that before it. */
  rowOf(line) {
    const part = lastUpTo(this.#ofLines, "line", line);
    return part.row + Math.max(0, Math.min(line - part.line, part.count - 1));
  }
}
