// Buttons, menus and the prompt.

$("free").onclick = free;
$("split").onclick = () => run(`split ${hex(state.seen.head)} ${state.seen.order - 1}`);
$("zoom-in").onclick = () => zoom(1, middle());
$("zoom-out").onclick = () => zoom(-1, middle());
$("zoom-fit").onclick = keys["0"];
$("first").onclick = () => seek(0);
$("last").onclick = () => seek(wasm.total());
$("back").onclick = keys["["];
$("on").onclick = keys["]"];
$("play").onclick = () => play(!state.playing);
$("time").oninput = scrub;
$("undo").onclick = () => run("undo");
$("redo").onclick = () => run("redo");
$("cpu").onchange = () => run(`cpu ${$("cpu").value}`);
for (const button of document.querySelectorAll("[data-run]")) button.onclick = () => run(button.dataset.run);
$("order-buttons").replaceChildren(...Array.from({ length: 11 }, (_, order) => {
  const button = element("button", { type: "button", "aria-label": `Allocate order ${order}, ${size(2 ** order)}`, title: size(2 ** order) }, String(order));
  button.onclick = () => run(`alloc ${order} ${$("kind").value}`.trim());
  return button;
}));
$("orders").replaceChildren(...Array.from({ length: 11 }, (_, n) => element("li", {}, String(10 - n))));
tree.onclick = (event) => {
  const box = tree.getBoundingClientRect();
  const pfn = Math.floor(state.cursor / 1024) * 1024 + Math.floor((event.clientX - box.left) / box.width * 1024);
  wasm.reveal(pfn);
  draw();
  look(pfn, true);
};
for (const only of ["only-cpu", "only-kind"]) $(only).onchange = () => {
  wasm.filter(Number($("only-cpu").value), Number($("only-kind").value));
  gauges();
  say($("matching").textContent);
};
const past = [];
let place = 0;
$("prompt").onsubmit = (event) => {
  event.preventDefault();
  const line = $("line").value.trim();
  if (!line) return;
  place = past.push(line);
  $("line").value = "";
  run(line);
};
$("line").onkeydown = (event) => {
  if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
  event.preventDefault();
  place = Math.min(past.length, Math.max(0, place + (event.key === "ArrowUp" ? -1 : 1)));
  $("line").value = past[place] ?? "";
};
const megabytes = (mib) => mib >= 1024 ? `${mib / 1024} GiB` : `${mib} MiB`;
wasm.known_maps();
const known = JSON.parse(text());
$("known-maps").replaceChildren(...known.map(([name], place) => element("option", { value: `map ${place}` }, name)));
const has_map = () => !Number($("memory").value);
$("memory").onchange = () => {
  const map = known[$("memory").value.slice(4)];
  if (map) $("map-text").value = map[1];
  $("map-label").hidden = !has_map();
};
$("machine").onsubmit = (event) => {
  event.preventDefault();
  const mib = Number($("memory").value), cpus = Number($("cpus").value);
  if (has_map()) put(new TextEncoder().encode($("map-text").value));
  const name = has_map() ? $("memory").selectedOptions[0].textContent : megabytes(mib);
  if (begin(name, has_map() ? wasm.machine_of_map(cpus) : wasm.machine(mib, cpus))) $("machine-menu").open = false;
};
$("file").onchange = async () => {
  const file = $("file").files[0];
  if (file && open(new Uint8Array(await file.arrayBuffer()), file.name)) $("machine-menu").open = false;
  $("file").value = "";
};
for (const menu of document.querySelectorAll(".menu")) {
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}
document.addEventListener("pointerdown", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
$("save-png").onclick = () => picture().toBlob((blob) => save(blob, "bifolio.png"));
$("save-svg").onclick = () => save(new Blob([svg()], { type: "image/svg+xml" }), "bifolio.svg");
$("save-trace").onclick = () => {
  const length = wasm.trace_length();
  save(new Blob([new Uint8Array(wasm.memory.buffer, wasm.trace_bytes(), length).slice()]), "bifolio.trace");
};
$("save-link").onclick = () => {
  const link = linkHere();
  if (link) {
    history.replaceState(null, "", link);
    $("told").textContent = "The address names this moment now: copy it from there.";
    say($("told").textContent);
  } else alert("So many operations are too long for a link: save the trace, and send that.");
  $("save-menu").open = false;
};
