// Keys of the viewer. Single keys are shortcuts only while the focus is in it or nowhere, and can be switched off (WCAG 2.1.4).

import { act } from "./tools.js";

const WRITES = "input:not([type=checkbox]), textarea, select, [contenteditable]";

export function listenToKeys(viewer) {
  viewer.query.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      viewer.finding.go(event.shiftKey);
    } else if (event.key === "Escape") {
      viewer.finding.stop();
      viewer.view.focus({ preventScroll: true });
    }
  });
  viewer.view.addEventListener("keydown", (event) => move(viewer, event));
  document.addEventListener("keydown", (event) => shortcut(viewer, event));
}

/** Keys that scroll: with a million lines "End" is nothing that the browser could do by itself. */
function move(viewer, event) {
  if (event.target !== viewer.view || event.ctrlKey || event.altKey || event.metaKey) return;
  const page = viewer.scroller.page;
  const moves = {
    Home: () => viewer.goTo(1, { middle: false }),
    End: () => viewer.toEnd(),
    PageUp: () => by(-page),
    PageDown: () => by(page),
    ArrowUp: () => by(-24),
    ArrowDown: () => by(24),
    " ": () => by(event.shiftKey ? -page : page),
  };
  const by = (pixels) => {
    viewer.scroller.by(pixels);
    viewer.movedBy(pixels);
  };
  if (!moves[event.key]) return;
  event.preventDefault();
  moves[event.key]();
}

function shortcut(viewer, event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || !viewer.preferences.get("keys")) return;
  const at = event.target instanceof Element ? event.target : document.body;
  if (at.closest(WRITES) || at.closest("dialog") || !(at === document.body || at === document.documentElement || viewer.contains(at))) return;
  const actions = {
    "/": () => {
      viewer.query.focus();
      viewer.query.select();
    },
    n: () => viewer.finding.go(false),
    N: () => viewer.finding.go(true),
    e: () => act(viewer, "error"),
    "[": () => viewer.step(true),
    "]": () => viewer.step(false),
    c: () => act(viewer, "folds"),
    g: () => viewer.goTo(1, { middle: false }),
    G: () => viewer.toEnd(),
    ":": () => act(viewer, "line"),
    t: () => act(viewer, "times"),
    w: () => act(viewer, "wrap"),
    f: () => act(viewer, "full"),
    r: () => viewer.querySelector("[data-do=raw]").click(),
    d: () => viewer.querySelector("[data-do=download]").click(),
    "?": () => act(viewer, "help"),
    Escape: () => viewer.selection.clear(),
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}
