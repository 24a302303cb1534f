// The form that adds a repository: a URL is enough, the rest is suggested.

import { Problem, post } from "../ci_portal/api.js";
import { busy } from "../ci_portal/busy.js";
import { look } from "../ci_portal/live.js";
import { build } from "../ci_portal/portal.js";
import { text } from "../ci_portal/texts.js";
import { toast } from "../ci_portal/toast.js";
import { test } from "./checklist.js";
import { clearErrors, describeFields, markErrors, names, showErrors, values } from "./fields.js";
import { suggestedName, takeLogin } from "./login.js";
import { offerRefs } from "./refs.js";

const form = document.getElementById("add");
const progress = document.getElementById("add_progress");
const result = document.getElementById("test_result");
/** What /check/ calls a field, where that differs from /repo/. */
const CHECK_NAMES = { git_user: "user", git_token: "token" };
const REMOTE = ["repo", "git_user", "git_token", "ca_secret"];
const CHECKED = [...REMOTE, "branch", "tag", "dockerfile", "build_path", "image", "type"];
const { repo, repo_name: repoName, git_user: gitUser, git_token: gitToken, branch, tag } = form.elements;

function checkBody(fields) {
  const body = {};
  for (const [name, value] of Object.entries(values(form, fields))) body[CHECK_NAMES[name] ?? name] = value;
  return body;
}

let suggested = "";

/** Take a login out of the URL, suggest a name, and show the fields that such a URL needs. */
function readUrl() {
  const found = takeLogin(repo.value);
  if (found) {
    repo.value = found.url;
    if (found.user) gitUser.value = found.user;
    if (found.token) gitToken.value = found.token;
    progress.textContent = text("login_moved");
  }
  if (repoName.value === suggested) {
    suggested = suggestedName(repo.value);
    repoName.value = suggested;
  }
  form.classList.toggle("ssh", /^(ssh:\/\/|[^:/@\s]+@[^:/\s]+:)/i.test(repo.value.trim()));
}

async function add() {
  readUrl();
  clearErrors(form);
  if (!repo.value.trim()) return markErrors(form, [{ field: "repo", message: text("test_needs_url") }]);
  progress.textContent = text("adding");
  try {
    const row = await post("/repo/", values(form, names(form)));
    form.reset();
    suggested = "";
    document.getElementById("add_more").open = false;
    result.hidden = true;
    await show(row.repo_name);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    showErrors(form, problem, "not_added");
  } finally {
    progress.textContent = "";
  }
}

/** The newest on top, whatever the list showed before. */
async function show(name) {
  history.replaceState(null, "", "/?sort=added");
  document.getElementById("search").value = "";
  document.getElementById("sort").value = "added";
  await look();
  toast(text("added", { name }), { action: { label: text("build_now"), run: () => build({ repo: name }) } });
}

async function testConnection() {
  readUrl();
  clearErrors(form);
  const body = checkBody(CHECKED);
  if (!body.repo) return markErrors(form, [{ field: "repo", message: text("test_needs_url") }]);
  markErrors(form, await test(result, body), CHECK_NAMES);
  offer();
}

describeFields(form);
const offer = offerRefs(branch, tag, () => (/\S\/\S|\S:\S/.test(repo.value) && !/@.*@|\/\/[^/]*:[^/]*@/.test(repo.value) ? checkBody(REMOTE) : null));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  busy(document.getElementById("add_button"), add);
});
repo.addEventListener("input", () => repoName.value === suggested && readName());
repo.addEventListener("change", readUrl);
repo.addEventListener("paste", () =>
  setTimeout(() => {
    readUrl();
    offer();
  }),
);
document.getElementById("test_button").addEventListener("click", (event) => busy(event.currentTarget, testConnection));

/** While one types: the name only, as the URL may not be whole yet. */
function readName() {
  suggested = suggestedName(repo.value);
  repoName.value = suggested;
}

// What the browser kept of an earlier visit.
if (repo.value) readUrl();
