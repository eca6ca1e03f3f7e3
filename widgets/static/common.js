// Numbers, elements and colours that all widgets share.

const SVG = "http://www.w3.org/2000/svg";
export const MISSING = 65535; // the number of a pixel without value

// One colour per component or state; "text" follows the theme.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
  "text", "#999933"];

export function colour(c) {
  const value = typeof c === "number" ? COLOURS[c % COLOURS.length] : c;
  return value === "text" ? "var(--bx-text)" : value === "faint" ? "var(--bx-faint)" : value;
}

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

export function draw(parent, tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") element.textContent = value;
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  parent.append(element);
  return element;
}

export const same = (a, b) => a.length === b.length && a.every((v, i) => v === b[i]);
export const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// Bytes as they come from the kernel may start anywhere: copy, so that they are aligned.
export function numbers(bytes, kind = Float64Array) {
  if (!bytes) return new kind(0);
  const start = bytes.byteOffset ?? 0;
  const buffer = bytes.buffer ?? bytes;
  return new kind(buffer.slice(start, start + bytes.byteLength));
}

export function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
    found.push(i * step + 0); // no minus before zero
  }
  return found;
}

export function logTicks(low, high) {
  const found = [];
  for (let p = Math.floor(low); p <= Math.ceil(high); p++) {
    for (const m of high - low > 2 ? [1] : [1, 2, 5]) {
      const at = p + Math.log10(m);
      if (at >= low - 1e-9 && at <= high + 1e-9) found.push(at);
    }
  }
  return found;
}

const SUPER = "⁰¹²³⁴⁵⁶⁷⁸⁹";

export function short(value, digits = 4) {
  if (value === null || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const [m, e] = value.toExponential(Math.max(0, digits - 2)).split("e");
    const mantissa = String(Number(m));
    const power = String(Math.abs(Number(e))).split("").map((d) => SUPER[d]).join("");
    return `${mantissa === "1" ? "" : `${mantissa}·`}10${Number(e) < 0 ? "⁻" : ""}${power}`
      .replace("-", "−");
  }
  return String(Number(value.toPrecision(digits))).replace("-", "−");
}

// Viridis at nine places; straight lines between them are closer than the eye can tell.
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142],
  [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

export function palette(name) {
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    let rgb = [i, i, i];
    if (name === "phase") { // a circle: both ends are the same phase
      rgb = [0, 2, 4].map((k) => 150 + 95 * Math.cos((i / 255) * 2 * Math.PI - (k * Math.PI) / 3));
    } else if (name === "diverge") { // blue below zero, red above, pale between
      const d = i / 127.5 - 1, t = Math.abs(d) ** 0.8;
      const end = d < 0 ? [33, 102, 172] : [178, 24, 43];
      rgb = end.map((v) => 244 + (v - 244) * t);
    } else if (name !== "grey") {
      const at = (i / 255) * (VIRIDIS.length - 1);
      const k = Math.min(Math.floor(at), VIRIDIS.length - 2);
      rgb = VIRIDIS[k].map((v, c) => v + (VIRIDIS[k + 1][c] - v) * (at - k));
    }
    const [r, g, b] = rgb.map(Math.round);
    table[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}

export function css(name) {
  const table = palette(name);
  const stops = [0, 32, 64, 96, 128, 160, 192, 224, 255].map((i) => {
    const c = table[i];
    return `rgb(${c & 255} ${(c >> 8) & 255} ${(c >> 16) & 255})`;
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
