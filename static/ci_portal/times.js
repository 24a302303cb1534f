// Times in the reader's language, region and zone: how long ago in words, the moment itself on hover.

import { duration } from "./texts.js";

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;
/** What is older is told by its date. */
const LONG_AGO = 30 * DAY;

/** The reader's region for the page's language: en-GB for an English page in Britain. */
const language = document.documentElement.lang;
const locale = navigator.languages.find((each) => each.split("-")[0] === language.split("-")[0] && language !== "zh-hans") ?? language;
/** Milliseconds by which this machine's clock is behind the portal's. */
const behind = Date.parse(document.body.dataset.now ?? "") - Date.now() || 0;

const exact = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: "medium" });
const ago = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

/** The portal's time, in milliseconds. */
export function now() {
  return Date.now() + behind;
}

/** Chinese with a space between number and word, as all other texts have it. */
function spaced(told) {
  return told.replace(/(\d)(?=\p{Script=Han})/gu, "$1 ");
}

function words(moment) {
  const seconds = (moment - now()) / 1000;
  const size = Math.abs(seconds);
  if (size > LONG_AGO) return day.format(moment);
  if (size < MINUTE) return ago.format(0, "second");
  if (size < HOUR) return spaced(ago.format(Math.trunc(seconds / MINUTE), "minute"));
  if (size < DAY) return spaced(ago.format(Math.trunc(seconds / HOUR), "hour"));
  return spaced(ago.format(Math.trunc(seconds / DAY), "day"));
}

/** Show what a part of the page tells in seconds, minutes and days as it is now. */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.valueOf())) continue;
    if (!time.dataset.ago) {
      time.title = exact.format(moment);
      time.dataset.ago = "shown";
    }
    set(time, words(moment));
  }
  for (const [kind, format] of [["clock", clock], ["day", day]]) {
    for (const time of root.querySelectorAll(`time[data-${kind}=""]`)) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.valueOf())) continue;
      time.title = exact.format(moment);
      time.dataset[kind] = "shown";
      set(time, format.format(moment));
    }
  }
  for (const place of root.querySelectorAll("[data-since]")) {
    set(place, duration((now() - Date.parse(place.dataset.since)) / 1000));
  }
  for (const bar of root.querySelectorAll("progress[data-start]")) {
    const { start, expected } = bar.dataset;
    // Nearly full until it has really ended: the estimate is what earlier builds took.
    bar.value = Math.min(0.96, (now() - Date.parse(start)) / 1000 / Number(expected));
  }
}

function set(place, words) {
  if (place.textContent !== words) place.textContent = words;
}

setInterval(() => document.hidden || showTimes(), 1000);
document.addEventListener("visibilitychange", () => document.hidden || showTimes());
