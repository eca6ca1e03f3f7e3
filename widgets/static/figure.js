// Clusters: told apart in light and dark, and by colour-blind eyes.
const LABELS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#8C564B", "#6A51A3", "#1B9E9E", "#B2B2B2", "#E7298A"];
const packed = (hex) => (255 << 24) | (parseInt(hex.slice(5, 7), 16) << 16)
  | (parseInt(hex.slice(3, 5), 16) << 8) | parseInt(hex.slice(1, 3), 16);

// Curves and small pictures, side by side, drawn from what the model sends: linked
// cursors, values under the pointer, points to pick, ranges to drag, arrow keys.

const MARGIN = { left: 62, right: 14, top: 8, bottom: 40 };

function limits(plot) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const s of plot.series) {
    for (let i = 0; i < s.x.length; i++) {
      const [x, y] = [s.x[i], plot.ylog ? Math.log10(s.y[i]) : s.y[i]];
      if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
      x0 = Math.min(x0, x); x1 = Math.max(x1, x);
      const e = s.spread?.[i] && !plot.ylog ? s.spread[i] : 0;
      y0 = Math.min(y0, y - e); y1 = Math.max(y1, y + e);
    }
  }
  if (!(x1 >= x0)) [x0, x1, y0, y1] = [0, 1, 0, 1];
  if (x1 === x0) { x0 -= 0.5; x1 += 0.5; }
  if (y1 === y0) { const d = Math.abs(y0) * 0.1 || 0.5; y0 -= d; y1 += d; }
  const pad = 0.05 * (y1 - y0);
  return { x0, x1, y0: y0 - pad, y1: y1 + pad };
}

function unpack(spec) {
  const plots = (spec.plots ?? []).map((plot) => plot.kind === "image"
    ? { ...plot, values: numbers(plot.values, Float32Array) }
    : { ...plot, series: plot.series.map((s) => ({
        ...s, x: numbers(s.x), y: numbers(s.y), spread: s.spread ? numbers(s.spread) : null,
        ids: s.ids ? numbers(s.ids, Int32Array) : null,
      })) });
  return { columns: spec.columns ?? 1, plots };
}

function curvePath(xs, ys, px, py) {
  let path = "", pen = "M";
  for (let i = 0; i < xs.length; i++) {
    const y = py(ys[i]);
    if (!Number.isFinite(y) || !Number.isFinite(xs[i])) { pen = "M"; continue; }
    path += `${pen}${px(xs[i]).toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return path;
}

// What does not fit along an axis is cut: the title and the pointer tell the rest.
const cut = (text, room) => (text.length * 6.4 > room + 30
  ? `${text.slice(0, Math.max(6, Math.floor((room + 30) / 6.4) - 1))}…` : text);

function dotPath(s, px, py, wanted) {
  let path = "";
  for (let i = 0; i < s.x.length; i++) {
    if (wanted && !wanted.has(s.ids[i])) continue;
    path += `M${px(s.x[i]).toFixed(1)} ${py(s.y[i]).toFixed(1)}h0`;
  }
  return path;
}

function within(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

// Draws a loop with the mouse on `surface`; `done` is told its corners, or none.
function lasso(surface, marks, done) {
  let loop = null, line = null;
  const at = (e) => {
    const box = surface.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  surface.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    loop = [at(e)];
    line = draw(marks(), "path", { class: "bx-lasso" });
    surface.setPointerCapture(e.pointerId);
  });
  surface.addEventListener("pointermove", (e) => {
    if (!loop) return;
    loop.push(at(e));
    line.setAttribute("d", `M${loop.map((p) => p.join(" ")).join("L")}Z`);
  });
  const end = () => {
    if (!loop) return;
    const found = loop;
    loop = null;
    line.remove();
    done(found.length > 4 ? found : []);
  };
  surface.addEventListener("pointerup", end);
  surface.addEventListener("pointercancel", () => { line?.remove(); loop = null; });
  surface.addEventListener("keydown", (e) => { if (e.key === "Escape") done([]); });
}

function bandPath(s, px, py) {
  const seen = [...s.x.keys()].filter((i) => Number.isFinite(s.y[i] + s.spread[i]));
  if (seen.length < 2) return "";
  const above = seen.map((i) => `${px(s.x[i]).toFixed(1)} ${py(s.y[i] + s.spread[i]).toFixed(1)}`);
  const below = seen.reverse().map((i) => `${px(s.x[i]).toFixed(1)} ${py(s.y[i] - s.spread[i]).toFixed(1)}`);
  return `M${above.join("L")}L${below.join("L")}Z`;
}

function curves(plot, send, link, select) {
  const card = make("section", { class: "bx-plot", "data-plot": plot.id });
  if (plot.wide) card.style.gridColumn = "1 / -1";
  card.append(make("h4", { text: plot.title }));
  const legend = make("div", { class: "bx-legend" });
  const named = plot.series.filter((s) => s.name);
  for (const s of named.length > 1 || plot.legend ? named : []) {
    const key = draw(make("span"), "svg", { width: 22, height: 10 });
    draw(key, s.points && !s.line ? "circle" : "line", s.points && !s.line
      ? { cx: 11, cy: 5, r: 4, fill: s.hollow ? "none" : colour(s.colour), stroke: colour(s.colour) }
      : { x1: 1, x2: 21, y1: 5, y2: 5, stroke: colour(s.colour), "stroke-width": 2.2,
          "stroke-dasharray": s.dotted ? "1.5 3.5" : null, "stroke-linecap": "round" });
    legend.append(make("span", {}, key, make("span", { text: s.name })));
  }
  card.append(legend);
  const svg = draw(card, "svg", { class: "bx-curves", tabindex: 0, role: "img",
    "data-lm-suppress-shortcuts": "true", // the notebook has its own use for arrow keys
    "aria-label": `${plot.title}: ${plot.ylabel} against ${plot.xlabel}. Arrow keys move the cursor${plot.pick ? ", Enter chooses" : ""}.` });
  const hint = make("div", { class: "bx-hint", hidden: "" });
  card.append(hint);

  const { x0, x1, y0, y1 } = limits(plot);
  let px, py, width, height, cursor, at = -1;
  const inner = (value) => (plot.ylog ? Math.log10(value) : value);

  function paint() {
    width = Math.max(220, card.clientWidth - 20);
    height = plot.height ?? 230;
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    const [l, r, t, b] = [MARGIN.left, width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
    px = (x) => l + ((x - x0) / (x1 - x0)) * (r - l);
    py = (y) => b - ((inner(y) - y0) / (y1 - y0)) * (b - t);
    for (const [from, to] of plot.shade ?? []) {
      const [a, c] = [px(Math.max(from, x0)), px(Math.min(to, x1))];
      if (c > a) draw(svg, "rect", { class: "bx-shade", x: a, y: t, width: c - a, height: b - t });
    }
    const xticks = plot.xticks ? plot.xticks.map((_, i) => i) : ticks(x0, x1, Math.max(3, (r - l) / 70));
    for (const v of xticks) {
      draw(svg, "line", { class: "bx-tick", x1: px(v), x2: px(v), y1: b, y2: b + 4 });
      draw(svg, "text", { x: px(v), y: b + 17, "text-anchor": "middle", text: plot.xticks ? plot.xticks[v] : short(v) });
    }
    const across = Math.max(3, (b - t) / 45);
    for (const v of plot.ylog ? logTicks(y0, y1) : ticks(y0, y1, across)) {
      const y = b - ((v - y0) / (y1 - y0)) * (b - t);
      draw(svg, "line", { class: "bx-grid", x1: l, x2: r, y1: y, y2: y });
      draw(svg, "text", { x: l - 7, y: y + 4, "text-anchor": "end", text: short(plot.ylog ? 10 ** v : v, 3) });
    }
    draw(svg, "line", { class: "bx-axis", x1: l, x2: r, y1: b, y2: b });
    draw(svg, "text", { class: "bx-label", x: (l + r) / 2, y: height - 5, "text-anchor": "middle", text: plot.xlabel });
    draw(svg, "text", { class: "bx-label", x: -(t + b) / 2, y: 13, "text-anchor": "middle", transform: "rotate(-90)", text: cut(plot.ylabel, b - t) });
    plot.series.forEach((s) => {
      const ink = colour(s.colour);
      if (s.spread) draw(svg, "path", { d: bandPath(s, px, py), fill: ink, opacity: 0.15 });
      if (s.dots) { // thousands of points in one path
        draw(svg, "path", { class: "bx-dots", d: dotPath(s, px, py, null), stroke: ink });
      } else if (s.line !== false) {
        draw(svg, "path", { class: "bx-line", d: curvePath(s.x, s.y, px, py), stroke: ink,
          "stroke-width": s.width ?? 1.8, "stroke-dasharray": s.dotted ? "0.5 4" : null });
      }
      for (let i = 0; s.points && i < s.x.length; i++) {
        const y = py(s.y[i]);
        if (!Number.isFinite(y)) continue;
        draw(svg, "circle", { cx: px(s.x[i]), cy: y, r: s.size ?? 3, fill: s.hollow ? "var(--bx-paper)" : ink,
          stroke: ink, "stroke-width": s.hollow ? 2.2 : 0, class: s.drag ? "bx-grab" : null });
      }
      (s.texts ?? []).forEach((text, i) => draw(svg, "text", { class: "bx-mark", text,
        x: Math.min(width - 3.3 * text.length, Math.max(3.3 * text.length, px(s.x[i]))),
        y: Math.max(10, py(s.y[i]) - 11), "text-anchor": "middle" }));
    });
    chosenDots = draw(svg, "path", { class: "bx-dots bx-chosen" });
    cursor = draw(svg, "line", { class: "bx-cursor", y1: t, y2: b, visibility: "hidden" });
  }
  let chosenDots = null;
  function highlight(ids) {
    chosenDots?.setAttribute("d", plot.series.map((s) => (s.dots ? dotPath(s, px, py, ids) : "")).join(""));
    svg.classList.toggle("bx-dimmed", ids.size > 0);
  }

  function nearest(x, y, wanted) {
    let best = null, least = Infinity;
    plot.series.forEach((s, k) => {
      if (!wanted(s)) return;
      for (let i = 0; i < s.x.length; i++) {
        const d = Math.hypot(px(s.x[i]) - x, py(s.y[i]) - y);
        if (d < least) { least = d; best = { series: k, index: i }; }
      }
    });
    return { best, least };
  }

  function show(x, tell) {
    if (!(x >= x0 && x <= x1)) { cursor.setAttribute("visibility", "hidden"); hint.hidden = true; return; }
    cursor.setAttribute("x1", px(x)); cursor.setAttribute("x2", px(x));
    cursor.setAttribute("visibility", "visible");
    if (!tell) return;
    const rows = [];
    let place = x;
    plot.series.forEach((s) => {
      let k = -1, least = Infinity;
      for (let i = 0; i < s.x.length; i++) {
        const d = Math.abs(s.x[i] - x);
        if (d < least && Number.isFinite(s.y[i])) { least = d; k = i; }
      }
      if (k < 0 || px(x0 + least) - px(x0) > 25 || s.quiet) return;
      if (!rows.length) place = s.x[k];
      rows.push(make("div", {}, make("i", { style: `background:${colour(s.colour)}` }),
        make("span", { text: `${s.name ? `${s.name}  ` : ""}${short(s.y[k] - (s.offset ?? 0))}` })));
    });
    const head = plot.xticks ? plot.xticks[Math.round(place)] : short(place, 6);
    hint.replaceChildren(make("b", { text: `${plot.xlabel}: ${head}` }), ...rows);
    hint.hidden = false;
    const left = px(x) + 14 + hint.offsetWidth > width ? px(x) - hint.offsetWidth - 4 : px(x) + 24;
    hint.style.left = `${Math.max(0, left)}px`;
    hint.style.top = `${svg.offsetTop + 8}px`;
  }

  const inside = (e) => {
    const box = svg.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  const dataX = (x) => x0 + ((x - MARGIN.left) / (width - MARGIN.right - MARGIN.left)) * (x1 - x0);
  const dataY = (y) => y1 - ((y - MARGIN.top) / (height - MARGIN.bottom - MARGIN.top)) * (y1 - y0);
  let start = null, box = null, held = null;
  const end = () => { box?.remove(); start = box = held = null; svg.classList.remove("bx-holding"); };

  svg.addEventListener("pointermove", (e) => {
    const [x, y] = inside(e);
    if (start && (plot.brush || held)) {
      if (held) {
        const { best } = nearest(x, y, (s) => s.pick);
        const to = best && plot.series[best.series];
        box ??= draw(svg, "circle", { class: "bx-ghost", r: 8 });
        if (to) { box.setAttribute("cx", px(to.x[best.index])); box.setAttribute("cy", py(to.y[best.index])); }
      } else if (Math.hypot(x - start[0], y - start[1]) > 4) {
        box ??= draw(svg, "rect", { class: "bx-brush" });
        box.setAttribute("x", Math.min(x, start[0])); box.setAttribute("width", Math.abs(x - start[0]));
        box.setAttribute("y", Math.min(y, start[1])); box.setAttribute("height", Math.abs(y - start[1]));
      }
      return;
    }
    link(plot.link, plot, dataX(x));
  });
  svg.addEventListener("pointerleave", () => { if (!start) link(plot.link, plot, NaN); });
  svg.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    start = inside(e);
    const { best, least } = nearest(...start, (s) => s.drag);
    held = least < 11 ? best : null;
    if (held) svg.classList.add("bx-holding");
    if (plot.brush || held) svg.setPointerCapture(e.pointerId);
  });
  svg.addEventListener("pointerup", (e) => {
    if (!start) return;
    const [x, y] = inside(e), from = start;
    const moved = Math.hypot(x - from[0], y - from[1]) > 4;
    if (held && moved) {
      const { best } = nearest(x, y, (s) => s.pick);
      if (best) send({ kind: "drag", plot: plot.id, index: held.index, to: best });
    } else if (moved && plot.brush) {
      const [a, c] = [dataX(from[0]), dataX(x)].sort((p, q) => p - q);
      const [d, f] = [dataY(from[1]), dataY(y)].sort((p, q) => p - q);
      send({ kind: "brush", plot: plot.id, x: [a, c], y: [d, f] });
    } else if (plot.pick) {
      const { best, least } = nearest(x, y, (s) => s.pick);
      if (best && least < 24) send({ kind: "pick", plot: plot.id, ...best });
    }
    end();
  });
  svg.addEventListener("pointercancel", end);
  svg.addEventListener("keydown", (e) => {
    const s = plot.series.find((one) => one.pick) ?? plot.series[0];
    if (!s || !s.x.length) return;
    const step = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10 }[e.key];
    if (step) {
      at = Math.min(s.x.length - 1, Math.max(0, at + step));
      link(plot.link, plot, s.x[at]);
    } else if ((e.key === "Enter" || e.key === " ") && plot.pick && at >= 0) {
      send({ kind: "pick", plot: plot.id, series: plot.series.indexOf(s), index: at });
    } else if (e.key === "Escape") { end(); link(plot.link, plot, NaN); } else return;
    e.preventDefault();
    e.stopPropagation();
  });
  if (plot.lasso) {
    lasso(svg, () => svg, (loop) => {
      const ids = new Set();
      for (const s of plot.series) {
        for (let i = 0; s.ids && i < s.x.length; i++) {
          if (loop.length && within(loop, px(s.x[i]), py(s.y[i]))) ids.add(s.ids[i]);
        }
      }
      select(ids);
    });
  }
  return { card, paint, show, highlight, link: plot.link };
}

function picture(plot, send, select) {
  const card = make("section", { class: "bx-plot", "data-plot": plot.id });
  card.append(make("h4", { text: plot.title }));
  const [ny, nx] = plot.shape;
  const canvas = make("canvas", { width: nx, height: ny, class: "bx-picture", tabindex: 0,
    role: "img", "aria-label": `${plot.title}, ${ny} by ${nx} pixels` });
  const holder = make("div", { class: "bx-holder" }, canvas);
  holder.style.aspectRatio = `${nx} / ${ny}`;
  holder.style.width = `min(100%, ${Math.round(((plot.height ?? 280) * nx) / ny)}px)`;
  const scale = make("div", { class: "bx-scale" });
  if (!plot.names) {
    scale.append(make("span", { text: short(plot.low, 3) }), make("i", { style: `background:${css(plot.palette)}` }),
      make("span", { text: `${short(plot.high, 3)} ${plot.units ?? ""}` }));
  } else {
    plot.names.forEach((name, k) => scale.append(make("b", { style: `background:${LABELS[k % LABELS.length]}` }), make("span", { text: name })));
  }
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
    const x = Math.min(nx - 1, Math.floor(((e.clientX - box.left) / box.width) * nx));
    const y = Math.min(ny - 1, Math.floor(((e.clientY - box.top) / box.height) * ny));
    return [Math.max(0, y), Math.max(0, x)];
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

function render({ model, el }) {
  el.classList.add("bx");
  const grid = make("div", { class: "bx-grid-of-plots" });
  el.append(grid);
  let shown = [];
  const link = (name, plot, x) => {
    for (const one of shown) {
      if (one.plot === plot) one.show(x, true);
      else if (name && one.link === name) one.show(x, true);
    }
  };
  let chosen = new Set();
  function select(ids) { // in all plots that share the lasso, and in the kernel
    chosen = ids;
    for (const one of shown) if (one.plot.lasso) one.highlight(ids);
    model.send({ kind: "lasso", ids: [...ids] });
  }
  function redraw() {
    const spec = unpack(model.get("figure"));
    grid.style.setProperty("--bx-columns", spec.columns);
    const focus = el.contains(document.activeElement)
      ? document.activeElement.closest("[data-plot]")?.dataset.plot : null;
    shown = spec.plots.map((plot) => {
      const send = (message) => model.send(message);
      const one = plot.kind === "image" ? picture(plot, send, select) : curves(plot, send, link, select);
      one.plot = plot;
      return one;
    });
    const held = grid.offsetHeight;
    grid.style.minHeight = `${held}px`; // no jump of the page while it is redrawn
    if (spec.plots.some((plot) => plot.column)) { // columns that do not wait for each other
      const columns = Array.from({ length: spec.columns }, () => make("div", { class: "bx-column" }));
      shown.forEach((one) => columns[one.plot.column ?? 0].append(one.card));
      grid.replaceChildren(...columns);
    } else grid.replaceChildren(...shown.map((one) => one.card));
    shown.forEach((one) => one.paint());
    if (chosen.size) for (const one of shown) if (one.plot.lasso) one.highlight(chosen);
    grid.style.minHeight = "";
    if (focus) grid.querySelector(`[data-plot="${focus}"] [tabindex]`)?.focus({ preventScroll: true });
    grid.dataset.drawn = Number(grid.dataset.drawn ?? 0) + 1;
  }
  let width = 0;
  const watch = new ResizeObserver(() => {
    if (Math.abs(grid.clientWidth - width) < 2) return;
    width = grid.clientWidth;
    shown.forEach((one) => one.paint());
  });
  watch.observe(grid);
  model.on("change:figure", redraw);
  redraw();
  return () => { watch.disconnect(); model.off("change:figure", redraw); };
}

export default { render };
