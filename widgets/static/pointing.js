// Mouse and keyboard on a plot of curves: the cursor, points to pick or to drag, and
// areas to drag over.

import { clamp, draw } from "./common.js";
import { nearest } from "./paths.js";

const STILL = 4, GRAB = 11, PICK = 24; // CSS pixels

// What a released mouse means, as a message to the kernel; null: nothing.
export function meaning(curves, { from, to, held }) {
  const { plot, px, py } = curves, moved = Math.hypot(to[0] - from[0], to[1] - from[1]) > STILL;
  const { best, least } = nearest(plot.series, px, py, to, (s) => s.pick);
  if (held && moved) return best && { kind: "drag", plot: plot.id, index: held.index, to: best };
  if (moved && plot.brush) {
    const sorted = (a, b) => [a, b].sort((p, q) => p - q);
    return { kind: "brush", plot: plot.id, x: sorted(curves.dataX(from[0]), curves.dataX(to[0])),
      y: sorted(curves.dataY(from[1]), curves.dataY(to[1])) };
  }
  return plot.pick && best && least < PICK ? { kind: "pick", plot: plot.id, ...best } : null;
}

// Returns what ends a drag that is under way.
export function mouse(curves, send, link) {
  const { plot, svg } = curves;
  let start = null, box = null, held = null;
  const inside = (e) => {
    const frame = svg.getBoundingClientRect();
    return [e.clientX - frame.left, e.clientY - frame.top];
  };
  const end = () => { box?.remove(); start = box = held = null; svg.classList.remove("bx-holding"); };
  const ghost = (place) => { // where the dragged point would go
    const { best } = nearest(plot.series, curves.px, curves.py, place, (s) => s.pick);
    const to = best && plot.series[best.series];
    box ??= draw(svg, "circle", { class: "bx-ghost", r: 8 });
    if (!to) return;
    box.setAttribute("cx", curves.px(to.x[best.index])); box.setAttribute("cy", curves.py(to.y[best.index]));
  };
  const area = ([x, y]) => {
    if (Math.hypot(x - start[0], y - start[1]) <= STILL) return;
    box ??= draw(svg, "rect", { class: "bx-brush" });
    box.setAttribute("x", Math.min(x, start[0])); box.setAttribute("width", Math.abs(x - start[0]));
    box.setAttribute("y", Math.min(y, start[1])); box.setAttribute("height", Math.abs(y - start[1]));
  };
  svg.addEventListener("pointermove", (e) => {
    const place = inside(e);
    if (start && held) ghost(place);
    else if (start && plot.brush) area(place);
    else link(curves.dataX(place[0]));
  });
  svg.addEventListener("pointerleave", () => { if (!start) link(NaN); });
  svg.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    start = inside(e);
    const { best, least } = nearest(plot.series, curves.px, curves.py, start, (s) => s.drag);
    held = least < GRAB ? best : null;
    if (held) svg.classList.add("bx-holding");
    if (plot.brush || held) svg.setPointerCapture(e.pointerId);
  });
  svg.addEventListener("pointerup", (e) => {
    const message = start && meaning(curves, { from: start, to: inside(e), held });
    end();
    if (message) send(message);
  });
  svg.addEventListener("pointercancel", end);
  return end;
}

const STEPS = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

export function keyboard({ plot, svg }, send, link, end) {
  let at = -1;
  svg.addEventListener("keydown", (e) => {
    const s = plot.series.find((one) => one.pick) ?? plot.series[0];
    if (!s || !s.x.length) return;
    if (STEPS[e.key]) {
      at = clamp(at + STEPS[e.key], 0, s.x.length - 1);
      link(s.x[at]);
    } else if ((e.key === "Enter" || e.key === " ") && plot.pick && at >= 0) {
      send({ kind: "pick", plot: plot.id, series: plot.series.indexOf(s), index: at });
    } else if (e.key === "Escape") { end(); link(NaN); } else return;
    e.preventDefault();
    e.stopPropagation();
  });
}
