// Loops drawn with the mouse, which choose points or pixels.

import { draw } from "./common.js";

// Draws a loop with the mouse on `surface`; `done` is told its corners, or none.
export function lasso(surface, marks, done) {
  let loop = null, line = null;
  const at = (e) => {
    const box = surface.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  };
  surface.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    loop = [at(e)];
    line = draw(marks(), "path", { class: "bx-lasso" });
    surface.setPointerCapture(e.pointerId);
  });
  surface.addEventListener("pointermove", (e) => {
    if (!loop) return;
    loop.push(at(e));
    line.setAttribute("d", `M${loop.map((p) => p.join(" ")).join("L")}Z`);
  });
  const end = () => {
    if (!loop) return;
    const found = loop;
    loop = null;
    line.remove();
    done(found.length > 4 ? found : []);
  };
  surface.addEventListener("pointerup", end);
  surface.addEventListener("pointercancel", () => { line?.remove(); loop = null; });
  surface.addEventListener("keydown", (e) => { if (e.key === "Escape") done([]); });
}
