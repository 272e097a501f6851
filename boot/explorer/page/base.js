// What all parts use: the crate, its text, and the state of the page.

const $ = (id) => document.getElementById(id);

function decoded(text) {
  const clean = text.trim();
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(clean);
  const binary = atob(clean), bytes = new Uint8Array(binary.length);
  for (let n = 0; n < binary.length; n++) bytes[n] = binary.charCodeAt(n);
  return bytes;
}

const { instance } = await WebAssembly.instantiate(decoded($("wasm").textContent), {});
const wasm = instance.exports;
const text = () => new TextDecoder().decode(new Uint8Array(wasm.memory.buffer, wasm.text(), wasm.text_length()));
function put(bytes) {
  const at = wasm.room(bytes.length);
  new Uint8Array(wasm.memory.buffer, at, bytes.length).set(bytes);
}

// The trace that the page has in itself.
const recorded = $("trace").textContent.trim();
const map = $("map"), overlay = $("overlay"), tree = $("tree");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const state = { cursor: 0, seen: null, playing: false, owed: 0, then: 0, flash: null, change: null, past: { total: 0, seen: [] }, queued: 0, rests: 0, name: "", labels: null };
const grouped = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
const hex = (n) => "0x" + n.toString(16);
const say = (words) => { $("said").textContent = words; };

function alert(words) {
  $("alert").hidden = !words;
  $("alert").textContent = words || "";
}
