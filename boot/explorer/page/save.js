// Pictures and traces to keep.

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function picture() {
  const whole = element("canvas", { width: map.width, height: map.height }), context = whole.getContext("2d");
  context.drawImage(map, 0, 0);
  context.drawImage(overlay, 0, 0);
  return whole;
}

// The same as an SVG: what the crate has drawn as it is, and what is written over it as text, sharp at any size.
function svg() {
  const escape = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
  const { width, height } = map, ratio = window.devicePixelRatio || 1, { sections, left } = state.labels;
  const text = (x, y, words, look) => `<text x="${x}" y="${y}" dominant-baseline="central" ${look}>${escape(words)}</text>`;
  const box = ([x, y, width, height], look) => `<rect x="${x}" y="${y}" width="${width}" height="${height}" ${look}/>`;
  const zones = sections.map(([y, name]) => text(left + 8 * ratio, y + 11, name, `font-family="sans-serif" font-size="${12 * ratio}" font-weight="600" fill="${colour("--soft")}"`));
  const names = written(overlay.getContext("2d"), colour("--mono")).map(({ x, y, size, wide, words }) =>
    box([x + 3, y + 3, wide + 6, size + 6], `rx="3" fill="${colour("--card")}" fill-opacity="0.86"`) + text(x + 6, y + 6 + size / 2, words, `font-family="monospace" font-size="${size}" fill="${colour("--ink")}"`));
  const chosen = state.seen?.at ? box(state.seen.at, `fill="none" stroke="${colour("--ink")}" stroke-width="${1.75 * ratio}"`) : "";
  const pixels = `<image width="${width}" height="${height}" href="${map.toDataURL("image/png")}" style="image-rendering:pixelated"/>`;
  const parts = [`<title>${escape($("summary").textContent)}</title>`, pixels, ...zones, ...names, chosen];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${parts.join("")}</svg>`;
}
