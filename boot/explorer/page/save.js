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

function svg() {
  const escape = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
  const words = state.labels.sections.map(([y, name]) => `<text x="${state.labels.left + 8}" y="${y + 15}" font-family="sans-serif" font-size="12" font-weight="600" fill="${ink}">${escape(name)}</text>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${map.width} ${map.height}"><title>${escape($("summary").textContent)}</title><image width="${map.width}" height="${map.height}" href="${map.toDataURL("image/png")}" style="image-rendering:pixelated"/>${words.join("")}</svg>`;
}
