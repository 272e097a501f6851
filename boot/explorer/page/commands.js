// Commands.

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
