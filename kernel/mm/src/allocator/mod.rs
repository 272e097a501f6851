//! The public face of page frames: zonelists, flags and watermarks over the zones.
//!
//! A request names the highest zone that it may use and falls back downward. Each zone keeps frames back: from
//! requests that could use a higher zone, and below its watermarks from those that are not pressing. The fast path asks
//! every zone for memory above `low`; only when none has any, the slow path goes down to what the flags allow.
//!
//! Blocks of up to eight frames do not come this far as a rule: each CPU has pages of its own.
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
//! [`Gfp::ZERO`] has any of them zeroed; [`split`](PageAllocator::split) makes a block several, and
//! [`resize`](PageAllocator::resize) has a range grow or shrink where it is.

mod add;
mod balance;
mod bulk;
mod contiguous;
mod cpu;
mod exact;
mod owned;
mod pageset;
mod plan;
mod reclaim;
mod report;
mod resize;
mod refill;
mod stats;
mod validate;
mod zeroed;
mod zonelist;

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::marker::PhantomData;

use add::Later;
pub use crate::per_cpu::{PerCpuEvents as ArenaEvents, PerCpuPages as Arena};
use crate::per_cpu::{BATCHED, PerCpuPages};
pub use cpu::Cpu;
pub use owned::OwnedFrames;
pub use pageset::Pageset;
pub use plan::{Plan, SetupError};
use reclaim::SlowPath;
pub use reclaim::{Shrinker, TooManyShrinkers};
pub use stats::Stats;

pub use crate::error::AllocError;
use crate::error::FreeError;
use crate::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::sync::Mutex;
use crate::zone::{Block, FreeBlocks, Pageblocks, Watermarks, Zone, ZoneStats, min_free_kib, protection};

/// How often a CPU that drains looks whether another has ended doing so: for some milliseconds.
const DRAIN_PATIENCE: u32 = 1 << 18;

/// The page-frame allocator: Linux-style zones over the physical memory of a machine, and pages for each CPU.
///
/// It never touches the memory that it manages. All its state is in the metadata that [`Plan`] laid out, so a stray
/// write into a freed frame cannot corrupt it, and frames need not be mapped, nor exist.
pub struct PageAllocator<'m, C> {
    zones: [Mutex<Zone<'m>, C>; ZoneKind::COUNT],
    /// Those of the zone that has most.
    main: Pageblocks<'m>,
    /// The zones' pageblocks, which are freed into without the zones' locks.
    blocks: [Pageblocks<'m>; ZoneKind::COUNT],
    pages: &'m [PerCpuPages],
    /// Held by a CPU that empties the pages of others.
    draining: Mutex<(), C>,
    late: AtomicU64,
    /// The number of the frame that was found freed twice last.
    latest: AtomicU64,
    metadata: PfnRange,
    later: Later<'m>,
    slow: SlowPath<'m, C>,
    /// Where threads cannot be told apart by `C`, it says so by not being `Sync`.
    cpu: PhantomData<C>,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Sets the allocator up over the plan's metadata, mapped, whatever it holds. Every usable frame is free then.
    ///
    /// Each CPU whose number is below that of `pages` has its own; they must be fresh.
    ///
    /// # Errors
    /// [`SetupError`] if `metadata` has another size than planned.
    pub fn new(plan: &Plan<'_>, metadata: &'m mut [u64], pages: &'m [PerCpuPages]) -> Result<Self, SetupError> {
        let (mut zones, later) = plan.lay_out(metadata, pages)?;
        for (kind, zone) in ZoneKind::ALL.into_iter().zip(&mut zones) {
            for range in plan.usable(kind) {
                zone.add(range).expect("the plan's usable ranges are disjoint and lie in its spans");
            }
        }
        set_marks(&mut zones.each_mut());
        let has_normal = zones[ZoneKind::Normal.index()].managed() > 0;
        let main = zones.iter().map(Zone::blocks).max_by_key(Pageblocks::count).expect("there are zones");
        Ok(Self {
            main,
            blocks: zones.each_ref().map(Zone::blocks),
            zones: zones.map(|zone| Mutex::new(lock_name(zone.kind()), zone)),
            pages,
            draining: Mutex::new("draining", ()),
            late: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            metadata: plan.metadata(),
            later,
            slow: SlowPath::new(has_normal),
            cpu: PhantomData,
        })
    }

    /// Makes all atomics of the allocator known to loom: before it is shared in a model.
    #[cfg(loom)]
    pub fn prime(&self) {
        use crate::sync::atomic::prime;
        self.pages.iter().for_each(PerCpuPages::prime);
        self.blocks.iter().for_each(Pageblocks::prime);
        prime!(self.late, self.latest);
        self.slow.prime();
    }

    /// Runs `critical` on a zone that nobody else can see meanwhile.
    fn with<R>(&self, kind: ZoneKind, critical: impl FnOnce(&mut Zone<'m>) -> R) -> R {
        self.zones[kind.index()].with(critical)
    }

    /// Runs `inside` with this CPU's pages; `None` if it has none, or may not use them now.
    #[inline(always)]
    fn in_pages<R>(&self, inside: impl FnOnce(&PerCpuPages) -> R) -> Option<R> {
        C::without_interrupts(|| self.pages.get(C::current())?.enter(inside))
    }

    /// The pageblocks of the zone that a frame is in.
    #[inline(always)]
    fn blocks_of(&self, pfn: Pfn) -> &Pageblocks<'m> {
        &self.blocks[ZoneKind::of(pfn).index()]
    }

    /// Allocates a block of `order`: its first frame, aligned to the block's size. What the frames hold is unknown.
    ///
    /// # Errors
    /// [`AllocError`] if the flags contradict each other, or no zone can serve the request.
    #[inline(always)]
    pub fn allocate(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        Self::announce(gfp);
        if gfp.difference(Gfp::SERVED_PER_CPU).is_empty()
            && order.index() < BATCHED
            && let Some(mobility) = gfp.mobility()
            && let Some(Some(pfn)) = self.in_pages(|pages| pages.batch(order, mobility).allocate())
        {
            return Ok(pfn);
        }
        self.allocate_elsewhere(order, gfp)
    }

    /// Serves a request that no batch of this CPU's does.
    #[inline(never)]
    fn allocate_elsewhere(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        if gfp.difference(Gfp::SERVED_PER_CPU).is_empty()
            && let Some(mobility) = gfp.mobility()
            && let Some(pfn) = self.allocate_refilling(order, mobility)
        {
            return Ok(pfn);
        }
        if gfp.contains(Gfp::ZERO) { self.allocate_zeroed(order, gfp) } else { self.allocate_from_zones(order, gfp) }
    }

    /// Says that a request with these flags begins, where such things are checked.
    #[inline(always)]
    fn announce(gfp: Gfp) {
        if cfg!(debug_assertions) && gfp.contains(Gfp::WAIT) {
            C::might_wait();
        }
    }

    /// Gives the frames that all CPUs hold back to the zones: what the calling CPU holds, and, as far as nobody else is at
    /// it, what the others do.
    pub fn drain(&self) {
        self.slow.drains.fetch_add(1, Relaxed);
        // A CPU that drains now may have frames in hand that the caller needs. But it may also wait for this CPU to pass a
        // barrier, which it does not with interrupts masked: so waiting has an end.
        let alone = (0..DRAIN_PATIENCE).find_map(|_| {
            let alone = self.draining.try_lock();
            if alone.is_none() {
                C::relax();
            }
            alone
        });
        self.drain_own();
        if let Some(_alone) = alone {
            PerCpuPages::seize_each::<C>(self.pages, |pages| C::without_interrupts(|| self.empty(pages)));
        }
    }

    /// Gives what the calling CPU holds back to the zones.
    fn drain_own(&self) {
        self.in_pages(|pages| self.empty(pages));
    }

    /// Gives the frames that this CPU holds back to the zones if it was idle since this was called last: if it asked no zone
    /// for any, and kept none that it freed. True if it was.
    ///
    /// For a CPU's idle loop, or a timer: what an idle CPU holds can make no larger block.
    pub fn decay(&self) -> bool {
        let idle = self.in_pages(|pages| {
            let idle = !pages.was_used();
            if idle {
                self.empty(pages);
            }
            idle
        });
        idle.unwrap_or(false)
    }

    /// How many free frames the CPUs hold: those that are free and that no zone counts.
    ///
    /// A snapshot: other CPUs go on meanwhile.
    pub fn cached(&self) -> u64 {
        self.pages.iter().flat_map(PerCpuPages::held).map(|(order, _)| order.frames()).sum()
    }

    /// How many double frees were noticed only when their block's loan ended: those by the CPU that handed the block out and by
    /// another at the same time. All others are named at the call. In neither case has the block two owners.
    pub fn late_double_frees(&self) -> u64 {
        self.late.load(Relaxed)
    }

    /// The block of the last of them.
    pub fn latest_double_free(&self) -> Option<Pfn> {
        (self.late_double_frees() > 0).then(|| Pfn::new(self.latest.load(Relaxed)))
    }

    /// Frees the block of `order` that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] if no such block was allocated: a double free, a wrong order, a frame inside a block, a reserved
    /// frame, a frame that is not managed. The allocator is unchanged.
    #[inline(always)]
    pub fn free(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let is_freed = |pages: &PerCpuPages| pages.free(pfn, Order::ZERO) || self.free_frame(pages, pfn);
        if order == Order::ZERO && self.in_pages(is_freed) == Some(true) {
            return Ok(());
        }
        if self.free_block(pfn, order) { Ok(()) } else { self.free_or_name(pfn, order) }
    }

    /// Frees a single frame in most of memory, if that takes no more than to set bits.
    #[inline(always)]
    fn free_frame(&self, pages: &PerCpuPages, pfn: Pfn) -> bool {
        self.main.free_quickly(pfn, pages.least())
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead: just what [`PageAllocator::free`] would say.
    pub fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        self.with(ZoneKind::of(pfn), |zone| zone.order_of(pfn))
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
        self.with(kind, |zone| zone.blocks_by_address().for_each(visit));
    }
}

/// What the lock of a zone is called.
fn lock_name(kind: ZoneKind) -> &'static str {
    match kind {
        ZoneKind::Dma => "zone DMA",
        ZoneKind::Dma32 => "zone DMA32",
        ZoneKind::Normal => "zone Normal",
    }
}

/// Shares what the machine keeps free out among the zones, by what they manage.
fn set_marks(zones: &mut [&mut Zone<'_>; ZoneKind::COUNT]) {
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
