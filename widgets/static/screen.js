// The picture of the viewer: pixels, marks, ruler and colour scale.

import { clamp, css, draw, make, palette, short } from "./common.js";

const WIDE = 520; // CSS pixels of the picture's longer side

const sampled = (from, size, shown) => Int32Array.from({ length: shown },
  (_, k) => Math.floor(from + ((k + 0.5) * size) / shown));

// A round length of about a fifth of `span`, and how it is written.
export function rulerOf(span, units) {
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const length = power * [5, 2, 1].find((m) => m * power <= span / 4);
  const text = units === "nm" && length >= 1000 ? `${short(length / 1000)} µm` : `${short(length)} ${units}`;
  return { length, text };
}

const spanOf = (axis) => Math.abs(axis.values.at(-1) - axis.values[0]);

// Width of a picture by its height: true to scale where both axes have the same units.
export function ratioOf(down, right, sizes) {
  const alike = down.units === right.units, bare = alike && down.units === "1";
  const ratio = bare ? sizes[1] / sizes[0] : alike ? (spanOf(right) || 1) / (spanOf(down) || 1) : 1;
  return clamp(ratio, 0.25, 4);
}

export class Screen {
  constructor(stack, look, detail, axes) {
    Object.assign(this, { stack, look, detail, axes, whole: true, bitmap: null, words: null, seen: [WIDE, WIDE] });
    this.canvas = make("canvas", { class: "bx-canvas" });
    this.context = this.canvas.getContext("2d", { alpha: true });
    this.marks = draw(make("div"), "svg", { class: "bx-marks", preserveAspectRatio: "none" });
    this.region = draw(this.marks, "rect", { class: "bx-region" });
    this.held = draw(this.marks, "path", { class: "bx-held" });
    this.pointer = draw(this.marks, "path", { class: "bx-pointer" });
    this.frame = make("div", { class: "bx-view", tabindex: 0, role: "application",
      "data-lm-suppress-shortcuts": "true", // the notebook has its own use for these keys
      "aria-label": "Picture. Arrow keys move the pixel, Page Up and Page Down change the picture, plus and minus zoom, 0 shows all, Escape gives up the region." },
      this.canvas, this.marks);
    [this.low, this.bar, this.high] = [make("span"), make("i"), make("span")];
    this.scale = make("div", { class: "bx-scale" }, this.low, this.bar, this.high);
    this.colours("viridis");
  }
  colours(name) {
    this.table = palette(name);
    this.bar.style.background = css(name);
  }
  get sharp() { return this.detail.sharp(this.canvas); }

  layout() {
    const { look, axes, frame, stack } = this;
    const sizes = [stack.sizes[look.side], stack.sizes[look.across]];
    const ratio = ratioOf(axes[look.side], axes[look.across], sizes);
    const width = ratio >= 1 ? WIDE : WIDE * ratio;
    frame.style.width = `min(100%, ${Math.round(width)}px)`;
    frame.style.aspectRatio = String(ratio);
    // No more pixels than the screen has: a quarter of the work for a large picture.
    const seen = (frame.clientWidth || width) * (window.devicePixelRatio || 1);
    this.seen = [Math.round(seen), Math.round(seen / ratio)];
    this.aim();
  }
  aim() { // which pixel of the data each of the screen shows
    const { lens } = this.look;
    let [w, h] = this.seen;
    if (lens.whole) { w = Math.min(w, lens.columns); h = Math.min(h, lens.rows); }
    if (!this.bitmap || w !== this.bitmap.width || h !== this.bitmap.height) {
      this.canvas.width = w; this.canvas.height = h;
      this.bitmap = this.context.createImageData(w, h);
      this.words = new Uint32Array(this.bitmap.data.buffer);
    }
    this.rows = sampled(lens.top, lens.height, h);
    this.columns = sampled(lens.left, lens.width, w);
    this.marks.setAttribute("viewBox", `${lens.left} ${lens.top} ${lens.width} ${lens.height}`);
    this.ruler();
  }
  ruler() {
    const { look, axes } = this, axis = axes[look.across], w = look.columns;
    this.frame.querySelector(".bx-ruler")?.remove();
    const span = (spanOf(axis) * (w / Math.max(1, w - 1)) * look.lens.width) / w;
    if (axis.units !== axes[look.side].units || axis.units === "1" || !(span > 0)) return;
    const { length, text } = rulerOf(span, axis.units);
    const bar = make("div", { class: "bx-ruler", text });
    bar.style.width = `${(100 * length) / span}%`;
    this.frame.append(bar);
  }
  paint() {
    const { look, stack, words, table } = this;
    const [a, b] = stack.contrast(look.axis === 0 && !this.whole ? look.index : null);
    const toByte = 255.999 / (b - a);
    const place = { axis: look.axis, index: look.index, rows: this.rows, columns: this.columns };
    stack.paint(words, place, table, a, toByte);
    this.sharp?.paint(words, place, table, a, toByte);
    this.context.putImageData(this.bitmap, 0, 0);
    this.low.textContent = short(a, 3); this.high.textContent = short(b, 3);
  }
  paintMarks() {
    const { look } = this, [h, w] = [look.rows, look.columns];
    const cross = (place) => (place ? `M${place[1] + 0.5} 0V${h}M0 ${place[0] + 0.5}H${w}` : "");
    this.held.setAttribute("d", cross(look.held));
    this.pointer.setAttribute("d", cross(look.pointer));
    this.region.setAttribute("visibility", look.region ? "visible" : "hidden");
    if (!look.region) return;
    const [r0, r1, c0, c1] = look.region;
    const box = { x: c0, y: r0, width: c1 - c0 + 1, height: r1 - r0 + 1 };
    for (const [key, value] of Object.entries(box)) this.region.setAttribute(key, value);
  }
  share(e) { // the place of the mouse in shares of the picture, down and right
    const b = this.canvas.getBoundingClientRect();
    return [(e.clientY - b.top) / b.height, (e.clientX - b.left) / b.width];
  }
  pixel(e) { return this.look.lens.pixel(...this.share(e)); }

  // what a saved notebook shows without a kernel
  poster() {
    const { width, height } = this.canvas, cut = Math.min(1, 360 / Math.max(width, height));
    const copy = make("canvas", { width: Math.max(1, width * cut), height: Math.max(1, height * cut) });
    copy.getContext("2d").drawImage(this.canvas, 0, 0, copy.width, copy.height);
    return copy.toDataURL("image/webp", 0.8);
  }
  hang(poster, unless) { // until the pictures come, or for good without a kernel
    const picture = new Image();
    picture.onload = () => {
      if (!unless()) this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    };
    picture.src = poster;
  }
}
