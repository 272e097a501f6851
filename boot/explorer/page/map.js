// Pointer and keys on the map.

let drag = null;
map.addEventListener("pointerdown", (event) => {
  map.setPointerCapture(event.pointerId);
  drag = { x: event.clientX, y: event.clientY, moved: false };
});
map.addEventListener("pointermove", (event) => {
  if (drag) {
    const ratio = map.width / map.getBoundingClientRect().width;
    const [x, y] = [Math.round((drag.x - event.clientX) * ratio), Math.round((drag.y - event.clientY) * ratio)];
    if (!drag.moved && Math.hypot(x, y) < 5) return;
    Object.assign(drag, { x: event.clientX, y: event.clientY, moved: true });
    wasm.pan(x, y);
    draw();
    look(state.cursor, false);
  } else if (event.pointerType === "mouse" && !state.playing) {
    const pfn = wasm.hit(...at(event));
    if (pfn >= 0 && pfn !== state.cursor) look(pfn, false);
  }
});
map.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) {
    const pfn = wasm.hit(...at(event));
    if (pfn >= 0) look(pfn, true);
  }
  drag = null;
});
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1 : -1, at(event));
}, { passive: false });
map.addEventListener("dblclick", (event) => zoom(1, at(event)));

function step(by) {
  const seen = state.seen || {}, length = 2 ** (seen.order || 0), head = seen.head ?? state.cursor;
  const next = by > 0 ? head + Math.max(length, by) : head - Math.max(1, -by);
  wasm.look(Math.max(0, next));
  const found = JSON.parse(text());
  if ("head" in found) {
    wasm.reveal(found.head);
    draw();
    look(found.head, true);
  } else say(found.words);
}

const keys = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(512), ArrowUp: () => step(-512),
  "+": () => zoom(1, middle()), "=": () => zoom(1, middle()), "-": () => zoom(-1, middle()), "0": () => { fit(); draw(); look(state.cursor, false); },
  "]": () => go(1), "[": () => go(-1), " ": () => play(!state.playing),
  Home: () => seek(0), End: () => seek(wasm.total()), a: () => run(`alloc 0 ${$("kind").value}`), f: () => free(), u: () => run("undo"), r: () => run("redo"),
};
map.addEventListener("keydown", (event) => {
  const act = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

function free() {
  if (state.seen && state.seen.allocated) run(`free ${hex(state.seen.head)}`);
}
