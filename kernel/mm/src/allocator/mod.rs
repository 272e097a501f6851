//! The public face of page frames: zonelists, flags and watermarks over the zones.
//!
//! A request names the highest zone that it may use and falls back downward. Each zone keeps frames back: from
//! requests that could use a higher zone, and below its watermarks from those that are not pressing. The fast path asks
//! every zone for memory above `low`; only when none has any, the slow path goes down to what the flags allow.
//!
//! Single frames do not come this far as a rule: each CPU has an [`Arena`] of them.
//!
//! # Ways to get frames
//!
//! | what | allocate | free |
//! |---|---|---|
//! | a block of `2^order` frames | [`allocate`](PageAllocator::allocate) | [`free`](PageAllocator::free) |
//! | the same, freed with its owner | [`allocate_owned`](PageAllocator::allocate_owned) | drop [`OwnedFrames`] |
//! | many single frames | [`allocate_bulk`](PageAllocator::allocate_bulk) | [`free_bulk`](PageAllocator::free_bulk) |
//! | so many in a row | [`allocate_exact`](PageAllocator::allocate_exact) | [`free_range`](PageAllocator::free_range) |
//! | more than any block has | [`allocate_contiguous`](PageAllocator::allocate_contiguous) | [`free_range`](PageAllocator::free_range) |
//! | just these frames | [`allocate_range`](PageAllocator::allocate_range) | [`free_range`](PageAllocator::free_range) |
//!
//! [`Gfp::ZERO`] has any of them zeroed; [`split`](PageAllocator::split) makes a block several.

mod arena;
mod bulk;
mod contiguous;
mod cpu;
mod exact;
mod owned;
mod pageset;
mod plan;
mod reclaim;
mod report;
mod stats;
mod validate;
mod zeroed;
mod zonelist;

use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

pub use arena::Arena;
use arena::{Collected, ORDERS, Run, SEQUENCE, Set};
pub use cpu::Cpu;
pub use owned::OwnedFrames;
pub use pageset::Pageset;
pub use plan::{Plan, SetupError};
use reclaim::SlowPath;
pub use reclaim::{Shrinker, TooManyShrinkers};
use spin::{Mutex, MutexGuard};
pub use stats::Stats;

use crate::buddy::WORD_ORDER;
pub use crate::error::AllocError;
use crate::error::{AddError, FreeError};
use crate::frame::{Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use crate::zone::{Batch, Block, FreeBlocks, Lent, States, Watermarks, Zone, ZoneStats, min_free_kib, protection};

/// The page-frame allocator: Linux-style zones over the physical memory of a machine, and an arena for each CPU.
///
/// It never touches the memory that it manages. All its state is in the metadata that [`Plan`] laid out, so a stray
/// write into a freed frame cannot corrupt it, and frames need not be mapped, nor exist.
pub struct PageAllocator<'m, C> {
    zones: [Mutex<Zone<'m>>; ZoneKind::COUNT],
    states: [States<'m>; ZoneKind::COUNT],
    /// The [id](Arena::id) of the arena for which each zone was locked last.
    users: [AtomicUsize; ZoneKind::COUNT],
    arenas: &'m [Arena],
    /// Held by who empties other CPUs' arenas.
    draining: Mutex<()>,
    late: AtomicU64,
    metadata: PfnRange,
    slow: SlowPath<'m>,
    cpu: PhantomData<fn() -> C>,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Sets the allocator up over the plan's metadata, mapped, whatever it holds. Every usable frame is free then.
    ///
    /// Each CPU whose number is below that of `arenas` has one of its own; they must be fresh.
    ///
    /// # Errors
    /// [`SetupError`] if `metadata` has another size than planned.
    pub fn new(plan: &Plan<'_>, metadata: &'m mut [u64], arenas: &'m [Arena]) -> Result<Self, SetupError> {
        let mut zones = plan.zones(metadata)?;
        for (kind, zone) in ZoneKind::ALL.into_iter().zip(&mut zones) {
            for range in plan.usable(kind) {
                zone.add(range).expect("the plan's usable ranges are disjoint and lie in its spans");
            }
        }
        balance(&mut zones.each_mut());
        let has_normal = zones[ZoneKind::Normal.index()].managed() > 0;
        Ok(Self {
            states: zones.each_ref().map(Zone::states),
            zones: zones.map(Mutex::new),
            users: [const { AtomicUsize::new(0) }; ZoneKind::COUNT],
            arenas,
            draining: Mutex::new(()),
            late: AtomicU64::new(0),
            metadata: plan.metadata(),
            slow: SlowPath::new(has_normal),
            cpu: PhantomData,
        })
    }

    /// Runs `critical` on a zone that nobody else can see meanwhile.
    fn with<R>(&self, kind: ZoneKind, critical: impl FnOnce(&mut Zone<'m>) -> R) -> R {
        C::without_interrupts(|| critical(&mut self.zones[kind.index()].lock()))
    }

    /// Runs `inside` in this CPU's arena; `None` if it has none, or may not enter it now.
    #[inline(always)]
    fn in_arena<R>(&self, inside: impl FnOnce(&Arena) -> R) -> Option<R> {
        C::without_interrupts(|| self.arenas.get(C::current())?.enter(inside))
    }

    /// Allocates a block of `order`: its first frame, aligned to the block's size. What the frames hold is unknown.
    ///
    /// # Errors
    /// [`AllocError`] if the flags contradict each other, or no zone can serve the request.
    #[inline]
    pub fn allocate(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        if gfp.intersects(Gfp::ZERO.union(Gfp::NOFRAGMENT)) {
            return self.allocate_specially(order, gfp);
        }
        if order.index() < ORDERS
            && gfp.highest_zone() == Some(ZoneKind::Normal)
            && let Some(mobility) = gfp.mobility()
        {
            if let Some(Some(pfn)) = self.in_arena(|arena| arena.run(order, mobility).allocate()) {
                return Ok(pfn);
            }
            if let Some(pfn) = self.allocate_refilling(order, mobility) {
                return Ok(pfn);
            }
        }
        self.allocate_from_zones(order, gfp)
    }

    #[inline(never)]
    fn allocate_refilling(&self, order: Order, mobility: Mobility) -> Option<Pfn> {
        self.in_arena(|arena| self.refill(arena, order, mobility))?
    }

    /// Gets a run new blocks, as long as a zone is left with more than its `low` mark, and hands out the first. Where no
    /// word would give the run many, it gets none, and the block comes from the zone. Mobilities are not mixed here.
    ///
    /// A run changes its word only while the zone of that word is locked.
    fn refill(&self, arena: &Arena, order: Order, mobility: Mobility) -> Option<Pfn> {
        let run = arena.run(order, mobility);
        let old = run.loan(order);
        for kind in ZoneKind::ALL.into_iter().rev() {
            let mut zone = self.lock_for(arena, kind);
            if let Some((_, old)) = old.filter(|(lender, _)| *lender == kind) {
                let more = zone.lend_more(old.word, order);
                if more != 0 {
                    self.found_late(run.take_more(more));
                    return run.allocate();
                }
            }
            let (low, reserve) = (zone.watermarks.low, zone.protection[ZoneKind::Normal.index()]);
            if !Watermarks::admit(zone.free_frames(), WORD, low, reserve) {
                continue;
            }
            if !zone.serves_unmixed(order, mobility) {
                // What serves a whole word must not be spoiled for the sake of one block.
                if self.slow.unmixed_first { continue } else { return None }
            }
            match zone.lend(order, mobility) {
                None => {}
                Some(Lent::Block(pfn)) => return Some(pfn),
                Some(Lent::Word(base, loan)) => {
                    match old {
                        Some((lender, old)) if lender == kind => self.found_late(zone.end_loan(old)),
                        Some((lender, old)) => {
                            drop(zone);
                            self.end_loan(run, lender, old);
                            zone = self.lock_for(arena, kind);
                        }
                        None => {}
                    }
                    run.take(base, loan);
                    drop(zone);
                    return run.allocate();
                }
            }
        }
        None
    }

    fn end_loan(&self, run: &Run, lender: ZoneKind, loan: Batch) {
        let mut zone = self.zones[lender.index()].lock();
        self.found_late(zone.end_loan(loan));
        run.clear();
    }

    /// Locks a zone on behalf of an arena.
    #[inline]
    fn lock_for(&self, arena: &Arena, kind: ZoneKind) -> MutexGuard<'_, Zone<'m>> {
        let zone = self.zones[kind.index()].lock();
        self.users[kind.index()].store(arena.id(), Relaxed);
        zone
    }

    /// Returns what is collected in a set to its zones.
    #[inline(never)]
    fn return_set(&self, arena: &Arena, set: &Set) {
        let mut locked = None;
        for way in &set.0 {
            let Some(kind) = way.zone() else { continue };
            let zone = match &mut locked {
                Some((held, zone)) if *held == kind => zone,
                other => {
                    // The one must be unlocked before the other is locked.
                    *other = None;
                    &mut other.insert((kind, self.lock_for(arena, kind))).1
                }
            };
            if let Some(batch) = arena.take(way) {
                self.found_late(zone.free_batch(batch));
                zone.states().end_return(batch.word);
            }
        }
    }

    /// Takes note of frames that were freed twice, which was seen only now.
    fn found_late(&self, frames: u64) {
        if frames != 0 {
            self.late.fetch_add(frames.count_ones().into(), Relaxed);
        }
    }

    /// Gives everything that an arena holds back to the zones.
    fn empty(&self, arena: &Arena) {
        arena.returns().iter().for_each(|set| self.return_set(arena, set));
        for (order, run) in arena.runs() {
            if let Some((lender, loan)) = run.loan(order) {
                self.end_loan(run, lender, loan);
            }
        }
    }

    /// Gives the frames in all arenas back to the zones: what the calling CPU's arena holds, and, as far as nobody else
    /// is at it, what the others' hold.
    pub fn drain(&self) {
        self.slow.drains.fetch_add(1, Relaxed);
        let own = C::without_interrupts(|| {
            let own = C::current();
            if let Some(arena) = self.arenas.get(own) {
                arena.enter(|arena| self.empty(arena));
            }
            own
        });
        // Waiting here could be waiting for somebody who waits for this CPU to pass a barrier.
        if let Some(_alone) = self.draining.try_lock() {
            for (_, arena) in self.arenas.iter().enumerate().filter(|(cpu, _)| *cpu != own) {
                arena.seize::<C, _>(|arena| C::without_interrupts(|| self.empty(arena)));
            }
        }
    }

    /// How many free frames the arenas hold, or have coming to them: those that are free and that no zone counts.
    ///
    /// A snapshot: other CPUs go on meanwhile.
    pub fn cached(&self) -> u64 {
        let waiting = ZoneKind::ALL.map(|kind| self.with(kind, |zone| zone.waiting()));
        let held = self.arenas.iter().flat_map(Arena::held);
        held.map(|(_, batch)| u64::from(batch.heads.count_ones()) << batch.order.get()).chain(waiting).sum()
    }

    /// How many double frees were noticed only when the block came back to its zone: those of two CPUs at the very same
    /// time. All others are named at the call.
    pub fn late_double_frees(&self) -> u64 {
        self.late.load(Relaxed)
    }

    /// Frees the block of `order` that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] if no such block was allocated: a double free, a wrong order, a frame inside a block, a reserved
    /// frame, a frame that is not managed. The allocator is unchanged.
    #[inline]
    pub fn free(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        if order.index() >= ORDERS {
            return self.free_into_zone(pfn, order);
        }
        if self.in_arena(|arena| arena.free_into_run(pfn, order)) == Some(Some(())) {
            return Ok(());
        }
        if order == Order::ZERO {
            self.free_elsewhere::<true>(pfn, Order::ZERO)
        } else {
            self.free_elsewhere::<false>(pfn, order)
        }
    }

    /// Frees a small block that is of no run of this CPU's. That it is a `SINGLE` frame, as most are, spares much.
    #[inline(never)]
    fn free_elsewhere<const SINGLE: bool>(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let order = if SINGLE { Order::ZERO } else { order };
        match self.in_arena(|arena| self.free_small(arena, pfn, order)) {
            Some(Some(Collected::Kept)) => Ok(()),
            Some(Some(Collected::Full)) => self.return_set_of(pfn),
            Some(Some(Collected::Twice)) => Err(FreeError::AlreadyFree(pfn)),
            Some(None) | None => self.free_into_zone(pfn, order),
        }
    }

    /// Frees a small block through this CPU's arena, or straight into its zone if no other CPU has used that since: then
    /// its lock and its state are at hand, and collecting one block after the other would only cost more. Blocks that
    /// follow each other in one word are collected all the same. `None` if nothing was done.
    #[inline(always)]
    fn free_small(&self, arena: &Arena, pfn: Pfn, order: Order) -> Option<Collected> {
        let kind = ZoneKind::of(pfn).index();
        let (length, last) = arena.follow(pfn);
        if length < SEQUENCE {
            if self.users[kind].load(Relaxed) == arena.id() {
                if !arena.returns_nothing() {
                    self.return_set(arena, arena.set_of(last));
                }
                if arena.returns_nothing() {
                    let mut zone = self.zones[kind].lock();
                    let freed = if order == Order::ZERO { zone.free_frame(pfn) } else { zone.free_small(pfn, order) };
                    return freed.then_some(Collected::Kept);
                }
            }
        } else if let Some(collected) = arena.free_into_return(pfn, order) {
            return Some(collected);
        }
        self.collect(arena, pfn, order)
    }

    /// Collects a small block, to be returned with others, if that may be done.
    #[inline(never)]
    fn collect(&self, arena: &Arena, pfn: Pfn, order: Order) -> Option<Collected> {
        let collected = arena.free_into_return(pfn, order);
        if collected.is_some() {
            return collected;
        }
        let states = &self.states[ZoneKind::of(pfn).index()];
        let (word, allocated) = states.begin_return(pfn, order)?;
        let collected = arena.collect(pfn, order, word, allocated);
        if collected.is_none() {
            states.end_return(word);
        }
        collected
    }

    /// Returns the set that a block in the word of `pfn` filled up.
    #[inline(never)]
    fn return_set_of(&self, pfn: Pfn) -> Result<(), FreeError> {
        // If the arena is stopped now, whoever stopped it empties it.
        self.in_arena(|arena| self.return_set(arena, arena.set_of(pfn)));
        Ok(())
    }

    /// Frees a block under its zone's lock.
    #[inline(never)]
    fn free_into_zone(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let freed = self.with(ZoneKind::of(pfn), |zone| {
            // What an arena holds looks allocated to its zone.
            let small = order.index() < ORDERS && zone.states().is_in_arena(pfn);
            if small && self.holds(pfn) {
                return Err(FreeError::AlreadyFree(pfn));
            }
            zone.free(pfn, order)?;
            if small {
                self.arenas.iter().for_each(|arena| arena.forget(pfn));
            }
            Ok(())
        });
        match freed {
            Err(FreeError::WrongOrder { pfn: head, .. } | FreeError::Interior { head, .. }) if self.holds(head) => {
                Err(FreeError::AlreadyFree(pfn))
            }
            result => result,
        }
    }

    /// Whether an arena holds the block that starts at this frame, which then looks allocated to its zone.
    #[cold]
    fn holds(&self, pfn: Pfn) -> bool {
        self.arenas.iter().any(|arena| arena.holds(pfn))
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead: just what [`PageAllocator::free`] would say.
    pub fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        match self.with(ZoneKind::of(pfn), |zone| zone.states().order_of(pfn)) {
            Ok(_) if self.holds(pfn) => Err(FreeError::AlreadyFree(pfn)),
            Err(FreeError::Interior { head, .. }) if self.holds(head) => Err(FreeError::AlreadyFree(pfn)),
            result => result,
        }
    }

    /// Gives the allocator frames that the map had and that were not usable yet, such as those of ACPI tables that
    /// have been read.
    ///
    /// # Errors
    /// [`AddError`] if the frames are not where the plan had RAM, were given before, or hold the allocator's metadata;
    /// the allocator is unchanged.
    pub fn add(&self, range: PfnRange) -> Result<(), AddError> {
        let own = range.intersection(self.metadata);
        if !own.is_empty() {
            return Err(AddError::Overlaps(own.start));
        }
        C::without_interrupts(|| {
            let [dma, dma32, normal] = &self.zones;
            let mut zones = [dma.lock(), dma32.lock(), normal.lock()];
            for kind in ZoneKind::ALL {
                zones[kind.index()].check_addable(range.intersection(kind.range()))?;
            }
            for kind in ZoneKind::ALL {
                zones[kind.index()].add(range.intersection(kind.range()))?;
            }
            balance(&mut zones.each_mut().map(|zone| &mut **zone));
            Ok(())
        })
    }

    /// The frames that hold the allocator's own state.
    pub fn metadata(&self) -> PfnRange {
        self.metadata
    }

    /// How a zone stands.
    pub fn zone(&self, kind: ZoneKind) -> ZoneStats {
        self.with(kind, |zone| zone.stats())
    }

    /// What a zone's free memory is in pieces of: a walk over its pageblocks, for reports and not for hot paths.
    pub fn free_blocks(&self, kind: ZoneKind) -> FreeBlocks {
        self.with(kind, |zone| zone.free_blocks())
    }

    /// Shows every block of a zone to `visit`, in ascending order.
    ///
    /// The zone is locked meanwhile: `visit` must not allocate or free frames.
    pub fn for_each_block(&self, kind: ZoneKind, visit: impl FnMut(Block)) {
        self.with(kind, |zone| zone.blocks().for_each(visit));
    }
}

/// What a refill asks for: a whole word.
const WORD: Order = Order::new(WORD_ORDER as u8).expect("a word is a block");

/// Shares what the machine keeps free out among the zones, by what they manage.
fn balance(zones: &mut [&mut Zone<'_>; ZoneKind::COUNT]) {
    let managed = zones.each_ref().map(|zone| zone.managed());
    let total = managed.iter().sum();
    let frames_per_kib = |kib: u64| kib / (crate::frame::FRAME_SIZE / 1024);
    let min_free = frames_per_kib(min_free_kib(total * (crate::frame::FRAME_SIZE / 1024)));
    let reserves = protection(managed);
    for ((zone, managed), reserve) in zones.iter_mut().zip(managed).zip(reserves) {
        zone.watermarks = Watermarks::new(managed, total, min_free);
        zone.protection = reserve;
    }
}
