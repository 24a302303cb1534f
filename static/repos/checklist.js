// "Test connection": a dry run of /check/, shown check by check.

import { Problem, post } from "../ci_portal/api.js";
import { text } from "../ci_portal/texts.js";

const ICONS = new URL("../ci_portal/icons.svg", import.meta.url).pathname;

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("width", "16");
  svg.setAttribute("height", "16");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${ICONS}#${name}`);
  svg.append(use);
  return svg;
}

function line({ name, ok, detail }) {
  const item = document.createElement("li");
  const [said, words] = [document.createElement("strong"), document.createElement("span")];
  said.textContent = `${name}: ${text(ok ? "passed" : "not_passed")}`;
  words.textContent = detail ?? "";
  item.append(icon(ok ? "succeeded" : "failed"), said, words);
  return item;
}

function show(place, summary, checks) {
  const [heading, list] = [document.createElement("p"), document.createElement("ul")];
  heading.textContent = summary;
  list.append(...checks.map(line));
  place.replaceChildren(heading, list);
  place.hidden = false;
}

/** Ask what a check with this body would do and show the answer in `place`. Returns the Problem where it was refused. */
export async function test(place, button, body) {
  show(place, text("testing"), []);
  button.disabled = true;
  try {
    const answer = await post("/check/", { ...body, dry_run: true });
    show(place, text(answer.ok ? "test_ok" : "test_failed"), answer.checks ?? []);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    show(place, problem.message, []);
    return problem;
  } finally {
    button.disabled = false;
  }
  return null;
}
