// Lists that go on by themselves: the same address is asked again for the page's parts marked data-live, and what has
// changed is put in place. Rows stay the elements that they are, so that focus, selection and scroll position stay too.

import { offerCopies } from "./portal.js";
import { text } from "./texts.js";
import { showTimes } from "./times.js";
import { toast } from "./toast.js";

/** Milliseconds between two looks: while something moves, while nothing does, and at most after failures. */
const BUSY = 2000;
const QUIET = 10000;
const LONGEST = 30000;
/** Failures in a row after which the reader is told. */
const TOLD = 3;

let etag = "";
let failures = 0;
let timer = 0;

/** What the server has to say now; null where nothing changed. */
async function fresh() {
  const headers = { Accept: "text/html", "X-Live": "1", ...(etag && { "If-None-Match": etag }) };
  const response = await fetch(location.href, { headers, cache: "no-store", credentials: "same-origin" });
  if (response.status === 304) return null;
  if (response.redirected) return location.reload(); // to the login
  if (!response.ok) throw new Error(String(response.status));
  etag = response.headers.get("ETag") ?? "";
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

/** Look now, and again later. */
export async function look() {
  clearTimeout(timer);
  try {
    const page = await fresh();
    if (page) renew(page);
    if (failures >= TOLD) toast(text("live_again"), { id: "live" });
    failures = 0;
  } catch (problem) {
    if (!(problem instanceof TypeError) && !/^\d+$/.test(problem.message)) throw problem;
    failures += 1;
    if (failures === TOLD) toast(text("live_lost"), { bad: true, id: "live" });
  } finally {
    later();
  }
}

/** A hidden page looks on only where it is about one thing whose end is waited for ([data-awaited]), and more slowly. */
function later() {
  clearTimeout(timer);
  const pace = !document.hidden && document.querySelector("[data-live] [data-active], [data-live][data-active]") ? BUSY : QUIET;
  const again = () => (document.hidden && !document.querySelector("[data-awaited]")) || look();
  timer = setTimeout(again, Math.min(LONGEST, pace * 2 ** Math.min(failures, 4)));
}

/** What the server said last of each part: what scripts made of it since does not count as a change. */
const said = new Map();

function renew(page) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const now = page.getElementById(part.id);
    if (!now) continue;
    const version = now.dataset.version ?? now.outerHTML;
    const known = now.dataset.version === undefined ? said.get(part.id) : part.dataset.version;
    said.set(part.id, version);
    const [rows, next] = [part, now].map((each) => each.querySelector("tbody"));
    if (rows && next) merge(rows, next);
    else if (known !== version) replace(part, now);
  }
  document.dispatchEvent(new CustomEvent("live", { detail: page }));
}

function replace(part, now) {
  const focused = part.contains(document.activeElement) && focusable(part).indexOf(document.activeElement);
  const next = document.adoptNode(now);
  const folds = [part, next].map((each) => [...each.querySelectorAll("details")]);
  folds[1].forEach((fold, index) => folds[0][index] && (fold.open = folds[0][index].open));
  part.replaceWith(next);
  settle(next);
  if (focused !== false) (focusable(next)[focused] ?? focusable(next)[0])?.focus();
  return next;
}

/** Change the rows that changed; come and go rows only while nobody points at the list or is in it, so that nothing moves under a click. */
function merge(rows, next) {
  const known = new Map([...rows.children].map((row) => [row.dataset.key, row]));
  for (const row of [...next.children]) {
    const old = known.get(row.dataset.key);
    if (old && old.dataset.version !== row.dataset.version) {
      const moved = old.dataset.state !== row.dataset.state;
      const changed = replace(old, row.cloneNode(true));
      known.set(row.dataset.key, changed);
      if (moved) tell(changed);
    }
  }
  if (rows.matches(":hover") || rows.contains(document.activeElement)) return void (etag = "");
  let place = null;
  for (const row of [...next.children]) {
    const here = known.get(row.dataset.key) ?? settle(document.adoptNode(row));
    const expected = place ? place.nextElementSibling : rows.firstElementChild;
    if (expected !== here) rows.insertBefore(here, expected);
    known.delete(row.dataset.key);
    place = here;
  }
  for (const gone of known.values()) gone.remove();
}

function settle(part) {
  showTimes(part);
  offerCopies(part);
  return part;
}

function tell(row) {
  row.classList.add("changed");
  const place = document.getElementById("announcement");
  if (place) place.textContent = text("became", { name: row.dataset.name, state: row.querySelector(".state")?.textContent.trim() });
}

const focusable = (part) => [...part.querySelectorAll("a[href], button, input, select, summary")];

document.addEventListener("visibilitychange", () => document.hidden || look());
addEventListener("online", look);
later();
