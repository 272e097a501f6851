//! What the README says can be seen at the prompt. Each of its sentences stands here beside what is tried for it: who changes
//! the one has to look at the other.

use super::machine::{Machine, Session};
use super::markdown::{Document, code};
use super::names;
use std::thread;

/// The text under "What you will see", to be quoted.
struct Text(String);

impl Text {
    #[track_caller]
    fn says(&self, quote: &str) {
        assert!(self.0.contains(quote), "the README no longer says\n  {quote}\nwhat is tried for it is here");
    }
}

#[test]
fn what_can_be_seen_is_seen() {
    let readme = Document::read("README.md");
    let text = Text(readme.section("What you will see"));
    let many =
        readme.commands().iter().filter_map(|line| line.strip_prefix("make run ")).map(Machine::of).find(has_many);
    let many = many.expect("the README boots many CPUs");
    let typed = thread::scope(|scope| {
        let many = scope.spawn(|| with_many_cpus(&text, &many));
        let mut typed = at_the_prompt(&text);
        typed.extend(in_little_memory(&text));
        typed.extend(from_the_pages(&text));
        typed.extend(many.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        typed
    });
    // One second is enough to see how it goes.
    let is_tried = |code: &str| typed.iter().any(|typed| typed.starts_with(&code.replace("stress 5", "stress 1")));
    let commands = names::shell_commands();
    let is_command = |code: &String| commands.iter().any(|name| code.split(' ').next() == Some(name));
    let untried: Vec<String> = code(&text.0).into_iter().filter(|code| is_command(code) && !is_tried(code)).collect();
    assert!(untried.is_empty(), "the README speaks of {untried:?}, which nothing here tries");
}

fn has_many(machine: &Machine) -> bool {
    machine.has(&["--smp=8"])
}

/// Whether [`what_can_be_seen_is_seen`] boots that machine.
pub fn is_tried_elsewhere(machine: &Machine) -> bool {
    has_many(machine)
}

fn at_the_prompt(text: &Text) -> Vec<String> {
    let mut shell = Machine::of("").start();
    the_beginning(text, &mut shell);
    blocks(text, &mut shell);
    bad_frees(text, &mut shell);
    reports(text, &mut shell);
    objects(text, &mut shell);
    ranges(text, &mut shell);
    // Last, since memory is not what it was behind it.
    questions(text, &mut shell);
    let locks = shell.say("lockdep");
    text.says("`lockdep` lists the classes of locks and which were taken while which were held");
    assert!(locks.contains("zone DMA32") && locks.contains("-> ") && locks.contains("0 reports"), "{locks}");
    shell.end_by("exit")
}

fn in_little_memory(text: &Text) -> Vec<String> {
    text.says("With `MEM=64M`, `alloc_contig 11000`, then `explain alloc 10`: zone DMA32 would have less left than its mark `low` demands");
    let mut shell = Machine::of("MEM=64M").start();
    shell.say("alloc_contig 11000");
    let told = shell.say("explain alloc 10");
    assert!(told.contains(" more would have to be free\n  zone DMA, mark 'low': "), "{told}");
    text.says("`alloc 10` is that fallback");
    assert!(shell.say("alloc 10").starts_with("order 10, 4096 kB in zone DMA: "));
    shell.end_by("poweroff")
}

fn the_beginning(text: &Text, shell: &mut Session) {
    text.says(
        "prints the memory map that the firmware gave it, after sanitising, the zones that it made of it, and how many",
    );
    let log = &shell.log;
    for part in ["INFO  memory map: ", "sanitised in ", "zone DMA32 ", " instructions"] {
        assert!(log.contains(part), "{part} in {log}");
    }
    text.says("`help` lists the commands, and `help alloc` says more of one, with an example");
    assert!(shell.say("help alloc").contains("\nexample: alloc "));
    let help = shell.say("help");
    for name in names::shell_commands() {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&name)), "{name} in {help}");
    }
    let done = shell.press("memm\t\r");
    assert!(done.contains("memmap \n[mem 0x"), "completed: {done}");
    text.says("Tab completes commands, flags, and what of yours can be freed; a second one lists what there is");
    // The line is drawn anew, prompt and all, behind the list, and before one out of the history is entered.
    shell.press("alloc 0 MO\t\r");
    let both = shell.press("free \t\t") + &shell.press("all\r");
    assert!(both.contains("all     0x") && both.contains("freed 1 block,"), "{both}");
    let again = shell.press("\x1b[A\x1b[A\x1b[A\r") + &[(); 3].map(|()| shell.press("")).concat();
    assert!(again.contains("memmap \x1b[K\n[mem 0x"), "out of the history: {again}");
    text.says("`alloc 3; buddyinfo` is two commands, and behind `#` comes a comment");
    assert!(shell.say("alloc 3; buddyinfo # nonsense").contains("\nNode 0, zone "));
    assert!(shell.say("free all").contains("8 frames"));
    let map = shell.say("memmap");
    assert!(map.lines().all(|line| shell.log.contains(line)), "the map that was printed first: {map}");
}

fn blocks(text: &Text, shell: &mut Session) {
    text.says("Once `pagetypeinfo` lists no `Unmovable` one of that order, `alloc 5` splits a larger one");
    let at_first = shell.say("buddyinfo");
    let mut taken = Vec::new();
    while unmovable(&shell.say("pagetypeinfo"), 5) > 0 {
        let before = shell.say("buddyinfo");
        taken.push(shell.say("alloc 5"));
        a_block_is_taken(&[&*before, &shell.say("buddyinfo")].concat().lines().collect::<Vec<_>>(), 5);
    }
    let before = shell.say("buddyinfo");
    taken.push(shell.say("alloc 5"));
    let [before, after] = [before, shell.say("buddyinfo")].map(|text| zone(&text, "DMA32"));
    let larger = (6..11).find(|&order| after[order] < before[order]).expect("a larger one is less");
    let mut expected = before;
    expected[larger] -= 1;
    (5..larger).for_each(|order| expected[order] += 1);
    assert_eq!(after, expected);
    text.says("`free` gives it back");
    taken.iter().for_each(|block| drop(shell.say(&format!("free {}", after_word(block, "free ")))));
    assert_eq!(shell.say("buddyinfo"), at_first);
}

fn bad_frees(text: &Text, shell: &mut Session) {
    text.says("`free` a block once more, or a frame inside of one, or with another order: each is refused by its name");
    let block = shell.say("alloc 5");
    let pfn = after_word(&block, "free ");
    let inside = pfn_plus(pfn, 1);
    assert!(shell.say(&format!("free {inside}")).contains("is inside the order-5 block"));
    assert!(shell.say(&format!("free {pfn} 3")).contains("has order 5, not 3"));
    assert!(shell.say(&format!("free {pfn}")).starts_with("freed order 5"));
    assert!(shell.say(&format!("free {pfn}")).contains("is free already (double free)"));
    text.says("what it did is found a little later and counted: `bifolio_late_double_free` in `vmstat`");
    assert!(shell.say("vmstat").contains("\nbifolio_late_double_free 0\n"));
    text.says("`validate` checks every invariant of allocator and heap");
    assert_eq!(shell.say("validate"), "page frames and heap: every invariant holds\n");
}

fn questions(text: &Text, shell: &mut Session) {
    text.says("`map` draws all memory, `map DMA` a zone, and `map 0xc00` a pageblock frame by frame");
    shell.say("free all; kfree all");
    let block = shell.say("alloc 5");
    let pfn = after_word(&block, "free ");
    assert!(shell.say("map").contains("zone DMA32: ") && shell.say("map DMA").starts_with("zone DMA: "));
    assert!(shell.say("map 0xc00").contains(", 512 of 512 frames free"));
    let map = shell.say(&format!("map {pfn}"));
    assert!(map.contains(&format!("5{}", "#".repeat(31))), "{map}");
    text.says(
        "`page 0xc00` says what a frame is: its block and that block's buddy, its pageblock, the CPU that holds it",
    );
    let free = shell.say("page 0xc00");
    assert!(
        free.contains("free: frame 0 of the order-10 block 0xc00..0x1000") && free.contains("pageblock 0xc00: "),
        "{free}"
    );
    let page = shell.say(&format!("page {pfn}"));
    let buddy = u64::from_str_radix(&pfn[2..], 16).unwrap() ^ 0x20;
    assert!(page.contains("allocated, by this shell: frame 0 of the order-5 block"), "{page}");
    assert!(page.contains(&format!("its buddy: {pfn} ^ 0x20 = {buddy:#x}, ")), "{page}");
    let single = shell.say("alloc 0");
    let page = shell.say(&format!("page {}", after_word(&single, "free ")));
    assert!(page.contains("handed out of CPU 0's pages"), "{page}");
    shell.say("kmalloc 100 5");
    text.says("`blocks` lists what you hold, and `free all` gives it back");
    assert!(shell.say("blocks").ends_with("2 blocks, 33 frames, 132 kB; 5 objects\n"));
    assert!(shell.say("free all").starts_with("freed 2 blocks, 33 frames"));
    explanations(text, shell);
    text.says("`fragment 50`, then `buddyinfo`: half of the memory is free, and no two frames of it in a row");
    shell.say("fragment 50");
    let free = zone(&shell.say("buddyinfo"), "DMA32");
    assert!(free[0] > 60_000 && free[1..].iter().sum::<u64>() < 10, "{free:?}");
    text.says("`alloc 5` is refused, and `extfrag`");
    assert!(shell.say("alloc 5").contains("error: page allocation failure: order:5"));
    assert!(shell.say("extfrag").contains(" 0.999 1.000"), "for lack of memory it would be 0");
    shell.say("free all");
    text.says("`fill` takes nearly all there is, `churn` allocates and frees at random");
    assert!(shell.say("fill").contains(" blocks of order 10\n") && shell.say("free all").starts_with("freed "));
    assert!(shell.say("churn").starts_with("10000 operations: ") && shell.say("free all").starts_with("freed "));
    text.says("`watch map` draws the map again every second, until Ctrl-C");
    shell.typed.push("watch map".into());
    let watched = shell.press("watch map\r\x03");
    assert!(watched.contains("map (1, until Ctrl-C)\n") && watched.ends_with("^C\n"), "{watched}");
    let watched = shell.say("watch 2 page 0x1000");
    assert!(watched.contains("page 0x1000 (1 of 2)\n") && watched.contains("page 0x1000 (2 of 2)\n"), "{watched}");
    shell.say("drain");
    shell.say("kfree all");
    shell.say("shrink");
}

fn explanations(text: &Text, shell: &mut Session) {
    text.says("`explain alloc 8` says what `alloc 8` would do, and does not");
    let before = shell.say("buddyinfo");
    let told = shell.say("explain alloc 8");
    let pfn = after_word(&told, "so order 8 is served: ").to_owned();
    assert!(told.contains("zone DMA32, mark 'low': ") && told.contains("zone DMA32: pageblock "), "{told}");
    assert_eq!(shell.say("buddyinfo"), before);
    assert!(shell.say("alloc 8").ends_with(&format!("free {pfn} 8\n")));
    text.says("each merge with the buddy's address by exclusive or");
    assert!(shell.say(&format!("explain free {pfn}")).contains(&format!(": {pfn} ^ 0x100 = ")));
    assert!(shell.say("explain alloc 10 DMA32").contains("so order 10 is served"));
    text.says("`explain kmalloc 100` names the slab, word and slot");
    shell.say("kmalloc 100");
    let told = shell.say("explain kmalloc 100");
    let object = told.trim_end().rsplit(' ').next().unwrap();
    assert!(shell.say("kmalloc 100").ends_with(&format!("kfree {object}\n")), "{told}");
    text.says("With `narrate on`, the commands");
    shell.say("narrate on");
    assert!(shell.say(&format!("free {pfn}")).contains(&format!("so {pfn} becomes free")));
    shell.say("narrate off");
}

fn reports(text: &Text, shell: &mut Session) {
    text.says("`meminfo`, `buddyinfo`, `pagetypeinfo`, `zoneinfo`, `vmstat` and `slabinfo` print what there is here of Linux's");
    text.says("`extfrag` and `unusable` its fragmentation indices");
    for (command, parts) in [
        ("meminfo", ["MemTotal: ", "MemFree: "]),
        ("buddyinfo", ["Node 0, zone      DMA ", "Node 0, zone    DMA32 "]),
        ("pagetypeinfo", ["Pages per block:  512", "type    Unmovable "]),
        ("zoneinfo", ["  pages free ", "        protection: ("]),
        ("vmstat", ["nr_free_pages ", "pgalloc_dma32 "]),
        ("slabinfo", ["slabinfo - version: 2.1", ": tunables "]),
        ("extfrag", ["zone    DMA32 ", " -1.000"]),
        ("unusable", ["zone    DMA32 ", " 0.000"]),
    ] {
        let report = shell.say(command);
        parts.iter().for_each(|part| assert!(report.contains(part), "{part} in {report}"));
    }
}

fn objects(text: &Text, shell: &mut Session) {
    text.says("`kmalloc 100 40`, then `slabtop`: objects on the heap, in slots of a slab");
    let objects = shell.say("kmalloc 100 40");
    let address = after_word(&objects, "kfree ").to_owned();
    let top = shell.say("slabtop");
    let cache = top.lines().find(|line| line.ends_with("kmalloc-104")).unwrap_or_else(|| panic!("{top}"));
    assert_eq!(cache.split_whitespace().nth(1), Some("40"), "{cache}");
    text.says("`kmalloc 5000000`, then `vmallocinfo`: too large for a block, so it is mapped");
    assert!(shell.say("kmalloc 5000000").contains("mapped"));
    let areas = shell.say("vmallocinfo");
    let pages = 5_000_000_usize.div_ceil(4096);
    assert!(areas.contains(&format!(" {} pages={pages} ", (pages + 1) * 4096)), "with a guard page: {areas}");
    text.says("`krealloc` resizes in place where it can");
    assert!(shell.say(&format!("krealloc {address} 104")).starts_with("where it was:"));
    let moved = shell.say(&format!("krealloc {address} 4000"));
    assert!(moved.starts_with("moved:"), "{moved}");
    text.says("`kfree` of an address twice, or of one inside an object, is refused by its name");
    let address = after_word(&moved, "kfree ");
    assert!(shell.say(&format!("kfree {}", pfn_plus(address, 8))).contains("8 bytes inside slot"));
    assert!(shell.say(&format!("kfree {address}")).starts_with("freed 4000 bytes"));
    assert!(shell.say(&format!("kfree {address}")).contains("is free already (double free)"));
    text.says("`heap` says what memory is in use for, and `shrink` gives back what is not");
    assert!(shell.say("heap").lines().any(|line| line.starts_with("large") && line.contains("above 4 MiB: 1")));
    assert!(shell.say("kfree all").starts_with("freed "));
    let shrunk = shell.say("shrink");
    assert!(shrunk.split(' ').next().is_some_and(|frames| frames != "0"), "{shrunk}");
}

fn ranges(text: &Text, shell: &mut Session) {
    text.says(
        "take counts and ranges of frames, and `isolate` keeps pageblocks from everybody: `pagetypeinfo` shows what is",
    );
    let mut free = free_frames(shell);
    for (command, frames) in [("alloc_exact 5", 5), ("alloc_contig 3000", 3000), ("alloc_range 0x4000 1000", 1000)] {
        assert!(shell.say(command).starts_with(&format!("{frames} frames")));
        let now = free_frames(shell);
        assert_eq!(free - now, frames, "{command}");
        free = now;
    }
    text.says("`split` makes several blocks of one of yours: nothing of it shows before one of them is freed");
    let block = shell.say("alloc 6");
    let pfn = after_word(&block, "free ");
    let before = shell.say("pagetypeinfo");
    assert!(shell.say(&format!("split {pfn} 4")).starts_with("4 blocks of order 4"));
    assert_eq!(shell.say("pagetypeinfo"), before);
    assert!(shell.say(&format!("free {pfn}")).starts_with("freed order 4"));
    assert_ne!(shell.say("pagetypeinfo"), before);

    assert!(shell.say("isolate 0x6000 600").contains("1024 isolated frames"));
    let isolated = shell.say("pagetypeinfo");
    assert!(isolated.lines().any(|line| line.starts_with("Node 0, zone    DMA32") && line.trim_end().ends_with(" 2")));
    assert!(shell.say("alloc_range 0x6000 600").starts_with("error: "));
    assert!(shell.say("unisolate 0x6000 600").contains(" 0 isolated frames"));

    text.says("`alloc 10 DMA`, until it is refused, shows a report of that like Linux's");
    shell.say_until("alloc 10 DMA", |answer| {
        let is_refused = answer.contains("error: page allocation failure: order:10, mode:0x1(GFP_DMA)");
        assert!(is_refused == answer.contains("Mem-Info:"), "{answer}");
        is_refused
    });
}

fn from_the_pages(text: &Text) -> Vec<String> {
    text.says("`alloc 0` comes from the CPU's own pages, as does whatever up to `alloc 3` they have a block for, and the zones stay");
    text.says("see `MemPerCpu` in `meminfo`, and the pagesets in `zoneinfo`");
    text.says("first borrow what is free in a word of 64 frames from a zone");
    text.says("`drain` gives the CPU's pages back");
    let look = "meminfo; zoneinfo; buddyinfo";
    // Of what nobody has pieces of yet, whole words are borrowed.
    let commands = ["", "alloc 0", "drain", "alloc 3 RECLAIMABLE", "alloc 3 RECLAIMABLE"];
    let commands = commands.map(|command| format!("{command}; {look}")).join("; ");
    let printed = Machine::with_options(&format!("--cmd \"{commands}\"")).run();
    let looks: Vec<&str> = printed.split("bifolio> meminfo\n").skip(1).collect();
    let cached = |look: &str| number_after(look, "MemPerCpu:");
    let pagesets = |look: &str| look.split("count:").skip(1).map(|rest| number_after(rest, "")).sum::<u64>();
    let of_pages = |look: &str| (cached(look), pagesets(look), zone(look, "DMA32"));
    let (kilobytes, count, zones) = of_pages(looks[0]);
    assert_eq!(of_pages(looks[1]), (kilobytes - 4, count - 1, zones));
    let (kilobytes, count, zones) = of_pages(looks[2]);
    assert_eq!((kilobytes, count), (0, 0));
    assert_eq!((cached(looks[3]), pagesets(looks[3])), (4 * 56, 56), "a word but for the block");
    assert_ne!(zone(looks[3], "DMA32"), zones);
    assert_eq!(of_pages(looks[4]), (4 * 48, 48, zone(looks[3], "DMA32")));
    text.says("so does the CPU itself once it has waited a second for a key");
    let mut shell = Machine::of("").start();
    shell.say("alloc 0");
    shell.say_until("meminfo", |answer| number_after(answer, "MemPerCpu:") == 0);
    shell.end();
    commands.split("; ").map(str::to_owned).collect()
}

fn with_many_cpus(text: &Text, machine: &Machine) -> Vec<String> {
    text.says("With `SMP=8` all CPUs of the machine run");
    text.says("`cpus` lists them, with the frames and the slabs that each holds");
    let mut shell = machine.start();
    let cpus = shell.say("cpus");
    assert!(cpus.starts_with("8 CPUs run of 8 ") && cpus.contains("frames held  heap slabs"), "{cpus}");
    text.says("`stress 5` has all of them allocate");
    let done = "all is back and checked: every block is free or in use as before";
    let stress = shell.say("stress 1");
    assert!(stress.contains(done), "{stress}");
    the_table_is_that(text, &stress, 8);
    text.says("`stress 5 3` is for three of them, and `stress 5 3 7` for other operations");
    for command in ["stress 1 3", "stress 1 3 7"] {
        let stress = shell.say(command);
        assert!(stress.contains(done), "{stress}");
        the_table_is_that(text, &stress, 3);
    }
    text.says("Wait a moment at the prompt: a CPU that is idle gives back what it holds");
    let is_empty = |line: &str| line.split_whitespace().skip(4).take(2).all(|held| held == "0");
    shell.say_until("cpus", |cpus| cpus.lines().filter(|line| line.contains(" online ")).all(is_empty));
    text.says("`pageoutrun` and `pgsteal_kswapd` in `vmstat`");
    let events = shell.say("vmstat");
    assert!(events.contains("\npageoutrun ") && events.contains("\npgsteal_kswapd "), "{events}");
    assert!(shell.say("validate").ends_with("every invariant holds\n"));
    shell.end_by("poweroff")
}

/// The table of a stress has the columns that the README explains, and so many CPUs.
fn the_table_is_that(text: &Text, stress: &str, cpus: usize) {
    let (_, table) = text.0.split_once("The table has: ").expect("the README explains the table");
    let explained = table.split("| `").skip(1).map(|row| row.split('`').next().unwrap());
    let head = stress.lines().find(|line| line.starts_with("CPU  ")).unwrap_or_else(|| panic!("{stress}"));
    let columns = head.split("  ").map(str::trim).filter(|column| !column.is_empty()).skip(1);
    assert_eq!(columns.collect::<Vec<_>>(), explained.collect::<Vec<_>>());
    let rows = stress.lines().skip_while(|line| *line != head).skip(1).take_while(|line| !line.starts_with("all"));
    assert_eq!(rows.count(), cpus, "{stress}");
}

/// Of the two times that the text shows `buddyinfo`, the second has one block of this order less, and is else the same.
#[track_caller]
pub fn a_block_is_taken(text: &[&str], order: usize) {
    let zones: Vec<&&str> = text.iter().filter(|line| line.starts_with("Node 0, zone ")).collect();
    let counts = |lines: &[&&str]| lines.iter().flat_map(|line| numbers(line)).collect::<Vec<u64>>();
    let (before, after) = zones.split_at(zones.len() / 2);
    let (before, mut after) = (counts(before), counts(after));
    let taken = before.iter().zip(&after).position(|(before, after)| before != after).expect("something has changed");
    assert_eq!((taken % 11, before[taken] - 1), (order, after[taken]), "of {before:?} to {after:?}");
    after[taken] += 1;
    assert_eq!(before, after);
}

/// Free blocks of each order.
fn numbers(line: &str) -> [u64; 11] {
    let words: Vec<&str> = line.split_whitespace().collect();
    let counts = words[words.len() - 11..].iter().map(|word| word.parse().unwrap());
    counts.collect::<Vec<_>>().try_into().unwrap()
}

/// What `buddyinfo` says of a zone.
fn zone(text: &str, name: &str) -> [u64; 11] {
    let is_it = |line: &&str| line.starts_with("Node 0, zone ") && line.split_whitespace().nth(3) == Some(name);
    numbers(text.lines().rfind(is_it).unwrap_or_else(|| panic!("{name} in {text}")))
}

/// Blocks of an order that `pagetypeinfo` lists for the kernel's own, in the zone that they come from.
fn unmovable(text: &str, order: usize) -> u64 {
    let line = text.lines().find(|line| line.contains("DMA32, type    Unmovable"));
    numbers(line.unwrap_or_else(|| panic!("{text}")))[order]
}

/// All that `pagetypeinfo` shows as free, with nothing in the CPUs' pages.
fn free_frames(shell: &mut Session) -> u64 {
    shell.say("drain");
    let text = shell.say("pagetypeinfo");
    let lines = text.lines().filter(|line| line.starts_with("Node    0"));
    lines.flat_map(|line| numbers(line).into_iter().enumerate()).map(|(order, count)| count << order).sum()
}

/// The word behind these ones.
fn after_word<'t>(text: &'t str, word: &str) -> &'t str {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("{word} in {text}"));
    rest.split_whitespace().next().unwrap_or_default()
}

#[track_caller]
fn number_after(text: &str, word: &str) -> u64 {
    after_word(text, word).parse().unwrap()
}

fn pfn_plus(number: &str, more: u64) -> String {
    let digits = number.strip_prefix("0x").unwrap_or_else(|| panic!("{number} is an address"));
    format!("{:#x}", u64::from_str_radix(digits, 16).unwrap() + more)
}
