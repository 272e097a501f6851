//! Words for what happens, and numbers as JSON for the page to lay out.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use bifolio::allocator::{BlockState, Call, HeapCall};
use bifolio::frame::{FRAME_SIZE, Gfp, Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, Profile, ZoneKind};
use quiz::{Question, counted};
use replay::{Last, World};

use crate::app::App;
use crate::cells::{Cells, Section, TILE};
use crate::change;
use crate::firmware::KNOWN;
use crate::palette::meaning;

/// How many of the things that happened to a frame are told.
const HISTORY: usize = 12;

fn size(frames: u64) -> String {
    match frames * FRAME_SIZE / 1024 {
        kib if kib >= 1 << 20 && kib.is_multiple_of(1 << 20) => format!("{} GiB", kib >> 20),
        kib if kib >= 1 << 10 && kib.is_multiple_of(1 << 10) => format!("{} MiB", kib >> 10),
        kib => format!("{kib} KiB"),
    }
}

/// A call, in the words of the command line.
pub fn call(call: &Call) -> String {
    match *call {
        Call::Allocate { order, gfp } => format!("alloc {order} {}", flags(gfp)),
        Call::Free { pfn, order } => format!("free {pfn} {order}"),
        Call::Split { pfn, into, .. } => format!("split {pfn} {into}"),
        Call::AllocateExact { frames, gfp, .. } => format!("alloc_exact {frames} {}", flags(gfp)),
        Call::AllocateContiguous { frames, gfp, .. } => format!("alloc_contig {frames} {}", flags(gfp)),
        Call::AllocateRun { frames, gfp, .. } => format!("alloc_run {frames} {}", flags(gfp)),
        Call::AllocateRange { range, gfp } => {
            format!("alloc_range {} {} {}", range.start, range.frames(), flags(gfp))
        }
        Call::Resize { range, frames, .. } => format!("resize {} {} {frames}", range.start, range.frames()),
        Call::Isolate(range) => format!("isolate {} {}", range.start, range.frames()),
        Call::Unisolate(range) => format!("unisolate {} {}", range.start, range.frames()),
        Call::Add(range) => format!("add {} {}", range.start, range.frames()),
        Call::Drain => "drain".into(),
        Call::Decay => "decay".into(),
        Call::Balance => "balance".into(),
        Call::UnreserveHighAtomic => "unreserve_highatomic".into(),
        Call::Settle(zone) => format!("settle {zone}"),
        Call::AddShrinker => "add_shrinker".into(),
        Call::RemoveShrinker => "remove_shrinker".into(),
        Call::Shrink { frames } => format!("shrink {frames}"),
        Call::Heap(call) => heap_call(&call),
    }
}

/// A call of the heap, likewise.
fn heap_call(call: &HeapCall) -> String {
    match *call {
        HeapCall::Allocate { size, .. } => format!("kmalloc {size}"),
        HeapCall::Free { address, .. } => format!("kfree {address:#x}"),
        HeapCall::Slab { order } => format!("a slab of order {order}"),
        HeapCall::OpenRun { address, bytes, .. } => format!("kmalloc {bytes} at {address:#x}"),
        HeapCall::CloseRun { address, .. } => format!("kfree {address:#x}"),
        HeapCall::TakeRun { address } => format!("krealloc {address:#x}"),
        HeapCall::PutRun { address, bytes: Some(bytes) } => format!("krealloc {address:#x} to {bytes} where it is"),
        HeapCall::PutRun { address, bytes: None } => format!("krealloc {address:#x} elsewhere"),
        HeapCall::Shrink => "shrink the heap".into(),
        HeapCall::Retire => "the CPU's slabs go to all".into(),
        HeapCall::Prepare => "an arena for the CPU".into(),
        HeapCall::SetAside { .. } => "a cache is debugged".into(),
        HeapCall::Settle => "what others freed is taken over".into(),
        HeapCall::NewCache { size } => format!("a cache of objects of {size} bytes"),
        HeapCall::EndCache { cache } => format!("cache {cache} ends"),
    }
}

/// The memory maps that are known: names and texts.
pub fn known_maps() -> String {
    // All of it is ASCII without control characters but line feeds, which Rust escapes as JSON does.
    let maps: Vec<String> = KNOWN.iter().map(|map| format!("[{:?},{:?}]", map.0, map.1)).collect();
    format!("[{}]", maps.join(","))
}

fn flags(gfp: Gfp) -> String {
    format!("{gfp}")
}

/// What the last operation did, derived from what was before and what is now.
pub fn last(world: &World, cells: &Cells) -> String {
    let Some(last) = world.last() else { return moment(world) };
    let mut text = format!("CPU {}: {}", last.cpu, call(&last.call));
    match (last.call, last.returned) {
        (_, None) => text.push_str(" — refused; nothing has changed"),
        (Call::Allocate { order, .. }, Some(pfn)) => {
            let _ = write!(text, " — frame {}, {}, in zone {}.", Pfn::new(pfn), size(order.frames()), zone(pfn));
            text += &came_from(cells, pfn, order);
        }
        (Call::Free { pfn, order }, Some(_)) => text += &went_to(cells, pfn.number(), order),
        (Call::Split { order, into, .. }, Some(_)) => {
            let _ = write!(text, " — {} blocks of order {into}", 1 << (order.get() - into.get()));
        }
        (
            Call::AllocateExact { frames, .. }
            | Call::AllocateContiguous { frames, .. }
            | Call::AllocateRun { frames, .. },
            Some(pfn),
        ) => {
            let blocks = PfnRange::new(Pfn::new(pfn), Pfn::new(pfn).offset(frames)).blocks().count();
            let blocks = counted(blocks as u64, "blocks");
            let _ = write!(text, " — frame {} on, {}, as {blocks}", Pfn::new(pfn), size(frames));
        }
        (Call::AllocateRange { range, .. }, Some(_)) => {
            let count = range.blocks().count();
            let blocks = counted(count as u64, "blocks");
            let _ = write!(text, " — {}, as {blocks}.", size(range.frames()));
            if let Some((pfn, order)) = range.blocks().next().filter(|_| count == 1) {
                text += &came_from(cells, pfn.number(), order);
            }
        }
        (Call::Drain, _) => text.push_str(" — what the CPUs' pages held is the zones' again"),
        _ => {}
    }
    text
}

fn zone(pfn: u64) -> ZoneKind {
    Profile::X86_64.zone_of(Pfn::new(pfn))
}

/// Where a block was taken from.
fn came_from(cells: &Cells, pfn: u64, order: Order) -> String {
    if let Some(split) = change::split(cells, pfn, order) {
        let ((base, from), count) = (split.whole(), split.levels().count());
        let halves: String =
            split.levels().take(4).map(|level| format!(" {:#x}+{}", level.buddy, level.order)).collect();
        let more = if count > 4 { " …" } else { "" };
        let times = counted(count as u64, "times");
        let other = if count == 1 { "half" } else { "halves" };
        return format!(
            " Split out of the free block of order {from} at {base}, {times}; the other {other}:{halves}{more}."
        );
    }
    match meaning(cells.code_before(pfn)) {
        Some((BlockState::Cached, ..)) => " It was in this CPU's pages: no zone was asked.".into(),
        Some((BlockState::Free, _, from)) if from == order => " A free block of just this order.".into(),
        _ => String::new(),
    }
}

/// What became of a block that was freed.
fn went_to(cells: &Cells, pfn: u64, order: Order) -> String {
    if let Some(merge) = change::merge(cells, pfn, order) {
        let ((base, now), count) = (merge.whole(), merge.levels().count());
        let first: String = merge.levels().take(1).map(|level| format!("{level}")).collect();
        let times = counted(count as u64, "times");
        return format!(" — merged with its buddy at {first}, and on, {times}: free of order {now} at {base}");
    }
    match meaning(cells.code(pfn)) {
        Some((BlockState::Cached, ..)) => " — kept in this CPU's pages, for its next request of this order".into(),
        _ => " — free; its buddy is not".into(),
    }
}

/// Where in its trace a world is.
pub fn moment(world: &World) -> String {
    match world.last() {
        Some(last) => format!("after operation {} of {}: {}", world.operation(), world.total(), call(&last.call)),
        None => format!("after operation {} of {}", world.operation(), world.total()),
    }
}

/// Why a request was refused, zone by zone.
pub(crate) fn refusal(app: &mut App, refused: Call) -> String {
    let text = format!("{}: refused", call(&refused));
    let Call::Allocate { order, gfp } = refused else { return text };
    match app.explain_refusal(order, gfp) {
        Ok(why) => why.lines().fold(text, |text, line| text + "\n  " + line),
        Err(why) => format!("{text}; {why}"),
    }
}

/// Why a range was refused: what its first frame is that is not free.
pub(crate) fn taken(app: &App, start: u64, end: u64) -> String {
    let is_free = |pfn: &u64| matches!(meaning(app.cells().code(*pfn)), Some((BlockState::Free, ..)));
    let taken = (start..end).find(|pfn| !is_free(pfn)).map(|pfn| format!("; {}", frame(app, pfn)));
    format!("refused, and nothing has changed{}", taken.unwrap_or_default())
}

/// What a frame is, in a sentence.
pub fn frame(app: &App, pfn: u64) -> String {
    let Some((state, mobility, order)) = meaning(app.cells().code(pfn)) else {
        return format!("{pfn:#x}: no memory here");
    };
    let head = Cells::head(pfn, order).number();
    let what = match state {
        BlockState::Free => "free",
        BlockState::Allocated => "allocated",
        BlockState::Cached => "held by a CPU's pages",
        BlockState::Reserved => "reserved",
    };
    let place = if head == pfn { String::new() } else { format!(", inside the block at {head:#x}") };
    format!(
        "frame {pfn:#x}{place}: {what}, order {order} ({}), {mobility} pageblock {:#x}, zone {}",
        size(order.frames()),
        pfn & !(PAGEBLOCK_FRAMES - 1),
        zone(pfn)
    )
}

/// What happened to a frame, the latest first: each line with the number of the operation.
pub fn history(app: &App, pfn: u64) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    app.world().for_each_operation(|number, _, Last { cpu, call: done, returned, site }| {
        let touched = match (done, returned) {
            (_, None) => None,
            (Call::Allocate { order, .. }, Some(start)) => Some(PfnRange::of(Pfn::new(start), order)),
            (Call::Free { pfn, order } | Call::Split { pfn, order, .. }, _) => Some(PfnRange::of(pfn, order)),
            (
                Call::AllocateExact { frames, .. }
                | Call::AllocateContiguous { frames, .. }
                | Call::AllocateRun { frames, .. },
                Some(start),
            ) => Some(PfnRange::new(Pfn::new(start), Pfn::new(start).offset(frames))),
            (Call::AllocateRange { range, .. } | Call::Resize { range, .. } | Call::Add(range), _) => Some(range),
            (Call::Heap(HeapCall::Allocate { .. }), Some(address))
            | (Call::Heap(HeapCall::Free { address, .. }), _) => {
                Some(PfnRange::of(Pfn::containing(address), Order::ZERO))
            }
            _ => None,
        };
        if touched.is_some_and(|range| range.start.number() <= pfn && pfn < range.end.number()) {
            if found.len() == HISTORY {
                found.remove(0);
            }
            let site = app.world().site_name(site).map(|name| format!(" by {name}")).unwrap_or_default();
            found.push((number, format!("CPU {cpu}: {}{site}", call(&done))));
        }
    });
    found.reverse();
    found
}

/// [`frame`], and what happened to it.
pub fn page(app: &App, pfn: u64) -> String {
    let mut text = frame(app, pfn);
    for (number, line) in history(app, pfn) {
        let _ = write!(text, "\n  {number:>8}  {line}");
    }
    text
}

/// The name of a section of the map.
pub fn section(section: &Section) -> String {
    let frames = (section.tiles * TILE) as u64;
    format!("zone {} · {} from {:#x}", section.zone, size(frames), section.start * FRAME_SIZE)
}

/// Text between the quotes of JSON.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\n' => escaped.push_str("\\n"),
            character if (character as u32) < 0x20 => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

/// The zones and the CPUs, as JSON.
pub fn gauges(app: &mut App) -> String {
    let zones = app.zones();
    let frames = app.world().frames();
    let mut text = format!(
        "{{\"operation\":{},\"total\":{},\"cpus\":{},\"cpu\":{},\"cached\":{},\"zones\":[",
        app.world().operation(),
        app.world().total(),
        app.world().cpus(),
        app.cpu,
        frames.cached()
    );
    for (number, zone) in zones.iter().filter(|zone| zone.managed > 0).enumerate() {
        let free = frames.free_blocks(zone.kind);
        let counts: Vec<u64> = Order::all().map(|order| free.of(order)).collect();
        let kept = zone.protection[ZoneKind::Normal.index()];
        let _ = write!(
            text,
            "{}{{\"name\":\"{}\",\"managed\":{},\"free\":{},\"min\":{},\"low\":{},\"high\":{},\"kept\":{kept},\"unusable\":{},\"counts\":{counts:?},\"kinds\":{:?}}}",
            if number > 0 { "," } else { "" },
            zone.kind,
            zone.managed,
            zone.free,
            zone.watermarks.min,
            zone.watermarks.low,
            zone.watermarks.high,
            free.unusable_index(Order::PAGEBLOCK),
            free.pageblocks
        );
    }
    let names: Vec<String> = Mobility::ALL.iter().map(|mobility| format!("\"{mobility}\"")).collect();
    let _ = write!(text, "],\"mobilities\":[{}]}}", names.join(","));
    text
}

/// A question to a lesson, perhaps with its answer; none if there is no such lesson.
pub fn question(lesson: u64, seed: u64, is_answered: bool) -> Option<String> {
    let question = Question::new(lesson, seed)?;
    let answer = if is_answered { format!("\n\n{}", question.solution()) } else { String::new() };
    Some(question.text + &answer)
}
