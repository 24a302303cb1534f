// Lines that are linked to: #L120 or #L120-L140 in the address. Clicking a number chooses it and copies the link.

import { text } from "../ci_portal/texts.js";

const ADDRESS = /^#L(\d{1,12})(?:-L?(\d{1,12}))?$/;

export class Selection {
  first = 0;
  last = 0;
  #viewer;

  constructor(viewer) {
    this.#viewer = viewer;
    this.#read();
    viewer.rows.addEventListener("click", (event) => this.#clicked(event));
    addEventListener("hashchange", () => {
      this.#read();
      viewer.redraw();
      if (this.first) this.goThere();
    });
  }

  #read() {
    const found = ADDRESS.exec(location.hash);
    const [one, other] = found ? [Number(found[1]), Number(found[2] ?? found[1])] : [0, 0];
    [this.first, this.last] = [Math.min(one, other), Math.max(one, other)];
  }

  has(line) {
    return this.first > 0 && line >= this.first && line <= this.last;
  }

  /** Whether the address names lines. */
  fromAddress() {
    return this.first > 0;
  }

  goThere() {
    this.#viewer.goTo(this.first);
  }

  /** Choose lines `first` to `last`, in the address too. */
  choose(first, last = first) {
    [this.first, this.last] = [Math.min(first, last), Math.max(first, last)];
    history.replaceState(history.state, "", `${location.pathname}${location.search}#${this.#name()}`);
    this.#viewer.redraw();
  }

  clear() {
    if (!this.first) return false;
    [this.first, this.last] = [0, 0];
    history.replaceState(history.state, "", location.pathname + location.search);
    this.#viewer.redraw();
    return true;
  }

  #name() {
    return this.last > this.first ? `L${this.first}-L${this.last}` : `L${this.first}`;
  }

  async #clicked(event) {
    const link = event.target.closest(".ov-number");
    if (!link || event.ctrlKey || event.metaKey || event.button) return;
    event.preventDefault();
    const line = Number(link.closest("[data-line]").dataset.line);
    if (event.shiftKey && this.first) {
      getSelection().removeAllRanges();
      this.choose(line < this.first ? this.last : this.first, line);
    } else this.choose(line);
    this.#viewer.stopFollowing();
    // The link names the run too: later there may be a newer one, with other lines.
    const address = new URL(location.href);
    address.searchParams.set("run", this.#viewer.dataset.run);
    try {
      await navigator.clipboard.writeText(address.href);
      this.#viewer.tell(text("ov_link_copied"));
    } catch {
      // No permission, or no clipboard without HTTPS: the address bar has it.
    }
  }
}
