// Mouse and keyboard on the picture and on the plot. `act` says what they do: changed,
// moved, zoom, step, all.

const STILL = 4; // CSS pixels that a click may move

export function mouse(screen, look, act) {
  const { frame } = screen;
  let pressed = null;
  const far = (e) => Math.hypot(e.clientX - pressed.x, e.clientY - pressed.y) > STILL;
  frame.addEventListener("pointermove", (e) => {
    if (pressed?.pan) {
      look.lens.pan((pressed.y - e.clientY) / frame.clientHeight, (pressed.x - e.clientX) / frame.clientWidth);
      pressed.x = e.clientX; pressed.y = e.clientY;
      act.moved();
      return;
    }
    look.pointer = screen.pixel(e);
    if (pressed && far(e)) look.drag(pressed.at, look.pointer);
    act.changed();
  });
  frame.addEventListener("pointerleave", () => {
    if (!pressed) { look.pointer = null; act.changed({ told: false }); }
  });
  frame.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    pressed = { at: screen.pixel(e), x: e.clientX, y: e.clientY, pan: e.shiftKey };
    frame.setPointerCapture(e.pointerId);
  });
  frame.addEventListener("pointerup", (e) => {
    if (pressed && !pressed.pan && !far(e)) look.held = screen.pixel(e);
    pressed = null;
    act.changed();
  });
  frame.addEventListener("pointercancel", () => { pressed = null; });
  frame.addEventListener("wheel", (e) => { // without Ctrl the page scrolls, as anywhere
    if (!e.ctrlKey && !e.metaKey) return;
    e.preventDefault();
    act.zoom(-Math.max(-100, Math.min(100, e.deltaY)) * 0.01, screen.share(e));
  }, { passive: false });
}

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const ZOOMS = { "+": 1, "=": 1, "-": -1 };

// What a key asks for; `picture`: on the picture, not on the plot. Null: nothing.
export function asked({ key, shiftKey }, picture) {
  const far = shiftKey ? 10 : 1, arrow = ARROWS[key];
  if (arrow && picture) return { move: arrow.map((one) => far * one) };
  if (arrow) return { step: far * (arrow[1] - arrow[0]) };
  if (key === "PageUp" || key === "PageDown") return { step: key === "PageUp" ? far : -far };
  if (key in ZOOMS) return { zoom: ZOOMS[key] };
  if (key === "0") return { all: true };
  return key === "Escape" ? { forget: true } : null;
}

export function keyboard(screen, plot, look, act) {
  const keys = (e) => {
    const wish = asked(e, e.currentTarget === screen.frame);
    if (!wish) return;
    if (wish.move) act.changed({ seen: look.move(...wish.move) });
    else if (wish.step) act.step(wish.step);
    else if (wish.zoom) act.zoom(wish.zoom);
    else if (wish.all) act.all();
    else { look.region = null; act.changed(); }
    e.preventDefault();
    e.stopPropagation();
  };
  screen.frame.addEventListener("keydown", keys);
  plot.addEventListener("keydown", keys);
}
