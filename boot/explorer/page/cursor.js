// What is under the cursor.

let asked = 0;
function look(pfn, aloud) {
  state.cursor = pfn;
  wasm.look(pfn);
  state.seen = JSON.parse(text());
  $("frame").textContent = state.seen.words;
  $("block-actions").hidden = !state.seen.allocated;
  $("split").disabled = !state.seen.order;
  if (aloud) say(state.seen.words);
  drawOverlay();
  clearTimeout(asked);
  asked = setTimeout(() => {
    drawTree();
    blockHistory();
    slab();
  }, aloud ? 0 : 60);
}

function blockHistory() {
  wasm.history(state.cursor);
  $("history").replaceChildren(...JSON.parse(text()).map(([operation, words]) => {
    const button = element("button", { type: "button", title: "Go to this moment" }, `${grouped(operation + 1)}  ${words}`);
    button.onclick = () => { seek(operation + 1); };
    return element("li", {}, button);
  }));
}

// The slab that the frame is in: its bits, word by word, a square for each slot.
function slab() {
  wasm.slab(state.cursor);
  const of = JSON.parse(text());
  $("slab-card").hidden = !of;
  if (!of) return;
  $("slab-title").textContent = `Slab of ${of.cache}`;
  $("slab-words").textContent = of.words.length
    ? `At ${of.start}: ${of.slots} slots of ${of.size} bytes, ${of.free} free; of ${of.owner}`
    : `At ${of.start}: one object of ${of.size} bytes`;
  $("slab-rows").replaceChildren(...of.words.map((word, nth) => wordRow(word, nth, of.slots - 64 * nth)));
}

function wordRow([free, remote, inHand], nth, slots) {
  const set = (mask, bit) => Number.parseInt(mask[15 - (bit >> 2)], 16) >> (bit & 3) & 1;
  const kind = (bit) => bit >= slots ? "none" : set(remote, bit) ? "remote" : set(inHand, bit) ? "hand" : set(free, bit) ? "free" : "live";
  const bits = Array.from({ length: 64 }, (_, bit) => element("i", { class: kind(bit), title: `slot ${64 * nth + bit}` }));
  const words = `word ${nth}: free ${free}, freed by others ${remote}, in hand ${inHand}`;
  return element("li", {},
    element("div", { class: "bits", role: "img", "aria-label": words }, ...bits),
    element("code", {}, `${nth}: free ${free}${/[^0]/.test(remote) ? ` remote ${remote}` : ""}`));
}

function at(event) {
  const box = map.getBoundingClientRect(), ratio = map.width / box.width;
  return [Math.floor((event.clientX - box.left) * ratio), Math.floor((event.clientY - box.top) * ratio)];
}

function middle() {
  if (state.seen && state.seen.at) {
    const [x, y, width, height] = state.seen.at;
    if (x >= 0 && y >= 0 && x < map.width && y < map.height) return [x + (width >> 1), y + (height >> 1)];
  }
  return [map.width >> 1, map.height >> 1];
}

function refresh() {
  draw();
  gauges();
  look(state.cursor, false);
}

function zoom(steps, [x, y]) {
  wasm.zoom(steps, x, y);
  draw();
  look(state.cursor, false);
}

function fit() {
  sized(map);
  [overlay.width, overlay.height] = [map.width, map.height];
  wasm.fit(map.width, map.height);
}
