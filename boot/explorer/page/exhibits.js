// An exhibit of each lesson: a machine, and what was done with it. To be played, stepped through, and gone on with.

const exhibits = [
  { title: "16 KiB out of 8 MiB", mib: 8, cpus: 1, commands: ["alloc 2", "alloc 0", "alloc 2", "free all"],
    look: "Step through it, and watch the rows of orders: which block is split for 16 KiB, and which halves are left?" },
  { title: "split and merge", mib: 8, cpus: 1, commands: ["alloc 5 MOVABLE", "alloc 3 MOVABLE", "alloc 0 MOVABLE", "alloc 3 MOVABLE", "free all"],
    look: "Predict before each step where the next block comes to lie. Then step back, and forward again." },
  { title: "a map that firmware gave", map: 0, cpus: 1, commands: ["alloc 0 DMA", "alloc 0 DMA32", "alloc 0", "alloc 10"],
    look: "Grey is what firmware keeps. Point at the borders between zones, and at the frames on both sides of a hole." },
  { title: "refused while memory is free", mib: 64, cpus: 1, commands: ["fill 6 MOVABLE", "alloc 6", "alloc 3 ATOMIC", "alloc 6 DMA"],
    look: "Have it go through what was refused: of each zone it says what it had, and what it keeps for whom." },
  { title: "half of memory, nothing in a row", mib: 64, cpus: 1, commands: ["fragment 50", "drain", "alloc 1 MOVABLE", "alloc 9"],
    look: "Go to its end: half of memory is free. Where would a block of 2 frames fit? Then type free all at the prompt." },
  { title: "frames that a CPU keeps at hand", mib: 64, cpus: 2, commands: ["drain", "alloc 0 RECLAIMABLE", "cpu 1", "alloc 0 RECLAIMABLE", "alloc 3", "free all", "drain"],
    look: "Green is at hand for a CPU, neither free nor in use. Who has it when, and what does drain change?" },
  { title: "slabs, slot by slot", mib: 64, cpus: 1, commands: ["kmalloc 100 400", "kmalloc 900 40", "kfree all", "shrink"],
    look: "Point at a frame of a slab: below the orders it is shown slot by slot, as its words have it." },
  { title: "large memory", mib: 64, cpus: 1, commands: ["alloc_exact 700", "alloc_contig 3000 MOVABLE", "kmalloc 100000", "free all", "kfree all"],
    look: "700 frames are no block. Which blocks were cut for them, and what became of the rest?" },
  { title: "frees that are wrong", mib: 8, cpus: 1, commands: ["alloc 3 MOVABLE", "kmalloc 64 8", "kfree all", "free all"],
    look: "Go to its end, point at a frame that was freed, and free it again at the prompt. What is said of it, and what changes?" },
  { title: "freed on another CPU", mib: 64, cpus: 4, commands: ["kmalloc 64 200", "cpu 1", "kfree all", "alloc 2", "cpu 2", "free all", "cpu 0", "kmalloc 64 4"],
    look: "Point at a slab. What CPU 1 freed there waits until CPU 0 takes it over: when does it?" },
];

function exhibit(lesson) {
  const { title, mib, map, cpus, commands, look: words } = exhibits[lesson];
  if (map !== undefined) put(new TextEncoder().encode(known[map][1]));
  const name = `Lesson ${lesson}: ${title}`;
  if (!begin(name, map === undefined ? wasm.machine(mib, cpus) : wasm.machine_of_map(cpus))) return false;
  commands.forEach(run);
  seek(0);
  read(lesson);
  $("told").textContent = `${name}. ${words}`;
  say($("told").textContent);
  return true;
}

$("exhibit").append(...exhibits.map(({ title }, lesson) => element("option", { value: lesson }, `${lesson}: ${title}`)));
$("exhibit").onchange = () => {
  if ($("exhibit").value && exhibit(Number($("exhibit").value))) $("machine-menu").open = false;
};
// A lesson's link names it.
const named = () => {
  const lesson = Number(inAddress().get("lesson") ?? NaN);
  return exhibits[lesson] ? lesson : null;
};
addEventListener("hashchange", () => {
  if (named() !== null && exhibit(named())) scrollTo(0, 0);
  else if (!linked() && inAddress().has("op")) moment();
});
