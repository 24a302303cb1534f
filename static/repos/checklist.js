// "Test connection": a dry run of /check/, shown check by check.

import { Problem, post } from "../ci_portal/api.js";
import { icon } from "../ci_portal/icon.js";
import { text } from "../ci_portal/texts.js";

/** `ok` is null for what could not be looked at. */
function point({ name, ok, detail }) {
  const [shape, words] = ok === null ? ["unknown", "not_checked"] : ok ? ["succeeded", "passed"] : ["failed", "not_passed"];
  const [item, line, said, why] = ["li", "div", "strong", "span"].map((tag) => document.createElement(tag));
  said.textContent = `${text(`check_${name}`)}: ${text(words)}`;
  why.textContent = detail;
  why.className = "muted";
  line.append(said, " ", why);
  item.append(icon(shape), line);
  return item;
}

function show(place, summary, checks) {
  const [heading, list] = [document.createElement("p"), document.createElement("ul")];
  heading.className = "strong";
  heading.textContent = summary;
  list.append(...checks.map(point));
  place.replaceChildren(heading, list);
  place.hidden = false;
}

/** Ask what a check with this body would do and show the answer in `place`. Returns what must be corrected: [{ field, message }]. */
export async function test(place, body) {
  show(place, text("testing"), []);
  try {
    const answer = await post("/check/", { ...body, dry_run: true });
    show(place, text(answer.ok ? "test_ok" : "test_failed"), answer.checks);
    return answer.checks.filter(({ ok, field }) => ok === false && field).map(({ field, detail }) => ({ field, message: detail }));
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    show(place, problem.message, []);
    return problem.errors;
  }
}
