// Pictures: what the crate has drawn, and what is written over it.

function sized(canvas) {
  const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  const is_new = canvas.width !== width || canvas.height !== height;
  if (is_new) [canvas.width, canvas.height] = [width, height];
  return is_new;
}

function show(canvas, at) {
  const { width, height } = canvas;
  const pixels = new Uint8ClampedArray(wasm.memory.buffer, at, width * height * 4);
  canvas.getContext("2d", { alpha: false }).putImageData(new ImageData(pixels, width, height), 0, 0);
}

function draw() {
  show(map, wasm.draw());
  wasm.labels();
  state.labels = JSON.parse(text());
  drawOverlay();
}

// What is written on blocks, where there is room for it, and how large.
function written(context, mono) {
  return state.labels.blocks.flatMap(([x, y, width, , pfn, order]) => {
    const size = Math.min(14, Math.max(9, width / 7));
    context.font = `${size}px ${mono}`;
    const words = width >= size * 6 ? `${pfn}+${order}` : String(order), wide = context.measureText(words).width;
    return wide + 8 > width ? [] : [{ x, y, size, wide, words }];
  });
}

function drawOverlay(now = performance.now()) {
  const context = overlay.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim(), ratio = window.devicePixelRatio || 1;
  context.clearRect(0, 0, overlay.width, overlay.height);
  context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const [y, name] of state.labels.sections) {
    context.fillStyle = colour("--soft");
    context.fillText(name, state.labels.left + 8 * ratio, y + 11);
  }
  for (const { x, y, size, wide, words } of written(context, colour("--mono"))) {
    context.font = `${size}px ${colour("--mono")}`;
    context.fillStyle = colour("--card");
    context.globalAlpha = 0.86;
    context.beginPath();
    context.roundRect(x + 3, y + 3, wide + 6, size + 6, 3);
    context.fill();
    context.globalAlpha = 1;
    context.fillStyle = colour("--ink");
    context.fillText(words, x + 6, y + 6 + size / 2);
  }
  const outline = (box, dash, width, stroke) => {
    context.setLineDash(dash);
    context.lineWidth = width * ratio;
    context.strokeStyle = stroke;
    context.strokeRect(box[0] - 0.5, box[1] - 0.5, box[2] + 1, box[3] + 1);
    context.setLineDash([]);
  };
  const seen = state.seen;
  if (seen && seen.at) {
    if (seen.buddyAt) outline(seen.buddyAt, [4 * ratio, 3 * ratio], 1.5, colour("--soft"));
    outline(seen.at, [], 3.5, colour("--card"));
    outline(seen.at, [], 1.75, colour("--ink"));
    // The buddy's address, computed in view.
    if (seen.buddyAt && seen.at[2] > 3 && !state.change) label(context, `buddy: ${hex(seen.head)} ^ (1 << ${seen.order}) = ${hex(seen.buddy)}`, seen.at, ratio, colour);
  }
  if (state.change) drawChange(context, now, outline, ratio, colour);
  if (state.flash) {
    const age = still.matches ? 0 : (now - state.flash.since) / 900;
    if (age < 1) {
      context.globalAlpha = 1 - age;
      outline(state.flash.box, [], 3 + 8 * age, colour("--accent"));
      context.globalAlpha = 1;
      if (!still.matches) requestAnimationFrame(drawOverlay);
    } else state.flash = null;
  }
}

// A split or a merge, level by level: the line between the halves comes, or goes, and says how the buddy is found.
const LEVEL = 420;
function drawChange(context, now, outline, ratio, colour) {
  const { split, steps, since } = state.change, age = (now - since) / LEVEL, step = steps[Math.floor(age)];
  if (!step) {
    state.change = null;
    return drawOverlay(now);
  }
  const part = split ? age % 1 : 1 - age % 1, { whole, half, buddy } = step;
  if (whole && half && buddy) {
    context.globalAlpha = 0.3;
    context.fillStyle = colour("--accent");
    context.fillRect(...half);
    context.globalAlpha = 1;
    outline(whole, [], 2, colour("--ink"));
    const is_wide = whole[2] > whole[3], [x, y] = [Math.max(half[0], buddy[0]), Math.max(half[1], buddy[1])];
    context.fillStyle = colour("--accent");
    if (is_wide) context.fillRect(x - ratio, whole[1], 2 * ratio, whole[3] * part);
    else context.fillRect(whole[0], y - ratio, whole[2] * part, 2 * ratio);
    label(context, `${split ? "split" : "merge"}: ${step.words}`, whole, ratio, colour);
  }
  requestAnimationFrame(drawOverlay);
}

function label(context, words, at, ratio, colour) {
  context.font = `${11.5 * ratio}px ${colour("--mono")}`;
  const wide = context.measureText(words).width + 12 * ratio, high = 20 * ratio;
  const x = Math.min(Math.max(4, at[0]), overlay.width - wide - 52 * ratio);
  // Above it, if there is room and no zone's name is there.
  const above = at[1] - high - 5, is_room = above > 1 && !state.labels.sections.some(([from]) => above < from + 22 * ratio && above + high > from);
  const y = is_room ? above : Math.min(overlay.height - high - 4, at[1] + at[3] + 5);
  context.fillStyle = colour("--ink");
  context.beginPath();
  context.roundRect(x, y, wide, high, 5 * ratio);
  context.fill();
  context.fillStyle = colour("--card");
  context.fillText(words, x + 6 * ratio, y + high / 2);
}

function drawTree() {
  sized(tree);
  show(tree, wasm.draw_tree(state.cursor, tree.width, tree.height));
  $("around").textContent = hex(Math.floor(state.cursor / 1024) * 1024);
}
