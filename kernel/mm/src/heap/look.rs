//! A look at the slab around an address.

use core::alloc::Layout;

use super::{Heap, SizeClass};
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::slab::source::PageSource;

/// What is known of a slab, or of the memory of a large object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlabInfo {
    /// The cache's name.
    pub cache: &'static str,
    /// The address of its first byte.
    pub start: usize,
    /// Bytes that it has.
    pub bytes: usize,
    /// The order of its block, unless it is one object of any number of frames.
    pub order: Option<Order>,
    /// Bytes in a slot: of a large object, all that it may use.
    pub object_size: usize,
    /// Slots: one for a large object.
    pub slots: usize,
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// The address of the object that this CPU is given next for a layout, if it has a word of such slots at hand. It is nobody's
    /// as yet.
    pub fn next_object(&self, layout: Layout) -> Option<usize> {
        let class = SizeClass::of(layout)?;
        self.in_arena(|arena| arena.bin(class.number()).hand.peek())
    }

    /// The slab or large object around an address, and to `visit` each of its slots, with whether it is in use. `None` if there
    /// is none, or its cache is debugged.
    ///
    /// The heap stands still meanwhile: `visit` must not use it.
    pub fn slab_at(&self, address: usize, mut visit: impl FnMut(usize, bool)) -> Option<SlabInfo> {
        self.settled(|all| {
            // SAFETY: the heap stands still, and the slab is not used beyond that.
            let (slab, cache) = unsafe { self.slab_around(&all.records, address) }?;
            let is_run = slab.is_run();
            let slots = usize::from(slab.slots()).max(1);
            (0..slots).for_each(|slot| visit(slot, is_run || !slab.is_free(slot)));
            Some(SlabInfo {
                cache,
                start: slab.base().addr(),
                bytes: slab.bytes(),
                order: (!is_run).then(|| slab.order()),
                object_size: slab.object_size(),
                slots,
            })
        })
    }
}
