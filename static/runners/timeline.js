// Bars of the timeline, and how much time is left: drawn here, since they grow.

import { duration, text } from "../ci_portal/texts.js";
import { now } from "../ci_portal/times.js";

/** Draw each part's time against the whole. Attributes of SVG, not styles: the page's policy allows no inline style. */
export function draw() {
  const parts = [...document.querySelectorAll("#timeline .part")];
  const begun = parts.filter((part) => part.dataset.from);
  const from = Math.min(...begun.map((part) => Date.parse(part.dataset.from)));
  const to = Math.max(...begun.map((part) => (part.dataset.to ? Date.parse(part.dataset.to) : now())), from + 1000);
  for (const part of begun) {
    const [start, end] = [Date.parse(part.dataset.from), part.dataset.to ? Date.parse(part.dataset.to) : now()];
    const bar = part.querySelector(".part-time");
    bar.setAttribute("x", `${(((start - from) / (to - from)) * 100).toFixed(2)}%`);
    bar.setAttribute("width", `${Math.max(0.6, ((end - start) / (to - from)) * 100).toFixed(2)}%`);
  }
  left();
}

/** How long it may still take, in words; once that is over, that it takes longer than usual. */
function left() {
  const place = document.querySelector("#standing .left");
  if (!place) return;
  const usual = Number(place.dataset.expected);
  const rest = usual - (now() - Date.parse(place.dataset.start)) / 1000;
  const words = rest > 0 ? text("time_left", { time: duration(rest) }) : text("time_over", { time: duration(usual) });
  if (place.textContent !== words) place.textContent = words;
}

setInterval(() => document.hidden || draw(), 1000);
