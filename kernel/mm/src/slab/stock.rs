//! The slots that a bin hands out next: one word of the current slab's bitmap, taken out of it.
//!
//! Handing out is clearing a bit in one mask, taking back is setting one in another, and only when the first is empty does
//! the second take its place. So neither waits for what the other has just written, and an object that is freed and one
//! that is allocated right behind it are not the same memory: a program that uses an object after its end harms itself
//! a little later, and a little less surely.

use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use core::cell::Cell;
use core::ptr::{self, NonNull};

use Ordering::{Acquire, Relaxed, Release};

use super::class::Divider;

/// A word of slots. Its owner changes it; others look into it, for slots that are freed twice.
pub(crate) struct Stock {
    /// The slots to be handed out.
    free: AtomicU64,
    /// The slots that were freed since `free` was last filled.
    back: AtomicU64,
    /// The first slot; null without a word.
    first: AtomicPtr<u8>,
    /// The slots of the word that others have freed.
    remote: Cell<*const AtomicU64>,
    inverse: Cell<usize>,
    /// Bytes in a slot.
    size: Cell<u32>,
    shift: Cell<u8>,
    /// How many slots the word has.
    slots: Cell<u8>,
    /// The word's number in its slab.
    number: Cell<u8>,
}

/// A word of a slab's bitmap, and all there is to know of it.
pub(crate) struct Word {
    /// Its number in the slab.
    pub(crate) number: usize,
    /// The free slots.
    pub(crate) free: u64,
    /// The first slot.
    pub(crate) first: *mut u8,
    /// Bytes in a slot.
    pub(crate) size: usize,
    pub(crate) divider: Divider,
    /// How many slots it has.
    pub(crate) slots: usize,
    /// The slots that others have freed.
    pub(crate) remote: *const AtomicU64,
}

/// What became of a slot that was to be freed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is free.
    Done,
    /// It is free, and its slab may belong on another list now.
    Look,
    /// No slot of the word starts there.
    Elsewhere,
    /// It is free already.
    Twice,
}

// SAFETY: others than the owner only look, at what is atomic (invariant *Ownership*).
unsafe impl Sync for Stock {}

/// The stock of who has none.
pub(crate) static EMPTY: Stock = Stock::new();

static NOTHING: AtomicU64 = AtomicU64::new(0);

impl Stock {
    /// No word.
    pub(crate) const fn new() -> Self {
        Self {
            free: AtomicU64::new(0),
            back: AtomicU64::new(0),
            first: AtomicPtr::new(ptr::null_mut()),
            remote: Cell::new(&raw const NOTHING),
            inverse: Cell::new(0),
            size: Cell::new(0),
            shift: Cell::new(0),
            slots: Cell::new(0),
            number: Cell::new(0),
        }
    }

    /// Makes all atomics of the stock known to loom.
    #[cfg(bifolio_loom)]
    pub(super) fn prime(&self) {
        crate::sync::atomic::prime!(self.free, self.back, self.first);
    }

    /// Takes the lowest slot to be handed out.
    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<u8>> {
        let free = self.free.load(Relaxed);
        if free == 0 {
            return None;
        }
        self.free.store(free & (free - 1), Relaxed);
        let offset = free.trailing_zeros() as usize * self.size.get() as usize;
        // SAFETY: a set bit is a slot of an open slab (invariant *Block*), so the address lies in its block, which is not
        // at address zero.
        Some(unsafe { NonNull::new_unchecked(self.first.load(Relaxed).add(offset)) })
    }

    /// The address of the slot that [`take`](Self::take) takes.
    pub(crate) fn peek(&self) -> Option<usize> {
        let free = self.free.load(Relaxed);
        let offset = free.trailing_zeros() as usize * self.size.get() as usize;
        (free != 0).then(|| self.first.load(Relaxed).addr() + offset)
    }

    /// Frees the slot that starts at this address.
    #[inline]
    pub(crate) fn put(&self, address: usize) -> Put {
        let Some(bit) = self.bit(address) else {
            return Put::Elsewhere;
        };
        let back = self.back.load(Relaxed);
        // SAFETY: the word is one of a slab that the bin has (invariant *Ownership*), or the one that is always there.
        let remote = unsafe { &*self.remote.get() }.load(Relaxed);
        if (self.free.load(Relaxed) | back | remote) & bit != 0 {
            return Put::Twice;
        }
        self.back.store(back | bit, Relaxed);
        Put::Done
    }

    #[inline]
    fn bit(&self, address: usize) -> Option<u64> {
        let divider = Divider::from_parts(self.inverse.get(), self.shift.get());
        let slot = divider.divide(address.wrapping_sub(self.first.load(Relaxed).addr()));
        (slot < usize::from(self.slots.get())).then(|| 1 << slot)
    }

    /// Lets the slots that were freed be handed out. `false` if there are none.
    #[inline]
    pub(crate) fn turn(&self) -> bool {
        let back = self.back.load(Relaxed);
        if back != 0 {
            // In this order: who looks for a slot in both masks finds it.
            self.free.store(self.free.load(Relaxed) | back, Release);
            self.back.store(0, Release);
        }
        back != 0
    }

    /// Takes in a word, in place of one that has been [given back](Self::close).
    pub(crate) fn open(&self, word: Word) {
        debug_assert!(self.slots() == 0);
        let (inverse, shift) = word.divider.parts();
        self.remote.set(word.remote);
        self.inverse.set(inverse);
        self.size.set(word.size as u32);
        self.shift.set(shift);
        self.slots.set(word.slots as u8);
        self.number.set(word.number as u8);
        self.first.store(word.first, Relaxed);
        self.free.store(word.free, Release);
    }

    /// Takes in slots of its word that became free elsewhere.
    pub(crate) fn put_back(&self, slots: u64) {
        self.back.store(self.back.load(Relaxed) | slots, Release);
    }

    /// The number of the word in its slab.
    pub(crate) fn number(&self) -> usize {
        self.number.get().into()
    }

    /// The free slots of the word, which the caller puts back before it [closes](Self::close) the stock.
    pub(crate) fn slots(&self) -> u64 {
        self.free.load(Relaxed) | self.back.load(Relaxed)
    }

    /// The free slots of the word that starts at `first`, if it is this one.
    pub(crate) fn slots_of(&self, first: *mut u8) -> u64 {
        if self.first.load(Relaxed) == first { self.slots() } else { 0 }
    }

    /// Has no word any more.
    pub(crate) fn close(&self) {
        self.free.store(0, Release);
        self.back.store(0, Release);
        self.slots.set(0);
        self.remote.set(&raw const NOTHING);
        self.first.store(ptr::null_mut(), Relaxed);
    }

    /// Whether the slots `bits` of the word that starts at `first` are free here. For anybody.
    pub(crate) fn holds(&self, first: *mut u8, bits: u64) -> bool {
        // In this order: see `turn`.
        let back = self.back.load(Acquire);
        let free = self.free.load(Acquire);
        (free | back) & bits != 0 && self.first.load(Relaxed) == first
    }
}
