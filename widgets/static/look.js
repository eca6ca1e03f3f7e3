// What is looked at in a stack: the axis, the picture, the pixel that is held, the
// region, the pointer and the part that is seen. Knows nothing of the screen.

import { clamp } from "./common.js";
import { Lens } from "./lens.js";
import { others } from "./stack.js";

export class Look {
  constructor(shape, dims, chosen) {
    Object.assign(this, { shape, dims, pointer: null, axis: Math.max(0, dims.indexOf(chosen.axis)) });
    this.lens = new Lens(this.rows, this.columns);
    this.lens.window = chosen.window;
    this.take(chosen);
  }
  get side() { return others(this.axis)[0]; }
  get across() { return others(this.axis)[1]; }
  get rows() { return this.shape[this.side]; }
  get columns() { return this.shape[this.across]; }
  get dim() { return this.dims[this.axis]; }
  get last() { return this.shape[this.axis] - 1; }
  get place() { return this.pointer ?? this.held; }

  // as the kernel knows it
  get choice() {
    return { axis: this.dim, index: this.index, pixel: [...this.held],
      region: this.region ? [...this.region] : [], window: this.lens.window };
  }
  take({ index, pixel, region }) {
    this.index = index; this.held = [...pixel];
    this.region = region.length ? [...region] : null;
  }
  turn(axis) { // to another axis: the voxel that is held stays
    const voxel = [0, 0, 0];
    voxel[this.axis] = this.index;
    [voxel[this.side], voxel[this.across]] = this.held;
    this.axis = axis;
    this.index = voxel[axis]; this.held = [voxel[this.side], voxel[this.across]];
    this.region = null; this.pointer = null;
    this.lens.fit(this.rows, this.columns);
  }
  to(index) { // tells whether it is another picture
    const next = clamp(index, 0, this.last), changed = next !== this.index;
    this.index = next;
    return changed;
  }
  move(down, right) { // what is held stays in sight; tells whether that moved what is seen
    this.held = [clamp(this.held[0] + down, 0, this.rows - 1), clamp(this.held[1] + right, 0, this.columns - 1)];
    this.pointer = null;
    if (!this.lens.whole) this.lens.follow(this.held);
    return !this.lens.whole;
  }
  drag([a, b], [c, d]) {
    this.region = [Math.min(a, c), Math.max(a, c), Math.min(b, d), Math.max(b, d)];
  }
  zoom(factor, place) { // about a place in shares of the frame; else about what is held
    const { lens, held } = this;
    const at = place ?? [(held[0] + 0.5 - lens.top) / lens.height, (held[1] + 0.5 - lens.left) / lens.width];
    lens.zoomBy(factor, ...(at.every((share) => share >= 0 && share <= 1) ? at : [0.5, 0.5]));
  }
}
