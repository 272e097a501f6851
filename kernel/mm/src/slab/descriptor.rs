//! One slab: the slots of a block of frames, and the bitmaps that say which are free.
//!
//! A set bit is a free slot. There are two bitmaps: `free`, which the slab's owner alone changes, with plain stores, and
//! `remote`, into which all others free with one locked instruction. The owner takes the second over into the first, word
//! by word. A slot that is free in either cannot be freed once more, whoever tries.
//!
//! A summary has a bit for each word of `free` that is not zero, so that a free slot is found with two `trailing_zeros`,
//! always the lowest: live objects gather at low addresses. Bits behind the last slot are never set.
//!
//! # Freeing from elsewhere
//!
//! Who sets the first bit in a word of `remote` announces the word in the slab's tag, and who announces the first word
//! of a slab hands the slab to its owner, through the [queue](super::arena::Incoming) of the arena that the tag named at
//! that moment. The owner takes only announced words of slabs from its queue. So as long as somebody is on the way
//! between these steps, a slot of the slab is neither live nor free, the slab cannot become empty, and nobody takes its
//! descriptor away under the feet of who is still at it.

use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::alloc::Layout;
use core::ptr::{self, NonNull};

use Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::arena::ArenaId;
use super::class::Divider;
use super::list::{Linked, Links};
use super::stock::{Put, Stock, Word};
use crate::frame::Order;

const WORDS: usize = 8;

/// Whose a slab is: the arena that allocates from it, and the number of the cache that it holds objects of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner(u32);

impl Owner {
    /// The descriptor describes nothing.
    pub(crate) const VACANT: Self = Self::new(ArenaId::NONE, u16::MAX);
    /// The slab is open, but on its way from or to the registry: no arena has it.
    pub(crate) const TRANSIT: Self = Self::new(ArenaId::NONE, u16::MAX - 1);
    /// The block is one large object.
    pub(crate) const LARGE: Self = Self::new(ArenaId::NONE, u16::MAX - 2);

    /// A slab of the cache with this number, in an arena.
    #[inline]
    pub(crate) const fn new(arena: ArenaId, cache: u16) -> Self {
        Self((cache as u32) << 16 | (arena.0 as u32) << 8)
    }

    /// A slab of the cache with this number that is debugged, and of no arena.
    pub(crate) fn debugged(cache: u16) -> Self {
        Self::new(ArenaId::NONE, Self::DEBUGGED | cache)
    }

    /// What is set in the numbers of caches whose slabs are debugged.
    const DEBUGGED: u16 = 1 << 15;

    /// The number of the cache, if the slab is one that is debugged.
    pub(crate) fn debugged_cache(self) -> Option<u16> {
        let number = self.cache() & !Self::DEBUGGED;
        (self.cache() & Self::DEBUGGED != 0 && usize::from(number) < super::arena::Arena::BINS).then_some(number)
    }

    /// The owner of a cache's slabs, where `self` owns those of cache 0.
    #[inline]
    pub(crate) const fn of_cache(self, cache: u16) -> Self {
        Self(self.0 | (cache as u32) << 16)
    }

    /// The arena that allocates from the slab; [`ArenaId::NONE`] if it is no arena's.
    #[inline]
    pub(crate) const fn arena(self) -> ArenaId {
        ArenaId((self.0 >> 8) as u8)
    }

    /// The cache's number; above all numbers of caches for owners that are none.
    #[inline]
    pub(crate) const fn cache(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// The words of `remote` that have been announced: the lowest byte of a tag.
const ANNOUNCED: u32 = 0xff;

/// A slab's descriptor. See [`crate::slab`] for who may touch which field when.
#[repr(C, align(64))]
pub(crate) struct Slab {
    /// An [`Owner`], plus a bit for each word of `remote` that has been announced.
    tag: AtomicU32,
    /// After so many more frees by the owner it must [look](Put::Look) where the slab belongs.
    until: AtomicU32,
    base: AtomicPtr<u8>,
    inverse: AtomicUsize,
    shift: AtomicU8,
    summary: AtomicU8,
    slots: AtomicU16,
    size: AtomicU32,
    links: Links<Slab>,
    /// The next slab in the queue of an arena.
    pub(super) next_incoming: AtomicPtr<Slab>,
    order: AtomicU8,
    /// The number of the list that the slab is on. What the number means is its bin's business.
    list: AtomicU8,
    /// How many slots are free once `until` has come down to zero.
    due: AtomicU16,
    free: [AtomicU64; WORDS],
    remote: [AtomicU64; WORDS],
}

// SAFETY: all fields are atomic but `links`, which one CPU at a time touches, by the invariant *Ownership*.
unsafe impl Sync for Slab {}

// Three cache lines: what a free by the owner reads, what it writes, and what others write.
#[cfg(all(target_pointer_width = "64", not(bifolio_loom)))]
const _: () = assert!(size_of::<Slab>() == 192);

/// A slot by the word and the bit of its place in the bitmaps.
#[inline]
fn place(slot: u16) -> (usize, u64) {
    (usize::from(slot) / u64::BITS as usize % WORDS, 1 << (u32::from(slot) % u64::BITS))
}

impl Slab {
    /// The most slots that a slab can have.
    pub(crate) const MAX_SLOTS: usize = WORDS * u64::BITS as usize;

    /// A descriptor that describes nothing.
    pub(crate) const fn vacant() -> Self {
        Self {
            tag: AtomicU32::new(Owner::VACANT.0),
            until: AtomicU32::new(0),
            base: AtomicPtr::new(ptr::null_mut()),
            inverse: AtomicUsize::new(0),
            shift: AtomicU8::new(0),
            summary: AtomicU8::new(0),
            slots: AtomicU16::new(0),
            size: AtomicU32::new(0),
            links: Links::new(),
            next_incoming: AtomicPtr::new(ptr::null_mut()),
            order: AtomicU8::new(0),
            list: AtomicU8::new(0),
            due: AtomicU16::new(0),
            free: [const { AtomicU64::new(0) }; WORDS],
            remote: [const { AtomicU64::new(0) }; WORDS],
        }
    }

    /// Makes all atomics of the descriptor known to loom.
    #[cfg(bifolio_loom)]
    pub(super) fn prime(&self) {
        use crate::sync::atomic::prime;
        prime!(self.tag, self.until, self.base, self.inverse, self.shift, self.summary, self.slots, self.size);
        prime!(self.next_incoming, self.order, self.list, self.due);
        self.free.iter().chain(&self.remote).for_each(|word| prime!(word));
    }

    /// Makes this the descriptor of `block`: all `slots` slots of `size` bytes are free. No arena owns it yet.
    pub(crate) fn open(&self, block: NonNull<u8>, order: Order, size: u32, slots: u16, divider: Divider) {
        debug_assert!((1..=Self::MAX_SLOTS).contains(&usize::from(slots)));
        debug_assert!(u64::from(slots) * u64::from(size) <= order.bytes());
        self.slots.store(slots, Relaxed);
        self.order.store(order.get(), Relaxed);
        self.size.store(size, Relaxed);
        self.base.store(block.as_ptr(), Relaxed);
        let (inverse, shift) = divider.parts();
        self.inverse.store(inverse, Relaxed);
        self.shift.store(shift, Relaxed);
        let mut rest = u32::from(slots);
        let mut summary = 0;
        for (index, word) in self.free.iter().enumerate() {
            let bits = rest.min(u64::BITS);
            rest -= bits;
            word.store(u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0), Relaxed);
            summary |= u8::from(bits > 0) << index;
        }
        self.summary.store(summary, Relaxed);
        self.tag.store(Owner::TRANSIT.0, Relaxed);
    }

    /// Makes this the descriptor of a run, which is to be one object. No address is a slot of it.
    pub(crate) fn open_run(&self, start: NonNull<u8>, run: Layout) {
        self.slots.store(0, Relaxed);
        self.order.store(run.align().trailing_zeros() as u8, Relaxed);
        self.inverse.store(run.size(), Relaxed);
        self.base.store(start.as_ptr(), Relaxed);
        self.summary.store(0, Relaxed);
        self.tag.store(Owner::TRANSIT.0, Relaxed);
    }

    /// Makes the descriptor vacant.
    pub(crate) fn close(&self) {
        debug_assert!(!self.links.is_linked());
        self.tag.store(Owner::VACANT.0, Relaxed);
    }

    #[inline]
    pub(crate) fn owner(&self) -> Owner {
        Owner(self.tag.load(Relaxed) & !ANNOUNCED)
    }

    /// Whether the slab is `owner`'s, and no word of it is announced that the owner has not taken over.
    #[inline]
    pub(crate) fn is_settled(&self, owner: Owner) -> bool {
        self.tag.load(Relaxed) == owner.0
    }

    /// Whether a word is announced that the owner has not taken over.
    pub(crate) fn is_announced(&self) -> bool {
        self.tag.load(Relaxed) & ANNOUNCED != 0
    }

    /// Gives the slab to another owner. What is announced stays so.
    pub(crate) fn set_owner(&self, owner: Owner) {
        // Only owners change owners, and a slab has one; but others announce words meanwhile.
        self.tag.fetch_xor(self.owner().0 ^ owner.0, AcqRel);
    }

    /// The lowest word with a free slot.
    pub(crate) fn lowest_word(&self) -> Option<usize> {
        let summary = self.summary.load(Relaxed);
        (summary != 0).then(|| summary.trailing_zeros() as usize % WORDS)
    }

    /// What there is to know of a word.
    pub(crate) fn word(&self, word: usize) -> Word {
        let before = word * u64::BITS as usize;
        Word {
            number: word,
            free: self.free[word].load(Relaxed),
            first: self.first_of(word),
            size: self.size(),
            divider: self.divider(),
            slots: usize::from(self.slots()).saturating_sub(before).min(u64::BITS as usize),
            remote: &raw const self.remote[word],
        }
    }

    /// The first slot of a word.
    fn first_of(&self, word: usize) -> *mut u8 {
        self.base().wrapping_add(word * u64::BITS as usize * self.size())
    }

    /// Takes all free slots of a word out of the bitmap.
    pub(crate) fn take_word(&self, word: usize) {
        self.free[word].store(0, Release);
        self.summary.store(self.summary.load(Relaxed) & !(1 << word), Relaxed);
    }

    /// Puts slots of a word back that were taken out and are free.
    pub(crate) fn put_word(&self, word: usize, free: u64) {
        if free != 0 {
            self.set_free(word, self.free[word].load(Relaxed), free);
        }
    }

    /// Takes the lowest free slot. `None` if there is none.
    #[cfg(test)]
    pub(crate) fn take(&self) -> Option<NonNull<u8>> {
        let word = self.lowest_word()?;
        let free = self.free[word].load(Relaxed);
        self.take_word(word);
        self.put_word(word, free & (free - 1));
        NonNull::new(self.first_of(word).wrapping_add(free.trailing_zeros() as usize * self.size()))
    }

    /// Takes the free slot that has so many free ones before it. `None` if there are fewer.
    pub(crate) fn take_nth(&self, mut nth: u16) -> Option<u16> {
        for (index, word) in self.free.iter().enumerate() {
            let mut bits = word.load(Relaxed);
            let count = bits.count_ones() as u16;
            if nth < count {
                (0..nth).for_each(|_| bits &= bits - 1);
                let bit = bits.trailing_zeros();
                let rest = word.load(Relaxed) & !(1 << bit);
                self.take_word(index);
                self.put_word(index, rest);
                return Some((index as u32 * u64::BITS + bit) as u16);
            }
            nth -= count;
        }
        None
    }

    /// The slot that starts at `address`, or `None` if none does.
    #[inline]
    pub(crate) fn slot_at(&self, address: usize) -> Option<u16> {
        let slot = self.divider().divide(address.wrapping_sub(self.base().addr()));
        (slot < usize::from(self.slots())).then_some(slot as u16)
    }

    #[inline]
    fn divider(&self) -> Divider {
        Divider::from_parts(self.inverse.load(Relaxed), self.shift.load(Relaxed))
    }

    /// Frees a slot that is not in the owner's stock; only for the owner of a [settled](Self::is_settled) slab.
    #[inline]
    pub(crate) fn put(&self, slot: u16) -> Put {
        let (word, bit) = place(slot);
        let before = self.free[word].load(Relaxed);
        // Settled or not: somebody may have freed it whose word another is about to announce.
        if (before | self.remote[word].load(Relaxed)) & bit != 0 {
            return Put::Twice;
        }
        self.set_free(word, before, bit);
        let until = self.until.load(Relaxed).wrapping_sub(1);
        self.until.store(until, Relaxed);
        if until == 0 { Put::Look } else { Put::Done }
    }

    /// Frees a slot that is not in the owner's stock; only for the owner. `false`, and nothing changed, if it is free already.
    pub(crate) fn put_any(&self, slot: u16) -> bool {
        let (word, bit) = place(slot);
        let before = self.free[word].load(Relaxed);
        if (before | self.remote[word].load(Relaxed)) & bit != 0 {
            return false;
        }
        self.set_free(word, before, bit);
        true
    }

    #[inline]
    fn set_free(&self, word: usize, before: u64, bits: u64) {
        self.free[word].store(before | bits, Release);
        if before == 0 {
            self.summary.store(self.summary.load(Relaxed) | 1 << word, Relaxed);
        }
    }

    /// Says that `free` slots are free, and after how many more frees the owner must look where the slab belongs.
    pub(crate) fn look_after(&self, free: u16, frees: u16) {
        debug_assert!(frees > 0 && free == self.free());
        self.until.store(frees.into(), Relaxed);
        self.due.store(free + frees, Relaxed);
    }

    /// The owner need not look where the slab belongs.
    pub(crate) fn never_look(&self) {
        self.until.store(0, Relaxed);
    }

    /// How many slots are free now that the owner must look.
    pub(crate) fn due(&self) -> u16 {
        self.due.load(Relaxed)
    }

    /// Frees a slot for who is not the owner. `Err` if it is free already. `Ok` with an arena that the slab is to be handed
    /// to, or else with [`ArenaId::NONE`]. `stock` is what the slab's owner hands out next.
    pub(crate) fn put_remotely(&self, slot: u16, stock: &Stock) -> Result<ArenaId, ()> {
        let (word, bit) = place(slot);
        if self.is_free(slot, stock) {
            return Err(());
        }
        let before = self.remote[word].fetch_or(bit, AcqRel);
        if before & bit != 0 {
            return Err(());
        }
        if before == 0 {
            let tag = self.tag.fetch_or(1 << word, AcqRel);
            if tag & ANNOUNCED == 0 {
                return Ok(Owner(tag).arena());
            }
        }
        Ok(ArenaId::NONE)
    }

    /// Takes over what others have freed; only for the owner, of a slab from its queue, with the `stock` of the slab's bin.
    /// Returns the lowest slot that was free already, in the bitmap or there, if one was: its two frees came in the same
    /// instant.
    pub(crate) fn collect(&self, stock: &Stock) -> Option<u16> {
        let mut announced = self.tag.fetch_and(!ANNOUNCED, AcqRel) & ANNOUNCED;
        let mut twice = None;
        while announced != 0 {
            let word = announced.trailing_zeros() as usize % WORDS;
            announced &= announced - 1;
            loop {
                let bits = self.remote[word].load(Acquire);
                let before = self.free[word].load(Relaxed);
                let in_stock = stock.slots_of(self.first_of(word));
                let again = (before | in_stock) & bits;
                if again != 0 {
                    twice = twice.or(Some((word as u32 * u64::BITS + again.trailing_zeros()) as u16));
                }
                // In this order: who looks for a slot in both finds it.
                self.put_word(word, bits & !in_stock);
                let left = self.remote[word].fetch_and(!bits, AcqRel) & !bits;
                // Who freed meanwhile found a word that was not empty, and announced nothing. There are only so many slots.
                if left == 0 {
                    break;
                }
            }
        }
        twice
    }

    /// Whether the slot is free, no matter who freed it and where the owner has it: in the bitmap, or in its `stock`. For
    /// anybody.
    pub(crate) fn is_free(&self, slot: u16, stock: &Stock) -> bool {
        let (word, bit) = place(slot);
        // Slots move from `remote` to `free`, and words from there to the stock and back; who does that writes to where they
        // come before it takes them away from where they were. So this looks in the same direction.
        let is_known = || (self.remote[word].load(Acquire) | self.free[word].load(Acquire)) & bit != 0;
        is_known() || stock.holds(self.first_of(word), bit) || is_known()
    }

    /// How many slots are free in the bitmap: the owner knows of them, and they are not in its stock.
    pub(crate) fn free(&self) -> u16 {
        let words = usize::from(self.slots()).div_ceil(u64::BITS as usize);
        self.free.iter().take(words).map(|word| word.load(Relaxed).count_ones() as u16).sum()
    }

    /// Whether all slots are free, and the owner knows.
    pub(crate) fn is_empty(&self) -> bool {
        self.free() == self.slots()
    }

    /// Slots, free or not.
    #[inline]
    pub(crate) fn slots(&self) -> u16 {
        self.slots.load(Relaxed)
    }

    /// Bytes in a slot.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size.load(Relaxed) as usize
    }

    /// The block's first byte.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.load(Relaxed)
    }

    /// The block's order; of a run, the order of the blocks that it is aligned to.
    pub(crate) fn order(&self) -> Order {
        Order::new(self.order.load(Relaxed)).unwrap_or(Order::ZERO)
    }

    /// Whether this is the descriptor of a run, and of no slots.
    pub(crate) fn is_run(&self) -> bool {
        self.slots() == 0
    }

    /// The run's length and alignment.
    pub(crate) fn run(&self) -> Layout {
        debug_assert!(self.is_run());
        let (bytes, shift) = (self.inverse.load(Relaxed), self.order.load(Relaxed));
        // SAFETY: `open_run` and `set_run_bytes` had them from layouts, and a run keeps its alignment.
        unsafe { Layout::from_size_align_unchecked(bytes, 1 << shift) }
    }

    /// The run has another length now, that of a layout of its alignment.
    pub(crate) fn set_run_bytes(&self, bytes: usize) {
        debug_assert!(self.is_run());
        self.inverse.store(bytes, Relaxed);
    }

    /// Bytes of the block or run.
    pub(crate) fn bytes(&self) -> usize {
        if self.is_run() { self.run().size() } else { self.order().bytes() as usize }
    }

    /// Bytes of an object: a slot, or the whole run.
    pub(crate) fn object_size(&self) -> usize {
        if self.is_run() { self.bytes() } else { self.size() }
    }

    /// The number of the list that the slab is on.
    pub(crate) fn list(&self) -> usize {
        self.list.load(Relaxed).into()
    }

    pub(crate) fn set_list(&self, list: usize) {
        self.list.store(list as u8, Relaxed);
    }

    /// Whether the unused bits are clear, no slot is free twice, and the summary agrees with the words.
    pub(crate) fn is_consistent(&self, stock: &Stock) -> bool {
        let slots = u32::from(self.slots());
        self.free.iter().zip(&self.remote).enumerate().all(|(index, (free, remote))| {
            let within = slots.saturating_sub(index as u32 * u64::BITS).min(u64::BITS);
            let padding = u64::MAX.checked_shl(within).unwrap_or(0);
            let (free, remote) = (free.load(Relaxed), remote.load(Relaxed));
            let summarised = self.summary.load(Relaxed) >> index & 1 != 0;
            (free | remote) & padding == 0
                && free & remote == 0
                && (within == 0 || !stock.holds(self.first_of(index), free | remote | padding))
                && summarised == (free != 0)
        })
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
    use crate::slab::stock::EMPTY;
    use std::collections::BTreeSet;

    impl Slab {
        /// Lets the summary miss a word, or have one too many.
        pub(crate) fn spoil_summary(&self) {
            self.summary.store(self.summary.load(Relaxed) ^ 0b10, Relaxed);
        }
    }

    /// A slab over addresses that nothing lives at: its slots are never dereferenced.
    fn open(slab: &Slab, class: SizeClass) -> usize {
        let geometry = class.geometry();
        let base = ptr::without_provenance_mut(1 << 30);
        let slots = geometry.slots(geometry.order);
        slab.open(NonNull::new(base).unwrap(), geometry.order, geometry.size, slots, geometry.divider);
        slab.never_look();
        base.addr()
    }

    #[test]
    fn the_start_of_each_slot_and_nothing_else_is_a_slot() {
        for class in SizeClass::all() {
            let slab = Slab::vacant();
            let base = open(&slab, class);
            assert!(slab.is_empty() && slab.is_consistent(&EMPTY));
            for slot in 0..slab.slots() {
                let address = base + usize::from(slot) * class.size();
                assert_eq!(slab.slot_at(address), Some(slot));
                assert_eq!(slab.slot_at(address + 1), None);
                assert!(slab.is_free(slot, &EMPTY));
            }
            assert_eq!(slab.slot_at(base + usize::from(slab.slots()) * class.size()), None);
            assert_eq!(slab.slot_at(base - class.size()), None);
        }
    }

    #[test]
    fn take_and_put_agree_with_a_set_whoever_frees() {
        let class = SizeClass::of(core::alloc::Layout::new::<[u64; 9]>()).unwrap();
        let slab = Slab::vacant();
        let base = open(&slab, class);
        let mut live = BTreeSet::new();
        while let Some(object) = slab.take() {
            let address = object.as_ptr().addr();
            assert!(live.last().is_none_or(|&last| last < address), "lowest first");
            assert!(live.insert(address) && slab.is_consistent(&EMPTY));
        }
        assert_eq!((slab.free(), live.len()), (0, usize::from(slab.slots())));
        for (nth, &address) in live.iter().enumerate() {
            let slot = slab.slot_at(address).unwrap();
            if nth % 3 == 0 {
                assert!(slab.put_remotely(slot, &EMPTY).is_ok());
            } else {
                assert!(slab.put(slot) == Put::Done);
            }
            assert!(slab.is_free(slot, &EMPTY) && slab.is_consistent(&EMPTY));
            assert!(!slab.put_any(slot), "a double free by the owner was taken");
            assert!(slab.put_remotely(slot, &EMPTY).is_err(), "a double free by another was taken");
        }
        assert!(slab.is_announced() && !slab.is_empty());
        assert_eq!(slab.collect(&Stock::new()), None);
        assert!(!slab.is_announced() && slab.is_empty() && slab.is_consistent(&EMPTY));
        assert_eq!(slab.take().map(|object| object.as_ptr().addr()), Some(base));
    }

    #[test]
    fn the_first_free_from_elsewhere_alone_hands_the_slab_over() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().nth(7).unwrap());
        let owner = Owner::new(ArenaId::of(3).unwrap(), 7);
        slab.set_owner(owner);
        (0..slab.slots()).for_each(|_| assert!(slab.take().is_some()));
        assert!(slab.is_settled(owner));
        assert_eq!(slab.put_remotely(200, &EMPTY), Ok(owner.arena()));
        assert_eq!(slab.put_remotely(201, &EMPTY), Ok(ArenaId::NONE), "the same word");
        assert_eq!(slab.put_remotely(0, &EMPTY), Ok(ArenaId::NONE), "another word of a slab that is in a queue");
        assert!(!slab.is_settled(owner) && slab.owner() == owner);
        assert_eq!((slab.collect(&Stock::new()), slab.free()), (None, 3));
        assert_eq!(slab.put_remotely(1, &EMPTY), Ok(owner.arena()), "it is in no queue any more");
    }

    #[test]
    fn the_owner_frees_nothing_again_of_a_word_that_is_about_to_be_announced() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().nth(7).unwrap());
        let owner = Owner::new(ArenaId::of(3).unwrap(), 7);
        slab.set_owner(owner);
        (0..slab.slots()).for_each(|_| assert!(slab.take().is_some()));
        // So far is somebody who frees slot 0 when another frees slot 1.
        slab.remote[0].fetch_or(1, AcqRel);
        assert_eq!(slab.put_remotely(1, &EMPTY), Ok(ArenaId::NONE));
        assert!(slab.is_settled(owner));
        assert!(slab.put(1) == Put::Twice && slab.put(2) == Put::Done);
    }

    #[test]
    fn the_owner_is_told_to_look_after_as_many_frees_as_it_said() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().nth(7).unwrap());
        (0..3).for_each(|_| assert!(slab.take().is_some()));
        slab.look_after(slab.free(), 2);
        assert!(slab.put(0) == Put::Done);
        assert!(slab.put(0) == Put::Twice);
        assert!(slab.put(1) == Put::Look);
        assert_eq!(slab.due(), slab.free());
        assert!(slab.put(2) == Put::Done, "no more looks until it says when");
    }

    #[test]
    fn what_does_not_agree_is_noticed() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().last().unwrap());
        slab.free[0].store(slab.free[0].load(Relaxed) | 1 << slab.slots(), Relaxed);
        assert!(!slab.is_consistent(&EMPTY), "a bit behind the last slot");
        open(&slab, SizeClass::all().last().unwrap());
        slab.spoil_summary();
        assert!(!slab.is_consistent(&EMPTY), "a summary with a word too many");
        open(&slab, SizeClass::all().last().unwrap());
        slab.remote[0].store(1, Relaxed);
        assert!(!slab.is_consistent(&EMPTY), "a slot that is free twice");
    }
}
