//! A look at the slab around an address.

use core::alloc::Layout;
use core::fmt;

use super::{Heap, SizeClass};
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::slab::arena::ArenaId;
pub use crate::slab::bin::SlotSource;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::source::PageSource;
use crate::sync::atomic::Ordering::Relaxed;

/// What is known of a slab, or of the memory of a large object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SlabInfo {
    /// The cache's name.
    pub cache: &'static str,
    /// The address of its first byte.
    pub start: usize,
    /// Bytes that it has.
    pub bytes: usize,
    /// The order of its block, unless it is one object of any number of frames.
    pub order: Option<Order>,
    /// Bytes in a slot: of a large object, all that it may use.
    pub object_size: usize,
    /// Slots: one for a large object.
    pub slots: usize,
}

/// A word of a slab's bitmaps: a bit for each of 64 slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SlabWord {
    /// Those that are free.
    pub free: u64,
    /// Those that others than the slab's owner have freed, and it has not taken over.
    pub remote: u64,
    /// Of the free ones those that are handed out next.
    pub in_hand: u64,
}

/// A slab, word by word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SlabWords {
    /// What is known of it as a whole.
    pub info: SlabInfo,
    /// The CPU whose arena it is in; `None` if all share it.
    pub cpu: Option<usize>,
    /// The words, of which as many count as there are slots.
    pub words: [SlabWord; Self::WORDS],
}

impl SlabWords {
    /// Words of a slab's bitmap.
    pub const WORDS: usize = Slab::MAX_SLOTS / u64::BITS as usize;

    /// Tells in sentences how this slot is the one that is handed out next: its word and its bit. `start` and `address` are where the
    /// slab and the slot are, for whoever knows them by other addresses.
    pub fn tell_slot(&self, start: u64, slot: usize, address: u64, tell: &mut dyn FnMut(fmt::Arguments<'_>)) {
        let (word, bit) = (slot / 64, slot % 64);
        let SlabWord { free, remote, .. } = self.words[word];
        tell(format_args!(
            "word {word} of the slab at {start:#x}: free {free:#018x}, freed by other CPUs {remote:#018x}"
        ));
        tell(format_args!("so slot {slot} of {} is served, bit {bit}, the lowest: {address:#x}", self.info.slots));
    }
}

impl fmt::Display for SlotSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InHand => "this CPU has slots of one word of a slab in hand",
            Self::NextWord => "nothing is in hand; the next word of the current slab with free slots is taken up",
            Self::Partial => "the current slab is full; the fullest of those with free slots follows",
            Self::Empty => {
                "the current slab is full, and no other has both objects and free slots; an empty one follows"
            }
            Self::Freed => "all slabs are full as far as is known; in one that was, slots have been freed",
        })
    }
}

/// The slot that is handed out next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NextSlot {
    /// How it is found.
    pub source: SlotSource,
    /// The address of its slab.
    pub slab: usize,
    /// Its number there.
    pub slot: usize,
    /// Its address.
    pub address: usize,
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// The slot that this CPU is given next for a layout, found as it will be then, and nothing done; `None` if none of its slabs is known
    /// to have one: then it takes over what others have freed there, or takes a slab of those that all CPUs share, or opens one.
    pub fn next_slot(&self, layout: Layout) -> Option<NextSlot> {
        let class = SizeClass::of(layout)?;
        self.look_in_arena(|arena| {
            let (source, slab, slot) = arena.bin(class.number()).next_slot()?;
            Some(NextSlot { source, slab: slab.base().addr(), slot, address: slab.slot(slot).addr() })
        })
    }

    /// The slab around an address, with the words of its bitmaps, as they are. `None` if there is none, or its cache is debugged. (A large
    /// object has no words.)
    ///
    /// The heap stands still meanwhile.
    pub fn slab_words(&self, address: usize) -> Option<SlabWords> {
        self.stopped(|all| {
            // SAFETY: the heap stands still, and the slab is not used beyond that.
            let (slab, cache) = unsafe { self.slab_around(&all.records, address) }?;
            let mut words = [SlabWord::default(); SlabWords::WORDS];
            if !slab.is_run() {
                for (word, [free, remote]) in words.iter_mut().zip(slab.words()) {
                    (word.free, word.remote) = (free.load(Relaxed), remote.load(Relaxed));
                }
            }
            let owner = all.arena(slab.arena()).filter(|_| slab.arena().is_there());
            if let Some((word, slots)) = owner.and_then(|arena| arena.bin(slab.cache()).in_hand_of(slab)) {
                words.get_mut(word).into_iter().for_each(|word| word.in_hand = slots);
            }
            let cpu = owner.map(|arena| arena.id()).filter(|id| *id != ArenaId::SHARED).map(ArenaId::index);
            Some(SlabWords { info: Self::info(slab, cache), cpu, words })
        })
    }

    fn info(slab: Meta<Slab>, cache: &'static str) -> SlabInfo {
        SlabInfo {
            cache,
            start: slab.base().addr(),
            bytes: slab.bytes(),
            order: (!slab.is_run()).then(|| slab.order()),
            object_size: slab.object_size(),
            slots: usize::from(slab.slots()).max(1),
        }
    }

    /// The slab or large object around an address, and to `visit` each of its slots, with whether it is in use. `None` if there
    /// is none, or its cache is debugged.
    ///
    /// The heap stands still meanwhile: `visit` must not use it.
    pub fn slab_at(&self, address: usize, mut visit: impl FnMut(usize, bool)) -> Option<SlabInfo> {
        self.settled(|all| {
            // SAFETY: the heap stands still, and the slab is not used beyond that.
            let (slab, cache) = unsafe { self.slab_around(&all.records, address) }?;
            let is_run = slab.is_run();
            let slots = usize::from(slab.slots()).max(1);
            (0..slots).for_each(|slot| visit(slot, is_run || !slab.is_free(slot)));
            Some(Self::info(slab, cache))
        })
    }
}
