// The page's texts in the reader's language, as the server handed them over.

const texts = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");

/** The text of that key, each {name} filled in. */
export function text(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A duration such as 12 s, 3 min 5 s or 2 h 7 min. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return text("seconds", { s: whole });
  if (whole < 3600) return text("minutes", { m: Math.floor(whole / 60), s: whole % 60 });
  return text("hours", { h: Math.floor(whole / 3600), m: Math.floor((whole % 3600) / 60) });
}
