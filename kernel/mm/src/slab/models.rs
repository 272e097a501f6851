//! What CPUs do to each other's slabs, in models small enough for loom. A test of loom's calls each in every order of events.

extern crate std;

use core::ptr::{self, NonNull};
use std::sync::Arc;

use loom::thread;

use super::arena::{ArenaId, Incoming};
use super::class::SizeClass;
use super::descriptor::{Owner, Slab};
use super::list::Meta;
use super::stock::Stock;
use crate::sync::atomic::{AtomicPtr, prime};

/// A slab of CPU 0 whose slots are all in use, the stock beside it, and the queue by which others hand it over.
struct Shared {
    slab: Slab,
    stock: Stock,
    incoming: Incoming,
}

// SAFETY: one CPU owns the slab; others do what others may.
unsafe impl Send for Shared {}
// SAFETY: what several CPUs do at once is what the slab is made for.
unsafe impl Sync for Shared {}

const SLOTS: u16 = 70;

impl Shared {
    fn new() -> Arc<Self> {
        let slab = Slab::vacant();
        let geometry = SizeClass::all().next().expect("there are classes").geometry();
        let base = NonNull::new(ptr::without_provenance_mut(1 << 30)).expect("not null");
        slab.open(base, geometry.order, geometry.size, SLOTS, geometry.divider);
        slab.set_owner(Owner::new(ArenaId::of(0).expect("there is a first"), 0));
        slab.never_look();
        while let Some(word) = slab.lowest_word() {
            slab.take_word(word);
        }
        slab.prime();
        let shared = Self { slab, stock: Stock::new(), incoming: Incoming(AtomicPtr::new(ptr::null_mut())) };
        shared.stock.prime();
        prime!(shared.incoming.0);
        Arc::new(shared)
    }

    fn meta(&self) -> Meta<Slab> {
        // SAFETY: the slab stays where it is for as long as a run of the model.
        unsafe { Meta::new(NonNull::from(&self.slab)) }
    }

    /// What another CPU does to free a slot. Whether it was not free.
    fn free_remotely(&self, slot: u16) -> bool {
        let result = self.slab.put_remotely(slot, &self.stock);
        if result.is_ok_and(|to| to != ArenaId::NONE) {
            self.incoming.push(self.meta());
        }
        result.is_ok()
    }

    /// What the owner does with what others have freed. Whether a slot was freed twice.
    fn collect(&self) -> bool {
        let found = self.incoming.take().filter(|slab| slab.collect(&self.stock).is_some());
        found.count() > 0
    }
}

/// A CPU has freed a slot of another one's slab, and two more do, of the same word and of another, while the owner takes over
/// what it finds: nothing is lost.
pub fn slots_freed_from_elsewhere_come_back() {
    let shared = Shared::new();
    assert!(shared.free_remotely(0));
    let others = [1, 69].map(|slot| {
        let shared = shared.clone();
        thread::spawn(move || assert!(shared.free_remotely(slot)))
    });
    assert!(!shared.collect());
    others.into_iter().for_each(|other| other.join().expect("it says itself what is wrong"));
    assert!(!shared.collect());
    assert_eq!((shared.slab.free(), shared.slab.is_announced()), (3, false));
}

/// The owner and another CPU free one slot: one of them is told, or the owner finds it out.
pub fn of_two_frees_of_one_slot_one_is_noticed() {
    let shared = Shared::new();
    let other = {
        let shared = shared.clone();
        thread::spawn(move || shared.free_remotely(3))
    };
    // As `Heap::put_slowly` does.
    let found = shared.slab.is_announced() && shared.collect();
    let mut freed = u32::from(shared.slab.put_any(3)) - u32::from(found);
    freed += u32::from(other.join().expect("it says itself what is wrong"));
    freed -= u32::from(shared.collect());
    assert_eq!((freed, shared.slab.free()), (1, 1));
}

/// A slot that was freed long ago is freed again while the owner takes it over: it is free all the time.
pub fn a_slot_is_free_while_it_is_taken_over() {
    let shared = Shared::new();
    assert!(shared.free_remotely(3));
    let other = {
        let shared = shared.clone();
        thread::spawn(move || assert!(!shared.free_remotely(3), "a double free was taken"))
    };
    assert!(!shared.collect());
    other.join().expect("it says itself what is wrong");
    assert_eq!((shared.slab.free(), shared.slab.is_announced()), (1, false));
}
