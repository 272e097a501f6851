//! How memory stands when a request is refused.

use core::fmt::{self, Write};

use super::populated;
use crate::allocator::View;
use crate::cpu::Cpu;
use crate::frame::{FRAME_SIZE, Mobility, Order, ZoneKind};

const fn kib(frames: u64) -> u64 {
    frames * (FRAME_SIZE / 1024)
}

/// Each zone's free memory, marks and reserves, and the blocks that it is in (Linux: `show_mem`, as at the end of a failure
/// report).
///
/// # Errors
/// Those of the writer.
pub fn show_mem<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    let free: u64 = ZoneKind::ALL.map(|kind| frames.zone(kind).free).iter().sum();
    writeln!(out, "Mem-Info:\nfree:{free} free_pcp:{}", frames.cached())?;
    for zone in populated(frames) {
        let marks = zone.watermarks;
        write!(out, "Node 0 {} free:{}kB boost:0kB ", zone.kind, kib(zone.free))?;
        write!(out, "min:{}kB low:{}kB high:{}kB ", kib(marks.min), kib(marks.low), kib(marks.high))?;
        write!(out, "reserved_highatomic:{}KB ", kib(zone.reserved_highatomic))?;
        write!(out, "free_highatomic:{}KB ", kib(zone.free_highatomic))?;
        writeln!(out, "present:{}kB managed:{}kB", kib(zone.present), kib(zone.managed))?;
        let [dma, dma32, normal] = zone.protection;
        writeln!(out, "lowmem_reserve[]: {dma} {dma32} {normal}")?;
    }
    for zone in populated(frames) {
        let blocks = frames.free_blocks(zone.kind);
        write!(out, "Node 0 {}: ", zone.kind)?;
        for order in Order::all() {
            write!(out, "{}*{}kB ", blocks.of(order), kib(order.frames()))?;
            if blocks.of(order) > 0 {
                let free = |mobility: &Mobility| blocks.blocks[mobility.index()][order.index()] > 0;
                out.write_char('(')?;
                Mobility::ALL.iter().filter(|m| free(m)).try_for_each(|m| out.write_char(m.letter()))?;
                out.write_str(") ")?;
            }
        }
        writeln!(out, "= {}kB", kib(blocks.frames()))?;
    }
    Ok(())
}
