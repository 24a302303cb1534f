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

/** `ok` is null for what could not be looked at. */
function line({ name, ok, detail }) {
  const [shape, words] = ok === null ? ["unknown", "not_checked"] : ok ? ["succeeded", "passed"] : ["failed", "not_passed"];
  const [item, said, why] = ["li", "strong", "span"].map((tag) => document.createElement(tag));
  said.textContent = `${text(`check_${name}`)}: ${text(words)}`;
  why.textContent = detail;
  item.append(icon(shape), said, why);
  return item;
}

function show(place, summary, checks) {
  const [heading, list] = [document.createElement("p"), document.createElement("ul")];
  heading.textContent = summary;
  list.append(...checks.map(line));
  place.replaceChildren(heading, list);
  place.hidden = false;
}

/** Ask what a check with this body would do and show the answer in `place`. Returns what must be corrected: [{ field, message }]. */
export async function test(place, button, body) {
  show(place, text("testing"), []);
  button.disabled = true;
  try {
    const answer = await post("/check/", { ...body, dry_run: true });
    show(place, text(answer.ok ? "test_ok" : "test_failed"), answer.checks);
    return answer.checks.filter(({ ok, field }) => ok === false && field).map(({ field, detail }) => ({ field, message: detail }));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    show(place, problem.message, []);
    return problem.errors;
  } finally {
    button.disabled = false;
  }
}
