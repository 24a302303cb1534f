// What every page has: durations that count on, Build buttons, Copy buttons.

import { post } from "./api.js";
import { duration, text } from "./texts.js";

/** Tell what happened, where the page has its place for that. */
export function notice(message, bad = false) {
  const place = document.getElementById("notice");
  if (!place) return;
  place.textContent = message;
  place.classList.toggle("bad", bad);
  place.hidden = false;
}

/** Show the Copy buttons of a part of the page, where the browser can copy at all. */
export function offerCopies(root = document) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("button.copy")) button.hidden = false;
}

const buildPage = (event) => `/builds/${encodeURIComponent(event.id)}/`;

async function build(button) {
  const { repo: name, branch, tag } = button.dataset;
  button.disabled = true;
  notice(text("starting", { name }));
  try {
    const started = await post("/check/", { repo: name, ...(branch && { branch }), ...(tag && { tag }) });
    location.assign(buildPage(started.event));
  } catch (problem) {
    // Refused by the backend: the event is recorded, with the reason, and its page says more.
    if (problem.body?.event) return location.assign(buildPage(problem.body.event));
    notice(text("not_started", { name, reason: problem.message }), true);
    button.disabled = false;
  }
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = text("copied");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.classList.contains("build")) build(button);
  else if (button?.classList.contains("copy")) copy(button);
});

addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll("button.build")) button.disabled = false;
});

setInterval(() => {
  for (const place of document.querySelectorAll("[data-since]")) {
    place.textContent = duration((Date.now() - Date.parse(place.dataset.since)) / 1000);
  }
}, 1000);

offerCopies();
