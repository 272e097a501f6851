//! What CPUs do to each other's slabs, in models small enough for loom. A test of loom's calls each in every order of events.

extern crate std;

use core::ptr::{self, NonNull};
use std::sync::Arc;

use loom::thread;

use super::arena::ArenaId;
use super::class::SizeClass;
use super::descriptor::Slab;
use super::incoming::Incoming;
use super::list::Meta;
use crate::sync::atomic::prime;

/// A slab of CPU 0 whose slots are all in use, and the queue by which others hand it over.
struct Shared {
    slab: Slab,
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
        let mut slots = geometry.slots(0, geometry.order);
        slots.count = SLOTS;
        slab.open(base, geometry.order, slots);
        slab.set_arena(ArenaId::of(0).expect("there is a first"));
        while slab.take_nth(0).is_some() {}
        slab.prime();
        let shared = Self { slab, incoming: Incoming::new() };
        prime!(shared.incoming.0);
        Arc::new(shared)
    }

    fn meta(&self) -> Meta<Slab> {
        // SAFETY: the slab stays where it is for as long as a run of the model.
        unsafe { Meta::new(NonNull::from(&self.slab)) }
    }

    /// What another CPU does to free a slot. Whether it was not free.
    fn free_remotely(&self, slot: usize) -> bool {
        let result = self.slab.put_remotely(slot);
        if result.is_ok_and(ArenaId::is_there) {
            self.incoming.push(self.meta());
        }
        result.is_ok()
    }

    /// What the owner does with what others have freed. How many slots were freed twice.
    fn collect(&self) -> u32 {
        let mut twice = 0;
        while let Some((_, to)) = self.incoming.take().find_map(|slab| slab.collect()) {
            twice += 1;
            if to.is_there() {
                self.incoming.push(self.meta());
            }
        }
        twice
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
    assert_eq!(shared.collect(), 0);
    others.into_iter().for_each(|other| other.join().expect("it says itself what is wrong"));
    assert_eq!(shared.collect(), 0);
    assert_eq!((shared.slab.free(), shared.slab.is_announced()), (3, false));
}

/// The owner and another CPU free one slot: one of them is told, or the owner finds it out. Before that, it does not hand the
/// slot out.
pub fn of_two_frees_of_one_slot_one_is_noticed() {
    let shared = Shared::new();
    let other = {
        let shared = shared.clone();
        thread::spawn(move || shared.free_remotely(3))
    };
    let own = shared.slab.put_any(3);
    let freed = u32::from(own) + u32::from(other.join().expect("it says itself what is wrong"));
    assert_eq!(shared.slab.word_behind(0).is_some(), own && freed == 1, "it has one owner next");
    assert_eq!(freed - shared.collect(), 1);
}

/// The owner and another CPU free one slot, and the owner gives the slab away, from where a third CPU has it next: one of the two
/// is told, or the third finds it out.
pub fn of_two_frees_of_one_slot_one_is_noticed_wherever_the_slab_goes() {
    let shared = Shared::new();
    let other = {
        let shared = shared.clone();
        thread::spawn(move || shared.free_remotely(3))
    };
    let own = shared.slab.put_any(3);
    shared.slab.set_arena(ArenaId::SHARED);
    let third = ArenaId::of(2).expect("there is a third");
    shared.slab.set_arena(third);
    let freed = u32::from(own) + u32::from(other.join().expect("it says itself what is wrong"));
    assert_eq!(freed - shared.collect(), 1);
    assert_eq!((shared.slab.free(), shared.slab.arena(), shared.slab.is_announced()), (1, third, false));
}

/// A slot that was freed long ago is freed again while the owner takes it over: it is free all the time.
pub fn a_slot_is_free_while_it_is_taken_over() {
    let shared = Shared::new();
    assert!(shared.free_remotely(3));
    let other = {
        let shared = shared.clone();
        thread::spawn(move || assert!(!shared.free_remotely(3), "a double free was taken"))
    };
    assert_eq!(shared.collect(), 0);
    other.join().expect("it says itself what is wrong");
    assert_eq!((shared.slab.free(), shared.slab.is_announced()), (1, false));
}

/// The owner frees the last live slot of a slab, and another CPU does too, while the owner has the slab closed: one of them is
/// told, or the owner finds it out before or when it seals the slab.
pub fn a_slab_that_a_second_free_empties_is_closed_with_all_that_was_freed() {
    let shared = Shared::new();
    (0..SLOTS.into()).filter(|&slot| slot != 3).for_each(|slot| assert!(shared.slab.put_any(slot)));
    let other = {
        let shared = shared.clone();
        thread::spawn(move || shared.free_remotely(3))
    };
    let mut found = 0;
    let own = shared.slab.put_any(3);
    if own && shared.slab.leave_arena() {
        shared.slab.seal(|_| found += 1);
        assert!(!shared.free_remotely(5), "nothing is freed any more");
    }
    let freed = u32::from(own) + u32::from(other.join().expect("it says itself what is wrong"));
    found += shared.collect();
    assert_eq!(freed - found, 1);
}
