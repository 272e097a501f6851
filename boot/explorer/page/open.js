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

// A link names a moment and a frame, and has the trace with it that the page does not have in itself, unless that is too long for an address.
const LONGEST = 48 << 10;
const inAddress = () => new URLSearchParams(location.hash.slice(1));

function linkHere() {
  const here = `#op=${wasm.operation()}&pfn=${hex(state.cursor)}`;
  const length = wasm.trace_length(), bytes = new Uint8Array(wasm.memory.buffer, wasm.trace_bytes(), length);
  const own = decoded(recorded);
  if (own.length === length && own.every((byte, nth) => byte === bytes[nth])) return here;
  if (length > LONGEST) return null;
  const letters = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return `${here}&trace=${letters.replaceAll("+", "-").replaceAll("/", "_").replace(/=*$/, "")}`;
}

// Opens the trace that a link has with it. Whether there is one, and it is whole.
function linked() {
  const sent = inAddress().get("trace");
  if (sent === null) return false;
  try {
    return open(decoded(sent.replaceAll("-", "+").replaceAll("_", "/")), "a moment that was linked");
  } catch {
    alert("The link is broken: what it has of a trace is no such thing.");
    return false;
  }
}

// Goes to the moment that a link names.
function moment() {
  const named = inAddress();
  if (named.has("pfn")) state.cursor = Number(named.get("pfn")) || 0;
  wasm.seek(Number(named.get("op")) || 0);
  $("told").textContent = wasm.total() ? text() : $("told").textContent;
  refresh();
}
