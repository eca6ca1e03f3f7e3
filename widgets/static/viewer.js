// A stack in the browser: the picture under the mouse, the spectrum behind it. What
// moves is answered here; what rests is asked of the kernel, exactly.

const REST = 120; // ms without movement after which the kernel is asked
const WIDE = 520; // CSS pixels of the picture's longer side
const ZOOM = 1.5; // per step

function render({ model, el }) {
  el.classList.add("bx");
  const about = model.get("about");
  const [n, fullRows, fullColumns] = about.shape;
  const thin = about.thin;
  const rows = Math.ceil(fullRows / thin), columns = Math.ceil(fullColumns / thin);
  const steps = [1, thin, thin], sizes = [n, rows, columns];
  const axes = about.axes.map((a) => ({ ...a, values: numbers(a.values) }));
  const dims = axes.map((a) => a.dim);
  const cube = new Uint16Array(n * rows * columns).fill(MISSING);
  const base = new Float64Array(n), step = new Float64Array(n);
  const low = new Float64Array(n).fill(NaN), high = new Float64Array(n).fill(NaN);
  const here = new Uint8Array(n);
  const strides = [rows * columns, columns, 1];
  let arrived = 0, table = palette("viridis"), whole = true;

  // what is looked at: the axis, the voxel that is held, the region, the pointer
  let axis = Math.max(0, dims.indexOf(model.get("axis")));
  let [side, across] = others(axis);
  let index = model.get("index"), held = [...model.get("pixel")];
  let region = model.get("region").length ? [...model.get("region")] : null;
  let pointer = null, exact = null, exactPointer = null;
  const lens = new Lens(about.shape[side], about.shape[across]);
  lens.window = model.get("window");
  let tile = null, asked = ""; // the part that is seen, as fine as the screen; what the kernel was asked for

  function others(a) { return [0, 1, 2].filter((k) => k !== a); }
  const small = (k, full) => Math.min(sizes[k] - 1, Math.floor(full / steps[k]));

  // -- elements
  const canvas = make("canvas", { class: "bx-canvas" });
  const marks = draw(make("div"), "svg", { class: "bx-marks" });
  const frame = make("div", { class: "bx-view", tabindex: 0, role: "application",
    "data-lm-suppress-shortcuts": "true", // the notebook has its own use for these keys
    "aria-label": "Picture. Arrow keys move the pixel, Page Up and Page Down change the picture, plus and minus zoom, 0 shows all, Escape gives up the region." },
    canvas, marks);
  const says = make("div", { class: "bx-under", role: "status" });
  const scaleLow = make("span"), scaleHigh = make("span"), scaleBar = make("i");
  const scale = make("div", { class: "bx-scale" }, scaleLow, scaleBar, scaleHigh);
  const slider = make("input", { type: "range", min: 0, step: 1, class: "bx-slider", "aria-label": "picture" });
  const where = make("output", { class: "bx-where" });
  const choose = (label, options, value, change) => {
    const select = make("select", { "aria-label": label, onchange: () => change(select.value) },
      ...options.map(([v, t]) => make("option", { value: v, text: t })));
    select.value = value;
    return make("label", {}, make("span", { text: label }), select);
  };
  const controls = make("div", { class: "bx-tools" });
  const axisChoice = choose("along", dims.map((d) => [d, d]), dims[axis], (d) => {
    setAxis(dims.indexOf(d)); tell();
  });
  if (!about.flat) controls.append(axisChoice);
  if (about.complex) {
    controls.append(choose("show", [["modulus", "modulus"], ["phase", "phase"]], model.get("part"), (v) => {
      model.set("part", v); model.save_changes();
    }));
  }
  controls.append(
    choose("contrast", [["all", "of all pictures"], ["one", "of this picture"]], "all", (v) => { whole = v === "all"; paintPicture(); }),
    choose("colours", [["viridis", "viridis"], ["grey", "grey"], ["phase", "circle"], ["diverge", "blue to red"]], "viridis",
      (v) => { table = palette(v); scaleBar.style.background = css(v); paintPicture(); }));
  const button = (text, title, act) => make("button", { class: "bx-button", text, title, "aria-label": title, onclick: act });
  controls.append(make("span", { class: "bx-zoom" },
    button("−", "Zoom out", () => zoom(1 / ZOOM)), button("+", "Zoom in", () => zoom(ZOOM)),
    button("All", "Show the whole picture", () => { lens.fit(); moved(); })));
  scaleBar.style.background = css("viridis");
  const left = make("div", { class: "bx-left" }, frame, make("div", { class: "bx-slide" }, slider, where), scale, says);
  const plot = draw(make("div"), "svg", { class: "bx-curves bx-spectrum", tabindex: 0, role: "img",
    "data-lm-suppress-shortcuts": "true",
    "aria-label": "Profile behind the pixel. Left and right change the picture." });
  const key = make("div", { class: "bx-legend" });
  const right = make("div", { class: "bx-right bx-plot" }, make("h4", { text: about.flat ? "Profile along the row" : "Behind the pixel" }), key, plot.parentNode);
  const root = make("div", { class: "bx-viewer" }, left, right);
  el.append(controls, root);

  // -- values
  const value = (i, q) => (q === MISSING ? NaN : base[i] + q * step[i]);
  function voxel(a, i, r, c) { // at picture i along axis a, row r, column c, all thinned
    const at = [0, 0, 0], [s, x] = others(a);
    at[a] = i; at[s] = r; at[x] = c;
    return value(at[0], cube[at[0] * strides[0] + at[1] * strides[1] + at[2]]);
  }
  function profile([r, c]) {
    if (about.flat) return Float64Array.from({ length: columns }, (_, k) => voxel(0, 0, small(1, r), k));
    return Float64Array.from({ length: sizes[axis] }, (_, i) => voxel(axis, i, small(side, r), small(across, c)));
  }
  function regionProfile([r0, r1, c0, c1]) {
    const [a, b, c, d] = [small(side, r0), small(side, r1), small(across, c0), small(across, c1)];
    const many = Math.max(1, Math.floor(Math.sqrt(((b - a + 1) * (d - c + 1)) / 1500)));
    if (about.flat) {
      return Float64Array.from({ length: columns }, (_, k) => {
        if (k < c || k > d) return NaN;
        let sum = 0, count = 0;
        for (let r = a; r <= b; r++) { const v = voxel(0, 0, r, k); if (v === v) { sum += v; count++; } }
        return sum / count;
      });
    }
    return Float64Array.from({ length: sizes[axis] }, (_, i) => {
      let sum = 0, count = 0;
      for (let r = a; r <= b; r += many) {
        for (let k = c; k <= d; k += many) { const v = voxel(axis, i, r, k); if (v === v) { sum += v; count++; } }
      }
      return sum / count;
    });
  }
  function contrast() {
    if (axis === 0 && !whole && here[index]) return [low[index], high[index]];
    let [a, b] = [Infinity, -Infinity];
    for (let i = 0; i < n; i++) { if (low[i] < a) a = low[i]; if (high[i] > b) b = high[i]; }
    return b > a ? [a, b] : b === a ? [a - 0.5, b + 0.5] : [0, 1];
  }

  // -- picture
  let bitmap = null, words = null, context = canvas.getContext("2d", { alpha: true });
  let screen = [WIDE, WIDE], rowFull = null, columnFull = null, rowAt = null, columnAt = null;
  const sampled = (from, size, shown) => Int32Array.from({ length: shown },
    (_, k) => Math.floor(from + ((k + 0.5) * size) / shown));
  function layout() {
    const span = (k) => Math.abs(axes[k].values.at(-1) - axes[k].values[0]) || 1;
    const alike = axes[side].units === axes[across].units && axes[side].units !== "1";
    const bare = axes[side].units === "1" && axes[across].units === "1";
    let ratio = alike ? span(across) / span(side) : bare ? sizes[across] / sizes[side] : 1;
    ratio = Math.min(4, Math.max(0.25, ratio));
    const width = ratio >= 1 ? WIDE : WIDE * ratio;
    frame.style.width = `min(100%, ${Math.round(width)}px)`;
    frame.style.aspectRatio = String(ratio);
    // No more pixels than the screen has: a quarter of the work for a large picture.
    const seen = (frame.clientWidth || width) * (window.devicePixelRatio || 1);
    screen = [Math.round(seen), Math.round(seen / ratio)];
    aim();
    const last = about.shape[axis] - 1;
    slider.max = last; slider.value = index;
    slider.parentNode.hidden = last < 1;
    bounds = null;
  }
  function aim() { // which pixel of the data each of the screen shows
    let [w, h] = screen;
    if (lens.whole) { w = Math.min(w, lens.columns); h = Math.min(h, lens.rows); }
    if (!bitmap || w !== bitmap.width || h !== bitmap.height) {
      canvas.width = w; canvas.height = h;
      bitmap = context.createImageData(w, h);
      words = new Uint32Array(bitmap.data.buffer);
    }
    rowFull = sampled(lens.top, lens.height, h);
    columnFull = sampled(lens.left, lens.width, w);
    rowAt = rowFull.map((r) => small(side, r) * strides[side]);
    columnAt = columnFull.map((c) => small(across, c) * strides[across]);
    marks.setAttribute("viewBox", `${lens.left} ${lens.top} ${lens.width} ${lens.height}`);
    ruler();
  }
  function moved() { aim(); later(PICTURE | PROFILE); tell(); }
  function zoom(factor, place) {
    const at = place ?? [(held[0] + 0.5 - lens.top) / lens.height, (held[1] + 0.5 - lens.left) / lens.width];
    lens.zoomBy(factor, ...(at.every((share) => share >= 0 && share <= 1) ? at : [0.5, 0.5]));
    moved();
  }

  // -- the part that is seen, as fine as the screen; where the browser holds every n-th pixel
  const coarse = () => thin > 1 && (steps[side] > 1 || steps[across] > 1);
  const fineness = () => Math.max(1, Math.floor(Math.min(lens.height / canvas.height, lens.width / canvas.width)));
  function request() {
    if (!coarse()) return;
    const wanted = { kind: "tile", axis: dims[axis], index, window: lens.seen, every: fineness() };
    const now = JSON.stringify(wanted);
    if (now === asked) return;
    asked = now;
    model.send(wanted);
  }
  const sharp = () => (tile && tile.axis === dims[axis] && tile.index === index && tile.wanted <= fineness() ? tile : null);
  function paintPicture() {
    const [a, b] = contrast();
    const at = small(axis, index), toByte = 255.999 / (b - a), width = columnAt.length;
    let k = 0;
    for (let r = 0; r < rowAt.length; r++) {
      const i = axis === 0 ? at : rowAt[r] / strides[0]; // the picture of the stack
      const factor = toByte * step[i], offset = (base[i] - a) * toByte;
      const from = rowAt[r] + at * strides[axis];
      for (let c = 0; c < width; c++) {
        const q = cube[from + columnAt[c]], t = q * factor + offset;
        words[k++] = q === MISSING ? 0 : table[t < 0 ? 0 : t > 255 ? 255 : t | 0];
      }
    }
    sharp()?.paint(words, rowFull, columnFull, table, a, toByte);
    context.putImageData(bitmap, 0, 0);
    scaleLow.textContent = short(a, 3); scaleHigh.textContent = `${short(b, 3)}`;
    slider.value = index;
    where.textContent = about.flat ? "" : `${axes[axis].label}: ${short(axes[axis].values[index], 6)}   (${index + 1} of ${about.shape[axis]})`;
    moveCursor();
    root.dispatchEvent(new CustomEvent("bx-drawn", { detail: "picture", bubbles: true }));
  }
  const regionMark = draw(marks, "rect", { class: "bx-region" });
  const heldMark = draw(marks, "path", { class: "bx-held" });
  const pointerMark = draw(marks, "path", { class: "bx-pointer" });
  marks.setAttribute("preserveAspectRatio", "none");
  function paintMarks() {
    const [h, w] = [about.shape[side], about.shape[across]];
    const cross = (place) => (place ? `M${place[1] + 0.5} 0V${h}M0 ${place[0] + 0.5}H${w}` : "");
    heldMark.setAttribute("d", cross(held));
    pointerMark.setAttribute("d", cross(pointer));
    regionMark.setAttribute("visibility", region ? "visible" : "hidden");
    if (!region) return;
    const [r0, r1, c0, c1] = region;
    for (const [k, v] of [["x", c0], ["y", r0], ["width", c1 - c0 + 1], ["height", r1 - r0 + 1]]) {
      regionMark.setAttribute(k, v);
    }
  }
  function ruler() { // a length that is round, a fifth of the picture or so
    frame.querySelector(".bx-ruler")?.remove();
    const w = about.shape[across], units = axes[across].units;
    const whole = Math.abs(axes[across].values.at(-1) - axes[across].values[0]) * (w / Math.max(1, w - 1));
    const span = (whole * lens.width) / w;
    if (units !== axes[side].units || units === "1" || !(span > 0)) return;
    const power = 10 ** Math.floor(Math.log10(span / 4));
    const length = power * [5, 2, 1].find((m) => m * power <= span / 4);
    const text = units === "nm" && length >= 1000 ? `${short(length / 1000)} µm` : `${short(length)} ${units}`;
    const bar = make("div", { class: "bx-ruler", text });
    bar.style.width = `${(100 * length) / span}%`;
    frame.append(bar);
  }

  // -- profiles
  const xAxis = () => axes[about.flat ? 2 : axis];
  const box = { left: 64, right: 12, top: 8, bottom: 40, height: 300 };
  let px = null, cursor = null, width = 400;
  function shownProfiles() {
    const shown = [];
    if (pointer && (pointer[0] !== held[0] || pointer[1] !== held[1])) {
      const sure = exactPointer && same(exactPointer.at, pointer) && exactPointer.axis === dims[axis];
      shown.push({ name: "under the pointer", ink: "faint", sure, y: sure ? exactPointer.values : profile(pointer) });
    }
    const pixelSure = exact?.pixel && same(exact.at, held) && exact.axis === dims[axis];
    shown.push({ name: "pixel held", ink: 0, sure: pixelSure, y: pixelSure ? exact.pixel : profile(held) });
    if (region) {
      const sure = exact?.region && same(exact.inside, region) && exact.axis === dims[axis];
      const y = sure ? inRow(exact.region) : regionProfile(region);
      shown.push({ name: "mean of the region", ink: 1, sure, y, spread: sure && exact.spread ? inRow(exact.spread) : null });
    }
    return shown;
  }
  function inRow(values) { // the profile of a region of a single picture spans its columns only
    if (!about.flat) return values;
    const row = new Float64Array(fullColumns).fill(NaN);
    row.set(values, region[2]);
    return row;
  }
  function same(a, b) { return a.length === b.length && a.every((v, i) => v === b[i]); }
  // Limits that hardly change stay: axes that stand still are read at a glance, and
  // cost nothing.
  let bounds = null, drawnAxes = "", still = null, moving = null;
  function limitsOf(shown) {
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
    const inside = bounds && y0 >= bounds[0] && y1 <= bounds[1];
    if (!inside || y1 - y0 < 0.45 * (bounds[1] - bounds[0])) {
      const pad = 0.08 * (y1 - y0);
      bounds = [y0 - pad, y1 + pad];
    }
    return bounds;
  }
  function paintAxes([l, r, t, b], first, last, [y0, y1], py) {
    const now = [width, axis, y0, y1].join();
    if (now === drawnAxes) return;
    drawnAxes = now;
    plot.replaceChildren();
    plot.setAttribute("width", width); plot.setAttribute("height", box.height);
    plot.setAttribute("viewBox", `0 0 ${width} ${box.height}`);
    still = draw(plot, "g"); moving = draw(plot, "g");
    for (const v of ticks(first, last, Math.max(3, (r - l) / 90))) {
      draw(still, "line", { class: "bx-tick", x1: px(v), x2: px(v), y1: b, y2: b + 4 });
      draw(still, "text", { x: px(v), y: b + 17, "text-anchor": "middle", text: short(v, 6) });
    }
    for (const v of ticks(y0, y1, 5)) {
      draw(still, "line", { class: "bx-grid", x1: l, x2: r, y1: py(v), y2: py(v) });
      draw(still, "text", { x: l - 7, y: py(v) + 4, "text-anchor": "end", text: short(v, 3) });
    }
    draw(still, "line", { class: "bx-axis", x1: l, x2: r, y1: b, y2: b });
    draw(still, "text", { class: "bx-label", x: (l + r) / 2, y: box.height - 5, "text-anchor": "middle", text: xAxis().label });
    draw(still, "text", { class: "bx-label", x: -(t + b) / 2, y: 13, "text-anchor": "middle", transform: "rotate(-90)", text: about.label });
    cursor = draw(plot, "line", { class: "bx-cursor bx-now", y1: t, y2: b });
  }
  function paintPlot() {
    const shown = shownProfiles(), x = xAxis().values;
    const place = (k, m) => (m === x.length ? x[k] : x[Math.min(x.length - 1, k * thin)]);
    const edges = [box.left, width - box.right, box.top, box.height - box.bottom];
    const [l, r, t, b] = edges, [y0, y1] = limitsOf(shown);
    const first = Math.min(x[0], x.at(-1)), last = Math.max(x[0], x.at(-1));
    px = (v) => l + ((v - first) / (last - first || 1)) * (r - l);
    const py = (v) => b - ((v - y0) / (y1 - y0)) * (b - t);
    paintAxes(edges, first, last, [y0, y1], py);
    moving.replaceChildren();
    for (const s of shown) {
      const m = s.y.length;
      if (s.spread) {
        const up = [], down = [];
        for (let k = 0; k < m; k++) {
          if (!Number.isFinite(s.y[k])) continue;
          up.push(`${px(place(k, m)).toFixed(1)} ${py(s.y[k] + s.spread[k]).toFixed(1)}`);
          down.unshift(`${px(place(k, m)).toFixed(1)} ${py(s.y[k] - s.spread[k]).toFixed(1)}`);
        }
        if (up.length) draw(moving, "path", { d: `M${up.join("L")}L${down.join("L")}Z`, fill: colour(s.ink), opacity: 0.14 });
      }
      let path = "", pen = "M";
      for (let k = 0; k < m; k++) {
        if (!Number.isFinite(s.y[k])) { pen = "M"; continue; }
        path += `${pen}${px(place(k, m)).toFixed(1)} ${py(s.y[k]).toFixed(1)}`;
        pen = "L";
      }
      draw(moving, "path", { class: "bx-line", d: path, stroke: colour(s.ink), "stroke-width": s.ink === "faint" ? 1.4 : 2 });
    }
    moveCursor();
    const names = shown.map((s) => `${s.name}${s.sure ? "" : " …"}`);
    if (key.dataset.names !== names.join()) {
      key.dataset.names = names.join();
      key.replaceChildren(...shown.map((s, k) => make("span", {},
        make("i", { style: `background:${colour(s.ink)}` }), make("span", { text: names[k] }))));
    }
    say();
    root.dispatchEvent(new CustomEvent("bx-drawn", { detail: "profile", bubbles: true }));
  }
  function moveCursor() {
    if (!cursor || !px) return;
    const v = about.flat ? xAxis().values[(pointer ?? held)[1]] : xAxis().values[index];
    cursor.setAttribute("x1", px(v)); cursor.setAttribute("x2", px(v));
  }
  function say() {
    if (!here.some(Boolean)) { says.textContent = "the pictures are not here: run the cell to see them"; return; }
    const [r, c] = pointer ?? held;
    const looked = exactPointer && !about.flat && exactPointer.axis === dims[axis] && same(exactPointer.at, [r, c]);
    const v = looked ? exactPointer.values[index] : sharp()?.value(r, c) ?? voxel(axis, small(axis, index), small(side, r), small(across, c));
    const part = (k, i) => `${dims[k]} ${i}${axes[k].units === "1" ? "" : ` (${short(axes[k].values[i])} ${axes[k].units})`}`;
    const fine = sharp(), nth = `${thin}${thin === 2 ? "nd" : thin === 3 ? "rd" : "th"}`;
    const rough = !coarse() ? "" : !fine ? `   every ${nth} pixel is shown`
      : fine.every > 1 ? `   means of ${fine.every} × ${fine.every} pixels are shown` : "   true pixels are shown";
    const coming = arrived < n ? `   ${arrived} of ${n} pictures are here` : "";
    says.textContent = `${part(side, r)}, ${part(across, c)}: ${short(v)}${rough}${coming}`;
  }

  // -- one drawing per frame of the screen, whatever the mouse does
  let wanted = 0, waiting = false;
  const PICTURE = 1, PROFILE = 2;
  function later(what) {
    wanted |= what;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const now = wanted;
      wanted = 0;
      if (now & PICTURE) paintPicture();
      if (now & PROFILE) { paintMarks(); paintPlot(); }
      else if (now & PICTURE) say();
    });
  }

  // -- what is told to the kernel, once the hand rests
  let resting = 0, telling = false;
  function tell() {
    clearTimeout(resting);
    resting = setTimeout(() => {
      telling = true;
      model.set("axis", dims[axis]); model.set("index", index);
      model.set("pixel", [...held]); model.set("region", region ? [...region] : []);
      model.set("window", lens.window);
      if (arrived === n) model.set("poster", poster());
      telling = false;
      model.save_changes();
      if (pointer) model.send({ kind: "look", axis: dims[axis], at: pointer });
      request();
    }, REST);
  }
  function poster() { // what a saved notebook shows without a kernel
    const cut = Math.min(1, 360 / Math.max(canvas.width, canvas.height));
    const copy = make("canvas", { width: Math.max(1, canvas.width * cut), height: Math.max(1, canvas.height * cut) });
    copy.getContext("2d").drawImage(canvas, 0, 0, copy.width, copy.height);
    return copy.toDataURL("image/webp", 0.8);
  }

  function setIndex(i) {
    const next = Math.max(0, Math.min(about.shape[axis] - 1, i));
    if (next === index) return;
    index = next;
    later(PICTURE); tell();
  }
  function setAxis(a) {
    const voxelHeld = [0, 0, 0];
    voxelHeld[axis] = index; voxelHeld[side] = held[0]; voxelHeld[across] = held[1];
    axis = a; [side, across] = others(a);
    index = voxelHeld[a]; held = [voxelHeld[side], voxelHeld[across]];
    region = null; pointer = null; exactPointer = null;
    lens.fit(about.shape[side], about.shape[across]);
    layout(); later(PICTURE | PROFILE);
  }
  const placeOf = (e) => {
    const b = canvas.getBoundingClientRect();
    return lens.pixel((e.clientY - b.top) / b.height, (e.clientX - b.left) / b.width);
  };
  let pressed = null;
  frame.addEventListener("pointermove", (e) => {
    if (pressed?.pan) {
      lens.pan((pressed.y - e.clientY) / frame.clientHeight, (pressed.x - e.clientX) / frame.clientWidth);
      pressed.x = e.clientX; pressed.y = e.clientY;
      moved();
      return;
    }
    pointer = placeOf(e);
    if (pressed) {
      const far = Math.hypot(e.clientX - pressed.x, e.clientY - pressed.y) > 4;
      if (far) {
        const [a, b] = pressed.at;
        region = [Math.min(a, pointer[0]), Math.max(a, pointer[0]), Math.min(b, pointer[1]), Math.max(b, pointer[1])];
      }
    }
    later(PROFILE); tell();
  });
  frame.addEventListener("pointerleave", () => { if (!pressed) { pointer = null; later(PROFILE); } });
  frame.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    pressed = { at: placeOf(e), x: e.clientX, y: e.clientY, pan: e.shiftKey };
    frame.setPointerCapture(e.pointerId);
  });
  frame.addEventListener("pointerup", (e) => {
    if (pressed && !pressed.pan && Math.hypot(e.clientX - pressed.x, e.clientY - pressed.y) <= 4) held = placeOf(e);
    pressed = null;
    later(PROFILE); tell();
  });
  frame.addEventListener("pointercancel", () => { pressed = null; });
  frame.addEventListener("wheel", (e) => { // without Ctrl the page scrolls, as anywhere
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    const b = canvas.getBoundingClientRect();
    zoom(Math.exp(-Math.max(-100, Math.min(100, e.deltaY)) * 0.004), [(e.clientY - b.top) / b.height, (e.clientX - b.left) / b.width]);
  }, { passive: false });
  const keys = (e) => {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
    const far = e.shiftKey ? 10 : 1;
    if (move && e.currentTarget === frame) {
      held = [Math.max(0, Math.min(about.shape[side] - 1, held[0] + far * move[0])),
        Math.max(0, Math.min(about.shape[across] - 1, held[1] + far * move[1]))];
      pointer = null;
      if (!lens.whole) { lens.follow(held); aim(); later(PICTURE); }
      later(PROFILE); tell();
    } else if (move) setIndex(index + far * (move[1] - move[0]));
    else if (e.key === "PageUp") setIndex(index + far);
    else if (e.key === "PageDown") setIndex(index - far);
    else if (e.key === "+" || e.key === "=") zoom(ZOOM);
    else if (e.key === "-") zoom(1 / ZOOM);
    else if (e.key === "0") { lens.fit(); moved(); }
    else if (e.key === "Escape") { region = null; later(PROFILE); tell(); }
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  frame.addEventListener("keydown", keys);
  plot.addEventListener("keydown", keys);
  slider.addEventListener("input", () => setIndex(Number(slider.value)));
  slider.addEventListener("keydown", (e) => e.stopPropagation());
  plot.addEventListener("pointermove", (e) => {
    if (about.flat) return;
    const b = plot.getBoundingClientRect(), x = xAxis().values;
    const at = e.clientX - b.left;
    let best = 0;
    for (let k = 1; k < x.length; k++) if (Math.abs(px(x[k]) - at) < Math.abs(px(x[best]) - at)) best = k;
    setIndex(best);
  });

  // -- what comes from the kernel
  function message(content, buffers) {
    if (content.kind === "frame" && content.part === model.get("part")) {
      const i = content.place;
      cube.set(numbers(buffers[0], Uint16Array), i * strides[0]);
      base[i] = content.base; step[i] = content.step;
      low[i] = content.low ?? NaN; high[i] = content.high ?? NaN;
      if (!here[i]) { here[i] = 1; arrived++; }
      root.dataset.frames = arrived;
      later(PICTURE | PROFILE);
      if (arrived === n || (i === index && coarse())) tell();
    } else if (content.kind === "tile" && content.part === model.get("part")) {
      tile = new Tile(content, buffers[0]);
      root.dataset.tile = JSON.stringify([content.index, content.window, content.every]);
      later(PICTURE);
    } else if (content.kind === "exact") {
      exactPointer = { at: content.at, axis: content.axis, values: numbers(buffers[0]) };
      if (pointer && same(pointer, content.at)) later(PROFILE);
    }
  }
  function answered() {
    const found = model.get("exact");
    exact = { ...found, pixel: found.pixel && numbers(found.pixel),
      region: found.region && numbers(found.region), spread: found.spread && numbers(found.spread) };
    if (found.axis) later(PROFILE);
  }
  function chosen() { // by code, not by hand
    if (telling) return;
    const a = dims.indexOf(model.get("axis"));
    if (a !== axis) { axisChoice.querySelector("select").value = dims[a]; setAxis(a); }
    index = model.get("index"); held = [...model.get("pixel")];
    region = model.get("region").length ? [...model.get("region")] : null;
    if (!same(model.get("window"), lens.window)) { lens.window = model.get("window"); layout(); }
    later(PICTURE | PROFILE);
    if (coarse()) tell();
  }
  function newPart() {
    here.fill(0); arrived = 0; exactPointer = null; tile = null; asked = "";
    later(PICTURE | PROFILE);
  }

  model.on("msg:custom", message);
  model.on("change:exact", answered);
  const watched = ["axis", "index", "pixel", "region", "window"].map((t) => `change:${t}`).join(" ");
  model.on(watched, chosen);
  model.on("change:part", newPart);
  const watch = new ResizeObserver(() => {
    width = Math.max(240, right.clientWidth - 20);
    layout();
    later(PICTURE | PROFILE);
  });
  watch.observe(right);
  watch.observe(frame);
  layout();
  answered();
  if (model.get("poster")) { // until the pictures come, or for good without a kernel
    const picture = new Image();
    picture.onload = () => { if (!arrived) context.drawImage(picture, 0, 0, canvas.width, canvas.height); };
    picture.src = model.get("poster");
    paintMarks(); paintPlot();
  } else later(PICTURE | PROFILE);
  model.send({ kind: "ready" });
  return () => {
    watch.disconnect();
    clearTimeout(resting);
    model.off("msg:custom", message);
    model.off("change:exact", answered);
    model.off(watched, chosen);
    model.off("change:part", newPart);
  };
}

export default { render };
