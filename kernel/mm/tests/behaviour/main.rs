//! The rules of page frames one by one: a test for each, named for it.

mod blocks;
mod exact;
mod explain;
mod extremes;
mod faults;
mod frames;
mod highatomic;
mod history;
mod hooks;
mod isolation;
mod machine;
mod mobility;
mod owned;
mod profiles;
mod reclaim;
mod refill;
mod reports;
mod resize;
mod runs;
mod sequences;
mod setup;
mod sync;
mod zones;

use bifolio::allocator::{Cpu, PageAllocator};
use bifolio::frame::{Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use kit::Raw;

/// 4 GiB, in frames.
const NORMAL: u64 = 1 << 20;

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn pfn(frame: u64) -> Pfn {
    Pfn::new(NORMAL + frame)
}

/// Frames of zone Normal, counted from its first.
fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(pfn(start), pfn(end))
}

/// How many pageblocks of each kind zone Normal has.
fn pageblocks<C: Cpu>(frames: &PageAllocator<'_, C>) -> [u64; Mobility::COUNT] {
    frames.free_blocks(ZoneKind::Normal).pageblocks
}

/// Allocates single frames until there are none.
fn exhaust<C: Cpu>(frames: &PageAllocator<'_, C>, gfp: Gfp) -> Vec<Pfn> {
    core::iter::from_fn(|| frames.take(Order::ZERO, gfp | Gfp::NOWARN).ok()).collect()
}

/// Frees single frames of zone Normal.
fn free_each<C: Cpu>(frames: &PageAllocator<'_, C>, each: impl IntoIterator<Item = u64>) {
    each.into_iter().for_each(|frame| frames.give(pfn(frame), Order::ZERO).unwrap());
}
