// Under every panel: how it goes, what went wrong, and the code that does it again.

import { make } from "./common.js";

const WORDS = { ready: "up to date", empty: "nothing is chosen", waiting: "waiting", working: "working",
  preview: "preview, the exact result follows", failed: "did not work", cancelled: "stopped" };

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not on a page that browsers call secure
    const area = make("textarea", { class: "bx-away" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.dataset.text;
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}

function render({ model, el }) {
  el.classList.add("bx");
  const word = make("span", { class: "bx-word", role: "status" });
  const dot = make("i", { class: "bx-dot" });
  const bar = make("progress", { max: 1, "aria-label": "progress" });
  const stop = make("button", { class: "bx-button bx-stop", text: "Stop", title: "Stop this calculation",
    onclick: () => model.send({ kind: "cancel" }) });
  const message = make("div", { class: "bx-message", role: "alert" });
  const code = make("code", { class: "bx-code", tabindex: 0, "aria-label": "Code that gives this result" });
  const button = (text, title, trait) => {
    const one = make("button", { class: "bx-button", text, title, "data-text": text });
    one.addEventListener("click", () => copy(model.get(trait), one));
    return one;
  };
  const way = (text, title, kind) => make("button", { class: "bx-button", text, title,
    onclick: () => model.send({ kind }) });
  const undo = way("Undo", "Back to the choice before this one (Ctrl + Z)", "undo");
  const redo = way("Redo", "Forth again (Ctrl + Shift + Z)", "redo");
  el.append(make("div", { class: "bx-foot" },
    make("div", { class: "bx-status" }, dot, word, bar, stop, undo, redo), message,
    make("div", { class: "bx-codes" }, code,
      button("Copy code", "Copy the code that gives this result", "code"),
      button("Copy panel", "Copy the code that opens this panel with these choices", "reopen"))));
  function update() {
    const status = model.get("status"), progress = model.get("progress");
    const busy = ["waiting", "working", "preview"].includes(status);
    dot.dataset.status = status;
    const note = model.get("note"), beside = model.get("beside");
    const said = `${WORDS[status] ?? status}${note ? `: ${note}` : ""}`;
    word.textContent = beside ? `${said}; beside it: ${beside}` : said;
    bar.hidden = !busy;
    stop.hidden = !busy && !beside;
    undo.disabled = !model.get("can_undo");
    redo.disabled = !model.get("can_redo");
    if (progress >= 0) bar.value = progress; else bar.removeAttribute("value");
    message.textContent = model.get("message");
    message.hidden = !message.textContent;
    message.dataset.status = status;
    code.textContent = model.get("code");
  }
  function travel(event) {
    const wanted = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (!wanted || event.target.matches?.("input[type=text], textarea")) return;
    if (!el.closest(".bx-panel")?.contains(event.target)) return;
    event.preventDefault();
    event.stopPropagation();
    model.send({ kind: event.shiftKey ? "redo" : "undo" });
  }
  model.on("change", update);
  document.addEventListener("keydown", travel, true);
  update();
  return () => {
    model.off("change", update);
    document.removeEventListener("keydown", travel, true);
  };
}

export default { render };
