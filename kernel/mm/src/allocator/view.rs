//! What all code may ask the allocator: its counts, its blocks, and whether its invariants hold.

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use core::marker::PhantomData;
use core::ops::Deref;
use core::sync::atomic::AtomicUsize;

use super::plan::{Later, OwnWords};
use super::reclaim::{Reclaimed, Shrinkers};
use super::record::{Call, Recording};
use super::{Cpu, PageAllocator, PerCpuPages};
use crate::error::FreeError;
use crate::frame::{Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, Profile, ZoneKind};
use crate::hardening::Switches;
use crate::sync::{MaskedGuard, Mutex};
use crate::zone::{BlockInfo, FrameInfo, FreeBlocks, Pageblocks, Zone, ZoneStats};

/// A [`PageAllocator`] for code that may ask it anything, and neither allocate nor free: what is shown of an allocator that
/// has an owner, such as that of a [heap's source](crate::heap::RegionPages::frames).
///
/// ```compile_fail,E0599
/// # use bifolio::allocator::{Cpu, View};
/// # use bifolio::error::FreeError;
/// # use bifolio::frame::Block;
/// fn free_for_others<C: Cpu>(frames: &View<'_, C>, block: Block) -> Result<(), FreeError> {
///     frames.free(block)
/// }
/// ```
pub struct View<'m, C> {
    pub(super) zones: [Mutex<Zone<'m>, C>; ZoneKind::COUNT],
    /// The pageblocks of the zone that has most.
    pub(super) main: Pageblocks<'m>,
    /// The zones' pageblocks, which are freed into without the zones' locks.
    pub(super) blocks: [Pageblocks<'m>; ZoneKind::COUNT],
    pub(super) pages: &'m [PerCpuPages],
    /// Held by a CPU that empties others' pages.
    pub(super) draining: Mutex<(), C>,
    pub(super) late: AtomicU64,
    /// The number of the frame that was found freed twice last.
    pub(super) latest: AtomicU64,
    pub(super) profile: Profile,
    pub(super) metadata: PfnRange,
    /// The ranges that may be added.
    pub(super) later: Later<'m>,
    pub(super) words: OwnWords<'m>,
    /// Whether requests that may use any zone are first to be served without mixing mobilities. As in Linux that is so
    /// where zone Normal has memory.
    pub(super) unmixed_first: bool,
    /// What is added to a physical address for the one at which frames are zeroed; [`NOWHERE`](super::reclaim::NOWHERE) if that is the
    /// kernel's own business.
    pub(super) seen_at: u64,
    /// What is done beside serving requests and frees.
    pub(super) hardening: Switches,
    pub(super) shrinkers: Mutex<Shrinkers<'m>, C>,
    /// The CPUs that are inside a shrinker, a bit each, modulo 64.
    pub(super) shrinking: AtomicU64,
    /// Requests that came to the slow path and could wait, by the highest zone they could use.
    pub(super) stalls: [AtomicU64; ZoneKind::COUNT],
    /// Times that all CPUs' pages were emptied.
    pub(super) drains: AtomicU64,
    /// What requests got from shrinkers.
    pub(super) direct: Reclaimed,
    /// What [`PageAllocator::balance`] got from them.
    pub(super) background: Reclaimed,
    /// Times that that had something to do.
    pub(super) balances: AtomicU64,
    /// Requests that were refused.
    pub(super) refused: AtomicU64,
    /// Milliseconds of uptime plus one at which the last refusal was reported; 0 before the first.
    pub(super) reported: AtomicU64,
    /// Refusals since then that were not reported for that.
    pub(super) suppressed: AtomicU64,
    /// Blocks that somebody else had freed when their handle was dropped.
    pub(super) bad_drops: AtomicU64,
    pub(crate) recording: Option<&'m Recording<'m>>,
    /// Where threads cannot be told apart by `C`, it says so by not being `Sync`.
    pub(super) cpu: PhantomData<C>,
}

/// How much memory there is, in frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Usage {
    /// What the allocator manages: all that the map called usable, but for its own metadata.
    pub total: u64,
    /// What of that is allocated.
    pub used: u64,
    /// What of that is free, in zones and in CPUs' pages.
    pub free: u64,
}

impl<'m, C> Deref for PageAllocator<'m, C> {
    type Target = View<'m, C>;

    #[inline(always)]
    fn deref(&self) -> &View<'m, C> {
        &self.0
    }
}

impl<'m, C: Cpu> View<'m, C> {
    /// Locks a zone, with interrupts masked.
    #[inline(always)]
    pub(super) fn lock_zone(&self, kind: ZoneKind) -> MaskedGuard<'_, Zone<'m>, C> {
        self.zones[kind.index()].lock_masked()
    }

    /// Runs `critical` on a zone that nobody else can see meanwhile.
    pub(super) fn with<R>(&self, kind: ZoneKind, critical: impl FnOnce(&mut Zone<'m>) -> R) -> R {
        self.zones[kind.index()].with(critical)
    }

    /// How many free frames the CPUs' pages hold: those that are free and that no zone counts.
    ///
    /// A snapshot: other CPUs go on meanwhile.
    pub fn cached(&self) -> u64 {
        self.pages.iter().flat_map(PerCpuPages::held).map(|(order, _)| order.frames()).sum()
    }

    /// How many CPUs have pages of their own: those whose numbers are below this one.
    pub fn cpus(&self) -> usize {
        self.pages.len()
    }

    /// How many free frames of a zone a CPU's pages hold (Linux: a pageset's `count`); none if it has no pages.
    ///
    /// A snapshot: the CPU goes on meanwhile.
    pub fn held(&self, cpu: usize, kind: ZoneKind) -> u64 {
        let of_zone = self.pages.get(cpu).into_iter().flat_map(PerCpuPages::held);
        of_zone.filter(|(_, pfn)| self.zone_of(*pfn) == kind).map(|(order, _)| order.frames()).sum()
    }

    /// Times since boot that a CPU's pages had no block at hand and asked the zones for more.
    pub fn refills(&self, cpu: usize) -> u64 {
        self.pages.get(cpu).map_or(0, PerCpuPages::refills)
    }

    /// How much memory there is, in use and free.
    ///
    /// A snapshot: other CPUs go on meanwhile.
    pub fn usage(&self) -> Usage {
        let zones = ZoneKind::ALL.map(|kind| self.zone(kind));
        let total: u64 = zones.iter().map(|zone| zone.managed).sum();
        let free = (zones.iter().map(|zone| zone.free).sum::<u64>() + self.cached()).min(total);
        Usage { total, used: total - free, free }
    }

    /// How many double frees were noticed only when their block's loan ended: those by the CPU that handed the block out and by
    /// another at the same time, each of which was told `Ok`. All others are named at the call. In neither case has the block two
    /// owners.
    pub fn late_double_frees(&self) -> u64 {
        self.late.load(Acquire)
    }

    /// The block of the last of them.
    pub fn latest_double_free(&self) -> Option<Pfn> {
        (self.late_double_frees() > 0).then(|| Pfn::new(self.latest.load(Relaxed)))
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead: just what [`PageAllocator::free_raw`] would say.
    pub fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        self.with(self.zone_of(pfn), |zone| zone.order_of(pfn))
    }

    /// What a frame is at the moment; `None` if it is not RAM that the allocator knows of. Other CPUs go on meanwhile.
    pub fn look_at(&self, pfn: Pfn) -> Option<FrameInfo> {
        self.with(self.zone_of(pfn), |zone| zone.look_at(pfn))
    }

    /// The kind of machine that the memory is of: where zones end.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The zone that a frame belongs to, were it RAM.
    #[inline(always)]
    pub fn zone_of(&self, pfn: Pfn) -> ZoneKind {
        self.profile.zone_of(pfn)
    }

    /// The frames that hold the allocator's own state.
    pub fn metadata(&self) -> PfnRange {
        self.metadata
    }

    /// The kernel's own word for a frame, which [`Plan::with_words`](super::Plan::with_words) has planned: zero at set-up, and never
    /// looked at by the allocator. `None` where there is no RAM, and where none were planned.
    ///
    /// ```
    /// # use bifolio::allocator::{Cpu, View};
    /// # use bifolio::frame::Pfn;
    /// use core::sync::atomic::Ordering::Relaxed;
    ///
    /// /// One more page table maps this frame.
    /// fn share<C: Cpu>(frames: &View<'_, C>, pfn: Pfn) -> Option<usize> {
    ///     Some(frames.word(pfn)?.fetch_add(1, Relaxed) + 1)
    /// }
    /// ```
    #[inline]
    pub fn word(&self, pfn: Pfn) -> Option<&'m AtomicUsize> {
        let zone = self.zone_of(pfn).index();
        let (pageblock, offset) = self.blocks[zone].locate(pfn)?;
        self.words[zone].get(pageblock * PAGEBLOCK_FRAMES as usize + offset as usize)
    }

    /// How a zone stands.
    pub fn zone(&self, kind: ZoneKind) -> ZoneStats {
        self.recorded(Call::Settle(kind), |_| Some(0), || self.with(kind, |zone| zone.stats()))
    }

    /// What a zone's free memory is in pieces of: a walk over its pageblocks, for reports and not for hot paths.
    pub fn free_blocks(&self, kind: ZoneKind) -> FreeBlocks {
        self.with(kind, |zone| zone.free_blocks())
    }

    /// Shows every block of a zone to `visit`, in ascending order.
    ///
    /// The zone is locked meanwhile: `visit` must not allocate or free frames.
    pub fn for_each_block(&self, kind: ZoneKind, visit: impl FnMut(BlockInfo)) {
        self.with(kind, |zone| zone.blocks_by_address().for_each(visit));
    }
}
