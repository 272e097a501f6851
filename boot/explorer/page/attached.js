// Attached: the trace of a kernel that runs at this moment. Only a page that the host program serves has this part.

async function attach() {
  let early = new Uint8Array(0), is_begun = false;
  const take = (bytes) => {
    put(is_begun ? bytes : early = joined(early, bytes));
    if (is_begun) return wasm.extend();
    if (!wasm.attach()) return !text();
    is_begun = begin("the running kernel", true);
    return true;
  };
  try {
    const from = (await fetch("trace")).body.getReader();
    live("attached");
    for (let part = await from.read(); !part.done; part = await from.read()) {
      const follows = !is_begun || wasm.operation() === wasm.total();
      if (!take(part.value)) {
        alert(text());
        live("not attached");
        return from.cancel();
      }
      if (is_begun) await (follows ? follow() : gauges());
    }
    live("the machine has ended");
  } catch (error) {
    alert("The machine cannot be heard any more.");
    live("not attached");
  }
}

function joined(one, other) {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}

function live(words) {
  $("live").hidden = false;
  $("live").textContent = words;
  $("live").classList.toggle("on", words === "attached");
}

// Goes to the end of what has come, in slices, and tells the last operations one by one.
async function follow() {
  const TOLD = 8;
  const left = () => wasm.total() - wasm.operation();
  if (left() > TOLD) {
    for (let goes_on = true; left() > TOLD; await new Promise((done) => setTimeout(done, 0))) {
      const until = performance.now() + 8;
      while (goes_on && left() > TOLD && performance.now() < until) goes_on = wasm.follow(Math.min(500, left() - TOLD));
      if (!goes_on) return alert(`The trace is not what the allocator does: ${text()}`);
    }
    wasm.seek(wasm.operation());
  }
  while (left() > 0) {
    const before = wasm.operation();
    seek(before + 1);
    if (wasm.operation() === before) return alert(`The trace is not what the allocator does: ${$("told").textContent}`);
    log({}, $("told").textContent);
  }
}
