//! The slabs of one cache in one arena.
//!
//! Allocation takes slots from one slab at a time, the current one, and from one word of its bitmap: the slots *in hand*, a
//! mask of those of the word that were free when it was last looked at. Handing one out clears its bit there and in the
//! word; a free sets it in the word alone. So neither waits for what the other has just written, and an object that is freed
//! and one that is allocated right behind it are not the same memory: a program that uses an object after its end harms
//! itself a little later, and a little less surely.
//!
//! When nothing is free in the current slab, the fullest of the others follows: so those that are emptier get the time to
//! empty, and their frames go back. For that they are kept on lists by the third of their slots that is free (Linux:
//! partial slabs). A slab moves from list to list as slots are freed, and knows after how many frees that will next be so
//! (invariant *Until*); no other free has to think of it. One that is full is moved only when a 32nd of it is free again.
//!
//! A slab that is empty is kept, so that a program that allocates and frees around the edge of a slab does not fetch and
//! return frames by turns; one for each bin, and what is above that goes back.

use core::cell::Cell;
use core::num::NonZero;
use core::ptr::{self, NonNull};

use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Relaxed, Release};

use super::descriptor::{Slab, WORDS};
use super::list::{Linked, List, Meta};

/// Parts that the fill of a slab is told apart by.
const PARTS: usize = 3;
/// The list of slabs that had no free slot when they were put there.
const FULL: usize = PARTS;
/// The list of slabs without a live object.
const EMPTY: usize = PARTS + 1;
const LISTS: usize = PARTS + 2;
/// A slab that was full is moved once so much of it is free again, one slot at least.
const FULL_UNTIL: u16 = 32;

/// The slots of a cache in hand in one arena: what is in the way of every allocation.
pub(crate) struct Hand {
    /// Of the current word those that are to be handed out: a subset of it (invariant *Mask*).
    mask: Cell<u64>,
    /// The current word: one of the current slab's `free`, in its bitmaps.
    word: Cell<*const AtomicU64>,
    /// The word's first slot.
    first: Cell<*mut u8>,
    /// Bytes in a slot.
    size: Cell<usize>,
}

/// Bitmaps without a slot, for bins without a slab.
static NOTHING: [AtomicU64; 2 * WORDS] = [const { AtomicU64::new(0) }; 2 * WORDS];

impl Hand {
    /// No slot.
    pub(super) const fn empty() -> Self {
        Self {
            mask: Cell::new(0),
            word: Cell::new((&raw const NOTHING).cast()),
            first: Cell::new(ptr::null_mut()),
            size: Cell::new(0),
        }
    }

    /// The current word of `free`, and its fellow of `remote`.
    #[inline(always)]
    fn words(&self) -> [&AtomicU64; 2] {
        let word = self.word.get();
        // SAFETY: the word is one of `free` in the bitmaps of a slab that the bin has (invariant *Ownership*), or in those
        // that are always there; so many words behind it is its fellow.
        unsafe { [&*word, &*word.add(WORDS)] }
    }

    /// Takes the lowest slot in hand that no other CPU has freed too (invariant *One owner*), if there is any.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<NonNull<u8>> {
        let ready = NonZero::new(self.ready())?;
        Some(self.take_nth(self.mask.get(), ready.trailing_zeros()))
    }

    /// The same, and what other CPUs have freed too is in hand no more, as after [`Bin::take_any`].
    #[inline(always)]
    pub(crate) fn take_ready(&self) -> Option<NonNull<u8>> {
        NonZero::new(self.ready()).map(|ready| self.take_of(ready))
    }

    /// Takes the lowest of these slots of the current word, which are in hand from now on, and of which no other CPU has freed any.
    #[inline(always)]
    fn take_of(&self, slots: NonZero<u64>) -> NonNull<u8> {
        self.take_nth(slots.get(), slots.trailing_zeros())
    }

    /// Takes one of these slots of the current word, by its number there; the others are in hand from now on.
    #[inline(always)]
    fn take_nth(&self, slots: u64, nth: u32) -> NonNull<u8> {
        let [free, _] = self.words();
        self.mask.set(slots ^ 1 << nth);
        free.store(free.load(Relaxed) ^ 1 << nth, Release);
        let offset = nth as usize * self.size.get();
        // SAFETY: a set bit is a slot of an open slab (invariant *Block*), so the address lies in its block, which is not
        // at address zero.
        unsafe { NonNull::new_unchecked(self.first.get().add(offset)) }
    }

    /// What is in hand that no other CPU has freed too.
    #[inline(always)]
    fn ready(&self) -> u64 {
        let [_, remote] = self.words();
        self.mask.get() & !remote.load(Relaxed)
    }

    /// Takes slots of the current slab in hand: these of a word. What was in hand is free still.
    #[inline]
    fn take_up(&self, slab: Meta<Slab>, word: usize, slots: NonZero<u64>) {
        self.mask.set(slots.get());
        self.word.set(slab.free_place(word));
        self.first.set(slab.base().wrapping_add(word * u64::BITS as usize * self.size.get()));
    }

    /// Lets go of what is in hand, which is free still.
    fn let_go(&self) {
        self.mask.set(0);
        self.word.set((&raw const NOTHING).cast());
    }

    /// The number of the current word in the current slab.
    fn word_of(&self, slab: Meta<Slab>) -> usize {
        self.word.get().addr().wrapping_sub(slab.bits.as_ptr().addr()) / size_of::<AtomicU64>()
    }
}

/// Where a slot is found, in the order in which that is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "what tells one tells each")]
pub enum SlotSource {
    /// It is the lowest of those in hand: free slots of one word of the current slab.
    InHand,
    /// Nothing is in hand, and it is the lowest of the next word of the current slab that has any.
    NextWord,
    /// The current slab is full, and this is the fullest of those that are not.
    Partial,
    /// No slab has both free slots and live objects, and this one is empty.
    Empty,
    /// All are full as far as is known, but in this one some were freed.
    Freed,
}

/// The slabs of one cache in one arena.
pub(crate) struct Slabs {
    current: Cell<Option<Meta<Slab>>>,
    /// Of the slabs that are not current: by the third of the slots that is free, then the full ones, then the empty ones.
    lists: [List<Slab>; LISTS],
}

impl Slabs {
    /// No slab.
    pub(super) const fn none() -> Self {
        Self { current: Cell::new(None), lists: [const { List::new() }; LISTS] }
    }
}

/// What one cache has in one arena. Only a CPU that has the arena to itself touches it.
#[derive(Clone, Copy)]
pub(crate) struct Bin<'a> {
    pub(crate) hand: &'a Hand,
    pub(super) slabs: &'a Slabs,
}

impl<'a> Bin<'a> {
    /// How many slabs that were full are looked at before a cache grows.
    const LOOKED_AT: usize = 8;

    /// Takes a slot of the current slab, or else of the fullest of the others. `None` if no slab of the bin is known to
    /// have any.
    #[inline]
    pub(crate) fn take_any(self) -> Option<NonNull<u8>> {
        match self.take_in_hand() {
            Some(slots) => Some(self.hand.take_of(slots)),
            None => self.take_of_next(),
        }
    }

    /// Takes a slot of another slab than the current one, which has none.
    #[inline(never)]
    fn take_of_next(self) -> Option<NonNull<u8>> {
        let next = self.pop_partial()?;
        if let Some(full) = self.slabs.current.take() {
            self.file_with(full, 0);
        }
        self.make_current(next).map(|slots| self.hand.take_of(slots))
    }

    /// The slot that [`take_any`](Self::take_any) would take: where it is looked for, its slab, and its number.
    pub(crate) fn next_slot(self) -> Option<(SlotSource, Meta<Slab>, usize)> {
        let slot = |word: usize, ready: u64| word * u64::BITS as usize + ready.trailing_zeros() as usize;
        if let Some(slab) = self.slabs.current.get() {
            let (word, ready) = (self.hand.word_of(slab), self.hand.ready());
            if ready != 0 {
                return Some((SlotSource::InHand, slab, slot(word, ready)));
            }
            if let Some((word, ready)) = slab.word_behind(word) {
                return Some((SlotSource::NextWord, slab, slot(word, ready.get())));
            }
        }
        let listed = self.partial();
        let freed = || self.slabs.lists[FULL].iter().take(Self::LOOKED_AT).find(Self::has_freed);
        let slab = listed.or_else(freed)?;
        let source = match slab.list() {
            EMPTY => SlotSource::Empty,
            FULL => SlotSource::Freed,
            _ => SlotSource::Partial,
        };
        // The first word first.
        slab.word_behind(WORDS).map(|(word, ready)| (source, slab, slot(word, ready.get())))
    }

    /// The fullest slab on the lists of those that are known to have a free slot.
    fn partial(self) -> Option<Meta<Slab>> {
        [0, 1, 2, EMPTY].iter().find_map(|&list| self.slabs.lists[list].front())
    }

    /// What is in hand of a slab: the number of the word, and the slots.
    pub(crate) fn in_hand_of(self, slab: Meta<Slab>) -> Option<(usize, u64)> {
        (self.slabs.current.get() == Some(slab)).then(|| (self.hand.word_of(slab), self.hand.mask.get()))
    }

    /// Takes in hand what is left there, without what other CPUs have freed too, or else the next word of the current slab that has a
    /// slot to be handed out. `None` if none has.
    #[inline]
    fn take_in_hand(self) -> Option<NonZero<u64>> {
        let slab = self.slabs.current.get()?;
        let Some(left) = NonZero::new(self.hand.ready()) else { return self.take_word(slab, self.hand.word_of(slab)) };
        self.hand.mask.set(left.get());
        Some(left)
    }

    #[inline]
    fn take_word(self, slab: Meta<Slab>, behind: usize) -> Option<NonZero<u64>> {
        let (word, ready) = slab.word_behind(behind)?;
        self.hand.take_up(slab, word, ready);
        Some(ready)
    }

    /// Makes a slab that is on no list the current one, in place of none, and takes the first of its words in hand that has a slot.
    fn make_current(self, slab: Meta<Slab>) -> Option<NonZero<u64>> {
        debug_assert!(self.slabs.current.get().is_none());
        self.slabs.current.set(Some(slab));
        self.hand.size.set(slab.size());
        slab.until.set(Slab::NEVER);
        self.take_word(slab, WORDS)
    }

    /// Has no current slab any more: what was current goes to the list that it belongs on.
    pub(crate) fn set_aside(self) {
        if let Some(slab) = self.slabs.current.take() {
            self.hand.let_go();
            self.file(slab);
        }
    }

    /// Takes the fullest slab off its list that has a free slot.
    pub(super) fn pop_partial(self) -> Option<Meta<Slab>> {
        let slab = self.partial().or_else(|| self.find_freed(Self::LOOKED_AT))?;
        self.remove(slab);
        Some(slab)
    }

    /// Whether slots were freed of a slab on the list of full ones.
    fn has_freed(slab: &Meta<Slab>) -> bool {
        slab.until.get() < Self::until(FULL, 0, slab.slots())
    }

    /// A slab on the list of full ones in which slots were freed since, of so many that were not looked at for longest.
    fn find_freed(self, most: usize) -> Option<Meta<Slab>> {
        (0..most).find_map(|_| self.slabs.lists[FULL].rotate().filter(Self::has_freed))
    }

    /// Takes any slab that has a free slot: for when there is no more memory.
    pub(super) fn pop_with_room(self) -> Option<Meta<Slab>> {
        self.set_aside();
        self.pop_partial().or_else(|| {
            let freed = self.slabs.lists[FULL].iter().find(Self::has_freed)?;
            self.remove(freed);
            Some(freed)
        })
    }

    fn remove(self, slab: Meta<Slab>) {
        self.slabs.lists[slab.list()].remove(slab);
    }

    /// Puts a slab that is on no list on the one where it belongs.
    pub(super) fn file(self, slab: Meta<Slab>) {
        self.file_with(slab, slab.free());
    }

    /// [`file`](Self::file), where it is known how many slots are free.
    fn file_with(self, slab: Meta<Slab>, free: u16) {
        let list = Self::list_for(slab, free);
        slab.set_list(list);
        slab.until.set(Self::until(list, free, slab.slots()));
        self.slabs.lists[list].push_front(slab);
    }

    fn list_for(slab: Meta<Slab>, free: u16) -> usize {
        match slab.slots() {
            _ if free == 0 => FULL,
            slots if free == slots && !slab.is_announced() => EMPTY,
            slots => Self::part(free, slots),
        }
    }

    /// The part that so many free slots of a slab make up.
    fn part(free: u16, slots: u16) -> usize {
        let free = free * PARTS as u16;
        usize::from(free >= slots) + usize::from(free >= 2 * slots)
    }

    /// How many free slots a slab on this list must have to belong on another; more than it can have if there is no other.
    fn limit(list: usize, slots: u16) -> u16 {
        match list {
            FULL => (slots / FULL_UNTIL).max(1),
            EMPTY => u16::MAX,
            part => ((part as u16 + 1) * slots).div_ceil(PARTS as u16),
        }
    }

    /// How many more frees leave a slab on this list, of whose slots so many are free.
    fn until(list: usize, free: u16, slots: u16) -> i32 {
        // In an empty slab that is announced, there is nothing left to be freed.
        let left = Self::limit(list, slots).saturating_sub(free);
        if left == 0 || list == EMPTY { Slab::NEVER } else { i32::from(left) - 1 }
    }

    /// Puts a slab of the bin where it belongs, after slots of it were freed; if it `is_due`, by the very free down to which it
    /// counted. Whether the bin has more empty slabs than it keeps: this one is one of them.
    pub(super) fn refile(self, slab: Meta<Slab>, is_due: bool) -> bool {
        if self.slabs.current.get() == Some(slab) {
            slab.until.set(Slab::NEVER);
            return false;
        }
        let free = if is_due { Self::limit(slab.list(), slab.slots()) } else { slab.free() };
        self.remove(slab);
        self.file_with(slab, free);
        slab.list() == EMPTY && self.slabs.lists[EMPTY].back() != Some(slab)
    }

    /// Takes in a slab that nobody else has; it becomes the current one if nothing is in hand.
    pub(super) fn adopt(self, slab: Meta<Slab>) {
        if self.take_in_hand().is_none() {
            self.set_aside();
            self.make_current(slab);
        } else {
            self.file(slab);
        }
    }

    /// Has no current slab any more if that is empty.
    pub(super) fn set_empty_aside(self) {
        if self.slabs.current.get().is_some_and(|slab| slab.is_empty()) {
            self.set_aside();
        }
    }

    /// Takes out an empty slab, of those that are not current.
    pub(super) fn pop_empty(self) -> Option<Meta<Slab>> {
        let slab = self.slabs.lists[EMPTY].back()?;
        self.remove(slab);
        Some(slab)
    }

    /// Takes out any slab.
    pub(super) fn pop_any(self) -> Option<Meta<Slab>> {
        self.set_aside();
        let slab = self.slabs.lists.iter().find_map(List::front)?;
        self.remove(slab);
        Some(slab)
    }

    /// Whether the bin has no slab.
    pub(crate) fn is_vacant(self) -> bool {
        self.slabs.current.get().is_none() && self.slabs.lists.iter().all(|list| list.front().is_none())
    }

    /// All slabs of the bin, each once.
    pub(crate) fn slabs(self) -> impl Iterator<Item = Meta<Slab>> + use<'a> {
        self.slabs.current.get().into_iter().chain(self.slabs.lists.iter().flat_map(List::iter))
    }

    /// What is in hand, as words that a hash is made of: the slots, and the number of their word in the current slab.
    pub(crate) fn hand_words(self) -> [u64; 2] {
        let word = self.slabs.current.get().map_or(0, |slab| self.hand.word_of(slab) + 1);
        [self.hand.mask.get(), word as u64]
    }

    /// Whether what is in hand is free, in a word of the current slab (invariant *Mask*).
    pub(crate) fn is_in_hand(self) -> bool {
        let (mask, [free, _]) = (self.hand.mask.get(), self.hand.words());
        let is_word = |slab| self.hand.word_of(slab) < WORDS;
        mask & !free.load(Relaxed) == 0 && self.slabs.current.get().map_or(mask == 0, is_word)
    }

    /// Whether a slab is where its fill demands (invariant *Filed*).
    pub(crate) fn is_in_place(self, slab: Meta<Slab>) -> bool {
        if self.slabs.current.get() == Some(slab) {
            return !slab.links().is_linked();
        }
        let (free, slots) = (slab.free(), slab.slots());
        slab.links().is_linked()
            && match slab.list() {
                FULL => free < Self::limit(FULL, slots),
                list => free > 0 && Self::list_for(slab, free) == list,
            }
    }

    /// Whether a slab counts the frees down to where it is next filed (invariant *Until*).
    pub(crate) fn counts_down(self, slab: Meta<Slab>) -> bool {
        let until = slab.until.get();
        if self.slabs.current.get() == Some(slab) || slab.list() == EMPTY {
            return until > slab.slots().into();
        }
        until == Self::until(slab.list(), slab.free(), slab.slots())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::arena::{Arena, ArenaId};
    use crate::slab::class::SizeClass;
    use crate::slab::descriptor::tests::open;

    #[test]
    fn a_slot_in_hand_that_another_cpu_frees_too_is_not_handed_out() {
        let (slab, class) = (Slab::vacant(), SizeClass::all().nth(7).unwrap());
        let base = open(&slab, class);
        let arena = Box::new(Arena::new(ArenaId::of(3).unwrap()));
        // SAFETY: the descriptor stays where it is for as long as the arena is used.
        arena.adopt(unsafe { Meta::new(NonNull::from(&slab)) });
        let bin = arena.bin(class.number());
        let slot_of = |object: Option<NonNull<u8>>| object.map(|object| (object.as_ptr().addr() - base) / class.size());
        assert_eq!(slot_of(bin.hand.take()), Some(0));
        slab.free_twice(1);
        assert_eq!(
            slot_of(bin.hand.take()),
            Some(2),
            "it has two owners next, or the others of the word are not there"
        );
        assert_eq!(slot_of(bin.take_any()), Some(3));
        slab.free_twice(4);
        assert_eq!(slot_of(bin.take_any()), Some(5), "it has two owners next");
        assert!(bin.is_in_hand() && slab.is_free(1));
    }
}
