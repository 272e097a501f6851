//! The CPUs, in a table.

use crate::cpu::local::{self, MAX_CPUS};
use crate::cpu::{self, apic, timer};
use crate::memory::{frames, heap::HEAP};
use bifolio::frame::ZoneKind;
use bifolio::heap::ArenaStats;
use core::fmt::{self, Write};

/// Writes a line for each CPU that runs or did: what its pages and its arena of the heap hold. Then one for
/// the heap's shared arena, which has the slabs of CPUs that stopped allocating.
pub(super) fn write(out: &mut impl Write) -> fmt::Result {
    match cpu::count() {
        1 => write!(out, "1 CPU runs")?,
        count => write!(out, "{count} CPUs run")?,
    }
    match cpu::start::listed() {
        Some(listed) => write!(out, " of {listed} that the firmware lists")?,
        None => write!(out, ", and the firmware lists none")?,
    }
    write!(out, " (the kernel takes up to {MAX_CPUS}), {}", apic::mode())?;
    match timer::rate() / 1000 {
        0 => writeln!(out, ", no timer")?,
        rate => writeln!(out, ", timers at {rate} kHz")?,
    }
    writeln!(out, "CPU    APIC  state        ticks  frames held  heap slabs  frames  objects")?;
    for number in (0..MAX_CPUS).filter(|&number| cpu::start::was_started(number)) {
        let local = local::of(number);
        let state = if cpu::is_online(number) { "online" } else { "stopped" };
        let held: u64 = ZoneKind::ALL.iter().map(|&kind| frames().held(number, kind)).sum();
        write!(
            out,
            "{number:3}  {:6x}  {state:<7}  {:8}  {held:11}  ",
            apic::number_of(local.apic_id()),
            local.ticks()
        )?;
        slabs(out, HEAP.arena_stats(Some(number)))?;
    }
    write!(out, "shared  {:32}  ", "")?;
    slabs(out, HEAP.arena_stats(None))
}

fn slabs(out: &mut impl Write, stats: Option<ArenaStats>) -> fmt::Result {
    let ArenaStats { slabs, frames, active_objects, .. } = stats.unwrap_or_default();
    writeln!(out, "{slabs:10}  {frames:6}  {active_objects:7}")
}
