//! The blocks of an allocator as the oracle sees them, to be compared with its own.

use alloc::vec::Vec;

use bifolio::allocator::{BlockInfo, BlockState, Cpu, PageAllocator};
use bifolio::frame::{Mobility, Order, ZoneKind};

use super::Seen;

/// Every block of every zone but the reserved ones, in ascending order. Two free pageblocks that would be one block, were
/// they of one mobility, are shown as that block.
pub fn blocks<C: Cpu>(frames: &PageAllocator<'_, C>) -> Vec<Seen> {
    let mut blocks: Vec<BlockInfo> = Vec::new();
    for kind in ZoneKind::ALL {
        frames.for_each_block(kind, |block| {
            if block.state == BlockState::Reserved {
                return;
            }
            match blocks.last_mut() {
                Some(last) if are_kept_apart(last, &block) => last.order = Order::MAX,
                _ => blocks.push(block),
            }
        });
    }
    blocks.into_iter().map(|block| (block.pfn.number(), block.order.get(), block.state)).collect()
}

/// Whether two blocks are free buddies of order 9 that their mobilities keep from being one of order 10.
fn are_kept_apart(lower: &BlockInfo, upper: &BlockInfo) -> bool {
    let halves = [lower, upper].iter().all(|half| half.order == Order::PAGEBLOCK && half.state == BlockState::Free);
    let buddies = lower.pfn.is_aligned(Order::MAX) && upper.pfn == lower.pfn.offset(Order::PAGEBLOCK.frames());
    let mixes = |mobility| matches!(mobility, Mobility::Unmovable | Mobility::Movable | Mobility::Reclaimable);
    let merge = lower.mobility == upper.mobility || mixes(lower.mobility) && mixes(upper.mobility);
    halves && buddies && !merge
}
