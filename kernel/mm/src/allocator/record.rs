//! Recording: every operation in one order, so that it can be repeated elsewhere and come to the same state, bit for bit.
//!
//! While it is on, all CPUs' pages are closed to their owners. So their fast paths test nothing that they did not test before,
//! and every request comes to where those end. There it waits until no other operation is at work, opens its own CPU's pages, and
//! begins anew: what is recorded is what would have been done.
//!
//! What changes nothing is not recorded. What reports look at is: zones settle what they were freed for it.

use core::fmt;

use super::{Cpu, PageAllocator, View};
use crate::frame::{Blocks, Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::per_cpu::PerCpuPages;
use crate::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{self, Lock};

/// An operation on page frames, as a [`Recorder`] is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// itself does comes in between.
    Shrink {
        /// How many it asks for.
        frames: u64,
    },
}

/// Is told of every operation while [recording](PageAllocator::record) is on.
///
/// With interrupts masked, by the CPU that does the operation, while no other CPU does any: it must neither allocate nor free,
/// nor wait for a CPU that might.
pub trait Recorder: Sync {
    /// `cpu` begins an operation.
    fn begin(&self, cpu: usize, call: Call);

    /// The operation that began last, and has not ended, ends. `returned` is what it returned, as a number; `None` if it was
    /// refused. `hash` is that of the [whole state](View::hash), and takes a walk over all metadata.
    fn end(&self, returned: Option<u64>, hash: &dyn Fn() -> u64);
}

/// What it takes to record an allocator's operations, which has a reference to this.
pub struct Recording<'m> {
    recorder: &'m dyn Recorder,
    /// The CPU whose operation is at work, by its number plus one; else 0.
    inside: AtomicUsize,
    /// That operation is in a shrinker.
    in_shrinker: AtomicBool,
    /// Held for as long as an operation and its record take.
    turn: AtomicBool,
}

impl<'m> Recording<'m> {
    /// One that tells `recorder`.
    pub const fn new(recorder: &'m dyn Recorder) -> Self {
        let (inside, in_shrinker) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { recorder, inside, in_shrinker, turn: AtomicBool::new(false) }
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

    /// Whether an operation that is now here is part of one that is at work on this CPU. (Not in a shrinker, whose own operations
    /// are recorded.)
    #[cold]
    fn is_inside<C: Cpu>(&self) -> bool {
        let own = C::without_interrupts(C::current);
        self.inside.load(Relaxed) == own.wrapping_add(1) && !self.in_shrinker.load(Relaxed)
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
    /// It costs nothing where it is off. Where it is on, one operation is at work at a time, with interrupts masked.
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

    /// Does an operation when no other is at work. (It is called by a pointer, so that whoever waits here and begins anew is no
    /// recursion to the compiler, which would inline less.)
    #[cold]
    #[inline(never)]
    fn take_turn(&self, recording: &Recording<'_>, call: Call, operation: &mut dyn FnMut() -> Option<u64>) {
        C::without_interrupts(|| {
            let own = C::current();
            // A shrinker's operation is in the turn of the one that asked it.
            let is_nested = recording.inside.load(Relaxed) == own.wrapping_add(1);
            if !is_nested {
                recording.begin_turn::<C>();
            }
            recording.recorder.begin(own, call);
            recording.inside.store(own.wrapping_add(1), Relaxed);
            recording.in_shrinker.store(false, Relaxed);
            self.open_fast_paths(own);
            let returned = operation();
            self.close_fast_paths(own);
            recording.in_shrinker.store(is_nested, Relaxed);
            if !is_nested {
                recording.inside.store(0, Relaxed);
            }
            recording.recorder.end(returned, &|| self.hash());
            if !is_nested {
                recording.end_turn::<C>();
            }
        });
    }

    /// Lets operations of this CPU end where they would if nothing was recorded.
    fn open_fast_paths(&self, cpu: usize) {
        self.pages.get(cpu).into_iter().for_each(PerCpuPages::admit);
        self.zones.iter().for_each(|zone| zone.lock().withhold_wholes(false));
    }

    /// Sends all operations of this CPU, and those on whole pageblocks of any, to where they wait for their turn.
    fn close_fast_paths(&self, cpu: usize) {
        self.zones.iter().for_each(|zone| zone.lock().withhold_wholes(true));
        self.pages.get(cpu).into_iter().for_each(PerCpuPages::withhold);
    }

    /// Asks a shrinker, which is recorded if the operation that asks is.
    pub(super) fn ask_shrinker(&self, frames: u64, shrink: impl FnOnce() -> u64) -> u64 {
        let Some(recording) = self.recording else { return shrink() };
        // Interrupts are masked: this is part of an operation that is recorded.
        let own = C::current();
        recording.recorder.begin(own, Call::Shrink { frames });
        recording.in_shrinker.store(true, Relaxed);
        self.close_fast_paths(own);
        let given = shrink();
        self.open_fast_paths(own);
        recording.in_shrinker.store(false, Relaxed);
        recording.recorder.end(Some(given), &|| self.hash());
        given
    }

    /// A hash of the allocator's whole state: every word of metadata, what zones count, and all CPUs' pages. The same state has
    /// the same hash on any machine, if the metadata was zero before [`PageAllocator::new`].
    ///
    /// It means something only while no CPU is at work.
    pub fn hash(&self) -> u64 {
        let mut hash = 0;
        let mut mix = |word: u64| hash = mixed(hash, word);
        for kind in ZoneKind::ALL {
            self.with(kind, |zone| zone.for_each_word(&mut mix));
        }
        self.pages.iter().for_each(|pages| pages.for_each_word(&mut mix));
        hash
    }
}

/// The hash of what `hash` is that of, and one more word.
fn mixed(hash: u64, word: u64) -> u64 {
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
