//! The allocator's state in the text formats of Linux, so that its tools and lectures apply unchanged.

mod events;
mod failure;
mod fragmentation;
mod history;
mod mem;
mod zones;

use core::fmt::{self, Write};

pub use events::vmstat;
pub use fragmentation::{extfrag_index, unusable_index};
pub use history::{FreeReport, History, PastCall};
pub use mem::show_mem;
pub use zones::{pagetypeinfo, zoneinfo};

use crate::allocator::View;
use crate::cpu::Cpu;
use crate::frame::{FRAME_SIZE, Order, ZoneKind};
use crate::zone::ZoneStats;

/// The zones that have any RAM; Linux lists no others in `buddyinfo`.
fn populated<C: Cpu>(frames: &View<'_, C>) -> impl Iterator<Item = ZoneStats> {
    ZoneKind::ALL.into_iter().map(|kind| frames.zone(kind)).filter(|zone| zone.present > 0)
}

/// Free blocks of each order, a line a zone (Linux: `/proc/buddyinfo`).
///
/// # Errors
/// Those of the writer.
pub fn buddyinfo<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    for zone in populated(frames) {
        let blocks = frames.free_blocks(zone.kind);
        write!(out, "Node 0, zone {:>8} ", zone.kind)?;
        for order in Order::all() {
            write!(out, "{:6} ", blocks.of(order))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The machine's memory in KiB (Linux: `/proc/meminfo`).
///
/// # Errors
/// Those of the writer.
pub fn meminfo<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    let zones = ZoneKind::ALL.map(|kind| frames.zone(kind));
    let sum = |count: fn(&ZoneStats) -> u64| zones.iter().map(count).sum::<u64>();
    let free = sum(|zone| zone.free);
    let low = sum(|zone| zone.watermarks.low);
    for (name, frames) in [
        ("MemTotal:", sum(|zone| zone.managed)),
        ("MemFree:", free),
        ("MemAvailable:", free.saturating_sub(low)),
        ("MemPerCpu:", frames.cached()),
        ("MemMetadata:", frames.metadata().frames()),
    ] {
        writeln!(out, "{name:<15} {:8} kB", frames * (FRAME_SIZE / 1024))?;
    }
    Ok(())
}
