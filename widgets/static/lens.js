// The part of a picture that is seen, in pixels of the data.

const CLOSEST = 12; // pixels along the shorter side, at the closest

export class Lens {
  constructor(rows, columns) { this.fit(rows, columns); }
  fit(rows = this.rows, columns = this.columns) {
    [this.rows, this.columns] = [rows, columns];
    [this.top, this.left, this.height, this.width] = [0, 0, rows, columns];
  }
  get zoom() { return this.rows / this.height; }
  get whole() { return this.zoom < 1.001; }
  pixel(down, right) { // under a place in shares of the frame
    const r = Math.floor(this.top + down * this.height), c = Math.floor(this.left + right * this.width);
    return [Math.max(0, Math.min(this.rows - 1, r)), Math.max(0, Math.min(this.columns - 1, c))];
  }
  zoomBy(factor, down = 0.5, right = 0.5) { // what is at that place stays there
    const most = Math.max(1, Math.min(this.rows, this.columns) / CLOSEST);
    const zoom = Math.max(1, Math.min(most, this.zoom * factor));
    const row = this.top + down * this.height, column = this.left + right * this.width;
    this.height = this.rows / zoom; this.width = this.columns / zoom;
    this.top = row - down * this.height; this.left = column - right * this.width;
    this.#stay();
  }
  pan(down, right) { // by shares of the frame
    this.top += down * this.height; this.left += right * this.width;
    this.#stay();
  }
  follow([row, column]) { // what is held stays in sight
    this.top = Math.min(row, Math.max(row + 1 - this.height, this.top));
    this.left = Math.min(column, Math.max(column + 1 - this.width, this.left));
    this.#stay();
  }
  // first and last row, first and last column, whole pixels
  get seen() {
    const ends = (from, size, n) => [Math.floor(from + 1e-6), Math.min(n, Math.ceil(from + size - 1e-6)) - 1];
    return [...ends(this.top, this.height, this.rows), ...ends(this.left, this.width, this.columns)];
  }
  get window() { return this.whole ? [] : this.seen; }
  set window(given) {
    this.fit();
    if (!given.length) return;
    const [r0, r1, c0, c1] = given;
    this.zoomBy(Math.min(this.rows / (r1 - r0 + 1), this.columns / (c1 - c0 + 1)));
    this.top = (r0 + r1 + 1 - this.height) / 2; this.left = (c0 + c1 + 1 - this.width) / 2;
    this.#stay();
  }
  #stay() {
    this.top = Math.max(0, Math.min(this.rows - this.height, this.top));
    this.left = Math.max(0, Math.min(this.columns - this.width, this.left));
  }
}
