// Curves and small pictures, side by side, drawn from what the model sends: linked
// cursors, values under the pointer, points to pick, ranges to drag, arrow keys.

import { make, numbers } from "./common.js";
import { Curves } from "./curves.js";
import { picture } from "./image.js";

export function unpack(spec) {
  const plots = (spec.plots ?? []).map((plot) => plot.kind === "image"
    ? { ...plot, values: numbers(plot.values, Float32Array) }
    : { ...plot, series: plot.series.map((s) => ({
        ...s, x: numbers(s.x), y: numbers(s.y), spread: s.spread ? numbers(s.spread) : null,
        ids: s.ids ? numbers(s.ids, Int32Array) : null,
      })) });
  return { columns: spec.columns ?? 1, plots };
}

function render({ model, el }) {
  el.classList.add("bx");
  const grid = make("div", { class: "bx-grid-of-plots" });
  el.append(grid);
  let shown = [];
  const link = (name, plot, x) => {
    for (const one of shown) if (one.plot === plot || (name && one.link === name)) one.show(x);
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
      const one = plot.kind === "image" ? picture(plot, send, select) : new Curves(plot, send, link, select);
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
