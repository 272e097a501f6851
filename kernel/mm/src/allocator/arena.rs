//! Per-CPU arenas: small blocks without a lock.
//!
//! An arena holds a *run* for each small order and mobility: one word of frames, on loan from a zone. Allocating is
//! clearing the lowest bit of a mask, freeing a block of the run is setting one, and neither needs a locked instruction.
//!
//! A block that was allocated elsewhere goes straight to its zone. When a second one of the same word follows, that one and
//! all that follow them are collected, and go back together under one lock when the next is of another word: as one block of
//! order 6, if the word has filled up.
//!
//! A word that an arena has, on loan or to return blocks of it, is marked where everybody can read it. Who frees a block
//! of such a word elsewhere asks the arenas under the zone's lock, so a double free is named on whatever CPU the first was.
//!
//! # Who may touch an arena
//!
//! Its own CPU, with interrupts masked, so that no interrupt handler enters an arena that is in use. Another CPU may,
//! when memory is short: it stops the arena, waits until the owner is outside, and empties it. Owner and stranger each
//! write their own flag and then read the other's, which takes a full barrier between the two on both sides. The owner
//! comes here for every frame and the stranger hardly ever, so the stranger pays for both: [`Cpu::synchronize`] makes
//! every CPU pass a barrier. To the owner the flags are plain loads and stores.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};

use Ordering::{Acquire, Relaxed, Release};

use super::Cpu;
use crate::buddy::WORD_FRAMES;
use crate::frame::{Mobility, Order, Pfn, ZoneKind};
use crate::zone::{Batch, WordNumber};

/// The orders that arenas serve are those below this one (Linux: up to `PAGE_ALLOC_COSTLY_ORDER`).
pub(super) const ORDERS: usize = 4;

/// A word on loan from a zone, to be handed out as blocks of one order. No word at all while `base` is [`Run::NONE`].
pub(super) struct Run {
    /// The number of the word's first frame.
    base: AtomicU64,
    /// The blocks that can be handed out, a bit for the first frame of each.
    free: AtomicU64,
    /// The blocks on loan, in the same way: those that can be handed out and those that have been, unless another CPU has
    /// freed them.
    lent: AtomicU64,
    /// The word's number in its zone.
    word: AtomicU64,
}

impl Run {
    /// No word starts at an odd frame.
    const NONE: u64 = u64::MAX;

    const fn new() -> Self {
        Self {
            base: AtomicU64::new(Self::NONE),
            free: AtomicU64::new(0),
            lent: AtomicU64::new(0),
            word: AtomicU64::new(0),
        }
    }

    /// Hands out the lowest block.
    #[inline]
    pub fn allocate(&self) -> Option<Pfn> {
        let free = self.free.load(Relaxed);
        if free == 0 {
            return None;
        }
        self.free.store(free & (free - 1), Relaxed);
        Some(Pfn::new(self.base.load(Relaxed) + u64::from(free.trailing_zeros())))
    }

    /// Takes a block of the run back. `None` if it is none of the run's, or was not handed out.
    #[inline]
    fn free(&self, pfn: Pfn) -> Option<()> {
        let bit = pfn.number().wrapping_sub(self.base.load(Relaxed));
        if bit >= u64::from(WORD_FRAMES) {
            return None;
        }
        let free = self.free.load(Relaxed);
        if (self.lent.load(Relaxed) ^ free) >> bit & 1 == 0 {
            return None;
        }
        self.free.store(free | 1 << bit, Relaxed);
        Some(())
    }

    /// The zone that lent the word, and the loan with the blocks that were not handed out; `None` without one.
    pub fn loan(&self, order: Order) -> Option<(ZoneKind, Batch)> {
        let base = self.base.load(Relaxed);
        let loan = || Batch { word: WordNumber(self.word.load(Relaxed)), order, heads: self.free.load(Relaxed) };
        (base != Self::NONE).then(|| (ZoneKind::of(Pfn::new(base)), loan()))
    }

    /// Whether there is no loan.
    fn is_vacant(&self) -> bool {
        self.base.load(Relaxed) == Self::NONE
    }

    /// Takes a loan of the word that starts at `base`, in place of the one before, which the caller has ended.
    pub fn take(&self, base: Pfn, loan: Batch) {
        self.base.store(base.number(), Relaxed);
        self.free.store(loan.heads, Relaxed);
        self.lent.store(loan.heads, Relaxed);
        self.word.store(loan.word.0, Relaxed);
    }

    /// Has no loan any more: the caller has ended it.
    pub fn clear(&self) {
        self.base.store(Self::NONE, Relaxed);
        self.free.store(0, Relaxed);
        self.lent.store(0, Relaxed);
    }

    /// Takes more blocks of the same word; those among them that were never handed out are returned.
    pub fn take_more(&self, heads: u64) -> u64 {
        let free = self.free.load(Relaxed);
        self.free.store(free | heads, Relaxed);
        self.lent.store(self.lent.load(Relaxed) | heads, Relaxed);
        free & heads
    }

    /// Whether the frame is the first of a block that can be handed out.
    fn holds(&self, pfn: Pfn) -> bool {
        let bit = pfn.number().wrapping_sub(self.base.load(Relaxed));
        bit < u64::from(WORD_FRAMES) && self.free.load(Relaxed) >> bit & 1 == 1
    }
}

/// Blocks of one order in one word that were freed here and are to be returned. None while `key` is [`Return::NONE`].
struct Return {
    /// The number of the word's first frame plus the blocks' order, which is smaller than a word.
    key: AtomicU64,
    /// The blocks, a bit for the first frame of each.
    heads: AtomicU64,
    /// The blocks that can be freed here, in the same way: those that were allocated when the first was freed, but for what
    /// [others](PerCpuPages::forget) have freed since. So it need not be asked of the zone again.
    allocated: AtomicU64,
    /// The word's number in its zone.
    word: AtomicU64,
}

impl Return {
    /// No block has that high an order.
    const NONE: u64 = u64::MAX;

    const fn new() -> Self {
        Self {
            key: AtomicU64::new(Self::NONE),
            heads: AtomicU64::new(0),
            allocated: AtomicU64::new(0),
            word: AtomicU64::new(0),
        }
    }

    #[inline]
    fn key(pfn: Pfn, order: Order) -> (u64, u32) {
        let bit = pfn.number() % u64::from(WORD_FRAMES);
        (pfn.number() - bit + u64::from(order.get()), bit as u32)
    }

    /// Collects one more block of the word. `None` if it is not known to be allocated.
    #[inline]
    fn add(&self, bit: u32) -> Option<Collected> {
        let heads = self.heads.load(Relaxed);
        if (self.allocated.load(Relaxed) & !heads) >> bit & 1 == 0 {
            return (heads >> bit & 1 == 1).then_some(Collected::Twice);
        }
        self.heads.store(heads | 1 << bit, Relaxed);
        Some(Collected::Kept)
    }

    /// The zone that the blocks go to, and the blocks; `None` if there are none.
    #[inline]
    fn batch(&self) -> Option<(ZoneKind, Batch)> {
        let key = self.key.load(Relaxed);
        if key == Self::NONE {
            return None;
        }
        let order = Order::new((key % u64::from(WORD_FRAMES)) as u8)?;
        let batch = Batch { word: WordNumber(self.word.load(Relaxed)), order, heads: self.heads.load(Relaxed) };
        Some((ZoneKind::of(Pfn::new(key)), batch))
    }

    /// Whether these are blocks of the word that the frame is in.
    fn is_of(&self, pfn: Pfn) -> bool {
        self.key.load(Relaxed) / u64::from(WORD_FRAMES) == pfn.number() / u64::from(WORD_FRAMES)
    }

    fn holds(&self, pfn: Pfn) -> bool {
        self.is_of(pfn) && self.heads.load(Relaxed) >> (pfn.number() % u64::from(WORD_FRAMES)) & 1 == 1
    }
}

/// One CPU's arena. A kernel keeps a static array of them, one for each CPU that it can have.
#[repr(align(128))]
pub struct PerCpuPages {
    /// The owner is inside.
    busy: AtomicBool,
    /// Somebody else wants to be.
    stopped: AtomicBool,
    /// By order and mobility.
    runs: [[Run; Mobility::REQUESTED.len()]; ORDERS],
    /// What is being returned.
    returning: Return,
    /// Something went in or out since it was last asked.
    used: AtomicBool,
    /// The first frame of the word of the latest block that was freed elsewhere.
    latest: AtomicU64,
    /// Times that a run had nothing left and asked the zones.
    refills: AtomicU64,
    /// Words of which blocks were returned.
    returned: AtomicU64,
}

/// What a CPU's arena has done since boot; what it holds are its [pagesets](super::Pageset).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PerCpuEvents {
    /// Times that it had nothing left to hand out and asked the zones, which is when it takes a lock.
    pub refills: u64,
    /// Words of which it gave collected blocks back to their zones.
    pub returned: u64,
}

/// What became of a block that was to be collected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Collected {
    /// It is among those to be returned.
    Kept,
    /// It was among them before: a double free.
    Twice,
}

impl Default for PerCpuPages {
    fn default() -> Self {
        Self::new()
    }
}

impl PerCpuPages {
    /// Frames that an arena can hold: those of its runs, and those that are to be returned.
    pub(super) const CAPACITY: u64 = ((ORDERS * Mobility::REQUESTED.len() + 1) * WORD_FRAMES as usize) as u64;

    /// An arena that holds nothing.
    pub const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            runs: [const { [const { Run::new() }; Mobility::REQUESTED.len()] }; ORDERS],
            returning: Return::new(),
            used: AtomicBool::new(false),
            latest: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            returned: AtomicU64::new(0),
        }
    }

    /// Runs `inside` unless the arena is stopped. Only for the owner, with interrupts masked.
    #[inline(always)]
    pub(super) fn enter<R>(&self, inside: impl FnOnce(&Self) -> R) -> Option<R> {
        self.busy.store(true, Relaxed);
        // Keeps the compiler from swapping the two; that the processor does not either is `Cpu::synchronize`'s part.
        compiler_fence(Ordering::SeqCst);
        let result = if self.stopped.load(Acquire) { None } else { Some(inside(self)) };
        self.busy.store(false, Release);
        result
    }

    /// Runs `inside` in each of these arenas that has a word, and keeps its owner outside meanwhile. Only for one stranger at
    /// a time, which must not be inside its own arena.
    ///
    /// All are stopped with one barrier, and each may be entered again as soon as it has been visited.
    pub(super) fn seize_each<C: Cpu>(arenas: &[Self], inside: impl Fn(&Self)) {
        let taken = || arenas.iter().filter(|arena| arena.stopped.load(Relaxed));
        arenas.iter().filter(|arena| !arena.is_vacant()).for_each(Self::stop);
        if taken().next().is_some() {
            C::synchronize();
        }
        for arena in taken() {
            arena.await_owner::<C>();
            inside(arena);
            arena.reopen();
        }
    }

    /// Runs `outside` while nobody is inside any of these arenas. For whom [`seize_each`](Self::seize_each) is for.
    pub(super) fn stopping<C: Cpu, R>(arenas: &[Self], outside: impl FnOnce() -> R) -> R {
        arenas.iter().for_each(Self::stop);
        C::synchronize();
        arenas.iter().for_each(Self::await_owner::<C>);
        let result = outside();
        arenas.iter().for_each(Self::reopen);
        result
    }

    /// Keeps the owner from coming in any more, from the next barrier on.
    fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    /// Waits until the owner of an arena that was stopped is outside.
    fn await_owner<C: Cpu>(&self) {
        while self.busy.load(Acquire) {
            C::relax();
        }
    }

    /// Lets the owner in again.
    fn reopen(&self) {
        self.stopped.store(false, Release);
    }

    /// Whether the arena has no word, neither on loan nor to return blocks of it.
    ///
    /// This needs no barrier: a run gets its word while the word's zone is locked, so who has had that lock since, and found
    /// the word gone, sees it here.
    fn is_vacant(&self) -> bool {
        self.returning().is_none() && self.runs().all(|(_, run)| run.is_vacant())
    }

    /// Makes all atomics of the arena known to loom.
    #[cfg(loom)]
    pub(super) fn prime(&self) {
        use crate::sync::atomic::prime;
        prime!(self.busy, self.stopped, self.used, self.latest);
        self.runs.as_flattened().iter().for_each(|run| prime!(run.base, run.free, run.lent, run.word));
        let way = &self.returning;
        prime!(way.key, way.heads, way.allocated, way.word);
    }

    /// The run of an order, which must be below [`ORDERS`], and mobility.
    #[inline]
    pub(super) fn run(&self, order: Order, mobility: Mobility) -> &Run {
        &self.runs[order.index() % ORDERS][mobility.index()]
    }

    /// All runs, each with its order.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Order, &Run)> {
        Order::all().zip(&self.runs).flat_map(|(order, runs)| runs.iter().map(move |run| (order, run)))
    }

    /// Frees a block into the run that it is of; `None` if it is of none, or is in it.
    #[inline]
    pub(super) fn free_into_run(&self, pfn: Pfn, order: Order) -> Option<()> {
        self.runs[order.index() % ORDERS].iter().find_map(|run| run.free(pfn))
    }

    /// Frees a block that goes back to its zone, if others of its word do. `None` if no others do, or it is not known to be
    /// allocated.
    #[inline]
    pub(super) fn free_into_return(&self, pfn: Pfn, order: Order) -> Option<Collected> {
        let (key, bit) = Return::key(pfn, order);
        if self.returning.key.load(Relaxed) == key { self.returning.add(bit) } else { None }
    }

    /// Takes note that the arena is in use: it went to a zone, or is to go there.
    #[inline]
    pub(super) fn note_use(&self) {
        self.used.store(true, Relaxed);
    }

    /// Counts that a run asks the zones for more.
    pub(super) fn count_refill(&self) {
        self.refills.store(self.refills.load(Relaxed) + 1, Relaxed);
    }

    /// What the arena has done.
    pub(super) fn events(&self) -> PerCpuEvents {
        PerCpuEvents { refills: self.refills.load(Relaxed), returned: self.returned.load(Relaxed) }
    }

    /// Whether the arena was in use since this was last asked.
    pub(super) fn was_used(&self) -> bool {
        let used = self.used.load(Relaxed);
        self.used.store(false, Relaxed);
        used
    }

    /// Takes note of a block that is freed elsewhere, and says whether the last one lay in the same word.
    #[inline]
    pub(super) fn follow(&self, pfn: Pfn) -> bool {
        let word = pfn.number() & !u64::from(WORD_FRAMES - 1);
        let follows = self.latest.load(Relaxed) == word;
        self.latest.store(word, Relaxed);
        follows
    }

    /// Collects a block, one of those that are `allocated` in its word, to be returned with others. The word must be in no
    /// arena yet, nothing else may be returned, and its zone must be locked.
    #[inline]
    pub(super) fn collect(&self, pfn: Pfn, order: Order, word: WordNumber, allocated: u64) {
        let ((key, bit), way) = (Return::key(pfn, order), &self.returning);
        debug_assert!(way.key.load(Relaxed) == Return::NONE);
        way.heads.store(1 << bit, Relaxed);
        way.allocated.store(allocated, Relaxed);
        way.word.store(word.0, Relaxed);
        way.key.store(key, Relaxed);
        self.note_use();
    }

    /// What is collected, and the zone that it goes to.
    #[inline]
    pub(super) fn returning(&self) -> Option<(ZoneKind, Batch)> {
        self.returning.batch()
    }

    /// Takes out what is collected: the blocks, and those that others have freed meanwhile as well. The zone that it goes to
    /// must be locked, so that who looks for a block with the zone locked finds it either here or there.
    #[inline]
    pub(super) fn take(&self) -> Option<(Batch, u64)> {
        let way = &self.returning;
        let (_, batch) = way.batch()?;
        way.key.store(Return::NONE, Relaxed);
        self.returned.store(self.returned.load(Relaxed) + 1, Relaxed);
        let allocated = way.allocated.load(Relaxed);
        Some((Batch { heads: batch.heads & allocated, ..batch }, batch.heads & !allocated))
    }

    /// Learns that somebody else frees the block that starts at this frame: it is no block that can be freed here.
    pub(super) fn forget(&self, pfn: Pfn) {
        let bit = pfn.number() % u64::from(WORD_FRAMES);
        if self.returning.is_of(pfn) {
            self.returning.allocated.fetch_and(!(1 << bit), Relaxed);
        }
        for run in self.runs.as_flattened().iter().filter(|run| run.base.load(Relaxed) == pfn.number() - bit) {
            run.lent.fetch_and(!(1 << bit), Relaxed);
        }
    }

    /// The words that the arena has borrowed, each with the blocks that it can still hand out.
    pub(super) fn loans(&self) -> impl Iterator<Item = (ZoneKind, Batch)> {
        self.runs().filter_map(|(order, run)| run.loan(order))
    }

    /// What the arena holds, word by word. A snapshot: the owner goes on meanwhile.
    pub(super) fn held(&self) -> impl Iterator<Item = (ZoneKind, Batch)> {
        self.loans().chain(self.returning())
    }

    /// Whether the arena holds the block that starts at this frame.
    pub(super) fn holds(&self, pfn: Pfn) -> bool {
        self.runs.as_flattened().iter().any(|run| run.holds(pfn)) || self.returning.holds(pfn)
    }
}
