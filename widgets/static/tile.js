// A part of one picture, as fine as the screen: single pixels, or means of several.

import { MISSING, numbers } from "./common.js";

export class Tile {
  constructor(content, bytes) {
    const [r0, r1, c0, c1] = content.window;
    Object.assign(this, content, { top: r0, left: c0, numbers: numbers(bytes, Uint16Array) });
    this.rows = Math.ceil((r1 - r0 + 1) / this.every);
    this.columns = Math.ceil((c1 - c0 + 1) / this.every);
  }
  value(row, column) { // the true pixel, where there is one
    const [i, j] = [row - this.top, column - this.left];
    if (this.every > 1 || i < 0 || j < 0 || i >= this.rows || j >= this.columns) return null;
    const q = this.numbers[i * this.columns + j];
    return q === MISSING ? NaN : this.base + q * this.step;
  }
  // rows and columns of the data that each pixel of the screen shows
  paint(words, { rows, columns }, table, low, toByte) {
    const factor = toByte * this.step, offset = (this.base - low) * toByte;
    const places = (full, from, n) => full.map((k) => {
      const i = Math.floor((k - from) / this.every);
      return i < n ? i : -1;
    });
    const down = places(rows, this.top, this.rows), right = places(columns, this.left, this.columns);
    for (let r = 0; r < down.length; r++) {
      if (down[r] < 0) continue;
      const from = down[r] * this.columns, to = r * right.length;
      for (let c = 0; c < right.length; c++) {
        if (right[c] < 0) continue;
        const q = this.numbers[from + right[c]], t = q * factor + offset;
        words[to + c] = q === MISSING ? 0 : table[t < 0 ? 0 : t > 255 ? 255 : t | 0];
      }
    }
  }
}

// Where the browser holds every n-th pixel only: what to ask for, and what has come.
export class Detail {
  constructor(stack, look) {
    Object.assign(this, { stack, look, tile: null, asked: "" });
  }
  get coarse() {
    const { steps, thin } = this.stack;
    return thin > 1 && (steps[this.look.side] > 1 || steps[this.look.across] > 1);
  }
  fineness({ width, height }) { // pixels of the data per pixel of the screen
    const { lens } = this.look;
    return Math.max(1, Math.floor(Math.min(lens.height / height, lens.width / width)));
  }
  request(canvas) { // the message to the kernel; null where nothing new is needed
    if (!this.coarse) return null;
    const { dim, index, lens } = this.look;
    const wanted = { kind: "tile", axis: dim, index, window: lens.seen, every: this.fineness(canvas) };
    const now = JSON.stringify(wanted);
    if (now === this.asked) return null;
    this.asked = now;
    return wanted;
  }
  sharp(canvas) { // the tile of the picture that is shown, if it is fine enough
    const { tile, look } = this;
    const fits = tile && tile.axis === look.dim && tile.index === look.index;
    return fits && tile.wanted <= this.fineness(canvas) ? tile : null;
  }
  take(content, bytes) { this.tile = new Tile(content, bytes); }
  forget() { this.tile = null; this.asked = ""; }
}
