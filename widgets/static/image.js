// A small picture with its colours below, in the figure of a panel.

import { clamp, css, draw, make, palette, short } from "./common.js";
import { lasso } from "./lasso.js";
import { within } from "./paths.js";

// Clusters: told apart in light and dark, and by colour-blind eyes.
const LABELS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#8C564B", "#6A51A3", "#1B9E9E", "#B2B2B2", "#E7298A"];
const packed = (hex) => (255 << 24) | (parseInt(hex.slice(5, 7), 16) << 16)
  | (parseInt(hex.slice(3, 5), 16) << 8) | parseInt(hex.slice(1, 3), 16);

function scaleOf(plot) {
  const scale = make("div", { class: "bx-scale" });
  if (!plot.names) {
    scale.append(make("span", { text: short(plot.low, 3) }), make("i", { style: `background:${css(plot.palette)}` }),
      make("span", { text: `${short(plot.high, 3)} ${plot.units ?? ""}` }));
  } else {
    plot.names.forEach((name, k) => scale.append(make("b", { style: `background:${LABELS[k % LABELS.length]}` }), make("span", { text: name })));
  }
  return scale;
}

export function picture(plot, send, select) {
  const card = make("section", { class: "bx-plot", "data-plot": plot.id });
  card.append(make("h4", { text: plot.title }));
  const [ny, nx] = plot.shape;
  const canvas = make("canvas", { width: nx, height: ny, class: "bx-picture", tabindex: 0,
    role: "img", "aria-label": `${plot.title}, ${ny} by ${nx} pixels` });
  const holder = make("div", { class: "bx-holder" }, canvas);
  holder.style.aspectRatio = `${nx} / ${ny}`;
  holder.style.width = `min(100%, ${Math.round(((plot.height ?? 280) * nx) / ny)}px)`;
  const scale = scaleOf(plot);
  const under = make("div", { class: "bx-under", text: " " });
  card.append(holder, scale, under);
  const values = plot.values, context = canvas.getContext("2d");
  const image = new ImageData(nx, ny), pixels = new Uint32Array(image.data.buffer);
  const inks = plot.names ? LABELS.map(packed) : palette(plot.palette);
  const factor = 255.999 / (plot.high - plot.low || 1);
  function paintPixels(ids) {
    for (let i = 0; i < values.length; i++) {
      let ink = 0;
      if (plot.names) ink = values[i] > 0 ? inks[(values[i] - 1) % inks.length] : 0;
      else {
        const t = (values[i] - plot.low) * factor;
        ink = t === t ? inks[t < 0 ? 0 : t > 255 ? 255 : t | 0] : 0;
      }
      const dim = ids?.size && !ids.has(i + (plot.first ?? 0));
      pixels[i] = dim ? ((ink >>> 0) & 0x00ffffff) | (((ink >>> 24) * 0.16) << 24) : ink;
    }
    context.putImageData(image, 0, 0);
  }
  paintPixels(null);
  const place = (e) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((e.clientX - box.left) / box.width) * nx);
    const y = Math.floor(((e.clientY - box.top) / box.height) * ny);
    return [clamp(y, 0, ny - 1), clamp(x, 0, nx - 1)];
  };
  let resting = 0;
  canvas.addEventListener("pointermove", (e) => {
    const [y, x] = place(e), v = values[y * nx + x];
    const said = plot.names ? (plot.names[v - 1] ?? "none") : `${short(v)} ${plot.units ?? ""}`;
    under.textContent = `${plot.ydim ?? "y"} ${y}, ${plot.xdim ?? "x"} ${x}: ${said}`;
    if (!plot.look) return;
    clearTimeout(resting);
    resting = setTimeout(() => send({ kind: "look", plot: plot.id, at: [y, x] }), 80);
  });
  canvas.addEventListener("pointerleave", () => { under.textContent = " "; clearTimeout(resting); });
  if (plot.lasso) {
    const marks = draw(holder, "svg", { class: "bx-marks" });
    lasso(canvas, () => marks, (loop) => {
      const ids = new Set(), [w, h] = [canvas.clientWidth, canvas.clientHeight];
      for (let i = 0; loop.length && i < values.length; i++) {
        const x = (((i % nx) + 0.5) * w) / nx, y = ((Math.floor(i / nx) + 0.5) * h) / ny;
        if (within(loop, x, y)) ids.add(i + (plot.first ?? 0));
      }
      select(ids);
    });
  }
  return { card, paint() {}, show() {}, highlight: paintPixels, link: null };
}
