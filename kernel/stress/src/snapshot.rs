//! The state of all page frames, so that code that gives everything back can show that it did: *exactly*.

use crate::machine::Machine;
use bifolio::allocator::{BlockInfo, BlockState, Cpu, View};
use bifolio::frame::{Order, Pfn, PfnRange, ZoneKind};
use core::fmt;
use core::hash::{Hash, Hasher};
use core::mem;
use fnv::FnvHasher;

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
    /// The state of the machine's frames, those given back that the heap does not use and those in the CPUs' pages: a
    /// CPU that idles may do so at any time.
    pub fn take<M: Machine>() -> Self {
        M::heap().shrink();
        M::frames().drain();
        Self { zones: ZoneKind::ALL.map(|kind| ZoneSnapshot::take(M::frames(), kind)) }
    }

    /// What is not as it was before; `None` if all is.
    pub fn difference(&self, before: &Self) -> Option<Difference> {
        ZoneKind::ALL.into_iter().find_map(|zone| {
            let (before, after) = (&before.zones[zone.index()], &self.zones[zone.index()]);
            let of_order = |what, before: &[u64; Order::COUNT], after: &[u64; Order::COUNT]| {
                let order = Order::all().find(|order| before[order.index()] != after[order.index()])?;
                let [before, after] = [before, after].map(|blocks| blocks[order.index()]);
                Some(Difference { zone, what, order: Some(order), before, after })
            };
            of_order("allocated blocks", &before.allocated_blocks, &after.allocated_blocks)
                .or_else(|| of_order("free blocks", &before.free_blocks, &after.free_blocks))
                .or_else(|| {
                    let (before, after) = (before.free, after.free);
                    (before != after).then_some(Difference { zone, what: "free frames", order: None, before, after })
                })
                .or_else(|| {
                    let (before, after) = (before.blocks, after.blocks);
                    let what = "the same blocks at the same places, by their hash";
                    (before != after).then_some(Difference { zone, what, order: None, before, after })
                })
        })
    }

    /// Free frames in all zones.
    pub fn free(&self) -> u64 {
        self.zones.iter().map(|zone| zone.free).sum()
    }
}

/// One thing that two snapshots differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    zone: ZoneKind,
    what: &'static str,
    order: Option<Order>,
    before: u64,
    after: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zone, what, order, before, after } = self;
        write!(f, "zone {zone} has {after} {what}")?;
        order.map_or(Ok(()), |order| write!(f, " of order {order}"))?;
        write!(f, ", and had {before}")
    }
}

impl ZoneSnapshot {
    fn take<C: Cpu>(frames: &View<'_, C>, kind: ZoneKind) -> Self {
        let mut zone = Self {
            free: frames.zone(kind).free,
            free_blocks: [0; Order::COUNT],
            allocated_blocks: [0; Order::COUNT],
            blocks: 0,
        };
        let mut hash = FnvHasher::default();
        let mut count = |pfn: Pfn, order: Order, state: BlockState| {
            (pfn, order, state).hash(&mut hash);
            match state {
                BlockState::Free => zone.free_blocks[order.index()] += 1,
                BlockState::Allocated => zone.allocated_blocks[order.index()] += 1,
                BlockState::Cached | BlockState::Reserved => {}
            }
        };
        // What nobody has, in a row: which blocks that makes is a matter of addresses alone. It does not matter what a CPU's pages
        // hold of it, nor that two free halves of a block may be of different kinds: the mobility of a pageblock is a hint.
        let mut unowned = PfnRange::default();
        frames.for_each_block(kind, |BlockInfo { pfn, order, state, .. }| {
            let is_unowned = matches!(state, BlockState::Free | BlockState::Cached);
            if is_unowned && unowned.end == pfn {
                unowned.end = pfn.offset(order.frames());
                return;
            }
            mem::take(&mut unowned).blocks().for_each(|(pfn, order)| count(pfn, order, BlockState::Free));
            if is_unowned {
                unowned = PfnRange::new(pfn, pfn.offset(order.frames()));
            } else {
                count(pfn, order, state);
            }
        });
        unowned.blocks().for_each(|(pfn, order)| count(pfn, order, BlockState::Free));
        zone.blocks = hash.finish();
        zone
    }
}
