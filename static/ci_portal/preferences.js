// Light or dark, as the reader chose; the server draws every later page that way from the start.

import { icon } from "./icon.js";

const YEAR = 31536000;
const ICONS = { "": "screen", light: "sun", dark: "moon" };

function choose(scheme) {
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `scheme=${scheme}; path=/; samesite=lax; max-age=${scheme ? YEAR : 0}${secure}`;
  if (scheme) document.documentElement.dataset.scheme = scheme;
  else delete document.documentElement.dataset.scheme;
  const menu = document.getElementById("scheme");
  for (const button of menu.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.scheme === scheme));
  }
  menu.querySelector("summary .icon").replaceWith(icon(ICONS[scheme]));
}

document.getElementById("scheme")?.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) choose(button.dataset.scheme);
});

// Where the reader is, so that dates in filters mean the reader's days.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone) document.cookie = `zone=${encodeURIComponent(zone)}; path=/; samesite=lax; max-age=${YEAR}`;

// Menus close as menus do.
const open = () => document.querySelectorAll("details.menu[open]");
document.addEventListener("click", (event) => {
  for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of open()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
document.addEventListener("focusin", (event) => {
  for (const menu of open()) if (!menu.contains(event.target)) menu.open = false;
});
