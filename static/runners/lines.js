// From printed text to lines that can be shown. Pure: no page, no network.

/** Longest piece of a line that is shown as one; what is longer continues on the next. */
const LONGEST = 8192;

// Control sequences (ECMA-48 5.4: CSI), strings (OSC, DCS, SOS, PM, APC up to their terminator) and other escapes.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** A line without escape sequences and control characters; of a progress bar what was drawn last. */
export function plain(line) {
  const drawn = line.replace(/\r+$/, "");
  return drawn.slice(drawn.lastIndexOf("\r") + 1).replace(ESCAPES, "").replace(CONTROLS, "");
}

/** Cuts text that arrives in pieces into lines. */
export class Lines {
  #rest = "";

  /** Take more text; returns the lines that are complete with it. */
  take(piece) {
    const parts = (this.#rest + piece).split("\n");
    this.#rest = parts.pop();
    const lines = [];
    for (const part of parts) lines.push(...pieces(part));
    while (this.#rest.length > 4 * LONGEST) {
      lines.push(plain(this.#rest.slice(0, LONGEST)));
      this.#rest = this.#rest.slice(LONGEST);
    }
    return lines;
  }

  /** The beginning of the line that is not complete yet. */
  get rest() {
    return plain(this.#rest.length > LONGEST ? this.#rest.slice(-LONGEST) : this.#rest);
  }
}

function pieces(part) {
  const line = plain(part);
  if (line.length <= LONGEST) return [line];
  return line.match(new RegExp(`.{1,${LONGEST}}`, "gsu"));
}
