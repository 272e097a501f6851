//! The thorough checks: what the heap counts is what the oracle counts.

use bifolio::heap::SizeClass;

use super::oracle::Kind;
use super::{Round, group};

impl Round<'_> {
    /// The heap's own check, and its counts against the oracle's.
    pub(super) fn check(&mut self) {
        self.tally.count(group::CHECKS, "validate");
        assert_eq!(self.heap.validate(), Ok(()));
        let frames = self.heap.frames();
        assert_eq!(frames.slabs + frames.large + frames.metadata, self.blocks().frames(), "{frames:?}");
        for class in SizeClass::all() {
            let stats = self.heap.cache_stats(class);
            let kind = Kind::Slot(class.size());
            let (slots, live) = self.blocks().slots(kind);
            assert_eq!((stats.name, stats.object_size), (kind.name(), kind.bytes()));
            assert_eq!(stats.active_objects, live, "live objects of {}", kind.name());
            assert!(stats.objects >= slots, "slots of {}", kind.name());
            self.check_live(class);
        }
        for order in bifolio::frame::Order::all() {
            let (_, live) = self.blocks().slots(Kind::Large(order));
            assert_eq!(self.heap.large_objects(order), live, "large objects of order {order}");
        }
    }
}
