// A strip beside the scroll bar that shows where in the whole output something is: what was found, the first error, what is selected.

const WIDTH = 8;

export class Minimap {
  #canvas;
  #scheduled = false;
  #marks = () => [];

  /** `marks()` returns [[colour name, rows as a part of 1], …], the most important last. */
  constructor(canvas, marks) {
    this.#canvas = canvas;
    this.#marks = marks;
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  draw() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#scheduled = false;
    const canvas = this.#canvas;
    const scale = devicePixelRatio || 1;
    const height = Math.max(1, Math.round(canvas.clientHeight * scale));
    canvas.width = WIDTH * scale;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const look = getComputedStyle(canvas);
    for (const [colour, places] of this.#marks()) {
      context.fillStyle = look.getPropertyValue(`--${colour}-mark`);
      let last = -1;
      for (const place of places) {
        const at = Math.min(height - 2 * scale, Math.round(place * height));
        if (at === last) continue;
        context.fillRect(0, at, canvas.width, 2 * scale);
        last = at;
      }
    }
  }
}
