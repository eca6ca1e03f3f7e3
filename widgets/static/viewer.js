// A stack in the browser: the picture under the mouse, the spectrum behind it. What
// moves is answered here; what rests is asked of the kernel, exactly.

import { CHOSEN, PICTURE, PROFILE, StackView } from "./stack_view.js";

function render({ model, el }) {
  el.classList.add("bx");
  const viewer = new StackView(model, el);
  const heard = { "msg:custom": (content, buffers) => viewer.message(content, buffers),
    "change:exact": () => viewer.answered(), "change:part": () => viewer.newPart(),
    [CHOSEN.map((name) => `change:${name}`).join(" ")]: () => viewer.choose() };
  for (const [event, answer] of Object.entries(heard)) model.on(event, answer);
  const watch = new ResizeObserver(() => viewer.resized());
  watch.observe(viewer.spectrum.card);
  watch.observe(viewer.screen.frame);
  viewer.layout();
  viewer.answered();
  if (model.get("poster")) {
    viewer.screen.hang(model.get("poster"), () => viewer.stack.arrived);
    viewer.paintProfile();
  } else viewer.later(PICTURE | PROFILE);
  model.send({ kind: "ready" });
  return () => {
    watch.disconnect();
    viewer.close();
    for (const [event, answer] of Object.entries(heard)) model.off(event, answer);
  };
}

export default { render };
