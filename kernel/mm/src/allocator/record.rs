//! Recording: every operation in one order, so that it can be repeated elsewhere and come to the same state, bit for bit.
//!
//! While it is on, the gates that fast paths know are closed, as they are for [hardening](crate::hardening). So fast paths test nothing
//! that they did not test before, and every request comes to where those end. There it waits for its turn, does slowly what would have
//! been done, and is an [`Event`].
//!
//! What changes nothing is not recorded. What reports look at is: zones settle what they were freed for it.
//!
//! An operation that asks a shrinker gives up its turn for as long as that takes: a shrinker may need what CPUs hold that wait for
//! theirs. What they do meanwhile comes within it.
//!
//! Operations of the heap are recorded along with them ([`HeapCall`]), by the same recorder and in the same order. What one asks
//! of page frames is an operation of its own, within it.

#[forbid(unsafe_code)]
mod heap_call;
#[forbid(unsafe_code)]
mod ring;
mod turn;

use super::{AllocError, Cpu, FAST, PageAllocator, View};
use crate::error::FreeError;
use crate::frame::{Blocks, Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::per_cpu::{BATCHED, PerCpuPages};
pub use heap_call::HeapCall;
pub use ring::Event;
pub(crate) use turn::At;
pub use turn::Recording;

/// An operation on page frames or on the heap, as an [`Event`] tells of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a recorder that overlooked a new one would write what cannot be done again"
)]
pub enum Call {
    /// [`PageAllocator::allocate`]; returns the block's first frame.
    Allocate {
        /// The block's size.
        order: Order,
        /// The request's flags.
        gfp: Gfp,
    },
    /// [`PageAllocator::free`].
    Free {
        /// The block's first frame.
        pfn: Pfn,
        /// The block's size.
        order: Order,
    },
    /// [`PageAllocator::split`].
    Split {
        /// The block's first frame.
        pfn: Pfn,
        /// The block's size.
        order: Order,
        /// The size of the pieces.
        into: Order,
    },
    /// [`PageAllocator::allocate_exact_aligned`]; returns the first frame.
    AllocateExact {
        /// How many frames.
        frames: u64,
        /// What they are aligned to.
        align: Order,
        /// The request's flags.
        gfp: Gfp,
    },
    /// [`PageAllocator::allocate_contiguous_aligned`]; returns the first frame.
    AllocateContiguous {
        /// How many frames.
        frames: u64,
        /// How many of them they are aligned to.
        align: u64,
        /// The request's flags.
        gfp: Gfp,
    },
    /// [`PageAllocator::allocate_run`]; returns the first frame.
    AllocateRun {
        /// How many frames.
        frames: u64,
        /// How many of them they are aligned to.
        align: u64,
        /// The request's flags.
        gfp: Gfp,
    },
    /// [`PageAllocator::allocate_range`]; returns the first frame.
    AllocateRange {
        /// The frames.
        range: PfnRange,
        /// The request's flags.
        gfp: Gfp,
    },
    /// [`PageAllocator::resize`]; returns the first frame.
    Resize {
        /// The frames, as they are allocated.
        range: PfnRange,
        /// How many they are to be.
        frames: u64,
        /// The request's flags.
        gfp: Gfp,
    },
    /// [`PageAllocator::isolate`].
    Isolate(PfnRange),
    /// [`PageAllocator::unisolate`].
    Unisolate(PfnRange),
    /// [`PageAllocator::add`].
    Add(PfnRange),
    /// [`PageAllocator::drain`].
    Drain,
    /// [`PageAllocator::decay`]; returns 1 if the CPU had been idle.
    Decay,
    /// [`PageAllocator::balance`]; returns the frames that shrinkers gave.
    Balance,
    /// [`PageAllocator::unreserve_highatomic`].
    UnreserveHighAtomic,
    /// [`View::zone`], for which a zone counts what was freed.
    Settle(ZoneKind),
    /// [`PageAllocator::add_shrinker`].
    AddShrinker,
    /// [`PageAllocator::remove_shrinker`].
    RemoveShrinker,
    /// An operation, the one that has begun and not ended, asks a shrinker for frames; returns how many it gave. What the shrinker
    /// itself does comes in between, and what other CPUs do meanwhile.
    Shrink {
        /// How many it asks for.
        frames: u64,
    },
    /// An operation on the heap.
    Heap(HeapCall),
}

/// Is told of every operation while [recording](PageAllocator::record) is on.
pub trait Recorder: Sync {
    /// Takes what has happened since this was called last, in order: before there is room for no more, and when it is
    /// [asked for](Recording::flush).
    ///
    /// If every operation that has begun has ended by the last of the events, the state is the one that they have led to, and its
    /// [hash](View::hash) can be taken.
    ///
    /// With interrupts masked, while no CPU does an operation: it must neither allocate nor free, nor wait for a CPU that might.
    fn take(&self, events: &[Event]);
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Has every operation recorded from now on, for good.
    ///
    /// It costs nothing where it is off. Where it is on, one operation is at work at a time, with interrupts masked; but for the time
    /// that a shrinker takes, during which a thread must stay on its CPU. CPUs that are at work at once have different numbers.
    pub fn record(&mut self, recording: &'m Recording<'m>) {
        PerCpuPages::stopping::<C, _>(self.pages, || self.pages.iter().for_each(|pages| pages.set_slow(true)));
        self.zones.iter().for_each(|zone| zone.with(|zone| zone.withhold_wholes(true)));
        self.0.recording = Some(recording);
    }
}

impl<C: Cpu> PageAllocator<'_, C> {
    /// Serves a request that no fast path did, since they are closed, and records it. As a rule the CPU has a block at hand, which it
    /// need not enter its pages for: in its turn nobody else does.
    #[inline(always)]
    pub(super) fn allocate_recorded(
        &self,
        recording: &Recording<'_>,
        order: Order,
        gfp: Gfp,
    ) -> Result<Pfn, AllocError> {
        let is_batched = FAST.contains(gfp) && order.index() < BATCHED && !self.is_hardened();
        let Some(mobility) = gfp.mobility().filter(|_| is_batched) else { return self.allocate_in_turn(order, gfp) };
        let at_hand = |cpu: usize| self.pages.get(cpu)?.batch(order, mobility).allocate().map(Pfn::number);
        match recording.at_once::<C>(Call::Allocate { order, gfp }, at_hand) {
            Some(number) => Ok(Pfn::new(number)),
            None => self.allocate_in_turn(order, gfp),
        }
    }

    #[cold]
    #[inline(never)]
    fn allocate_in_turn(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        self.recorded(Call::Allocate { order, gfp }, first_frame, || self.allocate_as_closed(order, gfp))
    }

    /// Frees a block that no fast path did, since they are closed, and records it; as a rule into a batch of this CPU's.
    #[inline(always)]
    pub(super) fn free_recorded(&self, recording: &Recording<'_>, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if order.index() >= BATCHED || self.is_hardened() {
            return self.free_in_turn(pfn, order);
        }
        let to_batch = |cpu: usize| self.pages.get(cpu)?.free(pfn, order).then_some(0);
        match recording.at_once::<C>(Call::Free { pfn, order }, to_batch) {
            Some(_) => Ok(()),
            None => self.free_in_turn(pfn, order),
        }
    }

    #[cold]
    #[inline(never)]
    fn free_in_turn(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.recorded(Call::Free { pfn, order }, done, || self.free_as_closed(pfn, order))
    }
}

impl<C: Cpu> View<'_, C> {
    /// Does an operation, which is recorded if that is on, unless it is part of one that is.
    #[inline(always)]
    pub(super) fn recorded<R>(
        &self,
        call: Call,
        returned: impl FnOnce(&R) -> Option<u64>,
        operation: impl FnOnce() -> R,
    ) -> R {
        Recording::recorded::<C, R>(self.recording, call, At::Frames, returned, operation)
    }

    /// Runs `outside` while no CPU is inside its pages. For one CPU at a time.
    pub(super) fn stopping<R>(&self, outside: impl FnOnce() -> R) -> R {
        match self.recording {
            // A CPU goes inside in its turn alone.
            Some(recording) => recording.undisturbed::<C, _>(outside),
            None => PerCpuPages::stopping::<C, _>(self.pages, outside),
        }
    }

    /// Asks a shrinker, which is recorded if the operation that asks is.
    pub(super) fn ask_shrinker(&self, frames: u64, shrink: impl FnOnce() -> u64) -> u64 {
        let Some(recording) = self.recording else { return shrink() };
        let give_up = || recording.give_up_turn::<C, _>(shrink);
        recording.within::<C, _>(Call::Shrink { frames }, At::Others, |given| Some(*given), give_up)
    }

    /// A hash of the allocator's whole state: every word of metadata, what zones count, and all CPUs' pages. The same state has
    /// the same hash on any machine, if the metadata was zero before [`PageAllocator::new`].
    ///
    /// It means something only while no CPU is at work.
    pub fn hash(&self) -> u64 {
        self.hash_with(true)
    }

    /// [`hash`](Self::hash) without what is counted for reports and nothing else: in two states with the same one, an operation does
    /// the same, and what comes of it has the same one again.
    pub fn hash_of_state(&self) -> u64 {
        self.hash_with(false)
    }

    fn hash_with(&self, counts: bool) -> u64 {
        let mut hash = 0;
        let mut mix = |word: u64| hash = mixed(hash, word);
        for kind in ZoneKind::ALL {
            self.with(kind, |zone| zone.for_each_word(counts, &mut mix));
        }
        self.pages.iter().for_each(|pages| pages.for_each_word(counts, &mut mix));
        hash
    }
}

/// The hash of what `hash` is that of, and one more word.
pub(crate) fn mixed(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// What an operation returned, as a number.
pub(super) fn first_frame<E>(result: &Result<Pfn, E>) -> Option<u64> {
    result.as_ref().ok().map(|pfn| pfn.number())
}

/// The first of the frames that an operation returned, as a number.
pub(super) fn first_of<E>(result: &Result<Blocks, E>) -> Option<u64> {
    result.as_ref().ok().map(|blocks| blocks.range().start.number())
}

/// That an operation was not refused.
pub(super) fn done<T, E>(result: &Result<T, E>) -> Option<u64> {
    result.is_ok().then_some(0)
}
