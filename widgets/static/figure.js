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

function bandPath(s, px, py) {
  const seen = [...s.x.keys()].filter((i) => Number.isFinite(s.y[i] + s.spread[i]));
  if (seen.length < 2) return "";
  const above = seen.map((i) => `${px(s.x[i]).toFixed(1)} ${py(s.y[i] + s.spread[i]).toFixed(1)}`);
  const below = seen.reverse().map((i) => `${px(s.x[i]).toFixed(1)} ${py(s.y[i] - s.spread[i]).toFixed(1)}`);
  return `M${above.join("L")}L${below.join("L")}Z`;
}

function curves(plot, index, send, link) {
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
    const xticks = plot.xticks ? plot.xticks.map((_, i) => i) : ticks(x0, x1, Math.max(3, (r - l) / 90));
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
    draw(svg, "text", { class: "bx-label", x: -(t + b) / 2, y: 13, "text-anchor": "middle", transform: "rotate(-90)", text: plot.ylabel });
    plot.series.forEach((s) => {
      const ink = colour(s.colour);
      if (s.spread) draw(svg, "path", { d: bandPath(s, px, py), fill: ink, opacity: 0.15 });
      if (s.line !== false) {
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
    cursor = draw(svg, "line", { class: "bx-cursor", y1: t, y2: b, visibility: "hidden" });
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
  return { card, paint, show, link: plot.link };
}

function picture(plot) {
  const card = make("section", { class: "bx-plot", "data-plot": plot.id });
  card.append(make("h4", { text: plot.title }));
  const [ny, nx] = plot.shape;
  const canvas = make("canvas", { width: nx, height: ny, class: "bx-picture", tabindex: 0,
    role: "img", "aria-label": `${plot.title}, ${ny} by ${nx} pixels` });
  canvas.style.aspectRatio = `${nx} / ${ny}`;
  canvas.style.width = `min(100%, ${Math.round((280 * nx) / ny)}px)`;
  const scale = make("div", { class: "bx-scale" }, make("span", { text: short(plot.low, 3) }),
    make("i", { style: `background:${css(plot.palette)}` }), make("span", { text: `${short(plot.high, 3)} ${plot.units ?? ""}` }));
  const under = make("div", { class: "bx-under", text: " " });
  card.append(canvas, scale, under);
  const table = palette(plot.palette), values = plot.values;
  const image = new ImageData(nx, ny), pixels = new Uint32Array(image.data.buffer);
  const factor = 255.999 / (plot.high - plot.low || 1);
  for (let i = 0; i < values.length; i++) {
    const t = (values[i] - plot.low) * factor;
    pixels[i] = t === t ? table[t < 0 ? 0 : t > 255 ? 255 : t | 0] : 0;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.addEventListener("pointermove", (e) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.min(nx - 1, Math.floor(((e.clientX - box.left) / box.width) * nx));
    const y = Math.min(ny - 1, Math.floor(((e.clientY - box.top) / box.height) * ny));
    under.textContent = `${plot.ydim ?? "y"} ${y}, ${plot.xdim ?? "x"} ${x}: ${short(values[y * nx + x])} ${plot.units ?? ""}`;
  });
  canvas.addEventListener("pointerleave", () => { under.textContent = " "; });
  return { card, paint() {}, show() {}, link: null };
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
  function redraw() {
    const spec = unpack(model.get("figure"));
    grid.style.setProperty("--bx-columns", spec.columns);
    const focus = el.contains(document.activeElement)
      ? document.activeElement.closest("[data-plot]")?.dataset.plot : null;
    shown = spec.plots.map((plot, i) => {
      const one = plot.kind === "image" ? picture(plot) : curves(plot, i, (m) => model.send(m), link);
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
