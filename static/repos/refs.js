// Branches and tags of a remote, offered while one types.

import { Problem, post } from "../ci_portal/api.js";
import { text } from "../ci_portal/texts.js";

const asked = new Map();

/** Branches, tags and the default branch of what the body names: { default, branches, tags, cut }; asked once each. Throws Problem. */
export function refsOf(body) {
  const key = JSON.stringify(body);
  if (!asked.has(key)) {
    const answer = post("/check/refs/", body);
    answer.catch(() => asked.delete(key)); // the next try asks again
    asked.set(key, answer);
  }
  return asked.get(key);
}

/** Give a field a list to choose from. */
function offer(input, names) {
  const id = `${input.id}_list`;
  let list = document.getElementById(id);
  if (!list) {
    list = document.createElement("datalist");
    list.id = id;
    input.after(list);
    input.setAttribute("list", id);
  }
  list.replaceChildren(...names.map((name) => new Option(name, name)));
}

function hint(input, words) {
  const place = document.getElementById(`${input.id}_helptext`);
  if (!place) return;
  place.dataset.own ??= place.textContent;
  place.textContent = words || place.dataset.own;
}

/**
 * Offer the branches and tags of what `body()` names in these two fields; `body()` is null while it names nothing.
 * Returns a function that asks again, quietly unless told otherwise.
 */
export function offerRefs(branch, tag, body) {
  const ask = async (aloud = false) => {
    const named = body();
    if (!named) return;
    if (aloud) hint(branch, text("refs_asking"));
    try {
      const refs = await refsOf(named);
      if (JSON.stringify(body()) !== JSON.stringify(named)) return; // something else was typed meanwhile
      offer(branch, refs.branches);
      offer(tag, refs.tags);
      if (refs.default) branch.placeholder = refs.default;
      hint(branch, text(refs.cut ? "refs_cut" : "refs_found", { branches: refs.branches.length, tags: refs.tags.length }));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      hint(branch, aloud ? problem.message : "");
    }
  };
  for (const input of [branch, tag]) input.addEventListener("focus", () => ask(true));
  return ask;
}
