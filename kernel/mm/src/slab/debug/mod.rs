//! Debugging caches: to find code that writes where nothing is its own, and code that never frees.
//!
//! Bad frees are named always, because a slab's state lies out of reach. Stray writes are not: an object's neighbours and
//! what was freed look like any other memory. A cache that is debugged has other slabs, in which they do not: around each
//! object lie *redzones*, freed objects hold *poison*, and beside the slots are *tracks* that say what each slot was last
//! used for, and by whom.
//!
//! ```text
//!   a slab   | slot 0                                        | slot 1 ...      | tracks of all slots |
//!   a slot   | left redzone | object, as asked for | right redzone             |
//!   live       cc cc cc ...   5a 5a 5a ...           cc cc cc ...                  (5a until it is written to)
//!   free       bb bb bb ...   6b 6b 6b ... a5 (last) bb bb bb ...
//! ```
//!
//! The right redzone begins with the first byte that was not asked for. Redzones are looked at when an object is freed,
//! all of a slot when it is allocated, and everything on demand. A slab in which a byte is wrong is *frozen*: nothing is
//! allocated from it any more.
//!
//! Caches that are not debugged know nothing of this. What is, is always under one lock, and of no arena: so no fast path
//! ever comes upon it, and none has to ask.

mod record;
mod shape;
mod slot;

use bitflags::bitflags;

pub(crate) use record::{Freed, Record, Records};
pub(crate) use shape::Shape;
pub(crate) use slot::{Site, Slot, State};

bitflags! {
    /// What is done to find errors in the use of a cache's objects. Each can be switched on and off while the cache is in
    /// use, and is heeded from the next allocation on.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SlabDebug: u16 {
        /// Fills objects with `0x5a` when they are allocated, and with `0x6b` up to a last byte of `0xa5` when they are freed;
        /// that they still hold that is checked before they are allocated again (Linux: `SLAB_POISON`).
        const POISON = 1;
        /// Surrounds objects with `0xcc` while they live and with `0xbb` afterwards (Linux: `SLAB_RED_ZONE`). The redzone
        /// begins with the first byte that was not asked for: code that uses the rest of the slot, by
        /// [`usable_size`](crate::heap::Heap::usable_size), is told that he must not.
        const RED_ZONE = 2;
        /// Keeps who allocated and who freed an object last: the place in the program and the CPU (Linux:
        /// `SLAB_STORE_USER`).
        const STORE_USER = 4;
        /// Lets freed slots rest for as long as possible before they are used again, so that code that writes to them is found out.
        const QUARANTINE = 8;
        /// Takes any free slot, not the lowest.
        const RANDOM = 16;
    }
}

/// Which bytes of a slot hold what they should not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SlotPart {
    /// The redzone before an object: code that writes there mostly means the object behind it.
    LeftRedZone,
    /// The redzone behind an object: code that writes there mostly means the object before it.
    RightRedZone,
    /// An object that was freed.
    Freed,
}

impl core::fmt::Display for SlotPart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::LeftRedZone => "left redzone",
            Self::RightRedZone => "right redzone",
            Self::Freed => "freed object",
        })
    }
}
