// The picture, the plot and the tools as one: what a change draws, and what the kernel
// is told and asked.

import { make, numbers, same } from "./common.js";
import { keyboard, mouse } from "./hands.js";
import { Look } from "./look.js";
import { Profiles } from "./profiles.js";
import { Screen } from "./screen.js";
import { Spectrum } from "./spectrum.js";
import { Stack } from "./stack.js";
import { Detail } from "./tile.js";
import { Slider, tools, words } from "./tools.js";

const REST = 120; // ms without movement after which the kernel is asked
const ZOOM = 1.5; // per step
export const [PICTURE, PROFILE] = [1, 2]; // what is to be drawn
export const CHOSEN = ["axis", "index", "pixel", "region", "window"];

export class StackView {
  constructor(model, el) {
    const about = model.get("about"), axes = about.axes.map((a) => ({ ...a, values: numbers(a.values) }));
    Object.assign(this, { model, about, axes, wanted: 0, waiting: false, resting: 0, telling: false });
    this.stack = new Stack(about);
    this.look = new Look(about.shape, axes.map((a) => a.dim), this.chosen());
    this.profiles = new Profiles(this.stack, this.look);
    this.detail = new Detail(this.stack, this.look);
    this.screen = new Screen(this.stack, this.look, this.detail, axes);
    this.spectrum = new Spectrum(about, this.look, axes);
    this.slider = new Slider(axes, this.look, about.flat, (i) => this.to(i));
    this.says = make("div", { class: "bx-under", role: "status" });
    this.tools = tools(about, this.look, model.get("part"), {
      turn: (axis) => { this.turn(axis); this.tell(); },
      part: (part) => { model.set("part", part); model.save_changes(); },
      contrast: (of) => { this.screen.whole = of === "all"; this.paintPicture(); },
      colours: (name) => { this.screen.colours(name); this.paintPicture(); },
      zoom: (steps) => this.zoom(steps), all: () => this.all() });
    const left = make("div", { class: "bx-left" }, this.screen.frame, this.slider.row, this.screen.scale, this.says);
    this.root = make("div", { class: "bx-viewer" }, left, this.spectrum.card);
    el.append(this.tools.bar, this.root);
    this.handle();
  }
  chosen() { return Object.fromEntries(CHOSEN.map((name) => [name, this.model.get(name)])); }
  handle() {
    const act = {
      changed: ({ seen = false, told = true } = {}) => {
        if (seen) this.screen.aim();
        this.later(seen ? PICTURE | PROFILE : PROFILE);
        if (told) this.tell();
      },
      moved: () => this.moved(), all: () => this.all(), step: (by) => this.to(this.look.index + by),
      zoom: (steps, place) => this.zoom(steps, place) };
    mouse(this.screen, this.look, act);
    keyboard(this.screen, this.spectrum.plot, this.look, act);
    this.spectrum.plot.addEventListener("pointermove", (e) => {
      if (!this.about.flat && this.spectrum.px) this.to(this.spectrum.under(e));
    });
  }

  // -- what changes what is seen
  layout() { this.screen.layout(); this.slider.layout(); this.spectrum.bounds = null; }
  moved() { this.screen.aim(); this.later(PICTURE | PROFILE); this.tell(); }
  zoom(steps, place) { this.look.zoom(ZOOM ** steps, place); this.moved(); }
  all() { this.look.lens.fit(); this.moved(); }
  to(index) { if (this.look.to(index)) { this.later(PICTURE); this.tell(); } }
  turn(axis) { this.look.turn(axis); this.profiles.forget(); this.layout(); this.later(PICTURE | PROFILE); }
  resized() {
    this.spectrum.width = Math.max(180, this.spectrum.card.clientWidth - 20);
    this.layout();
    this.later(PICTURE | PROFILE);
  }

  // -- one drawing per frame of the screen, whatever the mouse does
  later(what) {
    this.wanted |= what;
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      const now = this.wanted;
      this.waiting = false; this.wanted = 0;
      if (now & PICTURE) this.paintPicture();
      if (now & PROFILE) this.paintProfile(); else if (now & PICTURE) this.say();
    });
  }
  drawn(detail) { this.root.dispatchEvent(new CustomEvent("bx-drawn", { detail, bubbles: true })); }
  paintPicture() { this.screen.paint(); this.slider.show(); this.spectrum.moveCursor(); this.drawn("picture"); }
  paintProfile() { this.screen.paintMarks(); this.spectrum.paint(this.profiles.shown()); this.say(); this.drawn("profile"); }
  say() {
    const { stack, look, detail, axes, screen } = this, [r, c] = look.place, fine = screen.sharp;
    const rough = () => stack.voxel(look.axis, stack.small(look.axis, look.index), stack.small(look.side, r), stack.small(look.across, c));
    const value = this.profiles.at(look.place) ?? fine?.value(r, c) ?? rough();
    this.says.textContent = words({ stack, look, detail, axes, value, fine });
  }

  // -- what is told to the kernel, once the hand rests
  tell() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      const { model, look } = this;
      this.telling = true;
      for (const [name, value] of Object.entries(look.choice)) model.set(name, value);
      if (this.stack.arrived === this.stack.n) model.set("poster", this.screen.poster());
      this.telling = false;
      model.save_changes();
      if (look.pointer) model.send({ kind: "look", axis: look.dim, at: look.pointer });
      const request = this.detail.request(this.screen.canvas);
      if (request) model.send(request);
    }, REST);
  }

  // -- what comes from the kernel
  message(content, [bytes] = []) {
    const ours = content.part === this.model.get("part");
    if (content.kind === "frame" && ours) {
      this.stack.put(content, bytes);
      this.root.dataset.frames = this.stack.arrived;
      this.later(PICTURE | PROFILE);
      const last = this.stack.arrived === this.stack.n;
      if (last || (content.place === this.look.index && this.detail.coarse)) this.tell();
    } else if (content.kind === "tile" && ours) {
      this.detail.take(content, bytes);
      this.root.dataset.tile = JSON.stringify([content.index, content.window, content.every]);
      this.later(PICTURE);
    } else if (content.kind === "exact" && this.profiles.takePointed(content, bytes)) this.later(PROFILE);
  }
  answered() {
    const found = this.model.get("exact");
    this.profiles.take(found);
    if (found.axis) this.later(PROFILE);
  }
  choose() { // by code, not by hand
    if (this.telling) return;
    const now = this.chosen(), axis = this.look.dims.indexOf(now.axis);
    if (axis !== this.look.axis) { this.turn(axis); this.tools.showAxis(); }
    this.look.take(now);
    if (!same(now.window, this.look.lens.window)) { this.look.lens.window = now.window; this.layout(); }
    this.later(PICTURE | PROFILE);
    if (this.detail.coarse) this.tell();
  }
  newPart() { this.stack.forget(); this.profiles.forget(); this.detail.forget(); this.later(PICTURE | PROFILE); }
  close() { clearTimeout(this.resting); }
}
