// The plot beside the picture: curves behind the pointer, the pixel and the region.

import { drawAxes, size } from "./axes.js";
import { colour, draw, make } from "./common.js";
import { bandPath, closest, curvePath } from "./paths.js";
import { steadyLimits } from "./profiles.js";

const BOX = { left: 64, right: 12, top: 8, bottom: 40, height: 300 };

export class Spectrum {
  constructor(about, look, axes) {
    Object.assign(this, { about, look, axes, width: 400, bounds: null, drawn: "", cursor: null });
    this.plot = draw(make("div"), "svg", { class: "bx-curves bx-spectrum", tabindex: 0, role: "img",
      "data-lm-suppress-shortcuts": "true",
      "aria-label": "Profile behind the pixel. Left and right change the picture." });
    this.key = make("div", { class: "bx-legend" });
    this.card = make("div", { class: "bx-right bx-plot" },
      make("h4", { text: about.flat ? "Profile along the row" : "Behind the pixel" }), this.key, this.plot.parentNode);
  }
  get axis() { return this.axes[this.about.flat ? 2 : this.look.axis]; }

  paint(shown) {
    const x = this.axis.values, first = Math.min(x[0], x.at(-1)), last = Math.max(x[0], x.at(-1));
    const [l, r, t, b] = [BOX.left, this.width - BOX.right, BOX.top, BOX.height - BOX.bottom];
    this.bounds = steadyLimits(shown, this.bounds);
    const [y0, y1] = this.bounds;
    this.px = (v) => l + ((v - first) / (last - first || 1)) * (r - l);
    const py = (v) => b - ((v - y0) / (y1 - y0)) * (b - t);
    this.paintAxes([l, r, t, b], [first, last]);
    this.moving.replaceChildren();
    for (const s of shown) {
      const some = s.y.length !== x.length; // every n-th place of the axis
      const xs = some ? Float64Array.from(s.y, (_, k) => x[Math.min(x.length - 1, k * this.about.thin)]) : x;
      const band = s.spread ? bandPath({ x: xs, y: s.y, spread: s.spread }, this.px, py) : "";
      if (band) draw(this.moving, "path", { d: band, fill: colour(s.ink), opacity: 0.14 });
      draw(this.moving, "path", { class: "bx-line", d: curvePath(xs, s.y, this.px, py),
        stroke: colour(s.ink), "stroke-width": s.ink === "faint" ? 1.4 : 2 });
    }
    this.moveCursor();
    this.name(shown);
  }
  paintAxes(edges, [low, high]) {
    const [y0, y1] = this.bounds, now = [this.width, this.look.axis, y0, y1].join();
    if (now === this.drawn) return;
    this.drawn = now;
    this.plot.replaceChildren();
    size(this.plot, this.width, BOX.height);
    drawAxes(draw(this.plot, "g"), edges,
      { at: this.px, low, high, label: this.axis.label, apart: 90, digits: 6 },
      { low: y0, high: y1, label: this.about.label, wanted: 5 });
    this.moving = draw(this.plot, "g");
    this.cursor = draw(this.plot, "line", { class: "bx-cursor bx-now", y1: edges[2], y2: edges[3] });
  }
  name(shown) {
    const names = shown.map((s) => `${s.name}${s.sure ? "" : " …"}`);
    if (this.key.dataset.names === names.join()) return;
    this.key.dataset.names = names.join();
    this.key.replaceChildren(...shown.map((s, k) => make("span", {},
      make("i", { style: `background:${colour(s.ink)}` }), make("span", { text: names[k] }))));
  }
  moveCursor() {
    if (!this.cursor) return;
    const at = this.px(this.axis.values[this.about.flat ? this.look.place[1] : this.look.index]);
    this.cursor.setAttribute("x1", at); this.cursor.setAttribute("x2", at);
  }
  under(e) { // the picture whose place on the axis is nearest to the mouse
    const at = e.clientX - this.plot.getBoundingClientRect().left;
    return closest(Float64Array.from(this.axis.values, this.px), at);
  }
}
