// Moments: stepping, playing, scrubbing.

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

// Scrubbing: at most one picture a frame, of the map alone; the rest follows when the hand rests.
function scrub() {
  play(false);
  if (state.queued) return;
  state.queued = requestAnimationFrame(() => {
    state.queued = 0;
    wasm.seek(Number($("time").value));
    $("told").textContent = text();
    $("clock").textContent = `${grouped(wasm.operation())} / ${grouped(wasm.total())}`;
    show(map, wasm.draw());
    clearTimeout(state.rests);
    state.rests = setTimeout(refresh, 120);
  });
}
