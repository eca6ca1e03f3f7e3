// Numbers, paths and what a released mouse means: without a screen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cut } from "../../../widgets/static/axes.js";
import { logTicks, numbers, palette, short, ticks } from "../../../widgets/static/common.js";
import { unpack } from "../../../widgets/static/figure.js";
import { bandPath, closest, curvePath, equalLimits, limits, within } from "../../../widgets/static/paths.js";
import { meaning } from "../../../widgets/static/pointing.js";

const same = (v) => v;

test("bytes that start anywhere become numbers", () => {
  const bytes = new Uint8Array(new Float64Array([0, 1.5, -2]).buffer);
  assert.deepEqual([...numbers(new DataView(bytes.buffer, 8, 16))], [1.5, -2]);
  const shifted = new Uint8Array(17);
  shifted.set(bytes.subarray(8), 1);
  assert.deepEqual([...numbers(new DataView(shifted.buffer, 1, 16))], [1.5, -2]);
  assert.equal(numbers(null).length, 0);
});

test("ticks are round and inside", () => {
  assert.deepEqual(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10]);
  assert.deepEqual(ticks(3.1, 4.3, 4).map((v) => v.toFixed(1)), ["3.5", "4.0"]);
  assert.deepEqual(ticks(1, 1, 5), [1]);
  assert.deepEqual(logTicks(0, 3), [0, 1, 2, 3]);
  assert.equal(logTicks(0, 1).length, 4); // 1, 2, 5, 10
});

test("numbers are written short", () => {
  assert.deepEqual([0, 1234.5, -0.5, 1e-5, 2.5e7, NaN, null].map((v) => short(v)),
    ["0", "1235", "−0.5", "10⁻⁵", "2.5·10⁷", "–", "–"]);
  assert.equal(cut("A label that is far too long to fit", 60).at(-1), "…");
  assert.equal(cut("short", 60), "short");
});

test("palettes run from end to end", () => {
  const grey = palette("grey");
  assert.equal(grey[0] >>> 0, 0xff000000);
  assert.equal(grey[255] >>> 0, 0xffffffff);
  assert.equal(palette("viridis")[0] & 255, 68);
  const circle = palette("phase"), far = Math.abs((circle[0] & 255) - (circle[255] & 255));
  assert.ok(far <= 1);
});

test("curves break at gaps, bands need two points", () => {
  assert.equal(curvePath([0, 1, 2, 3], [0, 1, NaN, 3], same, same), "M0.0 0.0L1.0 1.0M3.0 3.0");
  assert.equal(bandPath({ x: [0], y: [1], spread: [1] }, same, same), "");
  assert.equal(bandPath({ x: [0, 1], y: [1, 1], spread: [0.5, 0.5] }, same, same), "M0.0 1.5L1.0 1.5L1.0 0.5L0.0 0.5Z");
});

test("equal axes widen one of them, about its middle", () => {
  const wide = equalLimits({ x0: 0, x1: 10, y0: 0, y1: 10 }, 200, 100);
  assert.deepEqual(wide, { x0: -5, x1: 15, y0: 0, y1: 10 });
  const high = equalLimits({ x0: 0, x1: 10, y0: 0, y1: 2 }, 100, 100);
  assert.deepEqual(high, { x0: 0, x1: 10, y0: -4, y1: 6 });
});

test("limits hold curves with their bands", () => {
  const { x0, x1, y0, y1 } = limits({ series: [{ x: [0, 4], y: [1, 2], spread: [1, 1] }] });
  assert.deepEqual([x0, x1], [0, 4]);
  assert.ok(y0 < 0 && y1 > 3);
  const log = limits({ ylog: true, series: [{ x: [1, 2], y: [0, 100] }] });
  assert.ok(log.y0 < 2 && log.y1 > 2);
});

test("a loop holds what is within it", () => {
  const square = [[0, 0], [4, 0], [4, 4], [0, 4]];
  assert.equal(within(square, 1, 3), true);
  assert.equal(within(square, 5, 3), false);
  assert.equal(closest([1, 5, 9], 6), 1);
  assert.equal(closest([1, 5, 9], 6, (k) => k !== 1), 2);
  assert.equal(closest([], 6), -1);
});

function plotOf(extra) {
  const series = [{ x: [10, 50, 90], y: [10, 10, 10], pick: true }];
  return { plot: { id: "voltage", series, ...extra }, px: same, py: same, dataX: same, dataY: same };
}

test("a click picks the nearest point, and none far away", () => {
  const curves = plotOf({ pick: true });
  assert.deepEqual(meaning(curves, { from: [52, 12], to: [53, 12], held: null }),
    { kind: "pick", plot: "voltage", series: 0, index: 1 });
  assert.equal(meaning(curves, { from: [52, 90], to: [52, 90], held: null }), null);
});

test("a drag moves a point that is held, and else chooses an area", () => {
  const curves = plotOf({ pick: true, brush: true });
  assert.deepEqual(meaning(curves, { from: [10, 10], to: [88, 12], held: { series: 0, index: 0 } }),
    { kind: "drag", plot: "voltage", index: 0, to: { series: 0, index: 2 } });
  assert.deepEqual(meaning(curves, { from: [60, 30], to: [20, 50], held: null }),
    { kind: "brush", plot: "voltage", x: [20, 60], y: [30, 50] });
});

test("what the kernel sends is unpacked", () => {
  const spec = { plots: [{ kind: "image", values: new Float32Array([1, 2]) },
    { series: [{ x: new Float64Array([1]), y: new Float64Array([2]) }] }] };
  const { columns, plots } = unpack(spec);
  assert.equal(columns, 1);
  assert.deepEqual([...plots[0].values], [1, 2]);
  assert.equal(plots[1].series[0].spread, null);
});
