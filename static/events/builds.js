// Cancel and retry from the row of a build; filters that apply as they are chosen.

import { Problem, post } from "../ci_portal/api.js";
import { busy } from "../ci_portal/busy.js";
import { ask } from "../ci_portal/dialog.js";
import { look } from "../ci_portal/live.js";
import { text } from "../ci_portal/texts.js";
import { toast } from "../ci_portal/toast.js";

async function act({ action, event, name, started }) {
  const question = { title: text("cancel_title", { name }), question: text("cancel_question"), yes: text("cancel_yes") };
  if (action === "cancel" && started !== undefined && !(await ask(question))) return;
  try {
    const { event: now } = await post(`/event/${event}/${action}/`, {});
    const said = action === "retry" ? "retried" : now.status_label === "cancelled" ? "cancelled" : "cancelling";
    toast(text(said, { name }), { id: `event-${event}` });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    toast(`${name}: ${problem.message}`, { bad: true, id: `event-${event}` });
  }
  await look();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("table.builds button.act");
  if (button && button.getAttribute("aria-disabled") !== "true") busy(button, () => act(button.dataset));
});

const filter = document.getElementById("filter");
if (filter) {
  // Fields that say nothing stay out of the address.
  filter.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) if (!value) formData.delete(name);
  });
  for (const field of filter.querySelectorAll("input[type=date]")) field.addEventListener("change", () => filter.requestSubmit());
  // A name that was chosen from the list; what is typed waits for Enter.
  filter.elements.repo.addEventListener("input", (event) => {
    if (!(event instanceof InputEvent) || event.inputType === "insertReplacementText") filter.requestSubmit();
  });
}
