// What has just happened, told in the corner of the page and to screen readers.

import { icon } from "./icon.js";
import { text } from "./texts.js";

/** Milliseconds that a message stays which asks for nothing. What failed and what offers a button stays until it is closed. */
const STAYS = 8000;
const KEPT = "toast";

/**
 * Show a message. `bad`: something failed. `action`: { label, run } or { label, href }, offered beside it.
 * A message with the `id` of one that is shown takes its place.
 */
export function toast(message, { bad = false, action = null, id = "" } = {}) {
  const place = document.getElementById("toasts");
  const shown = document.createElement("div");
  shown.className = "toast";
  shown.dataset.id = id;
  const words = document.createElement("p");
  words.textContent = message;
  shown.append(icon(bad ? "failed" : "info"), words);
  if (action) shown.append(offered(action, shown));
  shown.append(closer(shown));
  const same = id && [...place.children].find((each) => each.dataset.id === id);
  if (same) same.replaceWith(shown);
  else place.append(shown);
  if (!bad && !action) vanish(shown);
  return shown;
}

/** Show the message on the page that comes next. */
export function toastAfterwards(message) {
  sessionStorage.setItem(KEPT, message);
}

/** Show what the page before left to be told. */
export function toastFromBefore() {
  const message = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (message) toast(message);
}

function offered({ label, run, href }, shown) {
  const offer = document.createElement(href ? "a" : "button");
  offer.className = href ? "button small" : "small";
  offer.textContent = label;
  if (href) offer.href = href;
  else {
    offer.type = "button";
    offer.addEventListener("click", () => {
      shown.remove();
      run();
    });
  }
  return offer;
}

function closer(shown) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet small icon-only";
  button.setAttribute("aria-label", text("close"));
  button.append(icon("close"));
  button.addEventListener("click", () => shown.remove());
  return button;
}

/** Whoever reads or is about to close it keeps it. */
function vanish(shown) {
  setTimeout(() => (shown.matches(":hover, :focus-within") ? vanish(shown) : shown.remove()), STAYS);
}
