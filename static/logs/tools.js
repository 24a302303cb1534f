// The buttons of the viewer, and what the reader prefers.

/** Listen to what is clicked. */
export function listenToTools(viewer) {
  viewer.addEventListener("click", (event) => {
    const [tool, fold] = ["[data-do]", "[data-fold]"].map((each) => event.target.closest(each));
    if (fold) viewer.fold(fold.dataset.fold);
    else if (tool) act(viewer, tool.dataset.do);
  });
  const keys = viewer.querySelector("[data-preference=keys]");
  keys.addEventListener("change", () => viewer.preferences.set("keys", keys.checked));
  document.addEventListener("fullscreenchange", () => {
    viewer.querySelector("[data-do=full]").setAttribute("aria-pressed", String(document.fullscreenElement === viewer));
  });
}

/** What a tool or a key asks for. */
export function act(viewer, what) {
  const actions = {
    error: () => viewer.toError(),
    end: () => viewer.toEnd(),
    line: () => viewer.going.open(),
    follow: () => viewer.toggleFollowing(),
    folds: () => viewer.foldAll(),
    times: () => viewer.prefer("times"),
    wrap: () => viewer.prefer("wrap"),
    full: () => (document.fullscreenElement ? document.exitFullscreen() : viewer.requestFullscreen?.()),
    help: () => viewer.help.showModal(),
  };
  actions[what]?.();
}

/** Show the viewer as the reader prefers it. */
export function applyPreferences(viewer) {
  const [wrap, times] = [viewer.preferences.get("wrap"), viewer.preferences.get("times")];
  viewer.body.classList.toggle("ov-wrapped", wrap);
  viewer.body.classList.toggle("ov-timed", times);
  viewer.scroller.measured = wrap;
  for (const [name, on] of [["wrap", wrap], ["times", times]]) {
    viewer.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", String(on));
  }
  viewer.querySelector("[data-preference=keys]").checked = viewer.preferences.get("keys");
}

/** A size for people. */
export function bytes(size) {
  const units = ["B", "KB", "MB", "GB"];
  let unit = 0;
  while (size >= 1000 && unit < 3) [size, unit] = [size / 1000, unit + 1];
  const digits = { maximumFractionDigits: unit && size < 10 ? 1 : 0 };
  return `${new Intl.NumberFormat(document.documentElement.lang || undefined, digits).format(size)} ${units[unit]}`;
}
