//! Per-CPU pages: small blocks without the zone's lock (Linux: `struct per_cpu_pages`).
//!
//! For each order below that of a word and each mobility a CPU has a [`Batch`]: the free blocks of one word, lent by a zone.
//! Allocating is clearing the lowest bit of a mask and freeing is setting one, without a locked instruction. Beside it, it keeps
//! the few blocks that it freed last, where their pageblock is nearly full: there a search would find nothing better, and elsewhere
//! reuse would keep memory from becoming whole.
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

use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering::Relaxed};

pub(crate) use batch::Batch;
use recent::{DEPTHS, STACKS, STARTS};

use crate::buddy::{WORD_FRAMES, WORD_ORDER, bits};
use crate::cpu::{Cpu, Masked};
use crate::frame::{Mobility, Order, Pfn};
use crate::sync::{Gate, Sign};

/// The orders that a CPU's pages hold are those below this one: less than a word (Linux: up to `PAGE_ALLOC_COSTLY_ORDER`, and
/// pageblocks). (Measured: of 256 blocks of 2 MiB, 238 become whole again after a mixed load, and with recent blocks of all orders
/// 223.)
pub(crate) const BATCHED: usize = WORD_ORDER as usize;
/// With fewer free frames a pageblock is nearly full: what is freed there is best used again at once. (Measured: with more,
/// memory does not become whole again.)
pub(crate) const NEARLY_FULL: u64 = 32;
/// Where a count of free frames stands in what zones compare with [`PerCpuPages::least`].
pub(crate) const COUNT_SHIFT: u32 = 54;
const KINDS: usize = Mobility::REQUESTED.len();
/// The gate is open to every path, or to the slow ones alone.
const OPEN: u8 = 0;
const SLOWLY: u8 = 1;

/// One CPU's pages. A kernel keeps a static array of them, one for each CPU that it can have.
///
/// What every operation touches comes first. The size is a power of two, so that a CPU's are found by a shift.
#[repr(C, align(128))]
pub struct PerCpuPages {
    /// The owner goes through it; a CPU that empties these pages closes it.
    gate: Gate<AtomicU8>,
    /// What the gate says while it is not closed: [`OPEN`], or [`SLOWLY`] while these are [slow](Self::set_slow).
    open: AtomicU8,
    /// Something went in or out since it was last asked.
    used: AtomicBool,
    /// What [`PerCpuPages::least`] says.
    least: AtomicU64,
    /// By order and mobility.
    batches: [[Batch; KINDS]; BATCHED],
    /// The blocks that were freed last, stack by stack, and where the next of each stack goes.
    recent: [AtomicU64; STARTS[STACKS]],
    next: [AtomicU16; STACKS],
    /// Times that a batch had nothing left and asked the zones.
    refills: AtomicU64,
}

/// The calling CPU's pages, which it is inside of for as long as this lives, with interrupts masked.
pub(crate) struct Entered<'a, C: Cpu> {
    pages: &'a PerCpuPages,
    _masked: Masked<C>,
}

impl<C: Cpu> Drop for Entered<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.pages.gate.leave();
    }
}

impl<C: Cpu> Deref for Entered<'_, C> {
    type Target = PerCpuPages;

    #[inline(always)]
    fn deref(&self) -> &PerCpuPages {
        self.pages
    }
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
        while order < BATCHED {
            frames += (DEPTHS[order] as u64) << order;
            order += 1;
        }
        frames * KINDS as u64
    };

    /// Pages that hold nothing.
    pub const fn new() -> Self {
        Self {
            gate: Gate::with(AtomicU8::new(OPEN)),
            open: AtomicU8::new(OPEN),
            used: AtomicBool::new(false),
            least: AtomicU64::new(NEARLY_FULL << COUNT_SHIFT),
            batches: [const { [const { Batch::new() }; KINDS] }; BATCHED],
            recent: [const { AtomicU64::new(0) }; STARTS[STACKS]],
            next: recent::empty_stacks(),
            refills: AtomicU64::new(0),
        }
    }

    /// Enters those of the calling CPU; `None` if it has none, or if their gate is closed.
    #[inline(always)]
    pub(crate) fn enter<C: Cpu>(all: &[Self]) -> Option<Entered<'_, C>> {
        Self::enter_if(all, |sign| sign == OPEN)
    }

    /// [`enter`](Self::enter) for the slow paths, which do what fast paths know nothing of: even while these are slow.
    #[inline]
    pub(crate) fn enter_slowly<C: Cpu>(all: &[Self]) -> Option<Entered<'_, C>> {
        Self::enter_if(all, |sign| sign != AtomicU8::CLOSED)
    }

    #[inline(always)]
    fn enter_if<C: Cpu>(all: &[Self], may_enter: impl FnOnce(u8) -> bool) -> Option<Entered<'_, C>> {
        let masked = Masked::new();
        let pages = all.get(C::current())?;
        let sign = pages.gate.enter_anyway();
        let entered = Entered { pages, _masked: masked };
        may_enter(sign).then_some(entered)
    }

    /// Lets the owner in by [`enter_slowly`](Self::enter_slowly) alone, or by [`enter`](Self::enter) again. Only while these are
    /// [stopped](Self::stopping), which ends with the gate open so.
    pub(crate) fn set_slow(&self, is_slow: bool) {
        self.open.store(if is_slow { SLOWLY } else { OPEN }, Relaxed);
    }

    /// Closes the gates of some of these, each given with the number of its owner, as [`Gate::try_close_all`] does.
    fn try_close<'a, C: Cpu>(all: &'a [Self], some: impl Iterator<Item = (usize, &'a Self)> + Clone) -> bool {
        // It is the same for all.
        let open = all.first().map_or(OPEN, |pages| pages.open.load(Relaxed));
        Gate::try_close_each::<C>(some.map(|(cpu, pages)| (cpu, &pages.gate)), open)
    }

    /// Runs `inside` on each of these that holds something, and keeps its owner outside meanwhile; not on those of a CPU that does
    /// not pass a barrier now. Only for one stranger at a time, which must not be inside its own.
    ///
    /// All gates are closed with one barrier, and each opens as soon as it has been visited.
    pub(crate) fn seize_each<C: Cpu>(all: &[Self], inside: impl Fn(&Self)) {
        let holding = all.iter().enumerate().filter(|(_, pages)| !pages.is_vacant());
        Self::try_close::<C>(all, holding);
        for pages in all.iter().filter(|pages| pages.gate.is_closed()) {
            pages.gate.await_owner::<C>();
            inside(pages);
            pages.reopen();
        }
    }

    /// Ends what a stranger closed them for.
    fn reopen(&self) {
        self.gate.open_to(self.open.load(Relaxed));
    }

    /// Shows every word that what the owner does next may depend on, in a fixed order, for a hash; with `counts`, that too which is only
    /// reported.
    pub(crate) fn for_each_word(&self, counts: bool, visit: &mut impl FnMut(u64)) {
        for (_, batch) in self.batches() {
            batch.words().into_iter().for_each(&mut *visit);
        }
        for (order, stack) in self.filled_stacks() {
            self.stacked(stack).for_each(|pfn| visit(pfn.number()));
            visit(order.frames());
        }
        let refills = counts.then(|| self.refills());
        [self.used.load(Relaxed).into(), self.least()].into_iter().chain(refills).for_each(visit);
    }

    /// Runs `outside` while no CPU is inside any of these: once each has passed a barrier, however long that takes. For one
    /// stranger at a time, as [`seize_each`](Self::seize_each).
    pub(crate) fn stopping<C: Cpu, R>(all: &[Self], outside: impl FnOnce() -> R) -> R {
        while !Self::try_close::<C>(all, all.iter().enumerate()) {
            C::relax();
        }
        all.iter().for_each(|pages| pages.gate.await_owner::<C>());
        let result = outside();
        all.iter().for_each(Self::reopen);
        result
    }

    /// Whether nothing is held. This needs no barrier: what is held changes under pageblocks' locks, so a CPU that has had that
    /// of a block since, and found the block neither free nor allocated, sees it here.
    fn is_vacant(&self) -> bool {
        self.batches().all(|(_, batch)| batch.base().is_none()) && self.filled_stacks().next().is_none()
    }

    /// The batch of an order, which must be below [`BATCHED`], and mobility.
    #[inline(always)]
    pub(crate) fn batch(&self, order: Order, mobility: Mobility) -> &Batch {
        // One number, which a loop need not compute again.
        let nth = order.index() * KINDS + mobility.index();
        &self.batches.as_flattened()[nth.min(BATCHED * KINDS - 1)]
    }

    /// The stack for a block of this order and the mobility with this number, and the place in it, if there is any.
    #[inline(always)]
    pub(crate) fn room_for(&self, order: Order, mobility: usize) -> Option<(usize, usize)> {
        let stack = Self::stack(order, mobility);
        let room = self.room(stack);
        if room.is_none() && order == Order::ZERO {
            self.least.store(1 << COUNT_SHIFT, Relaxed);
        }
        Some((stack, room?))
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

    /// Frees a block of an order below [`BATCHED`] into the first batch that has a loan of its word. False if there is none, or
    /// the block is not on loan, or not handed out.
    #[inline(always)]
    pub(crate) fn free(&self, pfn: Pfn, order: Order) -> bool {
        let base = pfn.number() / u64::from(WORD_FRAMES) * u64::from(WORD_FRAMES);
        let batches = &self.batches[order.index().min(BATCHED - 1)];
        let [first, others @ ..] = batches;
        if first.is_of(base) {
            return first.free(pfn);
        }
        others.iter().find(|batch| batch.is_of(base)).is_some_and(|batch| batch.free(pfn))
    }

    /// What it has of words of pageblocks: the order of the blocks, the word's first frame, and a bit for the first frame of each block
    /// that is lent, and of each of those that can be handed out.
    fn loans(&self) -> impl Iterator<Item = (Order, Pfn, u64, u64)> {
        let of_batch =
            |(order, batch): (Order, &Batch)| batch.loan().map(|(base, lent, held)| (order, base, lent, held));
        let recent = self.filled_stacks().flat_map(|(order, stack)| {
            self.stacked(stack).map(move |pfn| {
                let bit = pfn.number() % u64::from(WORD_FRAMES);
                (order, Pfn::new(pfn.number() - bit), 1 << bit, 1 << bit)
            })
        });
        self.batches().filter_map(of_batch).chain(recent)
    }

    /// Of the word at `base`: the blocks that are lent, and those of them that can be handed out; a bit for each first frame.
    pub(crate) fn of_word(&self, base: Pfn) -> (u64, u64) {
        let of_word = self.loans().filter(|(_, word, ..)| *word == base);
        of_word.fold((0, 0), |(lent, held), (.., more, also)| (lent | more, held | also))
    }

    /// The blocks that the zones have lent, handed out or not.
    pub(crate) fn lent(&self) -> impl Iterator<Item = (Order, Pfn)> {
        self.loans().flat_map(|(order, base, lent, _)| bits(lent).map(move |bit| (order, base.offset(bit.into()))))
    }

    /// The blocks that can be handed out.
    pub(crate) fn held(&self) -> impl Iterator<Item = (Order, Pfn)> {
        self.loans().flat_map(|(order, base, _, held)| bits(held).map(move |bit| (order, base.offset(bit.into()))))
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
        self.refills.store(self.refills() + 1, Relaxed);
    }

    /// Times that a batch had nothing left and asked the zones.
    pub(crate) fn refills(&self) -> u64 {
        self.refills.load(Relaxed)
    }

    /// Makes all atomics known to loom.
    #[cfg(bifolio_loom)]
    pub(crate) fn prime(&self) {
        crate::sync::atomic::prime!(self.open, self.used, self.least, self.refills);
        self.gate.prime();
        self.batches().for_each(|(_, batch)| batch.prime());
        self.next.iter().for_each(|next| crate::sync::atomic::prime!(next));
        self.recent.iter().for_each(|block| crate::sync::atomic::prime!(block));
    }
}

// The atomics of models have another size.
const _: () = assert!(cfg!(any(bifolio_loom, bifolio_shuttle)) || size_of::<PerCpuPages>().is_power_of_two());
