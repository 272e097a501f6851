// Colours, sizes, and the beginning.

function theme(is_dark) {
  document.documentElement.dataset.theme = is_dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", is_dark);
  wasm.dark(is_dark);
}
const preferred = matchMedia("(prefers-color-scheme: dark)");
theme(preferred.matches);
preferred.onchange = () => { theme(preferred.matches); draw(); drawTree(); };
$("theme").onclick = () => { theme(document.documentElement.dataset.theme !== "dark"); draw(); drawTree(); };
let resized = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(() => {
    if (!sized(map) || !state.labels) return;
    fit();
    draw();
    look(state.cursor, false);
  });
}).observe(map);
if (matchMedia("(max-width: 900px)").matches) $("legend").open = false;

const is_linked = typeof attach !== "function" && linked(), complaint = $("alert").textContent;
if (typeof attach === "function") {
  attach();
} else if (is_linked) {
  // The machine is the one that the link came from.
} else if (recorded) {
  open(decoded(recorded), "a recorded kernel");
} else if (wrong) {
  beginLab();
} else if (named() === null || !exhibit(named())) {
  begin("64 MiB", wasm.machine(64, 4));
}
// Of a link that leads nowhere, though there is a machine all the same.
if (complaint) alert(complaint);
// For tests, and for anybody with the browser's own tools open.
globalThis.explorer = { wasm, text, run, seek, glimpse, begin, exhibit, state };
document.documentElement.dataset.ready = "1";
performance.mark("ready");
