"use strict";
// The page decides nothing about memory: it hands on what a person does, and shows what the crate says and draws.
(async () => {
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

  const map = $("map"), overlay = $("overlay"), tree = $("tree");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const state = { cursor: 0, seen: null, playing: false, owed: 0, then: 0, flash: null, queued: 0, name: "", labels: null };
  const grouped = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
  const hex = (n) => "0x" + n.toString(16);
  const say = (words) => { $("said").textContent = words; };

  function alert(words) {
    $("alert").hidden = !words;
    $("alert").textContent = words || "";
  }

  // --- drawing -------------------------------------------------------------------------------------------------------

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
    const mono = colour("--mono");
    for (const [x, y, width, height, pfn, order] of state.labels.blocks) {
      const size = Math.min(14, Math.max(9, width / 7));
      context.font = `${size}px ${mono}`;
      const label = width >= size * 6 ? `${pfn}+${order}` : String(order), wide = context.measureText(label).width;
      if (wide + 8 > width) continue;
      context.fillStyle = colour("--card");
      context.globalAlpha = 0.86;
      context.beginPath();
      context.roundRect(x + 3, y + 3, wide + 6, size + 6, 3);
      context.fill();
      context.globalAlpha = 1;
      context.fillStyle = colour("--ink");
      context.fillText(label, x + 6, y + 6 + size / 2);
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
      if (seen.buddyAt && seen.at[2] > 3) label(context, seen, ratio, colour);
    }
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

  // The buddy's address, computed in view.
  function label(context, seen, ratio, colour) {
    const words = `buddy: ${hex(seen.head)} ^ (1 << ${seen.order}) = ${hex(seen.buddy)}`;
    context.font = `${11.5 * ratio}px ${colour("--mono")}`;
    const wide = context.measureText(words).width + 12 * ratio, high = 20 * ratio;
    const x = Math.min(Math.max(4, seen.at[0]), overlay.width - wide - 52 * ratio);
    const y = seen.at[1] > high + 6 ? seen.at[1] - high - 5 : Math.min(overlay.height - high - 4, seen.at[1] + seen.at[3] + 5);
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

  function gauges() {
    wasm.gauges();
    const now = JSON.parse(text());
    $("time").max = now.total;
    $("time").value = now.operation;
    $("time").setAttribute("aria-valuetext", `operation ${now.operation} of ${now.total}`);
    $("clock").textContent = `${grouped(now.operation)} / ${grouped(now.total)}`;
    $("back").disabled = $("first").disabled = $("undo").disabled = now.operation === 0;
    $("on").disabled = $("last").disabled = $("redo").disabled = now.operation === now.total;
    $("summary").textContent = `${state.name} · ${now.cpus} CPU${now.cpus > 1 ? "s" : ""} · ${size(sum(now.zones.map((zone) => zone.free)))} free in the zones, ${size(now.cached)} in CPUs’ pages`;
    $("zones").replaceChildren(...now.zones.map(zone));
    if ($("cpu").options.length !== now.cpus) {
      $("cpu").replaceChildren(...Array.from({ length: now.cpus }, (_, cpu) => new Option(`CPU ${cpu}`, cpu)));
    }
    $("cpu").value = now.cpu;
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

  function zone(of) {
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
      element("div", { class: "names", "aria-hidden": "true" }, ...of.counts.map((count, order) => element("span", { title: `order ${order}` }, count > 9999 ? `${Math.round(count / 1000)}k` : String(count)))));
  }

  // --- the cursor ----------------------------------------------------------------------------------------------------

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
      history();
    }, aloud ? 0 : 60);
  }

  function history() {
    wasm.history(state.cursor);
    $("history").replaceChildren(...JSON.parse(text()).map(([operation, words]) => {
      const button = element("button", { type: "button", title: "Go to this moment" }, `${grouped(operation + 1)}  ${words}`);
      button.onclick = () => { seek(operation + 1); };
      return element("li", {}, button);
    }));
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

  // --- time ------------------------------------------------------------------------------------------------------------

  function seek(operation) {
    wasm.seek(operation);
    told(text());
  }

  function told(words) {
    $("told").textContent = words;
    const touched = wasm.touched();
    if (touched >= 0 && !state.playing) {
      state.cursor = touched;
      wasm.reveal(touched);
    }
    refresh();
    if (touched >= 0 && state.seen && state.seen.at && !state.playing) {
      state.flash = { box: state.seen.at, since: performance.now() };
      drawOverlay();
    }
    if (!state.playing) say(words);
  }

  function play(on) {
    state.playing = on;
    $("play").setAttribute("aria-pressed", on);
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    $("play").querySelector("path").setAttribute("d", on ? "M4 3h3v10H4zM9 3h3v10H9z" : "M4 2.5v11L13 8z");
    if (on) {
      if (wasm.operation() === wasm.total()) wasm.seek(0);
      [state.then, state.owed] = [performance.now(), 0];
      requestAnimationFrame(tick);
    }
  }

  function tick(now) {
    if (!state.playing) return;
    state.owed += Math.min(250, now - state.then) * Number($("speed").value) / 1000;
    state.then = now;
    const steps = Math.floor(state.owed);
    if (steps > 0) {
      state.owed -= steps;
      const next = Math.min(wasm.operation() + steps, wasm.total());
      wasm.seek(next);
      told(text());
      if (wasm.operation() < next || next === wasm.total()) return play(false);
    }
    requestAnimationFrame(tick);
  }

  // Scrubbing: at most one picture a frame.
  function scrub() {
    play(false);
    if (state.queued) return;
    state.queued = requestAnimationFrame(() => {
      state.queued = 0;
      wasm.seek(Number($("time").value));
      $("told").textContent = text();
      draw();
      gauges();
      look(state.cursor, false);
    });
  }

  // --- commands --------------------------------------------------------------------------------------------------------

  let seed = 1;
  function run(line) {
    play(false);
    const command = line.replace("%", () => seed++);
    put(new TextEncoder().encode(command));
    const before = wasm.operation(), is_good = wasm.run(), said = text();
    const log = $("log");
    log.append(element("div", { class: "asked" }, `bifolio> ${command}`), element(said.includes("\n") ? "pre" : "div", is_good ? {} : { class: "bad" }, said));
    log.scrollTop = log.scrollHeight;
    if (wasm.operation() !== before) told(said);
    else {
      $("told").textContent = said.split("\n")[0];
      say(said);
      refresh();
    }
    if (command.trim() === "undo" || command.trim() === "redo") refresh();
    return is_good;
  }

  function begin(name, is_good) {
    if (!is_good) {
      alert(text());
      return false;
    }
    alert("");
    play(false);
    Object.assign(state, { name, cursor: 0, seen: null, flash: null });
    fit();
    draw();
    const now = gauges();
    for (let x = 0; x < map.width && !state.cursor; x += 16) for (let y = 40; y < map.height && !state.cursor; y += 40) state.cursor = Math.max(0, wasm.hit(x, y));
    look(state.cursor, false);
    drawTree();
    $("told").textContent = now.total ? `A trace of ${grouped(now.total)} operations. Play it, or step through it.` : "A machine with nothing done yet. Allocate something: a number above is an order.";
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
      if (goes_on) return setTimeout(slice, 0);
      if (wasm.operation() < wasm.total()) alert(`The trace is not what the allocator does: ${text()}`);
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

  // --- what a person does ----------------------------------------------------------------------------------------------

  let drag = null;
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, y: event.clientY, moved: false };
  });
  map.addEventListener("pointermove", (event) => {
    if (drag) {
      const ratio = map.width / map.getBoundingClientRect().width;
      const [x, y] = [Math.round((drag.x - event.clientX) * ratio), Math.round((drag.y - event.clientY) * ratio)];
      if (!drag.moved && Math.hypot(x, y) < 5) return;
      Object.assign(drag, { x: event.clientX, y: event.clientY, moved: true });
      wasm.pan(x, y);
      draw();
      look(state.cursor, false);
    } else if (event.pointerType === "mouse" && !state.playing) {
      const pfn = wasm.hit(...at(event));
      if (pfn >= 0 && pfn !== state.cursor) look(pfn, false);
    }
  });
  map.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) {
      const pfn = wasm.hit(...at(event));
      if (pfn >= 0) look(pfn, true);
    }
    drag = null;
  });
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1 : -1, at(event));
  }, { passive: false });
  map.addEventListener("dblclick", (event) => zoom(1, at(event)));

  function step(by) {
    const seen = state.seen || {}, length = 2 ** (seen.order || 0), head = seen.head ?? state.cursor;
    const next = by > 0 ? head + Math.max(length, by) : head - Math.max(1, -by);
    wasm.look(Math.max(0, next));
    const found = JSON.parse(text());
    if ("head" in found) {
      wasm.reveal(found.head);
      draw();
      look(found.head, true);
    } else say(found.words);
  }

  const keys = {
    ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(512), ArrowUp: () => step(-512),
    "+": () => zoom(1, middle()), "=": () => zoom(1, middle()), "-": () => zoom(-1, middle()), "0": () => { fit(); draw(); look(state.cursor, false); },
    "]": () => seek(wasm.operation() + 1), "[": () => seek(Math.max(0, wasm.operation() - 1)), " ": () => play(!state.playing),
    Home: () => seek(0), End: () => seek(wasm.total()), a: () => run(`alloc 0 ${$("kind").value}`), f: () => free(), u: () => run("undo"), r: () => run("redo"),
  };
  map.addEventListener("keydown", (event) => {
    const act = !event.ctrlKey && !event.metaKey && !event.altKey && keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  function free() {
    if (state.seen && state.seen.allocated) run(`free ${hex(state.seen.head)}`);
  }

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
  $("machine").onsubmit = (event) => {
    event.preventDefault();
    const mib = Number($("memory").value);
    if (begin(megabytes(mib), wasm.machine(mib, Number($("cpus").value)))) $("machine-menu").open = false;
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
    location.hash = `op=${wasm.operation()}&pfn=${hex(state.cursor)}`;
    say("The address names this moment now.");
    $("save-menu").open = false;
  };

  function theme(is_dark) {
    document.documentElement.dataset.theme = is_dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", is_dark);
    wasm.dark(is_dark);
  }
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  theme(preferred.matches);
  preferred.onchange = () => { theme(preferred.matches); draw(); drawTree(); };
  $("theme").onclick = () => { theme(document.documentElement.dataset.theme !== "dark"); draw(); drawTree(); };
  let resized = 0;
  new ResizeObserver(() => {
    cancelAnimationFrame(resized);
    resized = requestAnimationFrame(() => {
      if (!sized(map) || !state.labels) return;
      fit();
      draw();
      look(state.cursor, false);
    });
  }).observe(map);
  if (matchMedia("(max-width: 900px)").matches) $("legend").open = false;

  const recorded = $("trace").textContent.trim();
  if (recorded) {
    open(decoded(recorded), "a recorded kernel");
  } else {
    begin("64 MiB", wasm.machine(64, 4));
  }
  // For tests, and for who looks on with the browser's own tools.
  globalThis.explorer = { wasm, text, run, seek, state };
  document.documentElement.dataset.ready = "1";
})();
