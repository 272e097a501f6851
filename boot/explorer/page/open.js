// Machines and traces.

function begin(name, is_good) {
  if (!is_good) {
    alert(text());
    return false;
  }
  const said = text();
  alert("");
  play(false);
  Object.assign(state, { name, cursor: 0, seen: null, flash: null, change: null, past: { total: 0, seen: [] } });
  for (const only of ["only-cpu", "only-kind"]) $(only).value = "-1";
  fit();
  draw();
  const now = gauges();
  for (let x = 0; x < map.width && !state.cursor; x += 16) for (let y = 40; y < map.height && !state.cursor; y += 40) state.cursor = Math.max(0, wasm.hit(x, y));
  look(state.cursor, false);
  drawTree();
  $("told").textContent = said ? `Of the map, not believed: ${said}` : now.total ? `A trace of ${grouped(now.total)} operations. Play it, or step through it.` : "A machine with nothing done yet. Allocate something: a number above is an order.";
  return true;
}

function open(bytes, name) {
  put(bytes);
  return begin(name, wasm.open()) && verify();
}

// The whole trace is followed once, in slices, so that checkpoints are there and a difference is known at once.
function verify() {
  const slice = () => {
    const until = performance.now() + 8;
    let goes_on = true;
    while (goes_on && performance.now() < until) goes_on = wasm.follow(2000);
    const said = text();
    glance();
    if (goes_on) return setTimeout(slice, 0);
    if (wasm.operation() < wasm.total()) alert(`The trace is not what the allocator does: ${said}`);
    document.documentElement.dataset.verified = wasm.operation();
    moment();
  };
  slice();
  return true;
}

// A link names a moment and a frame.
function moment() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has("pfn")) state.cursor = Number(asked.get("pfn")) || 0;
  wasm.seek(asked.has("op") ? Number(asked.get("op")) || 0 : 0);
  $("told").textContent = wasm.total() ? text() : $("told").textContent;
  refresh();
}
