// Curves, bands, dots and loops as paths of SVG, and the limits of a plot.

const at = (x, y) => `${x.toFixed(1)} ${y.toFixed(1)}`;

export function curvePath(xs, ys, px, py) {
  let path = "", pen = "M";
  for (let i = 0; i < xs.length; i++) {
    const y = py(ys[i]);
    if (!Number.isFinite(y) || !Number.isFinite(xs[i])) { pen = "M"; continue; }
    path += `${pen}${at(px(xs[i]), y)}`;
    pen = "L";
  }
  return path;
}

export function bandPath(s, px, py) {
  const seen = [...s.x.keys()].filter((i) => Number.isFinite(s.y[i] + s.spread[i]));
  if (seen.length < 2) return "";
  const above = seen.map((i) => at(px(s.x[i]), py(s.y[i] + s.spread[i])));
  const below = seen.reverse().map((i) => at(px(s.x[i]), py(s.y[i] - s.spread[i])));
  return `M${above.join("L")}L${below.join("L")}Z`;
}

export function dotPath(s, px, py, wanted) { // of those points only, where some are wanted
  let path = "";
  for (let i = 0; i < s.x.length; i++) {
    if (wanted && !wanted.has(s.ids[i])) continue;
    path += `M${at(px(s.x[i]), py(s.y[i]))}h0`;
  }
  return path;
}

export function within(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

export function limits(plot) {
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
  if (x1 === x0 || plot.series.some((s) => s.bars)) { x0 -= 0.5; x1 += 0.5; } // bars have a width
  if (y1 === y0) { const d = Math.abs(y0) * 0.1 || 0.5; y0 -= d; y1 += d; }
  const pad = 0.05 * (y1 - y0);
  return { x0, x1, y0: y0 - pad, y1: y1 + pad };
}

// Wider limits on one axis, so that a unit is as long on both.
export function equalLimits({ x0, x1, y0, y1 }, width, height) {
  const unit = Math.max((x1 - x0) / width, (y1 - y0) / height);
  const [dx, dy] = [(unit * width - (x1 - x0)) / 2, (unit * height - (y1 - y0)) / 2];
  return { x0: x0 - dx, x1: x1 + dx, y0: y0 - dy, y1: y1 + dy };
}

// The point nearest to a place on the screen, among the series that `wanted` allows.
export function nearest(series, px, py, [x, y], wanted) {
  let best = null, least = Infinity;
  series.forEach((s, k) => {
    if (!wanted(s)) return;
    for (let i = 0; i < s.x.length; i++) {
      const d = Math.hypot(px(s.x[i]) - x, py(s.y[i]) - y);
      if (d < least) { least = d; best = { series: k, index: i }; }
    }
  });
  return { best, least };
}

// The place of `value` in `values`; -1 where there are none that count.
export function closest(values, value, counts = () => true) {
  let best = -1, least = Infinity;
  for (let k = 0; k < values.length; k++) {
    const d = Math.abs(values[k] - value);
    if (d < least && counts(k)) { least = d; best = k; }
  }
  return best;
}
