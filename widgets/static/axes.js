// The axes of a plot: ticks, grid and titles.

import { draw, logTicks, short, ticks } from "./common.js";

// What does not fit along an axis is cut: the title and the pointer tell the rest.
export const cut = (text, room) => (text.length * 6.4 > room + 30
  ? `${text.slice(0, Math.max(6, Math.floor((room + 30) / 6.4) - 1))}…` : text);

export function size(svg, width, height) {
  svg.setAttribute("width", width); svg.setAttribute("height", height);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
}

const LETTER = 6.4; // width of a letter, in pixels

// Which of the names have room along an axis: all, every second one, ...
function roomFor(names, width) {
  const most = Math.max(...names.map(name => name.length)) + 2;
  const every = Math.max(1, Math.ceil(names.length * most * LETTER / width));
  return names.map((_, i) => i).filter(i => i % every === 0);
}

// x: { at, low, high, label, apart, digits, names }; y: { low, high, label, log, wanted };
// edges of the plot: [left, right, top, bottom].
export function drawAxes(parent, [l, r, t, b], x, y) {
  const marks = x.names ? roomFor(x.names, r - l) : ticks(x.low, x.high, Math.max(3, (r - l) / x.apart));
  for (const v of marks) {
    const place = x.at(v), text = x.names ? x.names[v] : short(v, x.digits);
    draw(parent, "line", { class: "bx-tick", x1: place, x2: place, y1: b, y2: b + 4 });
    const over = x.names && place + text.length * LETTER / 2 > r + 14; // out of the picture
    draw(parent, "text", { x: over ? r + 14 : place, y: b + 17, "text-anchor": over ? "end" : "middle", text });
  }
  for (const v of y.log ? logTicks(y.low, y.high) : ticks(y.low, y.high, y.wanted)) {
    const place = b - ((v - y.low) / (y.high - y.low)) * (b - t);
    draw(parent, "line", { class: "bx-grid", x1: l, x2: r, y1: place, y2: place });
    draw(parent, "text", { x: l - 7, y: place + 4, "text-anchor": "end", text: short(y.log ? 10 ** v : v, 3) });
  }
  draw(parent, "line", { class: "bx-axis", x1: l, x2: r, y1: b, y2: b });
  draw(parent, "text", { class: "bx-label", x: (l + r) / 2, y: b + 35, "text-anchor": "middle",
    text: cut(x.label, r - l) });
  draw(parent, "text", { class: "bx-label", x: -(t + b) / 2, y: 13, "text-anchor": "middle",
    transform: "rotate(-90)", text: cut(y.label, b - t) });
}
