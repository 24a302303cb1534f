// Going to a line by its number: a small form over the viewer.

import { format } from "./rows.js";
import { text } from "../ci_portal/texts.js";

export class Going {
  #viewer;
  #dialog;
  #field;
  #error;
  #range;

  constructor(viewer) {
    this.#viewer = viewer;
    this.#dialog = viewer.querySelector(".ov-going");
    this.#field = this.#dialog.querySelector("input");
    this.#error = this.#dialog.querySelector(".error");
    this.#range = this.#dialog.querySelector(".help");
    this.#dialog.querySelector("form").addEventListener("submit", (event) => this.#go(event));
    this.#dialog.querySelector("[data-close]").addEventListener("click", () => this.#dialog.close());
    this.#field.addEventListener("input", () => this.#tell(""));
  }

  /** Ask for the number; it has the focus until the form is closed, and gives it back then. */
  open() {
    this.tellRange();
    this.#field.value = this.#viewer.selection.first || "";
    this.#tell("");
    this.#dialog.showModal();
    this.#field.select();
  }

  /** Which lines there are; an output that grows, or is only being loaded, has more later. */
  tellRange() {
    const { total } = this.#viewer;
    const words = total ? text("ov_line_range", { n: format(total) }) : "";
    if (this.#range.textContent !== words) this.#range.textContent = words;
  }

  #go(event) {
    event.preventDefault();
    const problem = this.#problem(this.#field.value.trim());
    this.#tell(problem);
    if (problem) return this.#field.select();
    this.#dialog.close();
    this.#viewer.selection.choose(Number(this.#field.value));
    this.#viewer.selection.goThere();
    this.#viewer.view.focus({ preventScroll: true });
  }

  /** Why one can't go to what was typed; "": one can. */
  #problem(typed) {
    const { total } = this.#viewer;
    if (!total) return this.#viewer.message.textContent; // it is loaded, or empty
    if (!/^\d{1,15}$/.test(typed)) return text("ov_line_not_number");
    return Number(typed) >= 1 && Number(typed) <= total ? "" : text("ov_no_such_line", { line: format(Number(typed)), n: format(total) });
  }

  #tell(problem) {
    this.#error.textContent = problem;
    this.#error.hidden = !problem;
    this.#field.setAttribute("aria-invalid", String(Boolean(problem)));
  }
}
