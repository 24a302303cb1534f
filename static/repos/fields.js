// Forms that are sent as JSON: what is in their fields, and the errors beside them.

import { text } from "../ci_portal/texts.js";

/** What the fields say; empty ones stay out. */
export function values(form, names) {
  const filled = {};
  for (const name of names) {
    const input = form.elements[name];
    if (input?.type === "checkbox") filled[name] = input.checked;
    else if (input?.value.trim()) filled[name] = input.value.trim();
  }
  return filled;
}

/** The names of a form's fields that have a place for errors. */
export function names(form) {
  return [...form.querySelectorAll(".field [name]")].map((field) => field.name);
}

export function clearErrors(form) {
  form.querySelector(".summary").hidden = true;
  for (const place of form.querySelectorAll(".field .error")) place.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Show each error beside its field and go to the first. Returns the messages that belong to no field. */
export function markErrors(form, errors, wireNames = {}) {
  const own = Object.fromEntries(Object.entries(wireNames).map(([field, wire]) => [wire, field]));
  const loose = [];
  let first = null;
  for (const { field, message } of errors) {
    const input = form.querySelector(`.field [name="${CSS.escape(own[field] ?? field ?? "")}"]`);
    if (!input) {
      loose.push(field ? `${field}: ${message}` : message);
      continue;
    }
    const place = document.getElementById(`${input.id}_error`);
    place.textContent = place.hidden ? message : `${place.textContent} ${message}`;
    place.hidden = false;
    input.setAttribute("aria-invalid", "true");
    first ??= input;
  }
  if (first?.closest("details")) first.closest("details").open = true;
  first?.focus();
  return loose;
}

/** The same, and say above the form what belongs to no field. `failed`: the sentence for what was not done. */
export function showErrors(form, problem, failed) {
  const loose = markErrors(form, problem.errors);
  const summary = form.querySelector(".summary");
  if (loose.length === problem.errors.length) summary.textContent = problem.message;
  else summary.textContent = [text(failed), ...loose].join(" ");
  summary.hidden = false;
  if (loose.length === problem.errors.length) summary.scrollIntoView({ block: "nearest" });
}

/** Tie each field to its help and its error, for screen readers. The server tells what is wrong, in more detail than browsers. */
export function describeFields(form) {
  form.noValidate = true;
  for (const input of form.querySelectorAll(".field [name]")) {
    const described = [`${input.id}_helptext`, `${input.id}_error`].filter((id) => document.getElementById(id));
    input.setAttribute("aria-describedby", described.join(" "));
  }
}
