//! Which slots of a slab are free, and how they become it.
//!
//! A set bit is a free slot. There are two bitmaps: `free`, which the slab's owner alone changes, with plain stores, and
//! `remote`, into which all others free, with one locked instruction an object. The owner takes the second over into the
//! first, word by word. A slot with a bit in either cannot be freed once more, whoever tries; and what has a bit in
//! `remote` is never handed out. Bits behind the last slot are never set.
//!
//! # Two frees of one slot at the same moment
//!
//! Of others than the owner one finds the bit that the other set. The owner and another may each miss what the other has
//! not done yet: then the slot has a bit in both, and is not handed out before the owner has taken the second back
//! ([`Slab::collect`]), which is the moment when the second free is reported. If the slab empties by the first free and is
//! closed, [`Slab::seal`] finds the second, or the second finds the slab sealed.
//!
//! # Freeing from elsewhere
//!
//! The CPU that sets the first bit in a word of `remote` announces the word in the slab's tag, and the CPU that announces
//! the first word of a slab hands the slab to its owner, through the [queue](super::incoming::Incoming) of the arena that the
//! tag named at that moment. The owner takes only announced words of slabs from its queue. So as long as a CPU is on the
//! way between these steps, a slot of the slab is neither live nor free, the slab cannot become empty, and nobody takes
//! its descriptor away under that CPU's feet.
//!
//! A CPU that frees a slot for a second time has no such claim: the slab may be closed before it sets its bit. It is in its
//! arena all the time, so the descriptor is not opened again before that CPU has left (invariant *Metadata*).

use crate::sync::atomic::Ordering;
use Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::num::NonZero;
use core::ops::Range;

use super::arena::ArenaId;
use super::descriptor::{Slab, WORDS};
use crate::sync::atomic::AtomicU64;

/// A slot by the word and the bit of its place in the bitmaps.
#[inline(always)]
fn place(slot: usize) -> (usize, u64) {
    (slot / u64::BITS as usize, 1 << (slot % u64::BITS as usize))
}

/// The slot at a place.
fn slot_at(word: usize, bits: u64) -> usize {
    word * u64::BITS as usize + bits.trailing_zeros() as usize
}

impl Slab {
    /// A word of `free`.
    #[inline(always)]
    pub(super) fn free_word(&self, word: usize) -> &AtomicU64 {
        debug_assert!(word < WORDS);
        // SAFETY: words are those of slots, of which a slab has at most `MAX_SLOTS`, or of announced bits, of which there are
        // `WORDS`.
        unsafe { self.bits.get_unchecked(word) }
    }

    /// Where a word of `free` is: by a pointer that may go from there to its fellow of `remote`.
    #[inline(always)]
    pub(super) fn free_place(&self, word: usize) -> *const AtomicU64 {
        debug_assert!(word < WORDS);
        self.bits.as_ptr().wrapping_add(word)
    }

    /// A word of `remote`.
    #[inline(always)]
    pub(super) fn remote_word(&self, word: usize) -> &AtomicU64 {
        debug_assert!(word < WORDS);
        // SAFETY: as there are words in `free`.
        unsafe { self.bits.get_unchecked(WORDS + word) }
    }

    /// Each word of `free`, with its fellow of `remote`.
    pub(crate) fn words(&self) -> impl Iterator<Item = [&AtomicU64; 2]> {
        self.bits[..WORDS].iter().zip(&self.bits[WORDS..]).map(|(free, remote)| [free, remote])
    }

    /// Frees a slot, unless it is free already, or the slab belongs elsewhere then; only for the owner. Whether that was
    /// done: if not, but for the count, nothing was.
    #[inline(always)]
    pub(crate) fn put(&self, slot: usize) -> bool {
        let (word, bit) = place(slot);
        let free = self.free_word(word);
        let before = free.load(Relaxed);
        let busy = before | self.remote_word(word).load(Relaxed);
        // Without a branch before it this is one instruction. Nobody but the owner hands out what is set for a moment.
        free.store(before | bit, Release);
        if busy & bit == 0 {
            let until = self.until.get().wrapping_sub(1);
            self.until.set(until);
            if until >= 0 {
                return true;
            }
        }
        free.store(before, Release);
        false
    }

    /// Frees a slot; only for the owner, which looks afterwards where the slab belongs. `false`, and nothing changed, if
    /// it is free already.
    pub(crate) fn put_any(&self, slot: usize) -> bool {
        let (word, bit) = place(slot);
        let is_live = (self.free_word(word).load(Relaxed) | self.remote_word(word).load(Relaxed)) & bit == 0;
        if is_live {
            self.set_free(word, bit);
        }
        is_live
    }

    fn set_free(&self, word: usize, bits: u64) {
        self.free_word(word).store(self.free_word(word).load(Relaxed) | bits, Release);
    }

    /// The first word behind this one, and in the end itself, with a slot that can be handed out, and those slots. So a word
    /// comes again only once all others have had their turn, and has as many as became free meanwhile.
    pub(crate) fn word_behind(&self, word: usize) -> Option<(usize, NonZero<u64>)> {
        // A slab has few slots: no sum of these overflows, as the compiler would have to expect of a division that rounds up.
        let count = (self.slots.get() + u64::BITS as usize - 1) >> u64::BITS.trailing_zeros();
        self.first_word(word.wrapping_add(1)..count).or_else(|| self.first_word(0..count))
    }

    /// The first of these words with a slot that can be handed out, and those slots.
    #[inline(always)]
    fn first_word(&self, words: Range<usize>) -> Option<(usize, NonZero<u64>)> {
        for word in words {
            // Most are empty, and then what others have freed is not looked at.
            let free = self.free_word(word).load(Relaxed);
            if free == 0 {
                continue;
            }
            if let Some(ready) = NonZero::new(free & !self.remote_word(word).load(Relaxed)) {
                return Some((word, ready));
            }
        }
        None
    }

    /// Takes the free slot that has so many free ones before it. `None` if there are fewer.
    pub(crate) fn take_nth(&self, mut nth: u16) -> Option<usize> {
        for (index, [word, _]) in self.words().enumerate() {
            let mut bits = word.load(Relaxed);
            let count = bits.count_ones() as u16;
            if nth < count {
                (0..nth).for_each(|_| bits &= bits - 1);
                let slot = slot_at(index, bits);
                word.store(word.load(Relaxed) & !place(slot).1, Release);
                return Some(slot);
            }
            nth -= count;
        }
        None
    }

    /// Frees a slot for a CPU that is not the owner. `Err` if it is free already. `Ok` with an arena that the slab is to be
    /// handed to, or else with [`ArenaId::NONE`].
    #[inline]
    pub(crate) fn put_remotely(&self, slot: usize) -> Result<ArenaId, ()> {
        let (word, bit) = place(slot);
        if self.is_free(slot) {
            return Err(());
        }
        let before = self.remote_word(word).fetch_or(bit, AcqRel);
        if before & bit != 0 {
            return Err(());
        }
        Ok(if before == 0 { self.announce(1 << word) } else { ArenaId::NONE })
    }

    /// Takes over what others have freed; only for the owner, of a slab from its queue.
    ///
    /// If it comes upon a slot that was free already, it takes the second free of that back, and stops: the slot is
    /// returned, and the arena that the slab is to be handed to once more, as by [`put_remotely`](Self::put_remotely).
    pub(crate) fn collect(&self) -> Option<(usize, ArenaId)> {
        let mut announced = self.take_announced();
        while announced != 0 {
            let word = announced.trailing_zeros() as usize;
            let remote = self.remote_word(word);
            loop {
                let bits = remote.load(Acquire);
                let twice = self.free_word(word).load(Relaxed) & bits;
                if twice != 0 {
                    let slot = slot_at(word, twice);
                    remote.fetch_and(!place(slot).1, AcqRel);
                    return Some((slot, self.announce(announced)));
                }
                // In this order: a CPU that looks for a slot in both finds it.
                self.set_free(word, bits);
                // A CPU that freed meanwhile found a word that was not empty, and announced nothing. There are only so
                // many slots.
                if remote.fetch_and(!bits, AcqRel) & !bits == 0 {
                    break;
                }
            }
            announced &= announced - 1;
        }
        None
    }

    /// Lets no slot be freed any more; of an empty slab that has [left its arena](Self::leave_arena). Shows the slots that
    /// were freed a second time before that.
    pub(crate) fn seal(&self, mut twice: impl FnMut(usize)) {
        for (word, [_, remote]) in self.words().enumerate() {
            let mut bits = remote.swap(u64::MAX, AcqRel);
            while bits != 0 {
                twice(slot_at(word, bits));
                bits &= bits - 1;
            }
        }
    }

    /// Whether the slot is free, no matter who freed it. For anybody.
    pub(crate) fn is_free(&self, slot: usize) -> bool {
        let (word, bit) = place(slot);
        // Slots move from `remote` to `free`, so this looks in the same direction.
        (self.remote_word(word).load(Acquire) | self.free_word(word).load(Acquire)) & bit != 0
    }

    /// How many slots are free in the bitmap of the owner.
    pub(crate) fn free(&self) -> u16 {
        // Without an instruction for it, to count ones is dear, and most words of most slabs have none.
        let words = self.words().map(|[word, _]| word.load(Relaxed)).filter(|&word| word != 0);
        words.map(|word| word.count_ones() as u16).sum()
    }

    /// Whether all slots are free, and the owner knows.
    pub(crate) fn is_empty(&self) -> bool {
        self.free() == self.slots()
    }

    /// Whether the unused bits are clear, and no slot is free twice.
    pub(crate) fn is_consistent(&self) -> bool {
        let slots = u32::from(self.slots());
        self.words().enumerate().all(|(index, [free, remote])| {
            let within = slots.saturating_sub(index as u32 * u64::BITS).min(u64::BITS);
            let padding = u64::MAX.checked_shl(within).unwrap_or(0);
            let (free, remote) = (free.load(Relaxed), remote.load(Relaxed));
            (free | remote) & padding == 0 && free & remote == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::descriptor::tests::open;
    use super::*;
    use crate::slab::class::SizeClass;
    use std::collections::BTreeSet;

    impl Slab {
        /// A second free of a slot by another CPU than the owner, which looked at the slot before the first.
        pub(crate) fn free_twice(&self, slot: usize) -> ArenaId {
            let (word, bit) = place(slot);
            assert!(self.free_word(word).load(Relaxed) & bit != 0, "it was freed once");
            let before = self.remote_word(word).fetch_or(bit, AcqRel);
            if before == 0 { self.announce(1 << word) } else { ArenaId::NONE }
        }
    }

    /// A slab whose slots are all live.
    fn full(class: usize) -> (Slab, ArenaId) {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().nth(class).unwrap());
        let arena = ArenaId::of(3).unwrap();
        slab.set_arena(arena);
        while slab.take_nth(0).is_some() {}
        (slab, arena)
    }

    #[test]
    fn take_and_put_agree_with_a_set_whoever_frees() {
        let slab = Slab::vacant();
        // Each step looks at all slots: by hand at fewer, still of several words.
        let object = core::alloc::Layout::array::<u64>(if cfg!(miri) { 24 } else { 9 }).unwrap();
        open(&slab, SizeClass::of(object).unwrap());
        assert!(slab.slots() > 64);
        let mut live = BTreeSet::new();
        while let Some(slot) = slab.take_nth(0) {
            assert!(live.last().is_none_or(|&last| last < slot), "lowest first");
            assert!(live.insert(slot) && slab.is_consistent());
        }
        assert_eq!((slab.free(), live.len()), (0, usize::from(slab.slots())));
        for (nth, &slot) in live.iter().enumerate() {
            match nth % 3 {
                0 => assert!(slab.put_remotely(slot).is_ok()),
                1 => assert!(slab.put(slot)),
                _ => assert!(slab.put_any(slot)),
            }
            assert!(slab.is_free(slot) && slab.is_consistent());
            assert!(!slab.put(slot) && !slab.put_any(slot), "a double free by the owner was taken");
            assert!(slab.put_remotely(slot).is_err(), "a double free by another was taken");
        }
        assert!(slab.is_announced() && !slab.is_empty());
        assert_eq!(slab.collect(), None);
        assert!(!slab.is_announced() && slab.is_empty() && slab.is_consistent());
        assert_eq!(slab.take_nth(0), Some(0));
    }

    #[test]
    fn the_first_free_from_elsewhere_alone_hands_the_slab_over() {
        let (slab, arena) = full(7);
        assert_eq!(slab.put_remotely(200), Ok(arena));
        assert_eq!(slab.put_remotely(201), Ok(ArenaId::NONE), "the same word");
        assert_eq!(slab.put_remotely(0), Ok(ArenaId::NONE), "another word of a slab that is in a queue");
        assert!(slab.is_announced() && slab.arena() == arena);
        assert_eq!((slab.collect(), slab.free()), (None, 3));
        assert_eq!(slab.put_remotely(1), Ok(arena), "it is in no queue any more");
    }

    #[test]
    fn the_owner_frees_nothing_again_of_a_word_that_is_about_to_be_announced() {
        let (slab, _) = full(7);
        // So far is a CPU that frees slot 0 when another frees slot 1.
        slab.remote_word(0).fetch_or(1, AcqRel);
        assert_eq!(slab.put_remotely(1), Ok(ArenaId::NONE));
        assert!(!slab.put(0) && !slab.put_any(1) && slab.put(2));
    }

    #[test]
    fn the_free_after_which_the_slab_belongs_elsewhere_is_left_to_the_slow_way() {
        let (slab, _) = full(7);
        slab.until.set(1);
        assert!(slab.put(0) && !slab.put(0));
        assert!(!slab.put(1) && !slab.is_free(1));
        assert!(slab.put_any(1) && !slab.put(2));
    }

    #[test]
    fn each_second_free_of_a_slot_is_found_and_none_is_handed_out_before() {
        let (slab, arena) = full(7);
        for slot in [3, 5, 100] {
            assert!(slab.put(slot));
        }
        assert_eq!(slab.put_remotely(7), Ok(arena));
        assert_eq!([3, 100, 5].map(|slot| slab.free_twice(slot)), [ArenaId::NONE; 3]);
        assert_eq!(slab.word_behind(0), None, "what is in hand has one owner");
        assert_eq!(slab.collect(), Some((3, arena)));
        assert_eq!(slab.collect(), Some((5, arena)));
        assert_eq!(slab.collect(), Some((100, arena)));
        assert_eq!((slab.collect(), slab.free()), (None, 4));
        assert_eq!(slab.word_behind(0), NonZero::new(1 << 36).map(|slots| (1, slots)));
        assert_eq!(slab.word_behind(1), NonZero::new(0b1010_1000).map(|slots| (0, slots)));
    }

    #[test]
    fn of_a_sealed_slab_nothing_is_freed_and_what_was_freed_twice_is_shown() {
        let (slab, _) = full(7);
        (0..slab.slots()).for_each(|slot| assert!(slab.put_any(slot.into())));
        assert!(slab.leave_arena());
        [70, 4].iter().for_each(|&slot| _ = slab.free_twice(slot));
        let mut twice = Vec::new();
        slab.seal(|slot| twice.push(slot));
        assert_eq!(twice, [4, 70]);
        assert!((0..slab.slots()).all(|slot| slab.put_remotely(slot.into()).is_err()));
    }

    #[test]
    fn what_does_not_agree_is_noticed() {
        let slab = Slab::vacant();
        open(&slab, SizeClass::all().last().unwrap());
        slab.set_free(0, 1 << slab.slots());
        assert!(!slab.is_consistent(), "a bit behind the last slot");
        open(&slab, SizeClass::all().last().unwrap());
        slab.free_twice(0);
        assert!(!slab.is_consistent(), "a slot that is free twice");
    }
}
