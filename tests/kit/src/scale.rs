//! How much a test does: all of it on a processor, and a part of it under Miri, which takes each step by hand, a thousand times as
//! slowly. What a test asserts of how much was done, it takes from here too.

use bifolio::allocator::PageAllocator;
use bifolio::cpu::Cpu;
use bifolio::heap::{Heap, PageSource};

/// Whether each step is taken by hand.
const BY_HAND: bool = cfg!(miri);

/// Of every so many bytes, one is looked at by hand. A prime, so that it is at every place of what repeats.
const STRIDE: usize = 509;

/// Of so many rounds those that there is time for: one at least.
pub const fn rounds(all: usize) -> usize {
    if BY_HAND { all.div_ceil(200) } else { all }
}

/// So many objects, frames or bytes, or `least`, with which the same can be seen.
pub const fn size(all: usize, least: usize) -> usize {
    if BY_HAND { least } else { all }
}

/// What there is to try: each, or some from the first on.
pub fn some<T>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    all.into_iter().step_by(if BY_HAND { 97 } else { 1 })
}

/// The bytes of an object that hold something and are looked at, from one up to another: each, or some. Which those are depends on
/// neither of the two.
pub fn bytes(from: usize, to: usize) -> impl Iterator<Item = usize> {
    let all_up_to = if BY_HAND { to.min(16).max(from) } else { to };
    (from..all_up_to).chain((all_up_to.next_multiple_of(STRIDE)..to).step_by(STRIDE))
}

/// What can say whether all its invariants hold.
pub trait Sound {
    /// Sees that they do, which is a walk through all of it: not by hand.
    ///
    /// # Panics
    /// If one does not.
    fn sound(&self);
}

impl<C: Cpu> Sound for PageAllocator<'_, C> {
    #[track_caller]
    fn sound(&self) {
        assert_eq!(if BY_HAND { Ok(()) } else { self.validate() }, Ok(()));
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Sound for Heap<S, C, CPUS> {
    #[track_caller]
    fn sound(&self) {
        assert_eq!(if BY_HAND { Ok(()) } else { self.validate() }, Ok(()));
    }
}
