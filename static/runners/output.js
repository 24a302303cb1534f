// What a run prints, shown while it arrives: at most once a frame, the last lines only, following the end.

import { Lines } from "./lines.js";

/** How many lines the page holds at most, and how many share one element. */
const SHOWN = 5000;
const BLOCK = 250;

export class OutputView {
  #lines = new Lines();
  #pending = [];
  #blocks = [];
  #scheduled = false;
  #following = true;
  #top = 0;
  #tail = document.createElement("span");
  #place;

  /** `onChange({ cut, following, shown })` is called after each change. */
  constructor(place, onChange) {
    this.#place = place;
    this.onChange = onChange;
    this.cut = false;
    place.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  /** Show more text, with the next frame. */
  append(piece) {
    for (const line of this.#lines.take(piece)) this.#pending.push(line);
    if (this.#pending.length > 2 * SHOWN) this.#drop();
    if (this.#scheduled) return;
    this.#scheduled = true;
    // A hidden tab draws no frames; a timer keeps what waits there small.
    if (document.hidden) setTimeout(() => this.#draw(), 500);
    else requestAnimationFrame(() => this.#draw());
  }

  /** Go to the end and stay there, or stop that. */
  follow(on) {
    this.#following = on;
    if (on) this.#place.scrollTop = this.#place.scrollHeight;
    this.#changed();
  }

  get following() {
    return this.#following;
  }

  #drop() {
    this.#pending = this.#pending.slice(-SHOWN);
    this.cut = true;
    for (const block of this.#blocks.splice(0)) block.remove();
  }

  #draw() {
    this.#scheduled = false;
    if (this.#pending.length > SHOWN) this.#drop();
    const pending = this.#pending;
    this.#pending = [];
    for (let start = 0; start < pending.length; ) {
      const block = this.#openBlock();
      const lines = pending.slice(start, start + BLOCK - block.lines);
      block.append(lines.join("\n") + "\n");
      block.lines += lines.length;
      start += lines.length;
    }
    while ((this.#blocks.length - 1) * BLOCK >= SHOWN) {
      this.#blocks.shift().remove();
      this.cut = true;
    }
    this.#tail.textContent = this.#lines.rest;
    if (this.#tail.parentNode !== this.#place || this.#tail.nextSibling) this.#place.append(this.#tail);
    if (this.#following) this.#place.scrollTop = this.#place.scrollHeight;
    this.#changed();
  }

  #openBlock() {
    const last = this.#blocks.at(-1);
    if (last && last.lines < BLOCK) return last;
    const block = document.createElement("span");
    block.lines = 0;
    this.#blocks.push(block);
    this.#place.insertBefore(block, this.#tail.parentNode === this.#place ? this.#tail : null);
    return block;
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.#place;
    const up = scrollTop < this.#top;
    this.#top = scrollTop;
    const atEnd = scrollTop + clientHeight >= scrollHeight - 8;
    if (atEnd) this.#following = true;
    else if (up) this.#following = false; // growing or reflowing text moves the end away, but never the reader up
    this.#changed();
  }

  #changed() {
    this.onChange({ cut: this.cut, following: this.#following, shown: SHOWN });
  }
}
