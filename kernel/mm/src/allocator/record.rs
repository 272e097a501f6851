//! Recording: every operation in one order, so that it can be repeated elsewhere and come to the same state, bit for bit.
//!
//! While it is on, all CPUs' pages are closed to their owners. So their fast paths test nothing that they did not test before,
//! and every request comes to where those end. There it waits until no other operation is at work, opens its own CPU's pages, and
//! begins anew: what is recorded is what would have been done.
//!
//! What changes nothing is not recorded. What reports look at is: zones settle what they were freed for it.
//!
//! An operation that asks a shrinker gives up its turn for as long as that takes: a shrinker may need what CPUs hold that wait for
//! theirs. What they do meanwhile comes within it.
//!
//! Operations of the heap are recorded along with them ([`HeapCall`]), by the same recorder and in the same order. What one asks
//! of page frames is an operation of its own, within it.

#[cfg(feature = "heap")]
mod heap;
mod heap_call;

use core::fmt;

use super::{Cpu, FAST, PageAllocator, View};
use crate::frame::{Blocks, Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::per_cpu::PerCpuPages;
use crate::sync::atomic::{
    AtomicBool, AtomicU8, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{self, Lock};
pub use heap_call::HeapCall;
use spin::Once;

/// An operation on page frames or on the heap, as a [`Recorder`] is told of it.
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
///
/// With interrupts masked, by the CPU that does the operation, while no other CPU does any: it must neither allocate nor free,
/// nor wait for a CPU that might.
pub trait Recorder: Sync {
    /// `cpu` begins an operation: if one has begun and not ended, one within that, maybe of another CPU that asks a shrinker.
    fn begin(&self, cpu: usize, call: Call);

    /// The operation that began last, and has not ended, ends. `returned` is what it returned, as a number; `None` if it was
    /// refused. Behind the outermost one the state is as it is to be again, and its [hash](View::hash) can be taken.
    fn end(&self, returned: Option<u64>);
}

/// What an operation that is recorded is at, and so whose operations are part of it instead of operations within it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum At {
    /// What belongs to others: whatever comes is an operation within it.
    Others,
    /// The heap's own affairs. What it asks of page frames is an operation within it.
    #[cfg(feature = "heap")]
    Heap,
    /// The page frames' own affairs.
    Frames,
}

/// What it takes to record operations, of an allocator and of the heap before it, which have a reference to this.
pub struct Recording<'m> {
    recorder: &'m dyn Recorder,
    /// The CPU whose operation is at work, by its number plus one; else 0.
    inside: AtomicUsize,
    /// What that operation [is at](At).
    at: AtomicU8,
    /// It may wait: it was begun with interrupts enabled.
    may_wait: AtomicBool,
    /// Held for as long as an operation and its record take.
    turn: AtomicBool,
    /// How many operations have given up their turn, each within the one before. Changed by the CPU whose turn it is.
    given_up: AtomicUsize,
    /// The heap whose operations are recorded too.
    heap: Once<&'static dyn Withhold>,
}

/// A heap whose operations are recorded.
pub(crate) trait Withhold: Sync {
    /// Whether operations of this CPU come to where they wait for their turn, instead of ending before, from now on; and returns
    /// whether they did. Only for that CPU, during its turn.
    fn withhold(&self, cpu: usize, is_withheld: bool) -> bool;
}

impl<'m> Recording<'m> {
    /// One that tells `recorder`.
    pub const fn new(recorder: &'m dyn Recorder) -> Self {
        let inside = AtomicUsize::new(0);
        let at = AtomicU8::new(At::Others as u8);
        let (may_wait, turn, given_up) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
        Self { recorder, inside, at, may_wait, turn, given_up, heap: Once::new() }
    }

    /// Whether what is here is part of an operation that is being recorded, which masks interrupts, and was begun where they were
    /// enabled: then it may wait, as if they still were.
    pub fn may_wait<C: Cpu>(&self) -> bool {
        self.is_at_work::<C>() && self.may_wait.load(Relaxed)
    }

    /// Whether this CPU is at an operation that is being recorded.
    pub(super) fn is_at_work<C: Cpu>(&self) -> bool {
        let own = C::without_interrupts(C::current);
        self.inside.load(Relaxed) == own.wrapping_add(1)
    }

    fn is_at(&self, what: At) -> bool {
        self.at.load(Relaxed) == what as u8
    }

    /// What the turn is to hooks that look on: a lock, though not a [`Mutex`](crate::sync::Mutex), which would be of one kind of CPU.
    fn lock(&self) -> Lock {
        Lock { name: "recording", address: core::ptr::from_ref(&self.turn).addr() }
    }

    /// Waits until no operation is at work.
    fn begin_turn<C: Cpu>(&self) {
        C::acquire(&self.lock(), sync::Acquire::Wait);
        while self.turn.swap(true, Acquire) {
            C::relax();
        }
    }

    fn end_turn<C: Cpu>(&self) {
        self.turn.store(false, Release);
        C::release(&self.lock());
    }

    /// Gives up this CPU's turn while something is done, which may wait if the operation may. Behind it the turn is this CPU's again, once
    /// all operations have ended that have given up theirs since.
    fn give_up_turn<C: Cpu>(&self, what: &mut dyn FnMut()) {
        let (inside, at, may_wait) = (self.inside.load(Relaxed), self.at.load(Relaxed), self.may_wait.load(Relaxed));
        let depth = self.given_up.load(Relaxed) + 1;
        self.given_up.store(depth, Relaxed);
        self.inside.store(0, Relaxed);
        self.end_turn::<C>();
        C::restore_interrupts(may_wait);
        what();
        C::mask_interrupts();
        loop {
            self.begin_turn::<C>();
            if self.given_up.load(Relaxed) == depth {
                break;
            }
            self.end_turn::<C>();
            C::relax();
        }
        self.given_up.store(depth - 1, Relaxed);
        self.inside.store(inside, Relaxed);
        self.at.store(at, Relaxed);
        self.may_wait.store(may_wait, Relaxed);
    }

    /// Whether an operation on page frames that is now here is part of one that is at work on this CPU. (Not in a shrinker, whose
    /// own operations are recorded.)
    #[cold]
    fn is_inside<C: Cpu>(&self) -> bool {
        self.is_at_work::<C>() && self.is_at(At::Frames)
    }

    /// Does an operation when no other is at work but one that it is within, and tells the recorder.
    fn take_turn<C: Cpu>(&self, call: Call, at: At, operation: &mut dyn FnMut(usize) -> Option<u64>) {
        let were_enabled = C::mask_interrupts();
        let own = C::current();
        let is_nested = self.inside.load(Relaxed) == own.wrapping_add(1);
        if !is_nested {
            self.begin_turn::<C>();
            self.inside.store(own.wrapping_add(1), Relaxed);
            self.may_wait.store(were_enabled, Relaxed);
        }
        self.recorder.begin(own, call);
        let before = self.at.swap(at as u8, Relaxed);
        let returned = operation(own);
        self.at.store(before, Relaxed);
        if !is_nested {
            self.inside.store(0, Relaxed);
        }
        self.recorder.end(returned);
        if !is_nested {
            self.end_turn::<C>();
        }
        C::restore_interrupts(were_enabled);
    }
}

impl fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("inside", &self.inside).finish_non_exhaustive()
    }
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Has every operation recorded from now on, for good.
    ///
    /// It costs nothing where it is off. Where it is on, one operation is at work at a time, with interrupts masked; but for the time
    /// that a shrinker takes, during which a thread must stay on its CPU.
    pub fn record(&mut self, recording: &'m Recording<'m>) {
        self.0.recording = Some(recording);
        PerCpuPages::withhold_all::<C>(self.pages);
        self.zones.iter().for_each(|zone| zone.with(|zone| zone.withhold_wholes(true)));
    }
}

impl<C: Cpu> View<'_, C> {
    /// The recording that an operation which is now here waits for before it begins.
    #[inline(always)]
    pub(super) fn recording_due(&self) -> Option<&Recording<'_>> {
        self.recording.filter(|recording| !recording.is_inside::<C>())
    }

    /// Does and records an operation; `None` if recording is off, or the operation is part of one that is recorded.
    #[inline(always)]
    pub(super) fn recorded<R>(
        &self,
        call: Call,
        returned: impl FnOnce(&R) -> Option<u64>,
        operation: impl FnOnce() -> R,
    ) -> Option<R> {
        let recording = self.recording_due()?;
        let (mut operation, mut result) = (Some((operation, returned)), None);
        self.take_turn(recording, call, &mut || {
            let (operation, returned) = operation.take()?;
            returned(result.insert(operation()))
        });
        result
    }

    /// Does an operation on page frames when no other is at work. (It is called by a pointer, so that whoever waits here and begins
    /// anew is no recursion to the compiler, which would inline less.)
    #[cold]
    #[inline(never)]
    fn take_turn(&self, recording: &Recording<'_>, call: Call, operation: &mut dyn FnMut() -> Option<u64>) {
        recording.take_turn::<C>(call, At::Frames, &mut |own| {
            self.open_fast_paths(own);
            let returned = operation();
            self.close_fast_paths(own);
            returned
        });
    }

    /// Lets operations of this CPU end where they would if nothing was recorded; but for those on whole pageblocks, which end where all
    /// CPUs' do, and so are [done](Self::allocate_withheld) where they come to then.
    fn open_fast_paths(&self, cpu: usize) {
        self.pages.get(cpu).into_iter().for_each(PerCpuPages::admit);
    }

    /// Sends all operations of this CPU to where they wait for their turn.
    fn close_fast_paths(&self, cpu: usize) {
        self.pages.get(cpu).into_iter().for_each(PerCpuPages::withhold);
    }

    /// Serves a request, whose turn it is, from the pageblocks that zone Normal would give it quickly if nothing was recorded.
    #[inline(always)]
    pub(super) fn allocate_withheld(&self, order: Order, gfp: Gfp) -> Option<Pfn> {
        self.recording?;
        self.allocate_whole_anyway(order, gfp)
    }

    /// Serves a request from the pageblocks that zone Normal gives quickly where they are not withheld.
    #[cold]
    pub(super) fn allocate_whole_anyway(&self, order: Order, gfp: Gfp) -> Option<Pfn> {
        let mobility = gfp.mobility().filter(|_| FAST.contains(gfp) && order >= Order::PAGEBLOCK)?;
        self.with(ZoneKind::Normal, |zone| zone.with_wholes(|zone| zone.allocate_whole(order, mobility)))
    }

    /// Asks a shrinker, which is recorded if the operation that asks is.
    pub(super) fn ask_shrinker(&self, frames: u64, shrink: impl FnOnce() -> u64) -> u64 {
        let Some(recording) = self.recording else { return shrink() };
        // Interrupts are masked: this is part of an operation that is recorded.
        let (mut shrink, mut given) = (Some(shrink), 0);
        recording.take_turn::<C>(Call::Shrink { frames }, At::Others, &mut |own| {
            let heap = recording.heap.get().map(|heap| (heap, heap.withhold(own, true)));
            self.close_fast_paths(own);
            recording.give_up_turn::<C>(&mut || given = shrink.take().map_or(0, |shrink| shrink()));
            self.open_fast_paths(own);
            heap.map(|(heap, was_withheld)| heap.withhold(own, was_withheld));
            Some(given)
        });
        given
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
