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
  for (const name of names) if (form.elements[name]?.value.trim()) filled[name] = form.elements[name].value.trim();
  return filled;
}

function clearErrors() {
  summary.hidden = true;
  for (const place of form.querySelectorAll(".field .error")) place.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

/** Show each error beside its field, what belongs to no field at the top, and go to the first. */
function showErrors(problem, names = {}) {
  const own = Object.fromEntries(Object.entries(names).map(([field, wire]) => [wire, field]));
  const loose = [];
  let first = null;
  for (const { field, message } of problem.errors) {
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
  if (loose.length || !first) loose.unshift(problem.message);
  summary.textContent = [first ? text("not_added") : "", ...loose].join(" ").trim();
  summary.hidden = false;
  if (first?.closest("details")) first.closest("details").open = true;
  first?.focus();
}

function moveLogin() {
  const found = takeLogin(form.elements.repo.value);
  if (!found) return;
  form.elements.repo.value = found.url;
  if (found.user) form.elements.git_user.value = found.user;
  if (found.token) form.elements.git_token.value = found.token;
  document.getElementById("add_more").open = true;
  progress.textContent = text("login_moved");
}

async function add(event) {
  event.preventDefault();
  moveLogin();
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
  moveLogin();
  clearErrors();
  const body = {};
  for (const [name, value] of Object.entries(values(CHECKED))) body[CHECK_NAMES[name] ?? name] = value;
  if (!body.repo) return showErrors({ message: "", errors: [{ field: "repo", message: text("test_needs_url") }] });
  const problem = await test(document.getElementById("test_result"), document.getElementById("test_button"), body);
  if (problem?.errors.length) showErrors(problem, CHECK_NAMES);
}

for (const input of form.querySelectorAll(".field input")) {
  const described = [`${input.id}_helptext`, `${input.id}_error`].filter((id) => document.getElementById(id));
  input.setAttribute("aria-describedby", described.join(" "));
}
form.addEventListener("submit", add);
form.elements.repo.addEventListener("change", moveLogin);
form.elements.repo.addEventListener("paste", () => setTimeout(moveLogin));
document.getElementById("test_button").addEventListener("click", testConnection);
