// What every page has: times, toasts, menus, Build and Copy buttons, "/" for the search.

import { Problem, post } from "./api.js";
import { busy } from "./busy.js";
import { icon } from "./icon.js";
import { text } from "./texts.js";
import "./preferences.js";
import { showTimes } from "./times.js";
import { toast, toastFromBefore } from "./toast.js";

/** Tell what happened: where the page has a place of its own for that, else in the corner. */
export function notice(message, bad = false) {
  const place = document.getElementById("notice");
  if (!place) return void toast(message, { bad, id: "notice" });
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

/** Start a build of what the body names and go to its page; tells why where it can't, through `refused(problem)` where that is given. */
export async function build(body, refused = null) {
  const name = body.repo;
  if (!refused) notice(text("starting", { name }));
  try {
    const started = await post("/check/", body);
    location.assign(buildPage(started.event));
  } catch (problem) {
    // Refused by the backend: the event is recorded, with the reason, and its page says more.
    if (problem.body?.event) return location.assign(buildPage(problem.body.event));
    if (refused && problem instanceof Problem) return refused(problem);
    notice(text("not_started", { name, reason: problem.message }), true);
  }
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.copy);
  if (!button.classList.contains("icon-only")) return void ((button.querySelector("span") ?? button).textContent = text("copied"));
  button.replaceChildren(icon("check"));
  toast(text("copied"), { id: "copied" });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.getAttribute("aria-disabled") === "true") return;
  const { repo, branch, tag } = button.dataset;
  if (button.classList.contains("build")) busy(button, () => build({ repo, ...(branch && { branch }), ...(tag && { tag }) }));
  else if (button.classList.contains("copy")) copy(button);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
  const search = document.querySelector("main input[type=search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
});

/** Of a row of links that is wider than the screen, show the one where the reader is. */
function showWhereOneIs() {
  for (const link of document.querySelectorAll("nav [aria-current]")) {
    const row = link.parentElement;
    if (row.scrollWidth > row.clientWidth) row.scrollLeft = link.offsetLeft + link.offsetWidth - row.offsetLeft - row.clientWidth + 24;
  }
}

offerCopies();
showTimes();
showWhereOneIs();
toastFromBefore();
