//! The thorough checks: what the allocator holds, block by block and frame count by frame count, is what the oracle has.

use bifolio::allocator::BlockState;
use bifolio::frame::{Order, Pfn, ZoneKind};
use kit::oracle::blocks;

use crate::soak::{Round, group};

impl Round<'_> {
    /// The allocator's own check, and its counts of frames against the oracle's.
    pub(crate) fn check(&mut self) {
        self.tally.count(group::CHECKS, "validate");
        let (frames, oracle) = (self.machine.frames, &self.oracle);
        assert_eq!(frames.validate(), Ok(()));
        let zones = ZoneKind::ALL.map(|kind| frames.zone(kind));
        let free: u64 = zones.iter().map(|zone| zone.free + zone.isolated).sum();
        assert_eq!(free + frames.cached(), oracle.all_free(), "frames are missing, or too many");
        assert_eq!(zones.map(|zone| zone.managed), oracle.managed());
        for zone in zones {
            let managed = oracle.managed()[zone.kind.index()];
            let marks = [zone.watermarks.min, zone.watermarks.low, zone.watermarks.high];
            assert_eq!((marks, zone.protection), oracle.marks(zone.kind), "zone {}", zone.kind);
            assert!(managed <= zone.present && zone.present <= zone.spanned);
            assert!(zone.isolated <= oracle.isolated_frames(zone.kind));
        }
        assert_eq!(frames.late_double_frees(), 0, "with one thread every double free is named at the call");
    }

    /// Compares block by block: at first as it is, with free blocks in arenas, and then with all arenas emptied.
    pub(crate) fn check_blocks(&mut self) {
        self.tally.count(group::CHECKS, "block by block");
        let mut seen = blocks(self.machine.frames).into_iter();
        for block @ (pfn, order, state) in self.oracle.blocks() {
            if state == BlockState::Allocated {
                assert!(seen.any(|other| other == block), "the block of order {order} at {pfn:#x} is not there");
                let order = Order::new(order).expect("the oracle only has orders that there are");
                assert_eq!(self.machine.frames.order_of(Pfn::new(pfn)), Ok(order));
            }
        }
        self.drain();
        self.check_drained();
    }

    /// Compares block by block, and zone by zone, when nothing is in an arena.
    pub(crate) fn check_drained(&mut self) {
        let (frames, oracle) = (self.machine.frames, &self.oracle);
        assert_eq!(frames.cached(), 0);
        for kind in ZoneKind::ALL {
            let (zone, blocks) = (frames.zone(kind), frames.free_blocks(kind));
            assert_eq!(zone.free, oracle.free_frames(kind), "zone {kind}");
            assert_eq!(zone.isolated, oracle.isolated_frames(kind), "zone {kind}");
            assert_eq!(blocks.frames(), zone.free + zone.isolated, "zone {kind}");
        }
        let (seen, expected) = (blocks(frames), oracle.blocks());
        if let Some((seen, expected)) = seen.iter().zip(&expected).find(|(seen, expected)| seen != expected) {
            panic!("the allocator has {seen:x?} where the oracle has {expected:x?}");
        }
        assert_eq!(seen.len(), expected.len());
    }

    /// Empties all arenas.
    pub(crate) fn drain(&mut self) {
        self.tally.count(group::OPERATIONS, "drain");
        self.machine.frames.drain();
    }
}
