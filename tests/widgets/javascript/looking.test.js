// The stack, what is looked at in it, and the curves behind it: without a screen.

import assert from "node:assert/strict";
import { test } from "node:test";
import { asked } from "../../../widgets/static/hands.js";
import { Lens } from "../../../widgets/static/lens.js";
import { Look } from "../../../widgets/static/look.js";
import { Profiles, steadyLimits } from "../../../widgets/static/profiles.js";
import { ratioOf, rulerOf } from "../../../widgets/static/screen.js";
import { Stack } from "../../../widgets/static/stack.js";
import { Detail, Tile } from "../../../widgets/static/tile.js";
import { words } from "../../../widgets/static/tools.js";

const CHOSEN = { axis: "energy", index: 1, pixel: [1, 2], region: [], window: [] };
const DIMS = ["energy", "y", "x"];

// A stack whose value at (i, r, c) is 100 i + 10 r + c.
function filled(shape, thin = 1, flat = false) {
  const stack = new Stack({ shape, thin, flat });
  const [n, rows, columns] = stack.sizes;
  for (let i = 0; i < n; i++) {
    const q = Uint16Array.from({ length: rows * columns }, (_, k) => 10 * Math.floor(k / columns) + (k % columns));
    stack.put({ place: i, base: 100 * i, step: 1, low: 100 * i, high: 100 * i + 99 }, q);
  }
  return stack;
}

test("a stack gives voxels, profiles and means along every axis", () => {
  const stack = filled([3, 4, 5]);
  assert.equal(stack.arrived, 3);
  assert.equal(stack.voxel(0, 2, 3, 4), 234);
  assert.equal(stack.voxel(1, 3, 2, 4), 234); // picture y = 3; row energy, column x
  assert.equal(stack.voxel(2, 4, 2, 3), 234);
  assert.deepEqual([...stack.profile(0, [3, 4])], [34, 134, 234]);
  assert.deepEqual([...stack.profile(2, [2, 3])], [230, 231, 232, 233, 234]);
  assert.deepEqual([...stack.regionProfile(0, [1, 2, 2, 4])], [18, 118, 218]);
});

test("what has not come, and pixels without value, are left out of means", () => {
  const stack = new Stack({ shape: [2, 1, 3], thin: 1, flat: false });
  stack.put({ place: 0, base: 0, step: 2 }, Uint16Array.from([1, 65535, 3]));
  assert.deepEqual([...stack.regionProfile(0, [0, 0, 0, 2])], [4, NaN]);
  assert.deepEqual([...stack.profile(0, [0, 1])], [NaN, NaN]);
  assert.deepEqual(stack.contrast(), [0, 1]); // no limits are known
});

test("a single picture gives its row, and the mean over rows of a region", () => {
  const stack = filled([1, 3, 4], 1, true);
  assert.deepEqual([...stack.profile(0, [2, 0])], [20, 21, 22, 23]);
  assert.deepEqual([...stack.regionProfile(0, [0, 2, 1, 2])], [NaN, 11, 12, NaN]);
});

test("a thinned stack answers for places of the full data", () => {
  const stack = filled([2, 7, 9], 3);
  assert.deepEqual(stack.sizes, [2, 3, 3]);
  assert.equal(stack.small(1, 6), 2);
  assert.equal(stack.small(0, 1), 1);
  assert.deepEqual([...stack.profile(0, [6, 3])], [21, 121]);
});

test("a picture is coloured by its numbers, from any axis", () => {
  const stack = filled([3, 4, 5]), table = Uint32Array.from({ length: 256 }, (_, k) => k);
  const words32 = new Uint32Array(4), low = 0, toByte = 1;
  stack.paint(words32, { axis: 0, index: 1, rows: [0, 3], columns: [1, 4] }, table, low, toByte);
  assert.deepEqual([...words32], [101, 104, 131, 134]);
  stack.paint(words32, { axis: 2, index: 4, rows: [0, 1], columns: [0, 3] }, table, low, toByte);
  assert.deepEqual([...words32], [4, 34, 104, 134]);
});

test("turning to another axis keeps the voxel that is held", () => {
  const look = new Look([3, 4, 5], DIMS, CHOSEN);
  look.drag([3, 1], [0, 4]);
  assert.deepEqual(look.region, [0, 3, 1, 4]);
  look.turn(1);
  assert.deepEqual(look.choice, { axis: "y", index: 1, pixel: [1, 2], region: [], window: [] });
  look.turn(2);
  assert.deepEqual([look.index, ...look.held], [2, 1, 1]);
  assert.equal(look.to(9), true);
  assert.equal(look.index, 4);
  assert.equal(look.to(4), false);
  look.move(99, -99);
  assert.deepEqual(look.held, [2, 0]);
});

test("the lens zooms about a place, stays inside, and shows what it is told", () => {
  const lens = new Lens(100, 200);
  assert.deepEqual(lens.window, []);
  lens.zoomBy(4, 0.25, 0.75);
  assert.deepEqual(lens.pixel(0.25, 0.75), [25, 150]);
  lens.pan(9, 9);
  assert.deepEqual(lens.window, [75, 99, 150, 199]);
  lens.window = [10, 34, 20, 69];
  assert.deepEqual(lens.window, [10, 34, 20, 69]);
  lens.zoomBy(1000);
  assert.equal(Math.round(lens.height), 12); // never closer
});

test("exact curves are shown where they belong to what is looked at", () => {
  const stack = filled([3, 4, 5]), look = new Look([3, 4, 5], DIMS, CHOSEN);
  const profiles = new Profiles(stack, look);
  profiles.take({ axis: "energy", at: [1, 2], inside: [], pixel: Float64Array.from([1, 2, 3]) });
  assert.deepEqual([...profiles.shown()[0].y], [1, 2, 3]);
  look.held = [0, 0];
  assert.deepEqual([...profiles.shown()[0].y], [0, 100, 200]);
  look.pointer = [3, 3];
  assert.equal(profiles.takePointed({ at: [3, 3], axis: "energy" }, Float64Array.from([7, 8, 9])), true);
  assert.equal(profiles.at([3, 3]), 8);
  assert.deepEqual(profiles.shown().map((s) => [s.name, Boolean(s.sure)]),
    [["under the pointer", true], ["pixel held", false]]);
});

test("limits stay while the curves fill them", () => {
  const before = steadyLimits([{ y: [0, 10] }]);
  assert.deepEqual(before, [-0.8, 10.8]);
  assert.equal(steadyLimits([{ y: [1, 9] }], before), before);
  assert.notEqual(steadyLimits([{ y: [1, 3] }], before), before); // too small in them
  assert.deepEqual(steadyLimits([{ y: [NaN] }]), [-0.08, 1.08]);
});

test("a tile is asked for once, and shown while it is fine enough", () => {
  const stack = filled([3, 40, 40], 2), look = new Look([3, 40, 40], DIMS, CHOSEN);
  const detail = new Detail(stack, look), canvas = { width: 20, height: 20 };
  assert.equal(detail.coarse, true);
  const wanted = detail.request(canvas);
  assert.deepEqual(wanted, { kind: "tile", axis: "energy", index: 1, window: [0, 39, 0, 39], every: 2 });
  assert.equal(detail.request(canvas), null);
  detail.take({ ...wanted, wanted: 2, base: 0, step: 1 }, new Uint16Array(400));
  assert.ok(detail.sharp(canvas));
  assert.equal(detail.sharp({ width: 40, height: 40 }), null);
  look.to(2);
  assert.equal(detail.sharp(canvas), null);
  const tile = new Tile({ window: [2, 3, 4, 5], every: 1, base: 1, step: 2 }, Uint16Array.from([0, 1, 65535, 3]));
  assert.deepEqual([tile.value(2, 5), tile.value(3, 4), tile.value(3, 5), tile.value(0, 0)], [3, NaN, 7, null]);
});

test("rulers are round, and pictures true to scale", () => {
  assert.deepEqual(rulerOf(3000, "nm"), { length: 500, text: "500 nm" });
  assert.deepEqual(rulerOf(30000, "nm"), { length: 5000, text: "5 µm" });
  const axis = (last, units) => ({ values: [0, last], units });
  assert.equal(ratioOf(axis(10, "nm"), axis(20, "nm"), [5, 5]), 2);
  assert.equal(ratioOf(axis(10, "1"), axis(20, "1"), [6, 9]), 1.5);
  assert.equal(ratioOf(axis(10, "eV"), axis(20, "nm"), [6, 9]), 1);
});

test("keys", () => {
  assert.deepEqual(asked({ key: "ArrowUp", shiftKey: true }, true), { move: [-10, 0] });
  assert.deepEqual(asked({ key: "ArrowLeft" }, false), { step: -1 });
  assert.deepEqual(asked({ key: "PageDown", shiftKey: true }, true), { step: -10 });
  assert.deepEqual(asked({ key: "-" }, true), { zoom: -1 });
  assert.equal(asked({ key: "Tab" }, true), null);
});

test("the words below the picture", () => {
  const stack = filled([3, 4, 5]), look = new Look([3, 4, 5], DIMS, CHOSEN);
  const axes = [{ units: "eV", values: [1, 2, 3] }, { units: "nm", values: [0, 30, 60, 90] }, { units: "1", values: [0, 1, 2, 3, 4] }];
  const said = { stack, look, axes, detail: { coarse: false }, value: 112, fine: null };
  assert.equal(words(said), "y 1 (30 nm), x 2: 112");
  const rough = { ...said, detail: { coarse: true } };
  assert.match(words({ ...rough, fine: { every: 1 } }), /true pixels are shown$/);
  stack.forget();
  assert.match(words(said), /run the cell/);
});
