//! One slab: a block of frames cut into slots, and all that is known of it. Which slots are free is told in
//! [`bitmap`](super::bitmap).

use core::alloc::Layout;
use core::cell::Cell;
use core::ptr::{self, NonNull};

use crate::sync::atomic::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::arena::{Arena, ArenaId};
use super::class::Divider;
use super::list::{Linked, Links};
use crate::frame::Order;

/// Words of each bitmap.
pub(super) const WORDS: usize = 8;

/// How a block is cut into slots, and of which cache they are.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    /// The number of the cache.
    pub(crate) cache: u16,
    /// How many they are.
    pub(crate) count: u16,
    /// Bytes in a slot.
    pub(crate) size: u32,
    pub(crate) divider: Divider,
}

/// A slab's descriptor. [`crate::slab`] says which CPU may touch which field when: what is no atomic and not the owner's stays
/// as it is while the slab is open.
///
/// Three cache lines: what a free by the owner reads, what it writes, and what others write.
#[repr(C, align(64))]
pub(crate) struct Slab {
    base: Cell<*mut u8>,
    inverse: Cell<usize>,
    pub(super) slots: Cell<usize>,
    /// So many more frees by the owner leave the slab where it belongs, and the one behind them does not. The owner's.
    pub(crate) until: Cell<i32>,
    cache: Cell<u16>,
    shift: Cell<u8>,
    /// The block's order; of a run, that of its alignment in bytes.
    order: Cell<u8>,
    /// The number of the list that the slab is on. What the number means is its bin's business. The owner's.
    list: Cell<u8>,
    /// The arena, and a bit for each word of `remote` that has been announced.
    tag: AtomicU16,
    /// Bytes in a slot.
    size: Cell<u32>,
    links: Links<Slab>,
    /// The next slab in the queue of an arena.
    pub(super) next_incoming: AtomicPtr<Slab>,
    /// Which slots are free: the words of the bitmap `free`, and behind them those of `remote`. A run has no slots, and its
    /// bytes in the first.
    pub(super) bits: [AtomicU64; 2 * WORDS],
}

// SAFETY: one CPU at a time touches what is the owner's (invariant *Ownership*); others only look at what is no atomic, which
// is written before anything leads to the descriptor (invariant *Metadata*).
unsafe impl Sync for Slab {}

// loom's atomics are larger.
#[cfg(all(target_pointer_width = "64", not(bifolio_loom)))]
const _: () = assert!(size_of::<Slab>() == 192);

/// The words of `remote` that have been announced: the lowest byte of a tag, below the arena.
const ANNOUNCED: u16 = 0xff;
const ARENA_SHIFT: u32 = 8;

/// The tag of an arena's slab of which nothing is announced.
const fn tag_of(arena: ArenaId) -> u16 {
    (arena.0 as u16) << ARENA_SHIFT
}

/// The arena that a tag names.
const fn arena_in(tag: u16) -> ArenaId {
    ArenaId((tag >> ARENA_SHIFT) as u8)
}

impl Slab {
    /// The most slots that a slab can have.
    pub(crate) const MAX_SLOTS: usize = WORDS * u64::BITS as usize;
    /// In [`until`](Self::until): the slab stays where it is, at least for so many frees.
    pub(crate) const NEVER: i32 = i32::MAX;
    /// What is the number of a large object's cache.
    pub(crate) const LARGE: u16 = u16::MAX;
    /// What is set in the numbers of caches whose slabs are debugged.
    const DEBUGGED: u16 = 1 << 15;

    /// A descriptor that describes nothing.
    pub(crate) const fn vacant() -> Self {
        Self {
            base: Cell::new(ptr::null_mut()),
            inverse: Cell::new(0),
            slots: Cell::new(0),
            until: Cell::new(Self::NEVER),
            cache: Cell::new(Self::LARGE),
            shift: Cell::new(0),
            order: Cell::new(0),
            list: Cell::new(0),
            tag: AtomicU16::new(tag_of(ArenaId::TRANSIT)),
            size: Cell::new(0),
            links: Links::new(),
            next_incoming: AtomicPtr::new(ptr::null_mut()),
            bits: [const { AtomicU64::new(0) }; 2 * WORDS],
        }
    }

    /// Makes all atomics of the descriptor known to loom.
    #[cfg(bifolio_loom)]
    pub(super) fn prime(&self) {
        crate::sync::atomic::prime!(self.tag, self.next_incoming);
        self.bits.iter().for_each(|word| crate::sync::atomic::prime!(word));
    }

    /// Makes this the descriptor of `block`: all slots are free. No arena owns it yet.
    pub(crate) fn open(&self, block: NonNull<u8>, order: Order, slots: Slots) {
        debug_assert!((1..=Self::MAX_SLOTS).contains(&usize::from(slots.count)));
        debug_assert!(u64::from(slots.count) * u64::from(slots.size) <= order.bytes());
        let (inverse, shift) = slots.divider.parts();
        self.inverse.set(inverse);
        self.shift.set(shift);
        let mut rest = u32::from(slots.count);
        for [free, remote] in self.words() {
            let bits = rest.min(u64::BITS);
            rest -= bits;
            free.store(u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0), Relaxed);
            remote.store(0, Relaxed);
        }
        self.cache.set(slots.cache);
        self.describe(block, slots.size, order.get(), slots.count);
    }

    /// Makes this the descriptor of a run, which is to be one object. No address is a slot of it.
    pub(crate) fn open_run(&self, start: NonNull<u8>, run: Layout) {
        self.cache.set(Self::LARGE);
        self.describe(start, 0, run.align().trailing_zeros() as u8, 0);
        self.set_run_bytes(run.size());
    }

    fn describe(&self, start: NonNull<u8>, size: u32, order: u8, slots: u16) {
        self.base.set(start.as_ptr());
        self.size.set(size);
        self.order.set(order);
        self.slots.set(slots.into());
        self.until.set(Self::NEVER);
        // On none yet, whatever list that was on which this described before.
        self.list.set(0);
        // Whatever was announced of what this described before.
        self.tag.store(tag_of(ArenaId::TRANSIT), Release);
    }

    /// The arena that the slab is in.
    #[inline]
    pub(crate) fn arena(&self) -> ArenaId {
        arena_in(self.tag.load(Acquire))
    }

    /// The number of the cache that the slab is of.
    #[inline(always)]
    pub(crate) fn cache(&self) -> u16 {
        self.cache.get()
    }

    /// What is the number of a cache for its slabs that are debugged.
    pub(crate) const fn debugged(cache: u16) -> u16 {
        Self::DEBUGGED | cache
    }

    /// Whether the slab is one that is debugged, open or not.
    pub(crate) fn is_debugged(&self) -> bool {
        let number = self.cache() & !Self::DEBUGGED;
        self.cache() & Self::DEBUGGED != 0 && usize::from(number) < Arena::BINS
    }

    /// The number of the cache, if the slab is one that is debugged, and open.
    pub(crate) fn debugged_cache(&self) -> Option<u16> {
        (self.is_debugged() && self.arena() == ArenaId::NONE).then_some(self.cache() & !Self::DEBUGGED)
    }

    /// Whether this is a large object that lives.
    pub(crate) fn is_large(&self) -> bool {
        self.is_run() && self.arena() == ArenaId::NONE
    }

    /// Whether a word is announced that the owner has not taken over.
    pub(crate) fn is_announced(&self) -> bool {
        self.tag.load(Relaxed) & ANNOUNCED != 0
    }

    /// Announces words. The arena that the slab is to be handed to, if it is in no queue; else [`ArenaId::NONE`].
    pub(super) fn announce(&self, words: u16) -> ArenaId {
        let tag = self.tag.fetch_or(words, AcqRel);
        if tag & ANNOUNCED == 0 { arena_in(tag) } else { ArenaId::NONE }
    }

    /// Takes back what is announced: a bit for each word.
    pub(super) fn take_announced(&self) -> u16 {
        self.tag.fetch_and(!ANNOUNCED, AcqRel) & ANNOUNCED
    }

    /// Gives the slab to another arena. What is announced stays so.
    pub(crate) fn set_arena(&self, arena: ArenaId) {
        // Only owners change owners, and a slab has one; but others announce words meanwhile.
        let before = self.tag.load(Relaxed) & !ANNOUNCED;
        self.tag.fetch_xor(before ^ tag_of(arena), AcqRel);
    }

    /// Takes an empty slab from its arena, to be closed. `false`, and nothing changed, if a word of it is announced: then
    /// it is in a queue, or about to be (invariant *Announced*).
    pub(crate) fn leave_arena(&self) -> bool {
        debug_assert!(self.is_empty());
        let quiet = self.tag.load(Relaxed) & !ANNOUNCED;
        self.tag.compare_exchange(quiet, tag_of(ArenaId::TRANSIT), AcqRel, Relaxed).is_ok()
    }

    /// The slot that starts at `address`, or `None` if none does.
    #[inline(always)]
    pub(crate) fn slot_at(&self, address: usize) -> Option<usize> {
        let divider = Divider::from_parts(self.inverse.get(), self.shift.get());
        let slot = divider.divide(address.wrapping_sub(self.base().addr()));
        (slot < self.slots.get()).then_some(slot)
    }

    /// The first byte of a slot.
    pub(crate) fn slot(&self, slot: usize) -> *mut u8 {
        self.base().wrapping_add(slot * self.size())
    }

    /// Slots, free or not.
    #[inline]
    pub(crate) fn slots(&self) -> u16 {
        self.slots.get() as u16
    }

    /// Bytes in a slot.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.size.get() as usize
    }

    /// The block's first byte.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.get()
    }

    /// The block's order; of a run, the order of the blocks that it is aligned to.
    pub(crate) fn order(&self) -> Order {
        Order::new(self.order.get()).unwrap_or(Order::ZERO)
    }

    /// Whether this is the descriptor of a run, and of no slots.
    pub(crate) fn is_run(&self) -> bool {
        self.slots() == 0
    }

    /// The run's length and alignment.
    pub(crate) fn run(&self) -> Layout {
        debug_assert!(self.is_run());
        let (bytes, shift) = (self.bits[0].load(Relaxed) as usize, self.order.get());
        // SAFETY: `open_run` and `set_run_bytes` had them from layouts, and a run keeps its alignment.
        unsafe { Layout::from_size_align_unchecked(bytes, 1 << shift) }
    }

    /// The run has another length now, that of a layout of its alignment.
    pub(crate) fn set_run_bytes(&self, bytes: usize) {
        debug_assert!(self.is_run());
        self.bits[0].store(bytes as u64, Relaxed);
    }

    /// Bytes of the block or run.
    pub(crate) fn bytes(&self) -> usize {
        if self.is_run() { self.run().size() } else { self.order().bytes() as usize }
    }

    /// Bytes of an object: a slot, or the whole run.
    pub(crate) fn object_size(&self) -> usize {
        if self.is_run() { self.bytes() } else { self.size() }
    }

    /// All that is known of a slab or run but where it is, word by word, for a hash of it.
    pub(crate) fn for_each_word(&self, mut visit: impl FnMut(u64)) {
        let [cache, slots, tag] = [self.cache(), self.slots(), self.tag.load(Relaxed)].map(u64::from);
        visit(cache | slots << 16 | tag << 32 | u64::from(self.order.get()) << 48);
        if !self.is_run() {
            visit(u64::from(self.size.get()) | u64::from(self.list.get()) << 32);
            // One that stays where it is counts all the same, from so far above its slots that it does not matter how far.
            let until = self.until.get();
            visit((if until > self.slots().into() { Self::NEVER } else { until } as u32).into());
        }
        let words = if self.is_run() { 1 } else { self.bits.len() };
        self.bits[..words].iter().for_each(|word| visit(word.load(Relaxed)));
    }

    /// The number of the list that the slab is on.
    pub(crate) fn list(&self) -> usize {
        self.list.get().into()
    }

    pub(crate) fn set_list(&self, list: usize) {
        self.list.set(list as u8);
    }
}

impl Linked for Slab {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::slab::class::SizeClass;

    /// Opens a slab over memory that is never given back. Returns where it begins.
    pub(crate) fn open(slab: &Slab, class: SizeClass) -> usize {
        let geometry = class.geometry();
        let bytes = geometry.order.bytes() as usize;
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { std::alloc::alloc(Layout::from_size_align(bytes, bytes).unwrap()) }).unwrap();
        slab.open(base, geometry.order, geometry.slots(class.number(), geometry.order));
        base.addr().get()
    }

    #[test]
    #[cfg_attr(miri, ignore = "arithmetic, of which there is much and no memory")]
    fn the_start_of_each_slot_and_nothing_else_is_a_slot() {
        for class in SizeClass::all() {
            let slab = Slab::vacant();
            let base = open(&slab, class);
            assert!(slab.is_empty() && slab.is_consistent());
            for slot in 0..slab.slots().into() {
                let address = base + slot * class.size();
                assert_eq!(slab.slot(slot).addr(), address);
                assert_eq!(slab.slot_at(address), Some(slot));
                assert_eq!(slab.slot_at(address + 1), None);
                assert!(slab.is_free(slot));
            }
            assert_eq!(slab.slot_at(base + usize::from(slab.slots()) * class.size()), None);
            assert_eq!(slab.slot_at(base - class.size()), None);
        }
    }

    #[test]
    fn a_slab_of_which_a_word_is_announced_stays_in_its_arena() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().nth(7).unwrap());
        let arena = ArenaId::of(3).unwrap();
        slab.set_arena(arena);
        slab.free_twice(5);
        slab.set_arena(ArenaId::SHARED);
        assert!(slab.is_announced() && !slab.leave_arena() && slab.arena() == ArenaId::SHARED);
        assert_eq!(slab.collect(), Some((5, ArenaId::SHARED)));
        assert_eq!(slab.collect(), None);
        assert!(slab.leave_arena() && slab.arena() == ArenaId::TRANSIT);
    }
}
