// Moments: stepping, playing, scrubbing.

function seek(operation) {
  wasm.seek(operation);
  told(text());
}

// So many of the operations that are let through, on or back.
function go(steps) {
  const moment = wasm.next(steps);
  if (moment >= 0) seek(moment);
  else say("There is no such operation left.");
}

function told(words) {
  $("told").textContent = words;
  wasm.change();
  // Slowly enough to be seen, and as long as nobody minds what moves.
  const change = still.matches || state.playing && Number($("speed").value) > 2 ? null : JSON.parse(text());
  state.change = change && { ...change, since: performance.now() };
  const touched = wasm.touched();
  if (touched >= 0 && !state.playing) {
    state.cursor = touched;
    wasm.reveal(touched);
  }
  refresh();
  if (state.change) drawOverlay();
  else if (touched >= 0 && state.seen && state.seen.at && !state.playing) {
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
    const next = wasm.next(steps);
    if (next < 0) return play(false);
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
    glimpse(Number($("time").value));
    clearTimeout(state.rests);
    state.rests = setTimeout(refresh, 120);
  });
}

function glimpse(operation) {
  wasm.seek(operation);
  $("told").textContent = text();
  $("clock").textContent = `${grouped(wasm.operation())} / ${grouped(wasm.total())}`;
  show(map, wasm.draw());
}
