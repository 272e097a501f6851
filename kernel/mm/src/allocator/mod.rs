//! The public face of page frames: zonelists, flags and watermarks over the zones.
//!
//! A request names the highest zone that it may use and falls back downward. Each zone keeps frames back: from
//! requests that could use a higher zone, and below its watermarks from those that are not pressing. The fast path asks
//! every zone for memory above `low`; only when none has any, the slow path goes down to what the flags allow.
//!
//! Blocks of up to eight frames do not come this far as a rule: each CPU has [pages](PerCpuPages) of its own. Nor do frees of
//! less than a pageblock: they take the lock of the pageblock that the block is in, and tell its zone only when all of it is
//! free, or when there is no such block.
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
//! What is allocated has an owner: a [`Block`] or [`Blocks`](crate::frame::Blocks), which cannot be copied, and which freeing takes back. So code
//! without `unsafe` frees nothing twice, nor as what it is not, nor what is another's. The same by bare numbers is `unsafe`
//! (`free_raw` and its like), and there the mistakes are named by [errors](FreeError), as they are where unsafe code has
//! made a block of a wrong number.
//!
//! [`Gfp::ZERO`] has any of them zeroed; [`split`](PageAllocator::split) makes a block several, and
//! [`resize`](PageAllocator::resize) has a range grow or shrink where it is.

mod add;
#[forbid(unsafe_code)]
mod balance;
mod bulk;
mod contiguous;
#[forbid(unsafe_code)]
mod early;
mod exact;
#[forbid(unsafe_code)]
mod explain;
mod harden;
#[forbid(unsafe_code)]
mod opaque;
mod owned;
mod plan;
#[forbid(unsafe_code)]
mod reclaim;
mod record;
#[forbid(unsafe_code)]
mod refill;
#[forbid(unsafe_code)]
mod report;
mod resize;
#[forbid(unsafe_code)]
mod stats;
#[forbid(unsafe_code)]
mod validate;
#[forbid(unsafe_code)]
mod view;
mod zeroed;
#[forbid(unsafe_code)]
mod zonelist;

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use core::marker::PhantomData;

pub use crate::per_cpu::PerCpuPages;
use crate::per_cpu::{BATCHED, Entered};
pub use early::EarlyFrames;
pub use owned::OwnedFrames;
pub use plan::Plan;
pub use reclaim::Shrinker;
use reclaim::{NOWHERE, SHRINKERS};
#[cfg(feature = "heap")]
pub(crate) use record::{At, mixed};
pub use record::{Call, Event, HeapCall, Recorder, Recording};
pub(crate) use report::Failure;
pub use stats::Stats;
pub use view::{Usage, View};

pub use crate::cpu::{Cpu, Hooks};
use crate::error::FreeError;
pub use crate::error::{AllocError, SetupError};
use crate::frame::{Block, Gfp, Order, Pfn, ZoneKind};
use crate::hardening::Switches;
use crate::sync::Mutex;
pub use crate::zone::{
    BlockInfo, BlockState, Fallback, FrameInfo, FreeBlocks, Holding, Step, Watermarks, ZoneStats, min_free_kib,
    protection,
};
use crate::zone::{Pageblocks, Zone};

/// How often a CPU that drains looks whether another has ended doing so: for some milliseconds.
const DRAIN_PATIENCE: u32 = 1 << 18;

/// What [`allocate`](PageAllocator::allocate) does without a look at the zones. All other flags, those that there will be
/// among them, are looked at there.
const FAST: Gfp = Gfp::WAIT
    .union(Gfp::HIGH)
    .union(Gfp::NOWARN)
    .union(Gfp::MEMALLOC)
    .union(Gfp::MOVABLE)
    .union(Gfp::RECLAIMABLE)
    .union(Gfp::READILY);

/// The page-frame allocator: Linux-style zones over the physical memory of a machine, and pages of its own for each CPU.
///
/// It never touches the memory that it manages, but to [zero](Gfp::ZERO) it where it is asked to. All its state is in the metadata
/// that [`Plan`] laid out, so a stray write into a freed frame cannot corrupt it, and frames need not be mapped, nor exist.
///
/// What there is to know of it, it has from its [`View`].
pub struct PageAllocator<'m, C>(View<'m, C>);

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Sets the allocator up over the plan's metadata, mapped, whatever it holds. Every usable frame is free then.
    ///
    /// Each CPU whose number is below that of `pages` has some of its own; they must be fresh.
    ///
    /// # Errors
    /// [`SetupError`] if `metadata` has another size than planned.
    ///
    /// # Safety
    /// The frames that the plan's map calls usable are this allocator's alone: until it gives them out nobody uses them as
    /// memory, and no other allocator's block of them is given to this one.
    ///
    /// Where frames are mere numbers, which nobody takes for memory, that is no promise at all: nothing can go wrong then but
    /// the numbers.
    pub unsafe fn new(plan: &Plan<'_>, metadata: &'m mut [u64], pages: &'m [PerCpuPages]) -> Result<Self, SetupError> {
        let (mut zones, later, words) = plan.lay_out(metadata, pages)?;
        for (kind, zone) in ZoneKind::ALL.into_iter().zip(&mut zones) {
            for range in plan.usable(kind) {
                zone.add(range).expect("the plan's usable ranges are disjoint and lie in its spans");
            }
        }
        set_marks(&mut zones.each_mut());
        let unmixed_first = zones[ZoneKind::Normal.index()].stats.managed > 0;
        let main = zones.iter().map(Zone::blocks).max_by_key(Pageblocks::count).expect("there are zones");
        Ok(Self(View {
            main,
            blocks: zones.each_ref().map(Zone::blocks),
            zones: zones.map(|zone| Mutex::new(LOCK_NAMES[zone.stats.kind.index()], zone)),
            pages,
            draining: Mutex::new("draining", ()),
            late: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            profile: plan.profile(),
            metadata: plan.metadata(),
            later,
            words,
            unmixed_first,
            seen_at: NOWHERE,
            hardening: Switches::off(),
            shrinkers: Mutex::new("shrinkers", [None; SHRINKERS]),
            shrinking: AtomicU64::new(0),
            stalls: Default::default(),
            drains: AtomicU64::new(0),
            direct: Default::default(),
            background: Default::default(),
            balances: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            bad_drops: AtomicU64::new(0),
            recording: None,
            cpu: PhantomData,
        }))
    }

    /// Makes all atomics of the allocator known to loom: before it is shared in a model.
    #[cfg(bifolio_loom)]
    pub fn prime(&self) {
        use crate::sync::atomic::prime;
        self.pages.iter().for_each(PerCpuPages::prime);
        self.blocks.iter().for_each(Pageblocks::prime);
        let reclaimed = self.direct.iter().chain(&self.background);
        self.stalls.iter().chain(reclaimed).for_each(|count| prime!(count));
        prime!(self.late, self.latest, self.shrinking, self.balances, self.drains, self.refused, self.reported);
        prime!(self.suppressed, self.bad_drops);
        self.hardening.prime();
    }

    /// Enters this CPU's pages; `None` if it has none, or may not use them now.
    #[inline(always)]
    fn enter(&self) -> Option<Entered<'m, C>> {
        PerCpuPages::enter(self.pages)
    }

    /// The same, by whichever way is open now.
    #[inline]
    fn enter_slowly(&self) -> Option<Entered<'m, C>> {
        PerCpuPages::enter_slowly(self.pages)
    }

    /// The pageblocks of the zone that a frame is in.
    #[inline(always)]
    fn blocks_of(&self, pfn: Pfn) -> &Pageblocks<'m> {
        if self.main.is_first_of(pfn) { &self.main } else { &self.blocks[self.zone_of(pfn).index()] }
    }

    /// Allocates a block of `order`. What the frames hold is unknown.
    ///
    /// # Errors
    /// [`AllocError`] if the flags contradict each other, or no zone can serve the request.
    #[inline(always)]
    pub fn allocate(&self, order: Order, gfp: Gfp) -> Result<Block, AllocError> {
        if self.begin(order.frames(), gfp) {
            return Err(AllocError::OutOfMemory { order, gfp });
        }
        let pfn = match self.allocate_at_once(order, gfp) {
            Some(pfn) => pfn,
            None => self.allocate_beyond(order, gfp)?,
        };
        // SAFETY: the block was allocated just now, as one of `order`, to this call alone.
        Ok(unsafe { Block::from_raw(pfn, order) })
    }

    /// Serves a request as long as a zone is left with more than its `low` mark, and mobilities are not mixed.
    #[inline(always)]
    fn allocate_at_once(&self, order: Order, gfp: Gfp) -> Option<Pfn> {
        let mobility = gfp.mobility().filter(|_| FAST.contains(gfp))?;
        if order.index() < BATCHED {
            let pages = self.enter()?;
            let pfn = pages.batch(order, mobility).allocate();
            return if pfn.is_some() { pfn } else { self.allocate_small(pages, order, mobility) };
        }
        match order {
            Order::PAGEBLOCK => self.allocate_pageblock(mobility),
            Order::MAX => self.allocate_whole(order, mobility),
            _ => self.allocate_unbatched(order, mobility),
        }
    }

    /// Serves a request that no fast path does: by the zones, unless fast paths are closed.
    #[cold]
    #[inline(never)]
    fn allocate_beyond(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        if let Some(recording) = self.recording {
            return self.allocate_recorded(recording, order, gfp);
        }
        if self.is_hardened() || gfp.contains(Gfp::ZERO) {
            return self.allocate_as_closed(order, gfp);
        }
        self.allocate_from_zones(order, gfp)
    }

    /// Says that a request for so many frames begins, where such things are checked. Whether it is to be refused for a test's sake.
    #[inline(always)]
    fn begin(&self, frames: u64, gfp: Gfp) -> bool {
        if cfg!(debug_assertions) && gfp.contains(Gfp::WAIT) && !self.is_told() {
            C::might_wait();
        }
        cfg!(debug_assertions) && frames > 0 && C::should_fail(frames, gfp) && !self.is_told()
    }

    /// Whether a request that begins here is being recorded: hooks were told of it before, and interrupts are masked now.
    fn is_told(&self) -> bool {
        self.recording.is_some_and(Recording::is_at_work::<C>)
    }

    /// Gives the frames in all CPUs' pages back to the zones: what the calling CPU holds, and, as far as nobody else
    /// is at it, what the others hold.
    pub fn drain(&self) {
        self.recorded(Call::Drain, |()| Some(0), || self.drain_all());
    }

    fn drain_all(&self) {
        self.drains.fetch_add(1, Relaxed);
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
            let empty = |pages: &PerCpuPages| C::without_interrupts(|| self.empty(pages));
            match self.recording {
                // A CPU is inside in its turn alone, and this is the caller's.
                Some(_) => self.pages.iter().for_each(empty),
                None => PerCpuPages::seize_each::<C>(self.pages, empty),
            }
        }
    }

    /// Gives what the calling CPU's pages hold back to the zones.
    fn drain_own(&self) {
        if let Some(pages) = self.enter_slowly() {
            self.empty(&pages);
        }
    }

    /// Gives the frames in this CPU's pages back to the zones if it was idle since this was called last: if it asked no zone
    /// for any, and kept none that it freed. True if it was.
    ///
    /// For a CPU's idle loop, or a timer: what an idle CPU holds can make no larger block.
    pub fn decay(&self) -> bool {
        self.recorded(
            Call::Decay,
            |&idle: &bool| Some(idle.into()),
            || {
                let Some(pages) = self.enter_slowly().filter(|pages| !pages.was_used()) else { return false };
                self.empty(&pages);
                true
            },
        )
    }

    /// Frees a block.
    ///
    /// # Errors
    /// [`FreeError`] if there is no such block, which is so only if unsafe code has made one of wrong numbers, or has freed it
    /// by its number. The allocator is unchanged.
    #[inline(always)]
    pub fn free(&self, block: Block) -> Result<(), FreeError> {
        let (pfn, order) = block.into_raw();
        // SAFETY: `block` was the only owner, and is gone.
        unsafe { self.free_raw(pfn, order) }
    }

    /// Frees the block of `order` that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] if no such block was allocated: a double free, a wrong order, a frame inside a block, a reserved
    /// frame, a frame that is not managed. The allocator is unchanged.
    ///
    /// # Safety
    /// If there is such a block, it is the caller's to free: nobody else has it as a [`Block`], or uses its memory.
    #[inline(always)]
    pub unsafe fn free_raw(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        match self.free_quickly(pfn, order) {
            Some(true) => Ok(()),
            Some(false) => self.free_at_length(pfn, order),
            None => self.free_or_name(pfn, order),
        }
    }

    /// Frees a block of up to a pageblock; false if there is none, or it lies elsewhere than most of memory. `None` if a frame cannot be
    /// freed so, since this CPU's pages may not be used now.
    #[inline(always)]
    fn free_quickly(&self, pfn: Pfn, order: Order) -> Option<bool> {
        match order {
            Order::ZERO => self.free_frame(pfn),
            Order::PAGEBLOCK => Some(self.free_pageblock(pfn)),
            _ => Some(self.free_small(pfn, order)),
        }
    }

    /// The same for a single frame.
    #[inline(always)]
    fn free_frame(&self, pfn: Pfn) -> Option<bool> {
        let pages = self.enter()?;
        if pages.free(pfn, Order::ZERO) {
            return Some(true);
        }
        Some(self.free_frame_of_others(pages, pfn))
    }

    /// Frees a single frame that is of no batch of this CPU's; false if there is none, or it is not where most are.
    #[inline(always)]
    fn free_frame_of_others(&self, pages: Entered<'m, C>, pfn: Pfn) -> bool {
        match self.main.free_quickly(pfn, pages.least()) {
            Some(Ok(())) => true,
            Some(Err(found)) => self.keep_frame(pages, pfn, found),
            None => false,
        }
    }
}

/// What the locks of zones are called.
const LOCK_NAMES: [&str; ZoneKind::COUNT] = ["zone DMA", "zone DMA32", "zone Normal"];

/// Shares what the machine keeps free out among the zones, by what they manage.
fn set_marks(zones: &mut [&mut Zone<'_>; ZoneKind::COUNT]) {
    let managed = zones.each_ref().map(|zone| zone.stats.managed);
    let total = managed.iter().sum();
    let frames_per_kib = |kib: u64| kib / (crate::frame::FRAME_SIZE / 1024);
    // Below 1 MiB, where Linux does not run, its formula would keep half of the memory and more.
    let min_free = frames_per_kib(min_free_kib(total * (crate::frame::FRAME_SIZE / 1024))).min(total / 8);
    let reserves = protection(managed);
    for ((zone, managed), reserve) in zones.iter_mut().zip(managed).zip(reserves) {
        zone.set_marks(Watermarks::new(managed, total, min_free), reserve);
    }
}
