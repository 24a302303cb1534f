// "Choose branch or tag…": what the remote has, offered while one types.

import { busy } from "../ci_portal/busy.js";
import { build } from "../ci_portal/portal.js";
import { offerRefs } from "./refs.js";

const dialog = document.getElementById("build_dialog");
const form = dialog.querySelector("form");
const { branch, tag, force } = form.elements;
const { repo } = form.dataset;

const offer = offerRefs(branch, tag, () => ({ repo }));

document.getElementById("choose_button").addEventListener("click", () => {
  dialog.showModal();
  branch.focus();
  offer(true);
});
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = form.elements.kind.value === "tag" ? { tag: tag.value.trim() } : { branch: branch.value.trim() };
  const said = Object.fromEntries(Object.entries(name).filter(([, value]) => value));
  busy(event.submitter, () => build({ repo, ...said, ...(force.checked && { force: true }) }, refused));
});

/** What the portal says stands beside the field that it is about. */
function refused(problem) {
  for (const place of form.querySelectorAll(".error")) place.hidden = true;
  const field = form.elements.kind.value;
  const own = problem.errors.some((error) => error.field === field);
  const place = own ? document.getElementById(`build_${field}_error`) : form.querySelector(".summary");
  place.textContent = problem.message;
  place.hidden = false;
  if (own) form.elements[field].focus();
}
