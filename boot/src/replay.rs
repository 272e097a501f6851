//! `boot replay`: does again what a trace says, and names the first thing that is not as it was.

use anyhow::{Context, Result, bail};
use bifolio::allocator::Call;
use bifolio::frame::{FRAME_SIZE, Order, ZoneKind};
use replay::{Last, Stop, World};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What checkpoints may take: a replay that goes on to the end needs few.
const BUDGET: usize = 16 << 20;

/// Reads a trace, which may end in the middle of an operation.
///
/// # Errors
/// There is no such file, or it is no trace; then it says at which byte.
pub fn open(file: &Path) -> Result<World> {
    let trace = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    World::attach(trace, BUDGET).with_context(|| format!("{} cannot be replayed", file.display()))
}

/// How a trace ends that a panic, or the end of the machine, has cut off.
fn cut_off(world: &World) -> Option<String> {
    let (place, opened) = world.unfinished()?;
    let at = opened.iter().map(|(cpu, call)| format!("{call:?} on CPU {cpu}"));
    let at = at.collect::<Vec<_>>().join(", and within it ");
    let at = if at.is_empty() { "a record".to_owned() } else { at };
    Some(format!("the trace ends there, at byte {place:#x}, in the middle of {at}\n"))
}

/// Where what differs was asked for, as far as the trace says.
fn asked_at(world: &World, stop: &Stop) -> String {
    let site = if let Stop::Differs(difference) = stop { world.site_at(difference.offset) } else { 0 };
    world.site_name(site).map(|name| format!("; asked for by {name}")).unwrap_or_default()
}

/// Lists the operations of a trace, each with where it was asked for, as far as it says.
///
/// # Errors
/// Those of [`open`].
pub fn list(file: &Path) -> Result<String> {
    let (world, mut text) = (open(file)?, String::new());
    world.for_each_operation_until(world.total(), |number, within, Last { cpu, call, returned, site }| {
        let (indent, returned) =
            (2 * within.len(), returned.map_or("refused".to_owned(), |value| format!("{value:#x}")));
        let site = world.site_name(site).filter(|_| within.is_empty());
        let site = site.map(|name| format!("    {name}")).unwrap_or_default();
        let _ = writeln!(text, "{number:>8} {:indent$}CPU {cpu}: {call:?} -> {returned}{site}", "");
    });
    Ok(text)
}

/// Replays a trace to its end, and says what it came to.
///
/// # Errors
/// The first difference, or that records were lost.
pub fn run(file: &Path) -> Result<String> {
    let mut world = open(file)?;
    match world.run() {
        Ok(()) => {}
        Err(stop @ Stop::Lost(_)) => bail!("replayed {} operations as they were; then {stop}", world.operation()),
        Err(stop) => bail!("{stop}{}", asked_at(&world, &stop)),
    }
    world.look(|frames| frames.validate()).context("an invariant does not hold at the end")?;
    world.look_at_heap(|heap| heap.validate()).context("an invariant of the heap does not hold at the end")?;
    let mut on_heap = 0;
    world.for_each_operation(|_, within, last| {
        on_heap += u64::from(within.is_empty() && matches!(last.call, Call::Heap(_)));
    });
    let mut text = format!(
        "{} operations on {} CPU{} replayed, {on_heap} of them on the heap: every result and every hash is the same (at the end {:#018x})\n",
        world.operation(),
        world.cpus(),
        if world.cpus() == 1 { "" } else { "s" },
        world.hash()
    );
    text += &cut_off(&world).unwrap_or_default();
    for kind in ZoneKind::ALL {
        let free = world.frames().free_blocks(kind);
        let counts: Vec<u64> = Order::all().map(|order| free.of(order)).collect();
        if counts.iter().any(|count| *count > 0) {
            write!(text, "  {kind:<6} free blocks of order 0, 1, ... 10:")?;
            counts.iter().try_for_each(|count| write!(text, " {count}"))?;
            writeln!(text)?;
        }
    }
    let zones = world.zones();
    let free: u64 = zones.iter().map(|zone| zone.free).sum();
    writeln!(text, "  {} kB free in the zones", free * FRAME_SIZE / 1024)?;
    Ok(text)
}
