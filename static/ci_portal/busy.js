// Buttons whose work takes a moment.

/**
 * Do the work once: until it is done the button turns a wheel, keeps the focus and takes no second click. Returns what the
 * work returns, undefined where it was under way already.
 */
export async function busy(button, work) {
  if (button.getAttribute("aria-busy") === "true") return undefined;
  button.setAttribute("aria-busy", "true");
  button.setAttribute("aria-disabled", "true");
  try {
    return await work();
  } finally {
    rest(button);
  }
}

/** Let the button be pressed again. */
export function rest(button) {
  button.removeAttribute("aria-busy");
  button.removeAttribute("aria-disabled");
}
