// The form that adds a repository.

import { Problem, post, refresh } from "../ci_portal/api.js";
import { notice } from "../ci_portal/portal.js";
import { text } from "../ci_portal/texts.js";
import { test } from "./checklist.js";
import { takeLogin } from "./login.js";

const form = document.getElementById("add");
const progress = document.getElementById("add_progress");
const summary = document.getElementById("add_summary");
/** What /check/ calls a field, where that differs from /repo/. */
const CHECK_NAMES = { git_user: "user", git_token: "token" };
const CHECKED = ["repo", "git_user", "git_token", "branch", "tag", "dockerfile", "build_path", "image", "type", "ca_secret"];

function values(names) {
  const filled = {};
  for (const name of names) {
    const input = form.elements[name];
    if (input?.type === "checkbox") filled[name] = input.checked;
    else if (input?.value.trim()) filled[name] = input.value.trim();
  }
  return filled;
}

function clearErrors() {
  summary.hidden = true;
  for (const place of form.querySelectorAll(".field .error")) place.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Show each error beside its field and go to the first. Returns the messages that belong to no field. */
function markErrors(errors, names = {}) {
  const own = Object.fromEntries(Object.entries(names).map(([field, wire]) => [wire, field]));
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

/** The same, and say above the form what belongs to no field. */
function showErrors(problem) {
  const loose = markErrors(problem.errors);
  if (loose.length === problem.errors.length) summary.textContent = problem.message;
  else summary.textContent = [text("not_added"), ...loose].join(" ");
  summary.hidden = false;
}

/** Take a login out of the URL. Unfolding its fields moves the buttons, so that must not happen under a click. */
function moveLogin(unfold) {
  const found = takeLogin(form.elements.repo.value);
  if (!found) return;
  form.elements.repo.value = found.url;
  if (found.user) form.elements.git_user.value = found.user;
  if (found.token) form.elements.git_token.value = found.token;
  if (unfold) document.getElementById("add_more").open = true;
  progress.textContent = text("login_moved");
}

async function add(event) {
  event.preventDefault();
  moveLogin(false);
  clearErrors();
  const button = document.getElementById("add_button");
  button.disabled = true;
  progress.textContent = text("adding");
  try {
    const names = [...form.querySelectorAll(".field [name]")].map((field) => field.name);
    const row = await post("/repo/", values(names));
    form.reset();
    document.getElementById("add_more").open = false;
    document.getElementById("test_result").hidden = true;
    history.replaceState(null, "", "/");
    document.getElementById("search").value = "";
    await refresh("/", "#repositories");
    notice(text("added", { name: row.repo_name }));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    showErrors(problem);
  } finally {
    progress.textContent = "";
    button.disabled = false;
  }
}

async function testConnection() {
  moveLogin(false);
  clearErrors();
  const body = {};
  for (const [name, value] of Object.entries(values(CHECKED))) body[CHECK_NAMES[name] ?? name] = value;
  if (!body.repo) return markErrors([{ field: "repo", message: text("test_needs_url") }]);
  markErrors(await test(document.getElementById("test_result"), document.getElementById("test_button"), body), CHECK_NAMES);
}

form.noValidate = true; // the server tells what is wrong, in more detail
for (const input of form.querySelectorAll(".field [name]")) {
  const described = [`${input.id}_helptext`, `${input.id}_error`].filter((id) => document.getElementById(id));
  input.setAttribute("aria-describedby", described.join(" "));
}
form.addEventListener("submit", add);
form.elements.repo.addEventListener("change", () => moveLogin(false));
form.elements.repo.addEventListener("paste", () => setTimeout(() => moveLogin(true)));
document.getElementById("test_button").addEventListener("click", testConnection);
