//! Ranges that grow and shrink where they are.

use bifolio::error::{FreeError, RangeError, ResizeError};
use bifolio::frame::{Gfp, Order, PfnRange, Profile, ZoneKind};
use kit::Raw;

use crate::soak::{Round, group};
use kit::oracle::range_blocks;

impl Round<'_> {
    /// Resizes a block, or what is none.
    pub(crate) fn resize(&mut self) {
        let Some((pfn, order)) = self.in_a_block() else {
            return;
        };
        let (pfn, given) = if self.random.per_mille(200) { (self.any_frame(), self.order()) } else { (pfn, order) };
        let old = PfnRange::new(pfn, pfn.offset(given.frames()));
        let most = self.random.one_of(&[given.frames(), given.frames() + 3, 2 * given.frames(), 70, 1100, 2500]);
        let frames = self.random.below(most + 1);
        let gfp = self.gfp() - Gfp::ZERO - Gfp::NOFRAGMENT;
        let new = PfnRange::new(pfn, pfn.offset(frames));
        let parts = range_blocks(old);
        let verdict = match frames {
            0 => Err(FreeError::NoFrames),
            _ => parts.iter().try_for_each(|(pfn, order)| self.oracle.verdict(*pfn, *order)),
        };
        if verdict.is_ok() && parts.iter().any(|(pfn, _)| self.oracle.is_hidden(*pfn)) {
            return;
        }
        let result = self.machine.frames.regrow(old, frames, gfp);
        match (verdict, result) {
            (Ok(()), Ok(resized)) => {
                assert_eq!(resized, new);
                self.tally.count(group::OPERATIONS, if frames < given.frames() { "shrink_range" } else { "grow" });
                parts.iter().for_each(|(pfn, order)| self.oracle.free(*pfn, *order));
                let highest = gfp.highest_zone().expect("phases have flags that are in order");
                for (block, order) in range_blocks(new) {
                    if frames > given.frames() {
                        // Nothing comes out of isolation to be added.
                        let inside = block.offset(order.frames()) <= old.end;
                        assert!(inside || block < old.end || !self.oracle.in_isolation(block), "{block} is isolated");
                    }
                    let highest = if frames > given.frames() { highest } else { ZoneKind::Normal };
                    assert_eq!(self.oracle.allocate(block, order, highest), Ok(()), "{old} to {frames} frames");
                }
            }
            (Ok(()), Err(error)) => {
                assert!(frames > given.frames(), "{old} does not shrink to {frames} frames: {error}");
                self.tally.count(group::REFUSALS, "grow");
                match error {
                    ResizeError::NoRoom(RangeError::Busy(busy)) => {
                        assert!(old.end <= busy && busy < new.end);
                        let free = self.oracle.verdict(busy, Order::ZERO) == Err(FreeError::AlreadyFree(busy));
                        assert!(!free || self.machine.frames.cached() > 0, "{busy} is free, and in no arena");
                    }
                    ResizeError::NoRoom(RangeError::Isolated(start)) => assert!(self.oracle.in_isolation(start)),
                    ResizeError::NoRoom(RangeError::NotManaged(end) | RangeError::Reserved(end)) => {
                        let there = self.oracle.order_of(end);
                        assert!(matches!(there, Err(FreeError::NotManaged(_) | FreeError::Reserved(_))), "{there:?}");
                    }
                    ResizeError::OutOfMemory { frames: added, .. } => {
                        let kind = Profile::X86_64.zone_of(pfn);
                        let highest = gfp.highest_zone().expect("phases have flags that are in order");
                        assert_eq!(added, frames - given.frames());
                        let in_arenas = self.machine.frames.cached();
                        let kept = self.machine.frames.zone(kind).free_highatomic;
                        let admitted = self.oracle.admits(kind, highest, added + in_arenas + kept, gfp);
                        assert!(!admitted, "{added} frames are there for {gfp}");
                    }
                    ResizeError::NoRoom(RangeError::CrossesZones(_) | RangeError::OtherMobility(_)) => {}
                    ResizeError::NoRoom(RangeError::ContradictoryFlags(_)) => {
                        assert!(gfp.highest_zone() < Some(Profile::X86_64.zone_of(pfn)));
                    }
                    error => panic!("{old} to {frames} frames with {gfp}: {error}"),
                }
            }
            (Err(expected), Err(error)) => {
                self.tally.count(group::BAD_FREES, "resize, of what is no such block");
                // A range that no zone has whole is told so before anybody looks at its blocks.
                let crosses = matches!(error, ResizeError::NoRoom(RangeError::CrossesZones(_)));
                assert!(crosses || error == ResizeError::NoBlock(expected), "{error} instead of {expected}");
            }
            (Err(expected), Ok(resized)) => panic!("{old} became {resized}: {expected}"),
        }
    }
}
