// Changing a repository's settings, and deleting it.

import { Problem, send } from "../ci_portal/api.js";
import { busy } from "../ci_portal/busy.js";
import { text } from "../ci_portal/texts.js";
import { toast, toastAfterwards } from "../ci_portal/toast.js";
import { clearErrors, describeFields, showErrors } from "./fields.js";
import { takeLogin } from "./login.js";

const form = document.getElementById("edit");
/** Of each credential: what /repo/ calls its parts. */
const SECRETS = { git: ["git_user", "git_token"], key: ["deploy_key"] };
const SECRET_NAMES = new Set(Object.values(SECRETS).flat());

const choice = (kind) => form.elements[`${kind}_choice`];

/** What was changed, and nothing else: what others change meanwhile stays as they left it. */
function changes() {
  const changed = {};
  for (const input of form.querySelectorAll(".field [name]")) {
    if (SECRET_NAMES.has(input.name) || input.disabled) continue;
    if (input.type === "checkbox") {
      if (input.checked !== input.defaultChecked) changed[input.name] = input.checked;
    } else if (input.value.trim() !== input.defaultValue.trim()) changed[input.name] = input.value.trim();
  }
  for (const [kind, names] of Object.entries(SECRETS)) {
    const chosen = choice(kind)?.value;
    if (chosen === "replace") for (const name of names) changed[name] = form.elements[name].value.trim();
    if (chosen === "remove") for (const name of names) changed[name] = "";
  }
  return changed;
}

/** Take a login out of the URL, into the fields that keep it secret. */
function moveLogin() {
  const { repo, git_user: user, git_token: token } = form.elements;
  const found = takeLogin(repo.value);
  if (!found) return;
  repo.value = found.url;
  if (!choice("git")) return;
  choice("git").value = "replace";
  if (found.user) user.value = found.user;
  if (found.token) token.value = found.token;
  toast(text("login_moved"));
}

async function save() {
  moveLogin();
  clearErrors(form);
  const changed = changes();
  if (!Object.keys(changed).length) return void toast(text("unchanged"), { id: "saved" });
  try {
    const row = await send("PATCH", `/repo/${form.dataset.id}/`, changed);
    leaving = true;
    toastAfterwards(text("saved", { name: row.repo_name }));
    location.assign(`/repos/${encodeURIComponent(row.repo_name).replaceAll("%2F", "/")}/`);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    showErrors(form, problem, "not_saved");
  }
}

let leaving = false;
describeFields(form);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(document.getElementById("save_button"), save);
});
form.elements.repo.addEventListener("change", moveLogin);
addEventListener("beforeunload", (event) => {
  if (!leaving && Object.keys(changes()).length) event.preventDefault();
});

const dialog = document.getElementById("delete_dialog");
if (dialog) {
  const question = dialog.querySelector("form");
  const { id, name } = question.dataset;
  const [typed, confirm] = ["delete_name", "delete_confirm"].map((each) => document.getElementById(each));
  document.getElementById("delete_button").addEventListener("click", () => dialog.showModal());
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  typed.addEventListener("input", () => (confirm.disabled = typed.value.trim() !== name));
  question.addEventListener("submit", (event) => {
    event.preventDefault();
    if (typed.value.trim() === name) busy(confirm, () => remove(id, name, question));
  });
}

async function remove(id, name, question) {
  try {
    await send("DELETE", `/repo/${id}/`);
    leaving = true;
    toastAfterwards(text("deleted", { name }));
    location.assign("/");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    const place = question.querySelector(".summary");
    place.textContent = problem.message;
    place.hidden = false;
  }
}
