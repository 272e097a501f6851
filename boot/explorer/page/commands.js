// Commands.

// What was said stays, the last few hundred lines of it.
function log(attributes, words) {
  const all = $("log");
  all.append(element(words.includes("\n") ? "pre" : "div", attributes, words));
  while (all.childElementCount > 400) all.firstElementChild.remove();
  all.scrollTop = all.scrollHeight;
}

let seed = 1;
function run(line) {
  play(false);
  const command = line.replace("%", () => seed++);
  put(new TextEncoder().encode(command));
  const before = wasm.operation(), is_good = wasm.run(), said = text();
  log({ class: "asked" }, `bifolio> ${command}`);
  log(is_good ? {} : { class: "bad" }, said);
  if (wasm.operation() !== before) told(said);
  else {
    // A refusal says first what it is, and whatever explains says last what comes of it.
    $("told").textContent = said.trimEnd().split("\n").at(is_good ? -1 : 0);
    say(said);
    refresh();
  }
  if (command.trim() === "undo" || command.trim() === "redo") refresh();
  return is_good;
}
