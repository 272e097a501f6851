// A learner's allocator, where it went wrong: what it was asked and said, step by step, on a machine that does what of it was right.

const wrong = JSON.parse($("wrong").textContent || "null");
const lab = { at: 0, moments: [] };

// What a sign of a picture stands for: how it is filled, whether something begins there, and what is written on it.
const sign = (one) => one === "." || one === ":" ? ["free"] : one === "|" ? ["free first"] : one === "#" ? ["used"] : one === "+" ? ["mixed"] : ["used first", one];

function drawn(name, attributes, words = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = words;
  return node;
}

const WIDE = 17;
function drawCells({ cells, marks }) {
  const boxes = [...cells].flatMap((one, nth) => {
    if (one === " ") return [];
    const [kind, digit] = sign(one), x = nth * WIDE;
    const nodes = [drawn("rect", { x: x + .5, y: 2, width: WIDE - 1, height: 26, class: kind.split(" ")[0] })];
    if (kind.includes("first")) nodes.push(drawn("path", { d: `M${x + 1} 2v26`, class: "first" }));
    if (digit) nodes.push(drawn("text", { x: x + WIDE / 2, y: 19 }, digit));
    return nodes;
  });
  const bars = [...marks].flatMap((one, nth) => one === "^" ? [drawn("rect", { x: nth * WIDE, y: 33, width: WIDE, height: 5, class: "about" })] : []);
  $("lab-cells").replaceChildren(...boxes, ...bars);
}

// Shows a step beside the machine, which is taken there.
function showStep(step) {
  lab.at = Math.max(0, Math.min(wrong.steps.length - 1, step));
  const { said, script, frame } = wrong.steps[lab.at], is_last = lab.at === wrong.steps.length - 1;
  seek(lab.moments[lab.at]);
  if (frame !== null) {
    wasm.reveal(frame);
    draw();
    look(frame, false);
  }
  const words = `Your allocator: ${said.trim().replace(/^\d+ +/, "")}${is_last ? `. But ${wrong.what}` : ""}`;
  if (!script || is_last) $("told").textContent = words;
  say(words);
}

// Has a part of what is scrolled be in view, without scrolling the page.
function bringIntoView(box, part) {
  const [outer, inner] = [box, part].map((one) => one.getBoundingClientRect());
  box.scrollLeft += Math.max(0, inner.right - outer.right) - Math.max(0, outer.left - inner.left);
  box.scrollTop += Math.max(0, inner.bottom - outer.bottom) - Math.max(0, outer.top - inner.top);
}

// The step that belongs to a moment: time goes by without this card, too.
function followTime() {
  if (!lab.moments.length) return;
  const now = wasm.operation();
  if (lab.moments[lab.at] !== now) lab.at = Math.max(0, lab.moments.findLastIndex((moment) => moment <= now));
  const is_last = lab.at === wrong.steps.length - 1;
  drawCells(wrong.steps[lab.at]);
  $("lab-what").hidden = !is_last;
  $("lab-back").disabled = lab.at === 0;
  $("lab-on").disabled = is_last;
  const buttons = [...$("lab-steps").querySelectorAll("button")];
  buttons.forEach((button, nth) => nth === lab.at ? button.setAttribute("aria-current", "step") : button.removeAttribute("aria-current"));
  bringIntoView($("lab-steps"), buttons[lab.at]);
  // The first of what it is about, where not all of it has room.
  [...$("lab-cells").querySelectorAll(".about")].reverse().forEach((bar) => bringIntoView($("lab-cells").parentElement, bar));
}

function beginLab() {
  put(new TextEncoder().encode(wrong.map));
  if (!begin(wrong.title, wasm.machine_of_map(1))) return;
  for (const [id, words] of [["lab-title", wrong.title], ["lab-about", wrong.about], ["lab-head", wrong.head], ["lab-what", wrong.what], ["lab-legend", wrong.legend]]) $(id).textContent = words;
  $("lab-card").hidden = false;
  // Little memory is looked at closely: a frame is to be a square that can be pointed at.
  const frames = sum(gauges().zones.map((zone) => zone.managed));
  zoom(Math.max(0, Math.round(Math.log2(1024 / frames) / 2)), middle());
  const columns = Math.max(1, ...wrong.steps.map(({ cells, marks }) => Math.max(cells.length, marks.length)));
  $("lab-cells").setAttribute("viewBox", `0 0 ${columns * WIDE} 40`);
  // As large as there is room for, and never too small to be read.
  Object.assign($("lab-cells").style, { minWidth: `${columns * 12}px`, maxWidth: `${columns * 24}px` });
  $("lab-steps").replaceChildren(...wrong.steps.map(({ said }, nth) => {
    const button = element("button", { type: "button" }, said);
    button.onclick = () => showStep(nth);
    return element("li", {}, button);
  }));
  $("lab-back").onclick = () => showStep(lab.at - 1);
  $("lab-on").onclick = () => showStep(lab.at + 1);
  const moments = wrong.steps.map(({ script }) => {
    if (script) run(script);
    return wasm.operation();
  });
  lab.moments = moments;
  if (moments.length) showStep(moments.length - 1);
}
