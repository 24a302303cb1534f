// A list of any number of rows of which only those in view are in the page.
//
// Browsers draw nothing beyond some 17 to 33 million pixels. A higher list is scrolled at scale: what one scrolls by hand moves by
// the pixel, what one drags moves in proportion, and once it rests the scroll bar is put where it belongs.

/** Pixels that the scrolled element is high, at most. */
const HIGHEST = 15_000_000;
/** Rows that are drawn above and below those in view. */
const MORE = 30;
/** Rows whose measured heights are added up together. */
const BLOCK = 100;
/** Pixels by which one is still at the end. */
const NEAR = 8;

/** Heights of rows: one for all but those that were measured and are higher. */
class Heights {
  #blocks = new Map(); // block → [sum, Map of row → what it is higher]
  #sums = null;

  constructor(usual) {
    this.usual = usual;
  }

  clear() {
    this.#blocks.clear();
    this.#sums = null;
  }

  /** Returns whether that is new. */
  set(row, height) {
    const more = height - this.usual;
    const number = Math.floor(row / BLOCK);
    const block = this.#blocks.get(number);
    const before = block?.[1].get(row) ?? 0;
    if (Math.abs(more - before) < 0.5) return false;
    if (!block) this.#blocks.set(number, [more, new Map([[row, more]])]);
    else {
      block[0] += more - before;
      block[1].set(row, more);
    }
    this.#sums = null;
    return true;
  }

  /** Pixels above a row. */
  above(row) {
    let top = row * this.usual;
    if (!this.#blocks.size) return top;
    if (!this.#sums) {
      let sum = 0;
      this.#sums = [...this.#blocks].sort((a, b) => a[0] - b[0]).map(([number, block]) => [number, (sum += block[0]) - block[0]]);
    }
    const number = Math.floor(row / BLOCK);
    let [low, high] = [0, this.#sums.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#sums[middle][0] < number) low = middle + 1;
      else high = middle;
    }
    const last = this.#sums[low - 1];
    if (last) top += last[1] + this.#blocks.get(last[0])[0];
    for (const [each, more] of this.#blocks.get(number)?.[1] ?? []) if (each < row) top += more;
    return top;
  }

  /** The row at that many pixels from the top. */
  at(top, rows) {
    let [low, high] = [0, Math.max(0, rows - 1)];
    if (!this.#blocks.size) return Math.max(0, Math.min(high, Math.floor(top / this.usual)));
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.above(middle) <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

export class Scroller {
  #view;
  #space;
  #list;
  #heights;
  #rows = 0;
  #offset = 0; // pixels of the whole list that are above the scrolled element's top
  #top = 0; // pixels of the whole list that are above the view
  #shown = new Map(); // key → element
  #own = null; // scrollTop as it was set here, of which the browser will tell
  #resting = 0;

  /**
   * `view` scrolls, `space` in it is as high as all rows, `list` in that holds the rows in view. `draw(row)` returns
   * { key, make }; `make(old)` returns the element, the old one where it is still right. `moved({ up, atEnd })` is called
   * after one has scrolled, `drawn(first, last)` after rows have come.
   */
  constructor(view, space, list, usual, { draw, moved, drawn }) {
    [this.#view, this.#space, this.#list] = [view, space, list];
    this.#heights = new Heights(usual);
    Object.assign(this, { draw, moved, drawn });
    this.measured = false; // rows may be higher than usual
    view.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.render()).observe(view);
  }

  get height() {
    return this.#heights.above(this.#rows);
  }

  get atEnd() {
    return this.#top + this.#view.clientHeight >= this.height - NEAR;
  }

  /** The first row that is in view, and how many pixels of it are above. */
  get anchor() {
    const row = this.#heights.at(this.#top, this.#rows);
    return { row, above: this.#top - this.#heights.above(row) };
  }

  /** Rows have other heights now: forget what was measured. */
  forget() {
    this.#heights.clear();
  }

  /** There are so many rows now. */
  resize(rows) {
    this.#rows = rows;
    this.#stretch();
  }

  /** Bring a row into view: at its top, with so many pixels of it above, or in the middle. */
  go(row, { above = 0, middle = false } = {}) {
    const to = () => this.#heights.above(row) + above - (middle ? (this.#view.clientHeight - this.#heights.usual) / 2 : 0);
    this.#moveTo(to());
    this.render();
    if (!this.measured) return;
    this.#moveTo(to()); // what was drawn above it may be higher than usual
    this.render();
  }

  end() {
    this.#moveTo(this.height);
    this.render();
    if (!this.measured) return;
    this.#moveTo(this.height);
    this.render();
  }

  /** Move by so many pixels. */
  by(pixels) {
    this.#moveTo(this.#top + pixels);
    this.render();
  }

  get page() {
    return this.#view.clientHeight - 2 * this.#heights.usual;
  }

  #stretch() {
    const height = Math.min(this.height, HIGHEST);
    if (this.#space.offsetHeight !== Math.round(height)) this.#space.style.height = `${height}px`;
  }

  #moveTo(top) {
    const most = Math.max(0, this.height - this.#view.clientHeight);
    this.#top = Math.max(0, Math.min(most, top));
    const room = Math.max(0, Math.min(this.height, HIGHEST) - this.#view.clientHeight);
    const at = most > room ? (this.#top / most) * room : this.#top;
    this.#offset = this.#top - at;
    this.#put(at);
  }

  #put(at) {
    if (Math.abs(this.#view.scrollTop - at) < 1) return;
    this.#view.scrollTop = at;
    this.#own = this.#view.scrollTop;
  }

  #scrolled() {
    const at = this.#view.scrollTop;
    if (this.#own !== null && Math.abs(at - this.#own) < 2) {
      this.#own = null;
      return;
    }
    this.#own = null;
    const before = this.#top;
    const room = Math.max(1, Math.min(this.height, HIGHEST) - this.#view.clientHeight);
    const most = Math.max(0, this.height - this.#view.clientHeight);
    const moved = at + this.#offset - this.#top;
    const dragged = Math.abs(moved) > 2 * this.#view.clientHeight || at <= 0 || at >= room - 1;
    this.#top = most > room && dragged ? (Math.min(at, room) / room) * most : Math.max(0, Math.min(most, at + this.#offset));
    this.#offset = this.#top - at;
    this.render();
    this.moved({ up: this.#top < before, atEnd: this.atEnd });
    clearTimeout(this.#resting);
    if (most > room) this.#resting = setTimeout(() => (this.#moveTo(this.#top), this.render()), 200);
  }

  /** Draw what is in view. */
  render() {
    const first = Math.max(0, this.#heights.at(this.#top, this.#rows) - MORE);
    const last = Math.min(this.#rows - 1, this.#heights.at(this.#top + this.#view.clientHeight, this.#rows) + MORE);
    this.#fill(first, last);
    this.#list.style.transform = `translateY(${this.#heights.above(first) - this.#offset}px)`;
    if (this.measured) this.#measure(first);
    this.drawn(first, last);
  }

  #fill(first, last) {
    const fresh = new Map();
    for (let row = first; row <= last; row++) {
      const { key, make } = this.draw(row);
      fresh.set(key, make(this.#shown.get(key)));
    }
    const elements = new Set(fresh.values());
    for (const old of this.#shown.values()) if (!elements.has(old)) old.remove();
    let next = this.#list.firstChild;
    for (const element of elements) {
      if (element === next) next = next.nextSibling;
      else this.#list.insertBefore(element, next);
    }
    this.#shown = fresh;
  }

  #measure(first) {
    const anchor = this.anchor;
    let row = first;
    let changed = false;
    const heights = [...this.#list.children].map((element) => element.getBoundingClientRect().height);
    for (const height of heights) changed = this.#heights.set(row++, height) || changed;
    if (!changed) return;
    this.#stretch();
    const top = this.#heights.above(anchor.row) + anchor.above;
    if (Math.abs(top - this.#top) >= 1) this.#moveTo(top);
    this.#list.style.transform = `translateY(${this.#heights.above(first) - this.#offset}px)`;
  }
}
