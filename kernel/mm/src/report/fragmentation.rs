//! How badly free memory is in pieces, by order.

use core::fmt::{self, Write};

use super::populated;
use crate::allocator::View;
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::zone::FreeBlocks;

/// For each order why a request would fail: towards 0 for lack of memory, towards 1 because it is in pieces, -1 if it would
/// not (Linux: `extfrag/extfrag_index`).
///
/// # Errors
/// Those of the writer.
pub fn extfrag_index<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    each_order(frames, out, FreeBlocks::fragmentation_index)
}

/// For each order the part of the free memory that is in too small pieces (Linux: `extfrag/unusable_index`).
///
/// # Errors
/// Those of the writer.
pub fn unusable_index<C: Cpu>(frames: &View<'_, C>, out: &mut impl Write) -> fmt::Result {
    each_order(frames, out, |blocks, order| blocks.unusable_index(order) as i64)
}

/// A line for each zone, with a number of thousandths for each order.
fn each_order<C: Cpu>(
    frames: &View<'_, C>,
    out: &mut impl Write,
    index: impl Fn(&FreeBlocks, Order) -> i64,
) -> fmt::Result {
    for zone in populated(frames) {
        let blocks = frames.free_blocks(zone.kind);
        write!(out, "Node 0, zone {:>8} ", zone.kind)?;
        for order in Order::all() {
            let thousandths = index(&blocks, order);
            write!(out, "{}.{:03} ", thousandths / 1000, thousandths % 1000)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
