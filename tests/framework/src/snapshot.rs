//! The state of all page frames, so that a test can say *exactly*.

use bifolio::allocator::PageAllocator;
use bifolio::frame::{Order, ZoneKind};
use bifolio::zone::BlockState;
use core::hash::{Hash, Hasher};
use fnv::FnvHasher;
use kernel::memory::frames;
use kernel::memory::heap::HEAP;

/// What every zone's frames are: which are free, in blocks of which order, and which are allocated, block by block.
///
/// Two snapshots are equal if no frame's state differs. Blocks are kept as a hash, since a list of them would itself need
/// frames; the counts beside it are for the message when two snapshots differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    zones: [ZoneSnapshot; ZoneKind::COUNT],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ZoneSnapshot {
    free: u64,
    free_blocks: [u64; Order::COUNT],
    allocated_blocks: [u64; Order::COUNT],
    blocks: u64,
}

impl Snapshot {
    /// The state of the machine's frames, those given back that the heap does not use and those in the processors' arenas: a
    /// CPU that idles may do so at any time.
    pub fn take() -> Self {
        HEAP.shrink();
        frames().drain();
        Self { zones: ZoneKind::ALL.map(|kind| ZoneSnapshot::take(frames(), kind)) }
    }

    /// Free frames in all zones.
    pub fn free(&self) -> u64 {
        self.zones.iter().map(|zone| zone.free).sum()
    }
}

impl ZoneSnapshot {
    fn take<C: bifolio::allocator::Cpu>(frames: &PageAllocator<'_, C>, kind: ZoneKind) -> Self {
        let mut zone = Self {
            free: frames.zone(kind).free,
            free_blocks: [0; Order::COUNT],
            allocated_blocks: [0; Order::COUNT],
            blocks: 0,
        };
        let mut hash = FnvHasher::default();
        frames.for_each_block(kind, |block| {
            // The mobility of a pageblock is a hint for later requests, and may change; its frames' state may not.
            (block.pfn, block.order, block.state).hash(&mut hash);
            match block.state {
                BlockState::Free => zone.free_blocks[block.order.index()] += 1,
                BlockState::Allocated => zone.allocated_blocks[block.order.index()] += 1,
                BlockState::Cached | BlockState::Reserved => {}
            }
        });
        zone.blocks = hash.finish();
        zone
    }
}
