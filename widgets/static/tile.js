// A part of one picture, as fine as the screen: single pixels, or means of several.

class Tile {
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
  paint(words, rows, columns, table, low, toByte) {
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
