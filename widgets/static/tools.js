// What stands around the picture: the choices above it, the slider, and the words below.

import { make, short } from "./common.js";

const CONTRASTS = [["all", "of all pictures"], ["one", "of this picture"]];
const COLOURINGS = [["viridis", "viridis"], ["grey", "grey"], ["phase", "circle"], ["diverge", "blue to red"]];

function choose(label, options, value, change) {
  const select = make("select", { "aria-label": label, onchange: () => change(select.value) },
    ...options.map(([v, t]) => make("option", { value: v, text: t })));
  select.value = value;
  return make("label", {}, make("span", { text: label }), select);
}

const button = (text, title, act) => make("button",
  { class: "bx-button", text, title, "aria-label": title, onclick: act });

// `act` says what each choice does: turn, part, contrast, colours, zoom, all.
export function tools(about, look, part, act) {
  const axis = choose("along", look.dims.map((d) => [d, d]), look.dim, (d) => act.turn(look.dims.indexOf(d)));
  const bar = make("div", { class: "bx-tools" });
  if (!about.flat) bar.append(axis);
  if (about.complex) bar.append(choose("show", ["modulus", "phase"].map((p) => [p, p]), part, act.part));
  bar.append(choose("contrast", CONTRASTS, "all", act.contrast), choose("colours", COLOURINGS, "viridis", act.colours),
    make("span", { class: "bx-zoom" }, button("−", "Zoom out", () => act.zoom(-1)),
      button("+", "Zoom in", () => act.zoom(1)), button("All", "Show the whole picture", act.all)));
  return { bar, showAxis() { axis.querySelector("select").value = look.dim; } };
}

export class Slider {
  constructor(axes, look, flat, change) {
    Object.assign(this, { axes, look, flat });
    this.input = make("input", { type: "range", min: 0, step: 1, class: "bx-slider", "aria-label": "picture",
      oninput: () => change(Number(this.input.value)), onkeydown: (e) => e.stopPropagation() });
    this.where = make("output", { class: "bx-where" });
    this.row = make("div", { class: "bx-slide" }, this.input, this.where);
  }
  layout() {
    this.input.max = this.look.last; this.input.value = this.look.index;
    this.row.hidden = this.look.last < 1;
  }
  show() {
    const { axis, index, last } = this.look, { label, values } = this.axes[axis];
    this.input.value = index;
    this.where.textContent = this.flat ? "" : `${label}: ${short(values[index], 6)}   (${index + 1} of ${last + 1})`;
  }
}

const nth = (n) => `${n}${n === 2 ? "nd" : n === 3 ? "rd" : "th"}`;

// What the line below the picture says: where the pointer is, the value, and how true
// the pixels are.
export function words({ stack, look, detail, axes, value, fine }) {
  if (!stack.here.some(Boolean)) return "the pictures are not here: run the cell to see them";
  const part = (k, i) => {
    const { units, values } = axes[k];
    return `${look.dims[k]} ${i}${units === "1" ? "" : ` (${short(values[i])} ${units})`}`;
  };
  const [r, c] = look.place;
  const rough = !detail.coarse ? "" : !fine ? `   every ${nth(stack.thin)} pixel is shown`
    : fine.every > 1 ? `   means of ${fine.every} × ${fine.every} pixels are shown` : "   true pixels are shown";
  const coming = stack.arrived < stack.n ? `   ${stack.arrived} of ${stack.n} pictures are here` : "";
  return `${part(look.side, r)}, ${part(look.across, c)}: ${short(value)}${rough}${coming}`;
}
