//! The zones one by one: their counts and marks, and what their pageblocks are for.

use core::fmt::{self, Write};

use super::populated;
use crate::allocator::View;
use crate::buddy::WORD_FRAMES;
use crate::cpu::Cpu;
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, ZoneKind};
use crate::per_cpu::PerCpuPages;

/// Each zone's counts, watermarks and reserves, and what CPUs' pages have of it (Linux: `/proc/zoneinfo`).
///
/// # Errors
/// Those of the writer.
pub fn zoneinfo<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    for zone in ZoneKind::ALL.into_iter().map(|kind| frames.zone(kind)) {
        writeln!(out, "Node 0, zone {:>8}", zone.kind)?;
        writeln!(out, "  pages free     {}", zone.free)?;
        for (name, value) in [
            ("boost", 0),
            ("min", zone.watermarks.min),
            ("low", zone.watermarks.low),
            ("high", zone.watermarks.high),
            ("spanned", zone.spanned),
            ("present", zone.present),
            ("managed", zone.managed),
        ] {
            writeln!(out, "        {name:<8} {value}")?;
        }
        let [dma, dma32, normal] = zone.protection;
        writeln!(out, "        protection: ({dma}, {dma32}, {normal})")?;
        if zone.present == 0 {
            continue;
        }
        writeln!(out, "  pagesets")?;
        for cpu in 0..frames.cpus() {
            writeln!(out, "    cpu: {cpu}")?;
            writeln!(out, "              count:    {}", frames.held(cpu, zone.kind))?;
            writeln!(out, "              high:     {}", PerCpuPages::CAPACITY)?;
            writeln!(out, "              batch:    {WORD_FRAMES}")?;
        }
        writeln!(out, "  start_pfn:           {}", zone.start.number())?;
    }
    Ok(())
}

/// Free blocks of each order and mobility, and the pageblocks of each mobility (Linux: `/proc/pagetypeinfo`).
///
/// # Errors
/// Those of the writer.
pub fn pagetypeinfo<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "Page block order: {}", Order::PAGEBLOCK)?;
    writeln!(out, "Pages per block:  {PAGEBLOCK_FRAMES}\n")?;
    write!(out, "{:<43} ", "Free pages count per migrate type at order")?;
    for order in Order::all() {
        write!(out, "{:6} ", order.get())?;
    }
    writeln!(out)?;
    for zone in populated(frames) {
        let blocks = frames.free_blocks(zone.kind);
        for mobility in Mobility::ALL {
            write!(out, "Node {:4}, zone {:>8}, type {:>12} ", 0, zone.kind, mobility)?;
            for count in blocks.blocks[mobility.index()] {
                write!(out, "{count:6} ")?;
            }
            writeln!(out)?;
        }
    }
    write!(out, "\n{:<23}", "Number of blocks type ")?;
    for mobility in Mobility::ALL {
        write!(out, "{mobility:>12} ")?;
    }
    writeln!(out)?;
    for zone in populated(frames) {
        write!(out, "Node 0, zone {:>8} ", zone.kind)?;
        for count in frames.free_blocks(zone.kind).pageblocks {
            write!(out, "{count:12} ")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
