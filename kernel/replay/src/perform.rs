//! One operation, done.

use bifolio::allocator::{Call, Shrinker};
use bifolio::frame::Blocks;

use crate::memory::Frames;

/// Does what `call` says, and returns what a recorder would be told.
pub(crate) fn perform(frames: &Frames, shrinker: &'static dyn Shrinker, call: Call) -> Option<u64> {
    let first = |blocks: Blocks| blocks.into_raw().start.number();
    match call {
        Call::Allocate { order, gfp } => frames.allocate(order, gfp).ok().map(|block| block.into_raw().0.number()),
        // SAFETY: frames are numbers here, which nobody uses as memory.
        Call::Free { pfn, order } => unsafe { frames.free_raw(pfn, order) }.ok().map(|()| 0),
        // SAFETY: frames are numbers here, which nobody uses as memory.
        Call::Split { pfn, order, into } => unsafe { frames.split_raw(pfn, order, into) }.ok().map(|()| 0),
        Call::AllocateExact { frames: count, align, gfp } => {
            frames.allocate_exact_aligned(count, align, gfp).ok().map(first)
        }
        Call::AllocateContiguous { frames: count, align, gfp } => {
            frames.allocate_contiguous_aligned(count, align, gfp).ok().map(first)
        }
        Call::AllocateRun { frames: count, align, gfp } => frames.allocate_run(count, align, gfp).ok().map(first),
        Call::AllocateRange { range, gfp } => frames.allocate_range(range, gfp).ok().map(first),
        Call::Resize { range, frames: count, gfp } => {
            // SAFETY: frames are numbers here, which nobody uses as memory.
            unsafe { frames.resize_raw(range, count, gfp) }.ok().map(|_| 0)
        }
        Call::Isolate(range) => frames.isolate(range).ok().map(|()| 0),
        Call::Unisolate(range) => frames.unisolate(range).ok().map(|()| 0),
        // SAFETY: frames are numbers here, which nobody uses as memory.
        Call::Add(range) => unsafe { frames.add(range) }.ok().map(|()| 0),
        Call::Drain => {
            frames.drain();
            Some(0)
        }
        Call::Decay => Some(frames.decay().into()),
        Call::Balance => Some(frames.balance()),
        Call::UnreserveHighAtomic => {
            frames.unreserve_highatomic();
            Some(0)
        }
        Call::Settle(kind) => {
            frames.zone(kind);
            Some(0)
        }
        Call::AddShrinker => frames.add_shrinker(shrinker).ok().map(|()| 0),
        Call::RemoveShrinker => Some(frames.remove_shrinker(shrinker).into()),
        // Neither is an operation by itself; nor of page frames.
        Call::Shrink { .. } | Call::Heap(_) => None,
    }
}
