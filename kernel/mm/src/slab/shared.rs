//! The arena that all CPUs share, which is not always there.

use core::ops::Deref;
use core::ptr::NonNull;

use super::arena::{Arena, ArenaId};
use super::list::Meta;
use crate::frame::Order;

/// The arena that all CPUs share: for whoever holds its lock. It comes into being when it is to have a slab, and goes when it
/// has none.
pub(crate) struct SharedArena(Option<Meta<Arena>>);

/// What there is while there is no shared arena: nothing in it ever changes.
pub(super) static NO_SHARED: Arena = Arena::new(ArenaId::SHARED);

// SAFETY: the arena is bound to no thread, and is its lock's.
unsafe impl Send for SharedArena {}

impl SharedArena {
    /// The block that it takes.
    pub(crate) const ORDER: Order = Order::new(1).unwrap();

    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Makes it, in a block of [`ORDER`](Self::ORDER), or returns that if it is there already.
    ///
    /// # Safety
    /// The block is the arena's from now on, unless it is returned.
    pub(crate) unsafe fn make_in(&mut self, block: NonNull<u8>) -> Option<NonNull<u8>> {
        if self.0.is_some() {
            return Some(block);
        }
        let place = block.cast::<Arena>();
        // SAFETY: the block is ours, aligned, and as large; until it is taken away the arena stays there.
        unsafe {
            Arena::write(place.as_ptr(), ArenaId::SHARED, None);
            self.0 = Some(Meta::new(place));
        }
        None
    }

    /// Takes away the block of an arena without a slab.
    pub(crate) fn pop_vacant(&mut self) -> Option<NonNull<u8>> {
        let arena = self.0.take_if(|arena| arena.is_vacant())?;
        NonNull::new(arena.as_ptr().cast())
    }
}

impl Deref for SharedArena {
    type Target = Arena;

    fn deref(&self) -> &Arena {
        self.0.as_deref().unwrap_or(&NO_SHARED)
    }
}

// loom's atomics are larger than any.
#[cfg(not(bifolio_loom))]
const _: () = assert!(size_of::<Arena>() as u64 <= SharedArena::ORDER.bytes());
