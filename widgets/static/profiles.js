// The curves behind the pointer, the pixel and the region: at once from what the
// browser holds, then exactly, as the kernel answers.

import { numbers, same } from "./common.js";

export class Profiles {
  constructor(stack, look) {
    Object.assign(this, { stack, look, exact: null, pointed: null });
  }
  take(found) { // of the pixel and of the region
    const all = ["pixel", "region", "spread"].map((key) => [key, found[key] && numbers(found[key])]);
    this.exact = { ...found, ...Object.fromEntries(all) };
  }
  takePointed(content, bytes) { // tells whether the pointer is still there
    this.pointed = { at: content.at, axis: content.axis, values: numbers(bytes) };
    return Boolean(this.look.pointer) && same(this.look.pointer, content.at);
  }
  forget() { this.pointed = null; }

  // the exact value of the picture at a place, where it is known
  at(place) {
    const { pointed, look } = this;
    const known = pointed && !this.stack.flat && pointed.axis === look.dim && same(pointed.at, place);
    return known ? pointed.values[look.index] : null;
  }
  shown() {
    const { stack, look, exact, pointed } = this, { axis, dim, pointer, held, region } = look, found = [];
    if (pointer && !same(pointer, held)) {
      const sure = pointed && same(pointed.at, pointer) && pointed.axis === dim;
      found.push({ name: "under the pointer", ink: "faint", sure, y: sure ? pointed.values : stack.profile(axis, pointer) });
    }
    const ours = exact?.axis === dim, sure = exact?.pixel && ours && same(exact.at, held);
    found.push({ name: "pixel held", ink: 0, sure, y: sure ? exact.pixel : stack.profile(axis, held) });
    if (region) {
      const known = exact?.region && ours && same(exact.inside, region);
      found.push({ name: "mean of the region", ink: 1, sure: known,
        y: known ? this.inRow(exact.region) : stack.regionProfile(axis, region),
        spread: known && exact.spread ? this.inRow(exact.spread) : null });
    }
    return found;
  }
  inRow(values) { // the profile of a region of a single picture spans its columns only
    if (!this.stack.flat) return values;
    const row = new Float64Array(this.stack.shape[2]).fill(NaN);
    row.set(values, this.look.region[2]);
    return row;
  }
}

// Limits that hardly change stay: axes that stand still are read at a glance, and
// cost nothing.
export function steadyLimits(shown, before = null) {
  let [y0, y1] = [Infinity, -Infinity];
  for (const s of shown) {
    for (let k = 0; k < s.y.length; k++) {
      const v = s.y[k], e = s.spread ? s.spread[k] : 0;
      if (v - e < y0) y0 = v - e;
      if (v + e > y1) y1 = v + e;
    }
  }
  if (!(y1 >= y0)) [y0, y1] = [0, 1];
  if (y1 === y0) { y0 -= 0.5; y1 += 0.5; }
  const inside = before && y0 >= before[0] && y1 <= before[1];
  if (inside && y1 - y0 >= 0.45 * (before[1] - before[0])) return before;
  const pad = 0.08 * (y1 - y0);
  return [y0 - pad, y1 + pad];
}
