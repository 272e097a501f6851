//! One slab: the slots of a block of frames, and the bitmap that says which are free.
//!
//! A set bit is a free slot. A summary word has a bit for each bitmap word that is not zero, so that a free slot is
//! found with two `trailing_zeros`, always the lowest: live objects gather at low addresses. Bits behind the last slot
//! are never set.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU16, Ordering};

use super::class::Divider;
use super::list::{Linked, Links};
use crate::frame::Order;

const WORDS: usize = 8;

/// Whose a descriptor is: the number of a cache, or one of the values that no cache has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u16);

impl Owner {
    /// The descriptor describes nothing.
    pub(crate) const VACANT: Self = Self(u16::MAX);
    /// The slab is open, but on its way from or to the registry: no cache has it.
    pub(crate) const TRANSIT: Self = Self(u16::MAX - 1);
    /// The block is one large object.
    pub(crate) const LARGE: Self = Self(u16::MAX - 2);

    /// The cache with this number.
    #[inline]
    pub(crate) const fn cache(number: usize) -> Self {
        Self(number as u16)
    }

    /// The cache's number; out of range for owners that are no cache.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A slab's descriptor. See [`crate::slab`] for who may touch which field when.
#[repr(C, align(64))]
pub(crate) struct Slab {
    owner: AtomicU16,
    used: Cell<u16>,
    slots: Cell<u16>,
    summary: Cell<u8>,
    order: Cell<Order>,
    size: Cell<u32>,
    base: Cell<*mut u8>,
    divider: Cell<Divider>,
    links: Links<Slab>,
    free: [Cell<u64>; WORDS],
}

// SAFETY: `owner` is atomic; the other fields are touched by one CPU at a time, by the invariant *Ownership*.
unsafe impl Sync for Slab {}

// Two cache lines; the slots of a small slab take the first alone.
const _: () = assert!(size_of::<Slab>() == 128);

impl Slab {
    /// The most slots that a slab can have.
    pub(crate) const MAX_SLOTS: usize = WORDS * u64::BITS as usize;

    /// A descriptor that describes nothing.
    pub(crate) const fn vacant() -> Self {
        Self {
            owner: AtomicU16::new(Owner::VACANT.0),
            used: Cell::new(0),
            slots: Cell::new(0),
            summary: Cell::new(0),
            order: Cell::new(Order::ZERO),
            size: Cell::new(0),
            base: Cell::new(ptr::null_mut()),
            divider: Cell::new(Divider::new(1)),
            links: Links::new(),
            free: [const { Cell::new(0) }; WORDS],
        }
    }

    /// Makes this the descriptor of `block`: all `slots` slots of `size` bytes are free. No cache owns it yet.
    pub(crate) fn open(&self, block: NonNull<u8>, order: Order, size: u32, slots: u16, divider: Divider) {
        debug_assert!((1..=Self::MAX_SLOTS).contains(&usize::from(slots)));
        debug_assert!(u64::from(slots) * u64::from(size) <= order.bytes());
        self.used.set(0);
        self.slots.set(slots);
        self.order.set(order);
        self.size.set(size);
        self.base.set(block.as_ptr());
        self.divider.set(divider);
        let mut rest = u32::from(slots);
        let mut summary = 0;
        for (index, word) in self.free.iter().enumerate() {
            let bits = rest.min(u64::BITS);
            rest -= bits;
            word.set(u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0));
            summary |= u8::from(bits > 0) << index;
        }
        self.summary.set(summary);
        self.set_owner(Owner::TRANSIT);
    }

    /// Makes the descriptor vacant.
    pub(crate) fn close(&self) {
        debug_assert!(!self.links.is_linked());
        self.set_owner(Owner::VACANT);
    }

    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        // Relaxed: whoever finds itself here wrote it under a lock that it holds again.
        Owner(self.owner.load(Ordering::Relaxed))
    }

    pub(crate) fn set_owner(&self, owner: Owner) {
        self.owner.store(owner.0, Ordering::Relaxed);
    }

    /// Takes the lowest free slot, unless it is the last: `None`, and nothing changed, if fewer than two are free.
    #[inline]
    pub(crate) fn take(&self) -> Option<NonNull<u8>> {
        // A full slab's summary leads to word 0, and that is as good as any: all are zero.
        let summary = self.summary.get();
        let word = summary.trailing_zeros() as usize % WORDS;
        let bits = self.free[word].get();
        if bits & bits.wrapping_sub(1) == 0 {
            let others = summary & summary.wrapping_sub(1);
            if others == 0 {
                return None;
            }
            self.summary.set(others);
        }
        Some(self.hand_out(word, bits))
    }

    /// Takes the last free slot. `None` if there is none.
    pub(crate) fn take_last(&self) -> Option<NonNull<u8>> {
        let summary = self.summary.replace(0);
        debug_assert!(summary.count_ones() <= 1);
        let word = summary.trailing_zeros() as usize;
        Some(self.hand_out(word, self.free.get(word)?.get()))
    }

    /// Takes the lowest of the free slots `bits` of a word.
    #[inline]
    fn hand_out(&self, word: usize, bits: u64) -> NonNull<u8> {
        debug_assert!(bits != 0);
        self.free[word].set(bits & bits.wrapping_sub(1));
        self.used.set(self.used.get() + 1);
        let slot = word * u64::BITS as usize + bits.trailing_zeros() as usize;
        // SAFETY: a set bit is a slot of the open slab (invariant *Block*), so the address is inside its block, which
        // is not at address zero.
        unsafe { NonNull::new_unchecked(self.base.get().add(slot * self.size.get() as usize)) }
    }

    /// The slot that starts at `address`, or `None` if none does.
    #[inline]
    pub(crate) fn slot_at(&self, address: usize) -> Option<u16> {
        let slot = self.divider.get().divide(address.wrapping_sub(self.base.get().addr()));
        (slot < usize::from(self.slots.get())).then_some(slot as u16)
    }

    /// Frees a slot. `false`, and nothing changed, if it is free already.
    #[inline]
    pub(crate) fn put(&self, slot: u16) -> bool {
        let word = usize::from(slot) / u64::BITS as usize % WORDS;
        let before = self.free[word].get();
        let after = before | 1 << (u32::from(slot) % u64::BITS);
        if after == before {
            return false;
        }
        self.free[word].set(after);
        if before == 0 {
            self.summary.set(self.summary.get() | 1 << word);
        }
        self.used.set(self.used.get() - 1);
        true
    }

    /// Whether the slot is free.
    pub(crate) fn is_free(&self, slot: u16) -> bool {
        self.free[usize::from(slot) / u64::BITS as usize].get() >> (u32::from(slot) % u64::BITS) & 1 != 0
    }

    /// Whether no slot is free.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.summary.get() == 0
    }

    /// Whether all slots are free.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.used.get() == 0
    }

    /// Live objects.
    #[inline]
    pub(crate) fn used(&self) -> u16 {
        self.used.get()
    }

    /// Slots, free or not.
    pub(crate) fn slots(&self) -> u16 {
        self.slots.get()
    }

    /// Bytes in a slot.
    pub(crate) fn size(&self) -> usize {
        self.size.get() as usize
    }

    /// The block's first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.get()
    }

    /// The block's order.
    pub(crate) fn order(&self) -> Order {
        self.order.get()
    }

    /// Whether the counter, the summary and the unused bits agree with the bitmap.
    pub(crate) fn is_consistent(&self) -> bool {
        let slots = u32::from(self.slots.get());
        let mut free = 0;
        for (index, word) in self.free.iter().enumerate() {
            let bits = word.get();
            let within = slots.saturating_sub(index as u32 * u64::BITS).min(u64::BITS);
            let padding = u64::MAX.checked_shl(within).unwrap_or(0);
            if bits & padding != 0 || (self.summary.get() >> index & 1 != 0) != (bits != 0) {
                return false;
            }
            free += bits.count_ones();
        }
        free + u32::from(self.used.get()) == slots
    }
}

impl Linked for Slab {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::class::SizeClass;
    use std::collections::BTreeSet;

    /// A slab over addresses that nothing lives at: its slots are never dereferenced.
    fn open(slab: &Slab, class: SizeClass) -> usize {
        let geometry = class.geometry();
        let base = ptr::without_provenance_mut(1 << 30);
        let slots = geometry.slots(geometry.order);
        slab.open(NonNull::new(base).unwrap(), geometry.order, geometry.size, slots, geometry.divider);
        base.addr()
    }

    #[test]
    fn every_slot_is_given_out_once_and_lowest_first() {
        for class in SizeClass::all() {
            let slab = Slab::vacant();
            let base = open(&slab, class);
            for slot in 0..slab.slots() {
                // Addresses are only computed here; `take` itself would need a real block.
                assert!(!slab.is_full());
                let address = base + usize::from(slot) * class.size();
                assert_eq!(slab.slot_at(address), Some(slot));
                assert!(slab.is_free(slot));
            }
            assert!(slab.is_consistent());
            assert_eq!(slab.slot_at(base + usize::from(slab.slots()) * class.size()), None);
        }
    }

    #[test]
    fn take_and_put_agree_with_a_set() {
        let class = SizeClass::of(core::alloc::Layout::new::<[u64; 9]>()).unwrap();
        let geometry = class.geometry();
        let mut block = vec![0u8; geometry.order.bytes() as usize];
        let base = NonNull::new(block.as_mut_ptr()).unwrap();
        let slab = Slab::vacant();
        slab.open(base, geometry.order, geometry.size, geometry.slots(geometry.order), geometry.divider);
        let mut live = BTreeSet::new();
        while let Some(object) = slab.take().or_else(|| slab.take_last()) {
            assert!(live.insert(object.as_ptr().addr()));
            assert!(slab.is_consistent());
        }
        assert!(slab.is_full());
        assert_eq!(live.len(), usize::from(slab.slots()));
        for address in live.iter().copied() {
            let slot = slab.slot_at(address).unwrap();
            assert!(slab.put(slot));
            assert!(!slab.put(slot), "a double free was taken");
            assert!(slab.is_consistent());
        }
        assert!(slab.is_empty());
        assert_eq!(slab.take().map(|object| object.as_ptr().addr()), live.first().copied());
    }

    #[test]
    fn a_stray_bit_is_noticed() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().last().unwrap());
        slab.free[0].set(slab.free[0].get() | 1 << slab.slots());
        assert!(!slab.is_consistent(), "a bit behind the last slot");
        open(&slab, SizeClass::all().last().unwrap());
        slab.summary.set(0);
        assert!(!slab.is_consistent(), "a summary that misses a word");
        open(&slab, SizeClass::all().last().unwrap());
        slab.used.set(1);
        assert!(!slab.is_consistent(), "a counter that drifted");
    }
}
