//! Per-CPU arenas: single frames without a lock.
//!
//! An arena holds a *run* for each mobility: one word of frames, on loan from a zone. Allocating is clearing the lowest
//! bit of a mask, freeing a frame of the run is setting one, and neither needs a locked instruction. Frames that were
//! allocated elsewhere are collected, word by word, and go back to their zone in batches under one lock; a word that fills
//! up returns as one block of order 6.
//!
//! # Who may touch an arena
//!
//! Its own CPU, with interrupts masked, so that no interrupt handler enters an arena that is in use. Another CPU may,
//! when memory is short: it stops the arena, waits until the owner is outside, and empties it. Owner and stranger each
//! write their own flag and then read the other's, which takes a full barrier between the two on both sides. The owner
//! comes here for every frame and the stranger hardly ever, so the stranger pays for both: [`Cpu::synchronize`] makes
//! every CPU pass a barrier. To the owner the flags are plain loads and stores.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};

use Ordering::{Acquire, Relaxed, Release};

use super::Cpu;
use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Mobility, Pfn};
use crate::zone::Singles;

/// How many words an arena collects before it returns them.
const RETURNS: usize = 32;

/// A word of frames on loan from a zone. No frames at all while `base` is [`Run::NONE`].
pub(super) struct Run {
    /// The number of the word's first frame.
    base: AtomicU64,
    /// The frames that can be handed out, a bit each.
    free: AtomicU64,
    /// The frames on loan, a bit each: those that can be handed out and those that have been.
    lent: AtomicU64,
}

impl Run {
    /// No word starts at an odd frame.
    const NONE: u64 = u64::MAX;

    const fn new() -> Self {
        Self { base: AtomicU64::new(Self::NONE), free: AtomicU64::new(0), lent: AtomicU64::new(0) }
    }

    /// Hands out the lowest frame.
    #[inline]
    pub fn allocate(&self) -> Option<Pfn> {
        let free = self.free.load(Relaxed);
        if free == 0 {
            return None;
        }
        self.free.store(free & (free - 1), Relaxed);
        Some(Pfn::new(self.base.load(Relaxed) + u64::from(free.trailing_zeros())))
    }

    /// The loan, with the frames that were not handed out; `None` without one.
    pub fn loan(&self) -> Option<Singles> {
        let base = self.base.load(Relaxed);
        (base != Self::NONE).then(|| Singles { base: Pfn::new(base), frames: self.free.load(Relaxed) })
    }

    /// Takes a loan in place of the one before, which the caller has ended.
    pub fn take(&self, loan: Option<Singles>) {
        let (base, frames) = loan.map_or((Self::NONE, 0), |loan| (loan.base.number(), loan.frames));
        self.base.store(base, Relaxed);
        self.free.store(frames, Relaxed);
        self.lent.store(frames, Relaxed);
    }

    /// Takes more frames of the same word; those among them that were never handed out are returned.
    pub fn take_more(&self, frames: u64) -> u64 {
        let free = self.free.load(Relaxed);
        self.free.store(free | frames, Relaxed);
        self.lent.store(self.lent.load(Relaxed) | frames, Relaxed);
        free & frames
    }
}

/// One CPU's arena. A kernel keeps a static array of them, one for each CPU that it can have.
#[repr(align(128))]
pub struct Arena {
    /// The owner is inside.
    busy: AtomicBool,
    /// Somebody else wants to be.
    stopped: AtomicBool,
    runs: [Run; Mobility::REQUESTED.len()],
    /// How many words `returns` holds.
    collected: AtomicU64,
    /// Words by their first frame, and frames of them that were freed here, a bit each.
    returns: [(AtomicU64, AtomicU64); RETURNS],
}

/// What became of a frame that was freed into an arena.
pub(super) enum Freed {
    /// It is in the run, or among the frames to be returned.
    Kept,
    /// As [`Freed::Kept`], and the arena holds as many frames as it may: it is to be emptied.
    Full,
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

impl Arena {
    /// An arena that holds nothing.
    pub const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            runs: [const { Run::new() }; Mobility::REQUESTED.len()],
            collected: AtomicU64::new(0),
            returns: [const { (AtomicU64::new(0), AtomicU64::new(0)) }; RETURNS],
        }
    }

    /// Runs `inside` unless the arena is stopped. Only for the owner, with interrupts masked.
    #[inline]
    pub(super) fn enter<R>(&self, inside: impl FnOnce(&Self) -> R) -> Option<R> {
        self.busy.store(true, Relaxed);
        // Keeps the compiler from swapping the two; that the processor does not either is `Cpu::synchronize`'s part.
        compiler_fence(Ordering::SeqCst);
        let result = if self.stopped.load(Acquire) { None } else { Some(inside(self)) };
        self.busy.store(false, Release);
        result
    }

    /// Runs `inside` once the owner is outside, and keeps it there meanwhile. Only one stranger at a time, which must
    /// not be the owner.
    pub(super) fn seize<C: Cpu, R>(&self, inside: impl FnOnce(&Self) -> R) -> R {
        self.stopped.store(true, Relaxed);
        C::synchronize();
        while self.busy.load(Acquire) {
            core::hint::spin_loop();
        }
        let result = inside(self);
        self.stopped.store(false, Release);
        result
    }

    #[inline]
    pub(super) fn run(&self, mobility: Mobility) -> &Run {
        &self.runs[mobility.index()]
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Frees a frame of one of the runs; `None` if it is in none of them.
    #[inline]
    pub(super) fn free_into_run(&self, pfn: Pfn) -> Option<Result<(), FreeError>> {
        for run in &self.runs {
            let bit = pfn.number().wrapping_sub(run.base.load(Relaxed));
            if bit < u64::from(WORD_FRAMES) && run.lent.load(Relaxed) >> bit & 1 == 1 {
                let free = run.free.load(Relaxed);
                if free >> bit & 1 == 1 {
                    return Some(Err(FreeError::AlreadyFree(pfn)));
                }
                run.free.store(free | 1 << bit, Relaxed);
                return Some(Ok(()));
            }
        }
        None
    }

    /// Collects a frame that goes back to its zone.
    ///
    /// # Errors
    /// [`FreeError::AlreadyFree`] if it is the same frame as the last.
    #[inline]
    pub(super) fn collect(&self, pfn: Pfn) -> Result<Freed, FreeError> {
        let (base, bit) = (pfn.number() & !u64::from(WORD_FRAMES - 1), 1 << (pfn.number() % u64::from(WORD_FRAMES)));
        let collected = self.collected.load(Relaxed) as usize;
        if let Some((word, frames)) = self.returns.get(collected.wrapping_sub(1))
            && word.load(Relaxed) == base
        {
            let before = frames.load(Relaxed);
            if before & bit != 0 {
                return Err(FreeError::AlreadyFree(pfn));
            }
            frames.store(before | bit, Relaxed);
            return Ok(Freed::Kept);
        }
        let (word, frames) = &self.returns[collected % RETURNS];
        word.store(base, Relaxed);
        frames.store(bit, Relaxed);
        self.collected.store(collected as u64 + 1, Relaxed);
        Ok(if collected + 1 == RETURNS { Freed::Full } else { Freed::Kept })
    }

    /// Takes out what was collected.
    pub(super) fn take_returns(&self) -> impl Iterator<Item = Singles> {
        let collected = self.collected.load(Relaxed) as usize;
        self.collected.store(0, Relaxed);
        self.returns[..collected].iter().map(returned)
    }

    /// The frames that the arena holds, word by word. A snapshot: the owner goes on meanwhile.
    fn held(&self) -> impl Iterator<Item = Singles> {
        let runs = self.runs.iter().filter_map(Run::loan);
        let collected = (self.collected.load(Relaxed) as usize).min(RETURNS);
        runs.chain(self.returns[..collected].iter().map(returned))
    }

    /// How many frames the arena holds.
    pub(super) fn frames(&self) -> u64 {
        self.held().map(|singles| u64::from(singles.frames.count_ones())).sum()
    }

    /// Whether the arena holds the frame.
    pub(super) fn holds(&self, pfn: Pfn) -> bool {
        self.held().any(|singles| {
            let bit = pfn.number().wrapping_sub(singles.base.number());
            bit < u64::from(WORD_FRAMES) && singles.frames >> bit & 1 == 1
        })
    }
}

fn returned((word, frames): &(AtomicU64, AtomicU64)) -> Singles {
    Singles { base: Pfn::new(word.load(Relaxed)), frames: frames.load(Relaxed) }
}
