// The gauges of the zones, and where in time the page is.

// How the zones stand, which is remembered of moments that were seen: what comes behind one at which something was done is gone.
function glance() {
  wasm.gauges();
  const now = JSON.parse(text()), past = state.past;
  if (past.total !== now.total && now.operation === now.total) past.seen = past.seen.filter(([moment]) => moment < now.operation);
  past.total = now.total;
  const at = past.seen.findIndex(([moment]) => moment >= now.operation), place = at < 0 ? past.seen.length : at;
  const is_known = at >= 0 && past.seen[at][0] === now.operation;
  past.seen.splice(place, is_known ? 1 : 0, [now.operation, now.zones.map((zone) => zone.unusable)]);
  if (past.seen.length > 600) past.seen = past.seen.filter((_, n) => n % 2 === 0 || n === place);
  return now;
}

function gauges() {
  const now = glance();
  $("time").max = now.total;
  $("time").value = now.operation;
  $("time").setAttribute("aria-valuetext", `operation ${now.operation} of ${now.total}`);
  $("clock").textContent = `${grouped(now.operation)} / ${grouped(now.total)}`;
  $("back").disabled = $("first").disabled = $("undo").disabled = now.operation === 0;
  $("on").disabled = $("last").disabled = $("redo").disabled = now.operation === now.total;
  const is_some = $("only-cpu").value !== "-1" || $("only-kind").value !== "-1";
  $("matching").textContent = is_some ? `${grouped(wasm.matching())} of ${grouped(now.total)} operations` : "";
  $("summary").textContent = `${state.name} · ${now.cpus} CPU${now.cpus > 1 ? "s" : ""} · ${size(sum(now.zones.map((zone) => zone.free)))} free in the zones, ${size(now.cached)} in CPUs’ pages`;
  $("zones").replaceChildren(...now.zones.map((of, nth) => zone(of, nth, now.total)));
  if ($("cpu").options.length !== now.cpus) {
    const cpus = () => Array.from({ length: now.cpus }, (_, cpu) => new Option(`CPU ${cpu}`, cpu));
    $("cpu").replaceChildren(...cpus());
    $("only-cpu").replaceChildren(new Option("all CPUs", -1), ...cpus());
  }
  $("cpu").value = now.cpu;
  followTime();
  return now;
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
function size(frames) {
  const kib = frames * 4;
  for (const [unit, part] of [["GiB", 1 << 20], ["MiB", 1 << 10]]) if (kib >= part) return `${(kib / part).toFixed(kib / part < 10 ? 1 : 0)} ${unit}`;
  return `${kib} KiB`;
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The part of the free memory that is in pieces smaller than 2 MiB, over time.
function fragmentation(of, nth, total) {
  const points = state.past.seen.map(([moment, all]) => `${(100 * moment / Math.max(1, total)).toFixed(2)},${(20 - all[nth] / 50).toFixed(2)}`);
  const now = `${(of.unusable / 10).toFixed(1)} %`, words = `of the free memory ${now} is in pieces smaller than 2 MiB`;
  const graph = element("div", { class: "past", role: "img", "aria-label": `zone ${of.name}: ${words}` });
  graph.innerHTML = `<svg viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true"><polyline points="${points.join(" ")}"/></svg>`;
  return element("div", { class: "fragmentation", title: words }, element("span", {}, "in pieces"), graph, element("span", {}, now));
}

function zone(of, nth, total) {
  const part = (frames) => `${Math.min(100, 100 * frames / of.managed)}%`;
  const level = of.free <= of.min ? "min" : of.free <= of.low ? "low" : "";
  const most = Math.max(1, ...of.counts.map((count, order) => count * 2 ** order));
  const words = `zone ${of.name}: ${of.free} of ${of.managed} frames free; min ${of.min}, low ${of.low}, high ${of.high}`;
  const bars = of.counts.map((count, order) => {
    const bar = element("div", { "data-n": count, title: `order ${order}: ${count} free`, style: `height:${Math.max(2, 100 * count * 2 ** order / most)}%` });
    return bar;
  });
  return element("div", { class: "zone" },
    element("h3", {}, of.name, element("span", {}, `${size(of.free)} of ${size(of.managed)} free`)),
    element("div", { class: "gauge", role: "img", "aria-label": words },
      element("b", { class: level, style: `width:${part(of.free)}` }),
      ...["min", "low", "high"].map((mark) => element("s", { style: `left:${part(of[mark])}`, title: `${mark} ${of[mark]}` }))),
    element("p", { class: "marks" }, `min ${of.min} · low ${of.low} · high ${of.high}${of.kept ? ` · kept ${of.kept}` : ""}`),
    element("div", { class: "bars", role: "img", "aria-label": `free blocks of order 0 to 10: ${of.counts.join(", ")}` }, ...bars),
    element("div", { class: "names", "aria-hidden": "true" }, ...of.counts.map((count, order) => element("span", { title: `order ${order}` }, count > 9999 ? `${Math.round(count / 1000)}k` : String(count)))),
    fragmentation(of, nth, total));
}
