//! Per-CPU pages: small blocks without the zone's lock (Linux: `struct per_cpu_pages`).
//!
//! For each order below 4 and each mobility a CPU has a [`Batch`]: the free blocks of one word, lent by a zone. Allocating is
//! clearing the lowest bit of a mask and freeing is setting one, without a locked instruction. Beside it, for each order below 6,
//! it keeps the few blocks that it freed last, where their pageblock is nearly full: there a search would find nothing better,
//! and elsewhere reuse would keep memory from becoming whole.
//!
//! Both are owned: the planes say of each such block that it is neither free nor allocated, handed out or not. So a free of it
//! by another CPU comes to a slow path, which asks all CPUs' pages whether it is handed out, and takes it off its loan.
//!
//! # Which CPU may touch them
//!
//! Their own CPU, with interrupts masked, so that no interrupt handler enters what is in use. Another CPU may, when memory is
//! short: it closes the gate, waits until the owner is outside, and empties them. What is on loan changes under the lock of the
//! pageblock that it lies in, and so another CPU may also take a block off a loan, at any time.

mod batch;
mod recent;

use core::ops::Deref;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub(crate) use batch::Batch;
pub(crate) use recent::Recent;
use recent::{DEPTHS, Kept};

use crate::buddy::WORD_FRAMES;
use crate::cpu::{Cpu, Masked};
use crate::frame::{Mobility, Order, Pfn};
use crate::sync::{Gate, Inside};

/// The orders that are lent in batches are those below this one (Linux: up to `PAGE_ALLOC_COSTLY_ORDER`).
pub(crate) const BATCHED: usize = 4;
/// The orders that recent blocks are kept of are those below this one: less than a word. (Measured: of 256 blocks of 2 MiB, 238
/// become whole again after a mixed load, and with all orders kept 223.)
pub(crate) const KEPT: usize = 6;
/// With fewer free frames a pageblock is nearly full: what is freed there is best used again at once. (Measured: with more,
/// memory does not become whole again.)
pub(crate) const NEARLY_FULL: u64 = 32;
/// Where a count of free frames stands in what zones compare with [`PerCpuPages::least`].
pub(crate) const COUNT_SHIFT: u32 = 54;
const KINDS: usize = Mobility::REQUESTED.len();

/// One CPU's pages. A kernel keeps a static array of them, one for each CPU that it can have.
///
/// What every operation touches comes first. The size is a power of two, so that a CPU's are found by a shift.
#[repr(C, align(128))]
pub struct PerCpuPages {
    /// The owner goes through it; a CPU that empties these pages closes it.
    gate: Gate,
    /// The same in its place while they are [slow](Self::set_slow); of the two, the one that is not in use is closed.
    slow_gate: Gate,
    is_slow: AtomicBool,
    /// Something went in or out since it was last asked.
    used: AtomicBool,
    /// What [`PerCpuPages::least`] says.
    least: AtomicU64,
    /// By order and mobility.
    batches: [[Batch; KINDS]; BATCHED],
    /// By mobility.
    recent: [Kept; KINDS],
    /// Times that a batch had nothing left and asked the zones.
    refills: AtomicU64,
}

/// The calling CPU's pages, which it is inside of for as long as this lives, with interrupts masked.
pub(crate) struct Entered<'a, C: Cpu> {
    pages: &'a PerCpuPages,
    /// Comes before the next: fields are dropped in their order.
    _inside: Inside<'a>,
    _masked: Masked<C>,
}

impl<C: Cpu> Deref for Entered<'_, C> {
    type Target = PerCpuPages;

    #[inline(always)]
    fn deref(&self) -> &PerCpuPages {
        self.pages
    }
}

/// What a CPU's pages have done since boot; what they hold are its [pagesets](crate::allocator::Pageset).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct PerCpuEvents {
    /// Times that a batch had nothing left to hand out and asked the zones for more.
    pub refills: u64,
}

impl Default for PerCpuPages {
    fn default() -> Self {
        Self::new()
    }
}

impl PerCpuPages {
    /// Frames that can be held, in batches and beside them.
    pub(crate) const CAPACITY: u64 = {
        let (mut frames, mut order) = (BATCHED as u64 * WORD_FRAMES as u64, 0);
        while order < KEPT {
            frames += (DEPTHS[order] as u64) << order;
            order += 1;
        }
        frames * KINDS as u64
    };

    /// Pages that hold nothing.
    pub const fn new() -> Self {
        Self {
            gate: Gate::new(),
            slow_gate: Gate::closed(),
            is_slow: AtomicBool::new(false),
            used: AtomicBool::new(false),
            least: AtomicU64::new(NEARLY_FULL << COUNT_SHIFT),
            batches: [const { [const { Batch::new() }; KINDS] }; BATCHED],
            recent: [const { Kept::new() }; KINDS],
            refills: AtomicU64::new(0),
        }
    }

    /// Enters those of the calling CPU; `None` if it has none, or if their gate is closed.
    #[inline(always)]
    pub(crate) fn enter<C: Cpu>(all: &[Self]) -> Option<Entered<'_, C>> {
        let masked = Masked::new();
        let pages = all.get(C::current())?;
        Some(Entered { pages, _inside: pages.gate.enter()?, _masked: masked })
    }

    /// [`enter`](Self::enter), by whichever gate is in use: for the slow paths, which do what fast paths know nothing of.
    #[inline]
    pub(crate) fn enter_slowly<C: Cpu>(all: &[Self]) -> Option<Entered<'_, C>> {
        let masked = Masked::new();
        let pages = all.get(C::current())?;
        Some(Entered { pages, _inside: pages.gate_in_use().enter()?, _masked: masked })
    }

    /// The gate that is in use. Its owner may read this outside, since whoever changes it stops the owners, and the other one is closed.
    fn gate_in_use(&self) -> &Gate {
        if self.is_slow.load(Relaxed) { &self.slow_gate } else { &self.gate }
    }

    /// Lets the owner in by [`enter_slowly`](Self::enter_slowly) alone, or by [`enter`](Self::enter) again. Only while they are
    /// [stopped](Self::stopping), which ends with that gate open.
    pub(crate) fn set_slow(&self, is_slow: bool) {
        self.is_slow.store(is_slow, Relaxed);
    }

    /// Runs `inside` on each of these that holds something, and keeps its owner outside meanwhile; not on those of a CPU that does
    /// not pass a barrier now. Only for one stranger at a time, which must not be inside its own.
    ///
    /// All gates are closed with one barrier, and each opens as soon as it has been visited.
    pub(crate) fn seize_each<C: Cpu>(all: &[Self], inside: impl Fn(&Self)) {
        let holding = all.iter().enumerate().filter(|(_, pages)| !pages.is_vacant());
        Gate::try_close_all::<C>(holding.map(|(cpu, pages)| (cpu, pages.gate_in_use())));
        for pages in all.iter().filter(|pages| pages.gate_in_use().is_closed()) {
            pages.gate_in_use().await_owner::<C>();
            inside(pages);
            pages.gate_in_use().open();
        }
    }

    /// Shows every word that what the owner does next may depend on, in a fixed order, for a hash; with `counts`, that too which is only
    /// reported.
    pub(crate) fn for_each_word(&self, counts: bool, visit: &mut impl FnMut(u64)) {
        for (_, batch) in self.batches() {
            batch.words().into_iter().for_each(&mut *visit);
        }
        for (order, recent) in self.recent() {
            recent.held().for_each(|pfn| visit(pfn.number()));
            visit(order.frames());
        }
        let refills = counts.then(|| self.refills.load(Relaxed));
        [self.used.load(Relaxed).into(), self.least()].into_iter().chain(refills).for_each(visit);
    }

    /// Runs `outside` while no CPU is inside any of these: once each has passed a barrier, however long that takes. For one
    /// stranger at a time, as [`seize_each`](Self::seize_each).
    pub(crate) fn stopping<C: Cpu, R>(all: &[Self], outside: impl FnOnce() -> R) -> R {
        let gates = || all.iter().map(Self::gate_in_use);
        while !Gate::try_close_all::<C>(gates().enumerate()) {
            C::relax();
        }
        gates().for_each(Gate::await_owner::<C>);
        let result = outside();
        gates().for_each(Gate::open);
        result
    }

    /// Whether nothing is held. This needs no barrier: what is held changes under pageblocks' locks, so a CPU that has had that
    /// of a block since, and found the block neither free nor allocated, sees it here.
    fn is_vacant(&self) -> bool {
        self.batches().all(|(_, batch)| batch.base().is_none()) && self.recent().next().is_none()
    }

    /// The batch of an order, which must be below [`BATCHED`], and mobility.
    #[inline(always)]
    pub(crate) fn batch(&self, order: Order, mobility: Mobility) -> &Batch {
        // One number, which a loop need not compute again.
        let nth = order.index() * KINDS + mobility.index();
        &self.batches.as_flattened()[nth.min(BATCHED * KINDS - 1)]
    }

    /// What was freed last of an order below [`KEPT`] and a mobility that requests have.
    #[inline]
    pub(crate) fn recent_of(&self, order: Order, mobility: Mobility) -> Option<Recent<'_>> {
        self.recent.get(mobility.index())?.of(order)
    }

    /// The stack for a block of this order and mobility, if there is room.
    #[inline]
    pub(crate) fn room_for(&self, order: Order, mobility: Mobility) -> Option<Recent<'_>> {
        let recent = self.recent_of(order, mobility)?;
        if !recent.is_full() {
            return Some(recent);
        }
        if order == Order::ZERO {
            self.least.store(1 << COUNT_SHIFT, Relaxed);
        }
        None
    }

    /// Takes out the last block of a stack. There is room for frames then.
    #[inline]
    pub(crate) fn pop(&self, recent: Recent<'_>) {
        self.least.store(NEARLY_FULL << COUNT_SHIFT, Relaxed);
        recent.pop();
    }

    /// How many frames a pageblock must have free for a frame that is freed there to be given back without a thought: more
    /// than those that are nearly full, as long as there is room for such a frame here. The number is shifted by [`COUNT_SHIFT`].
    #[inline(always)]
    pub(crate) fn least(&self) -> u64 {
        self.least.load(Relaxed)
    }

    /// All batches, each with its order.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (Order, &Batch)> {
        Order::all().zip(&self.batches).flat_map(|(order, kinds)| kinds.iter().map(move |batch| (order, batch)))
    }

    /// All stacks of recent blocks that have any, each with its order.
    pub(crate) fn recent(&self) -> impl Iterator<Item = (Order, Recent<'_>)> {
        self.recent.iter().flat_map(Kept::filled)
    }

    /// Frees a block of an order below [`BATCHED`] into the first batch that has a loan of its word. False if there is none, or
    /// the block is not on loan, or not handed out.
    #[inline(always)]
    pub(crate) fn free(&self, pfn: Pfn, order: Order) -> bool {
        let base = pfn.number() / u64::from(WORD_FRAMES) * u64::from(WORD_FRAMES);
        let batches = &self.batches[order.index() % BATCHED];
        let [first, others @ ..] = batches;
        if first.is_of(base) {
            return first.free(pfn);
        }
        others.iter().find(|batch| batch.is_of(base)).is_some_and(|batch| batch.free(pfn))
    }

    /// Of the word at `base`: the blocks that are lent, and those of them that can be handed out; a bit for each first frame.
    pub(crate) fn of_word(&self, base: Pfn) -> (u64, u64) {
        let batches = self.batches().map(|(_, batch)| batch.of_word(base));
        let recent = self.recent().flat_map(|(_, recent)| recent.held()).filter_map(|pfn| {
            let bit = pfn.number().wrapping_sub(base.number());
            (bit < u64::from(WORD_FRAMES)).then(|| (1 << bit, 1 << bit))
        });
        batches.chain(recent).fold((0, 0), |(lent, free), (more, also)| (lent | more, free | also))
    }

    /// How many batches and stacks the block at `bit` of the word at `base` is in.
    pub(crate) fn owners(&self, base: Pfn, bit: u32) -> u32 {
        let batches = self.batches().filter(|(_, batch)| batch.of_word(base).0 >> bit & 1 == 1).count();
        let pfn = base.offset(bit.into());
        let recent = self.recent().flat_map(|(_, recent)| recent.held()).filter(|held| *held == pfn).count();
        (batches + recent) as u32
    }

    /// The batch of which the block at `bit` of the word at `base` is on loan.
    pub(crate) fn lender(&self, base: Pfn, bit: u32) -> Option<(Order, &Batch)> {
        self.batches().find(|(_, batch)| batch.of_word(base).0 >> bit & 1 == 1)
    }

    /// The blocks that can be handed out.
    pub(crate) fn held(&self) -> impl Iterator<Item = (Order, Pfn)> {
        let batches = self.batches().flat_map(|(order, batch)| batch.held().map(move |pfn| (order, pfn)));
        batches.chain(self.recent().flat_map(|(order, recent)| recent.held().map(move |pfn| (order, pfn))))
    }

    /// Takes note that a zone was asked, or is to be: the pages are in use.
    #[inline]
    pub(crate) fn note_use(&self) {
        self.used.store(true, Relaxed);
    }

    /// Whether they were in use since this was last asked.
    pub(crate) fn was_used(&self) -> bool {
        let used = self.used.load(Relaxed);
        self.used.store(false, Relaxed);
        used
    }

    /// Counts that a batch asks the zones for more.
    pub(crate) fn count_refill(&self) {
        self.refills.store(self.refills.load(Relaxed) + 1, Relaxed);
    }

    /// What has happened here.
    pub(crate) fn events(&self) -> PerCpuEvents {
        PerCpuEvents { refills: self.refills.load(Relaxed) }
    }

    /// Makes all atomics known to loom.
    #[cfg(bifolio_loom)]
    pub(crate) fn prime(&self) {
        crate::sync::atomic::prime!(self.is_slow, self.used, self.least, self.refills);
        self.gate.prime();
        self.slow_gate.prime();
        self.batches().for_each(|(_, batch)| batch.prime());
        self.recent.iter().for_each(Kept::prime);
    }
}

// The atomics of models have another size.
const _: () = assert!(cfg!(any(bifolio_loom, bifolio_shuttle)) || size_of::<PerCpuPages>().is_power_of_two());
