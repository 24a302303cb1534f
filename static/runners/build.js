// The page of one build: what it shows goes on by itself, from the click to the digest.

import { Problem, post } from "../ci_portal/api.js";
import { busy } from "../ci_portal/busy.js";
import { ask } from "../ci_portal/dialog.js";
import { look } from "../ci_portal/live.js";
import { text } from "../ci_portal/texts.js";
import { toast } from "../ci_portal/toast.js";
import { offerBell, ring } from "./bell.js";
import { offerManifest } from "./manifest.js";
import { draw } from "./timeline.js";

const standing = () => document.getElementById("standing");
const SAID = ".standing-state, .standing-why, .reason";
const saying = () => [...standing().querySelectorAll(SAID)].map((part) => part.textContent.replace(/\s+/g, " ").trim()).join(" ");

let state = standing().dataset.state;
/** Title, icon and announcement follow the state, also while another tab is looked at. */
function tell(page) {
  document.title = page.title;
  const [icon, fresh] = [document, page].map((each) => each.querySelector('link[rel="icon"]'));
  if (icon && fresh && icon.getAttribute("href") !== fresh.getAttribute("href")) icon.href = fresh.getAttribute("href");
  const now = standing().dataset.state;
  if (now === state) return;
  state = now;
  // A place that stays: screen readers do not tell of live regions that are replaced as a whole.
  document.getElementById("announcement").textContent = saying();
  if (!("active" in standing().dataset)) ring(document.title, saying());
}

document.addEventListener("live", ({ detail: page }) => {
  tell(page);
  draw();
});
document.addEventListener("output-ended", () => look());

/** Cancel or retry: asked back where it would lose something. */
async function act({ action, event, name }) {
  const question = { title: text("cancel_title", { name }), question: text("cancel_question"), yes: text("cancel_yes") };
  if (action === "cancel" && !(await ask(question))) return;
  try {
    const { event: now } = await post(`/event/${event}/${action}/`, {});
    const said = action === "retry" ? "retried" : now.status_label === "cancelled" ? "cancelled" : "cancelling";
    toast(text(said, { name }), { id: `event-${event}` });
    // A retry is a run of its own: whoever looked at another attempt goes on with the new one.
    if (action === "retry" && location.search) history.replaceState(null, "", location.pathname);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast(`${name}: ${problem.message}`, { bad: true, id: `event-${event}` });
  }
  await look();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("#actions button.act");
  if (button && button.getAttribute("aria-disabled") !== "true") busy(button, () => act(button.dataset));
});

draw();
offerBell();
offerManifest();
