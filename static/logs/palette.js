// Terminal colours that can be read on light and on dark: WCAG 2.2 asks for a contrast of 4.5 to 1, whatever the output asks for.

/** The darkest and the lightest background that a row has in either scheme (viewer.css). */
const GROUND = { light: [238, 241, 245], dark: [42, 38, 24] };
const ENOUGH = 4.6;

const BASE = [
  [0, 0, 0], [205, 49, 49], [13, 148, 90], [176, 127, 0], [36, 114, 200], [188, 63, 188], [17, 150, 190], [190, 190, 190],
  [118, 118, 118], [241, 76, 76], [35, 209, 139], [225, 200, 40], [59, 142, 234], [214, 112, 214], [41, 184, 219], [240, 240, 240],
];

function rgb(colour) {
  if (typeof colour === "string") return colour.split(",").map(Number);
  if (colour < 16) return BASE[colour];
  if (colour >= 232) return Array(3).fill(8 + 10 * (colour - 232));
  const level = (value) => (value ? 55 + 40 * value : 0);
  const cube = colour - 16;
  return [level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)];
}

function luminance([red, green, blue]) {
  const linear = (value) => (value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

export function contrast(one, other) {
  const [a, b] = [luminance(one) + 0.05, luminance(other) + 0.05];
  return Math.max(a, b) / Math.min(a, b);
}

/** The colour nearest to `colour`, towards black or white, that can be read on `ground`. */
function readable(colour, ground) {
  const end = luminance(ground) > 0.18 ? [0, 0, 0] : [255, 255, 255];
  for (let part = 0; part <= 1; part += 0.05) {
    const mixed = colour.map((value, at) => Math.round(value + (end[at] - value) * part));
    if (contrast(mixed, ground) >= ENOUGH) return mixed;
  }
  return end;
}

const known = new Map();

/** { color, background } in CSS for a style, each for both schemes; null where the page's own apply. */
export function colours({ fg, bg, inverse }) {
  if (fg === null && bg === null && !inverse) return null;
  const key = `${fg} ${bg} ${inverse}`;
  if (!known.has(key)) {
    if (known.size > 2000) known.clear(); // an output may use all of 16 million
    known.set(key, { light: pair("light"), dark: pair("dark") });
  }
  const { light, dark } = known.get(key);
  const both = (part) => (light[part] ? `light-dark(rgb(${light[part]}), rgb(${dark[part]}))` : "");
  return { color: both("color"), background: both("background") };

  function pair(scheme) {
    const ground = GROUND[scheme];
    let [front, back] = [fg === null ? null : rgb(fg), bg === null ? null : rgb(bg)];
    if (inverse) [front, back] = [back ?? ground, front ?? (scheme === "light" ? [27, 32, 39] : [230, 233, 238])];
    front ??= back && (scheme === "light" ? [27, 32, 39] : [230, 233, 238]);
    return { color: front && readable(front, back ?? ground), background: back };
  }
}
