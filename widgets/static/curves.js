// One plot of curves and points, in the figure of a panel.

import { drawAxes, size } from "./axes.js";
import { colour, draw, make, short } from "./common.js";
import { lasso } from "./lasso.js";
import { bandPath, closest, curvePath, dotPath, equalLimits, limits, within } from "./paths.js";
import { keyboard, mouse } from "./pointing.js";

const MARGIN = { left: 62, right: 14, top: 8, bottom: 40 };
const NEAR = 25; // CSS pixels: what is farther from the cursor is not told

function legendOf(plot) {
  const legend = make("div", { class: "bx-legend" });
  const named = plot.series.filter((s) => s.name);
  for (const s of named.length > 1 || plot.legend ? named : []) {
    const ink = colour(s.colour), dot = s.points && !s.line, key = draw(make("span"), "svg", { width: 22, height: 10 });
    draw(key, dot ? "circle" : "line", dot ? { cx: 11, cy: 5, r: 4, fill: s.hollow ? "none" : ink, stroke: ink }
      : { x1: 1, x2: 21, y1: 5, y2: 5, stroke: ink, "stroke-width": 2.2,
          "stroke-dasharray": s.dotted ? "1.5 3.5" : null, "stroke-linecap": "round" });
    legend.append(make("span", {}, key, make("span", { text: s.name })));
  }
  return legend;
}

export class Curves {
  constructor(plot, send, link, select) {
    Object.assign(this, { plot, link: plot.link, chosen: null });
    this.card = make("section", { class: "bx-plot", "data-plot": plot.id }, make("h4", { text: plot.title }), legendOf(plot));
    if (plot.wide) this.card.style.gridColumn = "1 / -1";
    this.svg = draw(this.card, "svg", { class: "bx-curves", tabindex: 0, role: "img",
      "data-lm-suppress-shortcuts": "true", // the notebook has its own use for arrow keys
      "aria-label": `${plot.title}: ${plot.ylabel} against ${plot.xlabel}. Arrow keys move the cursor${plot.pick ? ", Enter chooses" : ""}.` });
    this.hint = make("div", { class: "bx-hint", hidden: "" });
    this.card.append(this.hint);
    Object.assign(this, limits(plot));
    const end = mouse(this, send, (x) => link(plot.link, plot, x));
    keyboard(this, send, (x) => link(plot.link, plot, x), end);
    if (plot.lasso) lasso(this.svg, () => this.svg, (loop) => select(this.inside(loop)));
  }
  px = (x) => MARGIN.left + ((x - this.x0) / (this.x1 - this.x0)) * (this.width - MARGIN.right - MARGIN.left);
  py = (y) => {
    const inner = this.plot.ylog ? Math.log10(y) : y, bottom = this.height - MARGIN.bottom;
    return bottom - ((inner - this.y0) / (this.y1 - this.y0)) * (bottom - MARGIN.top);
  };
  dataX(x) { return this.x0 + ((x - MARGIN.left) / (this.width - MARGIN.right - MARGIN.left)) * (this.x1 - this.x0); }
  dataY(y) { return this.y1 - ((y - MARGIN.top) / (this.height - MARGIN.bottom - MARGIN.top)) * (this.y1 - this.y0); }

  paint() {
    const { plot, svg } = this;
    this.width = Math.max(150, this.card.clientWidth - 20);
    this.height = plot.height ?? 230;
    svg.replaceChildren();
    size(svg, this.width, this.height);
    if (plot.equal) {
      Object.assign(this, equalLimits(limits(plot), this.width - MARGIN.right - MARGIN.left, this.height - MARGIN.bottom - MARGIN.top));
    }
    const [l, r, t, b] = [MARGIN.left, this.width - MARGIN.right, MARGIN.top, this.height - MARGIN.bottom];
    const { x0, x1, y0, y1 } = this;
    for (const [from, to] of plot.shade ?? []) {
      const [a, c] = [this.px(Math.max(from, x0)), this.px(Math.min(to, x1))];
      if (c > a) draw(svg, "rect", { class: "bx-shade", x: a, y: t, width: c - a, height: b - t });
    }
    drawAxes(svg, [l, r, t, b], { at: this.px, low: x0, high: x1, label: plot.xlabel, apart: 70, names: plot.xticks },
      { low: y0, high: y1, label: plot.ylabel, log: plot.ylog, wanted: Math.max(3, (b - t) / 45) });
    for (const s of plot.series) this.paintSeries(s);
    this.chosen = draw(svg, "path", { class: "bx-dots bx-chosen" });
    this.cursor = draw(svg, "line", { class: "bx-cursor", y1: t, y2: b, visibility: "hidden" });
  }
  paintSeries(s) {
    const { svg, px, py } = this, ink = colour(s.colour);
    if (s.spread) draw(svg, "path", { d: bandPath(s, px, py), fill: ink, opacity: 0.15 });
    if (s.dots) { // thousands of points in one path
      draw(svg, "path", { class: "bx-dots", d: dotPath(s, px, py, null), stroke: ink });
    } else if (s.line !== false) {
      draw(svg, "path", { class: s.bars ? "bx-bars" : "bx-line", d: curvePath(s.x, s.y, px, py), stroke: ink,
        "stroke-width": s.width ?? 1.8, "stroke-dasharray": s.dotted ? "0.5 4" : null });
    }
    for (let i = 0; s.points && i < s.x.length; i++) {
      const y = py(s.y[i]);
      if (!Number.isFinite(y) || !Number.isFinite(s.x[i])) continue;
      draw(svg, "circle", { cx: px(s.x[i]), cy: y, r: s.size ?? 3, fill: s.hollow ? "var(--bx-paper)" : ink,
        stroke: ink, "stroke-width": s.hollow ? 2.2 : 0, class: s.drag ? "bx-grab" : null });
    }
    (s.texts ?? []).forEach((text, i) => draw(svg, "text", { class: "bx-mark", text,
      x: Math.min(this.width - 3.3 * text.length, Math.max(3.3 * text.length, px(s.x[i]))),
      y: Math.max(10, py(s.y[i]) - 11), "text-anchor": "middle" }));
  }
  highlight(ids) {
    this.chosen?.setAttribute("d", this.plot.series.map((s) => (s.dots ? dotPath(s, this.px, this.py, ids) : "")).join(""));
    this.svg.classList.toggle("bx-dimmed", ids.size > 0);
  }
  inside(loop) { // the numbers of the points inside a loop
    const ids = new Set();
    for (const s of loop.length ? this.plot.series : []) {
      for (let i = 0; s.ids && i < s.x.length; i++) {
        if (within(loop, this.px(s.x[i]), this.py(s.y[i]))) ids.add(s.ids[i]);
      }
    }
    return ids;
  }

  // the cursor at x, and the values there
  show(x) {
    const there = x >= this.x0 && x <= this.x1;
    this.cursor.setAttribute("visibility", there ? "visible" : "hidden");
    this.hint.hidden = !there;
    if (!there) return;
    const at = this.px(x), { hint, plot } = this, rows = [];
    this.cursor.setAttribute("x1", at); this.cursor.setAttribute("x2", at);
    let place = x;
    for (const s of plot.series) {
      const k = closest(s.x, x, (i) => Number.isFinite(s.y[i]));
      if (k < 0 || s.quiet || Math.abs(this.px(s.x[k]) - at) > NEAR) continue;
      if (!rows.length) place = s.x[k];
      rows.push(make("div", {}, make("i", { style: `background:${colour(s.colour)}` }),
        make("span", { text: `${s.name ? `${s.name}  ` : ""}${short(s.y[k] - (s.offset ?? 0))}` })));
    }
    const head = plot.xticks ? plot.xticks[Math.round(place)] : short(place, 6);
    hint.replaceChildren(make("b", { text: `${plot.xlabel}: ${head}` }), ...rows);
    const left = at + 14 + hint.offsetWidth > this.width ? at - hint.offsetWidth - 4 : at + 24;
    hint.style.left = `${Math.max(0, left)}px`;
    hint.style.top = `${this.svg.offsetTop + 8}px`;
  }
}
