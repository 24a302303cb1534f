// The page of one build: its output while it is printed, its state while it changes.

import { Problem, get, post, refresh } from "../ci_portal/api.js";
import { notice, offerCopies } from "../ci_portal/portal.js";

/** Milliseconds between two looks at the event, and at its place in the queue. */
const POLL = 2000;
const QUEUE = 10000;

const facts = () => document.getElementById("facts");
const isActive = () => facts().dataset.active === "true";

const said = () => [...document.querySelectorAll(".verdict > p")].map((part) => part.textContent).join(" ").replace(/\s+/g, " ").trim();

/** Put what the server says now in place: state, attempts, history, title and icon. */
async function refreshFacts() {
  const before = said();
  const page = await refresh(location.href, "#facts", "#history");
  document.title = page.title;
  const [icon, fresh] = [document, page].map((each) => each.querySelector('link[rel="icon"]'));
  if (icon && fresh) icon.href = fresh.getAttribute("href");
  offerCopies(facts());
  // A place that stays: screen readers do not tell of live regions that are replaced as a whole.
  if (said() !== before) document.getElementById("announcement").textContent = said();
  const output = document.getElementById("output");
  const newest = facts().dataset.newest;
  // A retry is a run of its own: whoever looks at "the newest" goes on with that one.
  if (newest && newest !== output?.dataset.run && !new URLSearchParams(location.search).has("run")) location.reload();
}

/** What the page tells of the event and its newest run. The queue moves by itself: of a run that waits, a few seconds' worth. */
async function standing() {
  const { event, newest } = facts().dataset;
  const row = await get(`/event/${event}/`);
  if (!newest) return JSON.stringify(row);
  const { status, reason, cancel_requested_at: cancelled } = await get(`/job/${newest}/`);
  return JSON.stringify([row, status, reason, cancelled, status === "waiting" && Math.floor(Date.now() / QUEUE)]);
}

/** Look at the event until it has an outcome, and draw the page anew whenever something about it changed. */
async function watchEvent() {
  let seen = null;
  while (isActive()) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    try {
      const now = await standing();
      if (now !== seen) await refreshFacts();
      seen = now;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem; // asked again soon
    }
  }
}

/** Cancel or retry: what the button says, asked back where it would lose something. */
async function act(button) {
  const { action, event, confirm: question } = button.dataset;
  if (question && !confirm(question)) return;
  button.disabled = true;
  try {
    await post(`/event/${event}/${action}/`, {});
    if (action === "retry") return location.assign(location.pathname); // the newest run, and the event is watched again
    await refreshFacts();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    notice(problem.message, true);
    button.disabled = false;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.act");
  if (button) act(button);
});

document.addEventListener("output-ended", () => refreshFacts().catch(() => {}));
watchEvent();
