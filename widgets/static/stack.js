// A stack of pictures as the browser holds it: 16-bit numbers with a base and a step
// for each picture, perhaps only every n-th pixel. Knows nothing of the screen.

import { clamp, MISSING, numbers } from "./common.js";

const MOST = 1500; // pixels of a region that are averaged while it is dragged

export const others = (axis) => [0, 1, 2].filter((k) => k !== axis);

export class Stack {
  constructor({ shape, thin, flat }) {
    const [n, rows, columns] = shape;
    Object.assign(this, { shape, thin, flat, n, arrived: 0, steps: [1, thin, thin] });
    this.sizes = [n, Math.ceil(rows / thin), Math.ceil(columns / thin)];
    this.strides = [this.sizes[1] * this.sizes[2], this.sizes[2], 1];
    this.cube = new Uint16Array(n * this.strides[0]).fill(MISSING);
    [this.base, this.step] = [new Float64Array(n), new Float64Array(n)];
    [this.low, this.high] = [0, 1].map(() => new Float64Array(n).fill(NaN));
    this.here = new Uint8Array(n);
  }
  put(content, bytes) {
    const i = content.place;
    this.cube.set(numbers(bytes, Uint16Array), i * this.strides[0]);
    this.base[i] = content.base; this.step[i] = content.step;
    this.low[i] = content.low ?? NaN; this.high[i] = content.high ?? NaN;
    if (!this.here[i]) { this.here[i] = 1; this.arrived++; }
  }
  forget() { this.here.fill(0); this.arrived = 0; }

  // the place along an axis that holds a place of the full data
  small(axis, full) { return clamp(Math.floor(full / this.steps[axis]), 0, this.sizes[axis] - 1); }
  voxel(axis, i, row, column) { // picture i along the axis; all of them small places
    const at = [0, 0, 0], [side, across] = others(axis);
    at[axis] = i; at[side] = row; at[across] = column;
    const q = this.cube[at[0] * this.strides[0] + at[1] * this.strides[1] + at[2]];
    return q === MISSING ? NaN : this.base[at[0]] + q * this.step[at[0]];
  }
  profile(axis, [row, column]) {
    if (this.flat) {
      return Float64Array.from({ length: this.sizes[2] }, (_, k) => this.voxel(0, 0, this.small(1, row), k));
    }
    const [side, across] = others(axis);
    const place = [this.small(side, row), this.small(across, column)];
    return Float64Array.from({ length: this.sizes[axis] }, (_, i) => this.voxel(axis, i, ...place));
  }
  mean(axis, i, [a, b], [c, d], every = 1) { // of the pixels of a picture that have a value
    let sum = 0, count = 0;
    for (let r = a; r <= b; r += every) {
      for (let k = c; k <= d; k += every) {
        const v = this.voxel(axis, i, r, k);
        if (v === v) { sum += v; count++; }
      }
    }
    return sum / count;
  }
  // the mean of a region; of a large one, of some of its pixels
  regionProfile(axis, [r0, r1, c0, c1]) {
    const [side, across] = others(this.flat ? 0 : axis);
    const rows = [this.small(side, r0), this.small(side, r1)];
    const columns = [this.small(across, c0), this.small(across, c1)];
    if (this.flat) {
      const inside = (k) => k >= columns[0] && k <= columns[1];
      return Float64Array.from({ length: this.sizes[2] }, (_, k) => (inside(k) ? this.mean(0, 0, rows, [k, k]) : NaN));
    }
    const pixels = (rows[1] - rows[0] + 1) * (columns[1] - columns[0] + 1);
    const every = Math.max(1, Math.floor(Math.sqrt(pixels / MOST)));
    return Float64Array.from({ length: this.sizes[axis] }, (_, i) => this.mean(axis, i, rows, columns, every));
  }
  // lowest and highest value that colours tell apart: of one picture, or of all
  contrast(picture = null) {
    if (picture !== null && this.here[picture]) return [this.low[picture], this.high[picture]];
    let [a, b] = [Infinity, -Infinity];
    for (let i = 0; i < this.n; i++) {
      if (this.low[i] < a) a = this.low[i];
      if (this.high[i] > b) b = this.high[i];
    }
    return b > a ? [a, b] : b === a ? [a - 0.5, b + 0.5] : [0, 1];
  }
  // colours one picture into `words`; rows and columns of the full data per screen pixel
  paint(words, { axis, index, rows, columns }, table, low, toByte) {
    const [side, across] = others(axis), { cube, strides } = this, width = columns.length;
    const at = this.small(axis, index), columnAt = columns.map((c) => this.small(across, c) * strides[across]);
    let k = 0;
    for (const row of rows) {
      const place = this.small(side, row), i = axis === 0 ? at : place;
      const factor = toByte * this.step[i], offset = (this.base[i] - low) * toByte;
      const from = place * strides[side] + at * strides[axis];
      for (let c = 0; c < width; c++) {
        const q = cube[from + columnAt[c]], t = q * factor + offset;
        words[k++] = q === MISSING ? 0 : table[t < 0 ? 0 : t > 255 ? 255 : t | 0];
      }
    }
  }
}
