//! The public face of page frames: zonelists, flags and watermarks over the zones.
//!
//! A request names the highest zone that it may use and falls back downward. Each zone keeps frames back: from
//! requests that could use a higher zone, and below its watermarks from those that are not pressing. The fast path asks
//! every zone for memory above `low`; only when none has any, the slow path goes down to what the flags allow.

mod plan;

use core::fmt;
use core::marker::PhantomData;

pub use plan::{Plan, SetupError};
use spin::Mutex;

use crate::error::{AddError, FreeError, Violation};
use crate::frame::{Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use crate::zone::{Block, Watermarks, Zone, ZoneStats, min_free_kib, protection};

/// What the allocator must be able to ask of the processor that it runs on.
pub trait Cpu {
    /// Runs `critical` with interrupts masked, and restores their state behind it.
    ///
    /// A lock that an interrupt handler may take is only taken inside, or the handler would wait for the code that it
    /// interrupted. On a host, where no interrupts are, this just calls.
    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R;
}

/// Why a request for frames was refused. The allocator is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocError {
    /// The flags name two zones, or two mobilities.
    ContradictoryFlags(Gfp),
    /// No zone that the request may use has a free block of this order above its watermark and reserve.
    OutOfMemory {
        /// The order that was asked for.
        order: Order,
        /// The flags of the request.
        gfp: Gfp,
    },
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContradictoryFlags(gfp) => {
                write!(f, "the flags ")?;
                bitflags::parser::to_writer(gfp, &mut *f)?;
                write!(f, " contradict each other")
            }
            Self::OutOfMemory { order, gfp } => {
                write!(f, "page allocation failure: order:{order}, mode:{:#x}(", gfp.bits())?;
                bitflags::parser::to_writer(gfp, &mut *f)?;
                write!(f, ")")
            }
        }
    }
}

impl core::error::Error for AllocError {}

/// The page-frame allocator: Linux-style zones over the physical memory of a machine.
///
/// It never touches the memory that it manages. All its state is in the metadata that [`Plan`] laid out, so a stray
/// write into a freed frame cannot corrupt it, and frames need not be mapped, nor exist.
pub struct PageAllocator<'m, C> {
    zones: [Mutex<Zone<'m>>; ZoneKind::COUNT],
    metadata: PfnRange,
    cpu: PhantomData<fn() -> C>,
}

impl<'m, C: Cpu> PageAllocator<'m, C> {
    /// Sets the allocator up over the plan's metadata, mapped, whatever it holds. Every usable frame is free then.
    ///
    /// # Errors
    /// [`SetupError`] if `metadata` has another size than planned.
    pub fn new(plan: &Plan<'_>, metadata: &'m mut [u64]) -> Result<Self, SetupError> {
        let mut zones = plan.zones(metadata)?;
        for (kind, zone) in ZoneKind::ALL.into_iter().zip(&mut zones) {
            for range in plan.usable(kind) {
                zone.add(range)
                    .expect("the plan's usable ranges are disjoint and lie in its spans");
            }
        }
        balance(&mut zones.each_mut());
        Ok(Self {
            zones: zones.map(Mutex::new),
            metadata: plan.metadata(),
            cpu: PhantomData,
        })
    }

    /// Runs `critical` on a zone that nobody else can see meanwhile.
    fn with<R>(&self, kind: ZoneKind, critical: impl FnOnce(&mut Zone<'m>) -> R) -> R {
        C::without_interrupts(|| critical(&mut self.zones[kind.index()].lock()))
    }

    /// Allocates a block of `order`: its first frame, aligned to the block's size. What the frames hold is unknown.
    ///
    /// # Errors
    /// [`AllocError`] if the flags contradict each other, or no zone can serve the request.
    pub fn allocate(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let (Some(highest), Some(mobility)) = (gfp.highest_zone(), gfp.mobility()) else {
            return Err(AllocError::ContradictoryFlags(gfp));
        };
        let request = Request {
            order,
            mobility,
            highest,
        };
        self.allocate_above(request, |zone| zone.watermarks.low)
            .or_else(|| self.allocate_slowly(request, gfp))
            .ok_or(AllocError::OutOfMemory { order, gfp })
    }

    #[cold]
    fn allocate_slowly(&self, request: Request, gfp: Gfp) -> Option<Pfn> {
        if gfp.contains(Gfp::MEMALLOC) {
            let request = |kind| self.with(kind, |zone| zone.allocate(request.order, request.mobility));
            return ZoneKind::ALL[..=gfp.highest_zone()?.index()]
                .iter()
                .rev()
                .find_map(|kind| request(*kind));
        }
        // As Linux has it: pressing requests go to half the mark, and to three eighths if they cannot wait either.
        self.allocate_above(request, |zone| {
            let min = zone.watermarks.min;
            match (gfp.contains(Gfp::HIGH), gfp.contains(Gfp::WAIT)) {
                (false, _) => min,
                (true, true) => min - min / 2,
                (true, false) => {
                    let half = min - min / 2;
                    half - half / 4
                }
            }
        })
    }

    /// Allocates from the highest zone that can serve the request and stay above the mark and its reserve.
    fn allocate_above(&self, request: Request, mark: impl Fn(&Zone<'m>) -> u64) -> Option<Pfn> {
        let zonelist = ZoneKind::ALL[..=request.highest.index()].iter().rev();
        zonelist.copied().find_map(|kind| {
            self.with(kind, |zone| {
                let reserve = zone.protection[request.highest.index()];
                let admitted = Watermarks::admit(zone.free_frames(), request.order, mark(zone), reserve);
                admitted
                    .then(|| zone.allocate(request.order, request.mobility))
                    .flatten()
            })
        })
    }

    /// Frees the block of `order` that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`] if no such block was allocated: a double free, a wrong order, a frame inside a block, a reserved
    /// frame, a frame that is not managed. The allocator is unchanged.
    pub fn free(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.with(ZoneKind::of(pfn), |zone| zone.free(pfn, order))
    }

    /// The order of the allocated block that starts at `pfn`.
    ///
    /// # Errors
    /// [`FreeError`], saying what is there instead: just what [`PageAllocator::free`] would say.
    pub fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        self.with(ZoneKind::of(pfn), |zone| zone.order_of(pfn))
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

    /// Shows every block of a zone to `visit`, in ascending order.
    ///
    /// The zone is locked meanwhile: `visit` must not allocate or free frames.
    pub fn for_each_block(&self, kind: ZoneKind, visit: impl FnMut(Block)) {
        self.with(kind, |zone| zone.blocks().for_each(visit));
    }

    /// Checks every invariant of every zone against the bit planes: a walk over all pageblocks.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        ZoneKind::ALL
            .into_iter()
            .try_for_each(|kind| self.with(kind, |zone| zone.validate()))
    }
}

/// What a request asks for, as the zonelist sees it.
#[derive(Clone, Copy)]
struct Request {
    order: Order,
    mobility: Mobility,
    highest: ZoneKind,
}

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
