// What the reader prefers, kept in this browser.

const KEY = "ci-portal.output";

export class Preferences {
  #values;

  constructor(defaults) {
    let kept = {};
    try {
      kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    } catch {
      // Storage is forbidden, or holds what is not ours: the defaults do.
    }
    this.#values = { ...defaults };
    for (const name of Object.keys(defaults)) if (typeof kept?.[name] === "boolean") this.#values[name] = kept[name];
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values[name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#values));
    } catch {
      // Then it is forgotten with the page.
    }
  }
}
