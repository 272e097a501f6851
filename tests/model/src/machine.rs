//! Machines to allocate on: a random memory map, simulated CPUs, and a cache that gives memory back.

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use bifolio::allocator::{Cpu, PageAllocator, PerCpuPages, Plan, SetupError, Shrinker};
use bifolio::frame::{FRAME_SIZE, Order, Pfn, PfnRange, Profile};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use bifolio::sync::Faults;
pub use kit::Turns;
use kit::map::kind_of;
use kit::{Raw, Watch, over_numbers};

use crate::choices::Choices;

/// The first frame of zone DMA32.
const DMA32: u64 = 4096;
/// The first frame of zone Normal.
const NORMAL: u64 = 1 << 20;
/// Frames of the first MiB, which the allocator never gets.
const LOW: u64 = 256;
/// Frames of a zone that is large enough to keep pageblocks for requests that cannot wait.
const LARGE: u64 = 54_000;

thread_local! {
    static FAULTS: Faults = const { Faults::new() };
}

/// Has requests for frames of a [`Machine`] refused: so many, behind so many that are served.
pub fn begin_faults(served: usize, refused: usize) {
    FAULTS.with(|faults| faults.begin(served, refused));
}

/// Ends that, and returns how many were refused.
pub fn end_faults() -> usize {
    FAULTS.with(Faults::end)
}

/// Refuses what is to be refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusing;

impl Watch for Refusing {
    fn should_fail() -> bool {
        FAULTS.with(Faults::is_due)
    }
}

/// The CPUs of a [`Machine`].
pub type Processor = Turns<Refusing>;

/// A cache of blocks that it gives back when memory is short.
#[derive(Default)]
pub struct Cache<'m> {
    frames: OnceLock<&'m PageAllocator<'m, Processor>>,
    blocks: Mutex<Vec<(Pfn, Order)>>,
    freed: Mutex<Vec<(Pfn, Order)>>,
    has_freed: AtomicBool,
}

impl Cache<'_> {
    /// Puts an allocated block into the cache.
    pub fn put(&self, pfn: Pfn, order: Order) {
        self.blocks.lock().expect("nobody panics in here").push((pfn, order));
    }

    /// How many blocks are in the cache.
    pub fn count(&self) -> usize {
        self.blocks.lock().expect("nobody panics in here").len()
    }

    /// Takes a block out again.
    pub fn take(&self) -> Option<(Pfn, Order)> {
        self.blocks.lock().expect("nobody panics in here").pop()
    }

    /// The blocks that the cache has freed since this was last asked.
    pub fn freed(&self) -> Vec<(Pfn, Order)> {
        if !self.has_freed.swap(false, Relaxed) {
            return Vec::new();
        }
        std::mem::take(&mut *self.freed.lock().expect("nobody panics in here"))
    }
}

impl Shrinker for Cache<'_> {
    fn shrink(&self, frames: u64) -> u64 {
        let allocator = self.frames.get().expect("the cache is made with its allocator");
        let mut given = 0;
        while given < frames {
            let Some((pfn, order)) = self.take() else {
                break;
            };
            allocator.give(pfn, order).expect("what is in the cache is allocated");
            self.freed.lock().expect("nobody panics in here").push((pfn, order));
            self.has_freed.store(true, Relaxed);
            given += order.frames();
        }
        given
    }
}

/// A machine: its allocator, and what the oracle has to know of its memory.
pub struct Machine<'m> {
    /// The allocator, with all that is usable free.
    pub frames: &'m PageAllocator<'m, Processor>,
    /// How many CPUs have an arena.
    pub cpus: usize,
    /// Where RAM is, in ascending order.
    pub ram: Vec<PfnRange>,
    /// What is free at first.
    pub usable: Vec<PfnRange>,
    /// What can be added later.
    pub reclaimable: Vec<PfnRange>,
    /// The allocator's shrinker.
    pub cache: &'m Cache<'m>,
}

/// How much memory a machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// A few pageblocks in each zone, for a machine that is made again and again.
    Small,
    /// So much that the zones are of different kinds.
    Usual,
    /// So much that one zone keeps pageblocks for requests that cannot wait.
    Large,
}

impl Machine<'_> {
    /// Has `work` do its work on a machine with this many CPUs and a memory map that is chosen.
    pub fn with<R>(mut choices: Choices, cpus: usize, size: Size, work: impl FnOnce(Machine<'_>, Choices) -> R) -> R {
        let regions = regions(&mut choices, size);
        let mut sanitised = regions.clone();
        let map = MemoryMap::sanitise(&mut sanitised).expect("the map is sound");
        let plan = Plan::new(map).expect("the map has room for the metadata");
        let mut metadata = vec![choices.below(256) * 0x0101_0101_0101_0101; plan.metadata_words()];
        let arenas: Vec<PerCpuPages> = (0..cpus).map(|_| PerCpuPages::new()).collect();
        let cache = Cache::default();
        // The allocator and its shrinker know one another, so neither may do anything when it is dropped. Nor has the allocator
        // anything to drop.
        let frames = over_numbers(&plan, &mut metadata, &arenas).expect("the metadata has the planned size");
        let frames = ManuallyDrop::new(frames);
        assert!(cache.frames.set(&frames).is_ok() && frames.add_shrinker(&cache).is_ok());

        let (usable, reclaimable) = meaning(&regions);
        let own = |frame: &u64| plan.metadata().contains(Pfn::new(*frame));
        let mut ram: Vec<u64> = usable.iter().chain(&reclaimable).copied().collect();
        ram.sort_unstable();
        let machine = Machine {
            frames: &frames,
            cpus,
            ram: ranges(ram),
            usable: ranges(usable.into_iter().filter(|frame| !own(frame))),
            reclaimable: ranges(reclaimable),
            cache: &cache,
        };
        work(machine, choices)
    }
}

/// An allocator over these regions, in frames, and over just as much more, at `metadata` and far away from them, as its
/// metadata needs: so what is managed is exactly the regions. It is never taken down.
///
/// # Panics
/// If no plan can be made for such memory.
pub fn allocator_apart<C: Cpu>(regions: &[PfnRange], metadata: Pfn, arenas: usize) -> PageAllocator<'static, C> {
    let usable =
        |range: PfnRange| Region { start: range.start.address(), end: range.end.address(), kind: RegionKind::Usable };
    // More memory needs more metadata, which needs more memory: until that comes to an end.
    let mut room = 1;
    loop {
        let apart = PfnRange::new(metadata, metadata.offset(room));
        let mut map: Vec<Region> = regions.iter().copied().chain([apart]).map(usable).collect();
        let plan = Plan::new(MemoryMap::sanitise(&mut map).expect("the map is sound"));
        room = match plan {
            Ok(plan) if plan.metadata() == apart => {
                let memory = Box::leak(vec![0; plan.metadata_words()].into_boxed_slice());
                let arenas: Vec<PerCpuPages> = (0..arenas).map(|_| PerCpuPages::new()).collect();
                let frames = over_numbers(&plan, memory, Box::leak(arenas.into_boxed_slice()));
                return frames.expect("the metadata has the planned size");
            }
            Ok(plan) => plan.metadata().frames(),
            Err(SetupError::NoRoomForMetadata { needed, .. }) => needed,
            Err(error) => panic!("{error}"),
        };
    }
}

/// A map: ragged memory in all three zones or two, holes, tables that can be reclaimed, reserved pieces inside of
/// usable ones, ends inside of frames.
fn regions(choices: &mut Choices, size: Size) -> Vec<Region> {
    let mut regions = Vec::new();
    let mut put = |choices: &mut Choices, start: u64, frames: u64, kind| {
        let ragged = |choices: &mut Choices| if choices.per_mille(500) { choices.below(FRAME_SIZE) } else { 0 };
        let (start, end) = (start * FRAME_SIZE + ragged(choices), (start + frames) * FRAME_SIZE + ragged(choices));
        regions.push(Region { start, end, kind });
    };
    let (large, small) = (size == Size::Large, size == Size::Small);
    let empty = if large { 2 } else { choices.below(6) };
    let most: &[u64] = if small { &[40, 200, 700] } else { &[40, 200, 700, 2500] };
    let lengths = if small { [1500; 3] } else { [DMA32 - LOW, 60_000, 9000] };
    for (zone, (start, length)) in [LOW, DMA32, NORMAL].into_iter().zip(lengths).enumerate() {
        if zone as u64 == empty {
            continue;
        }
        let end = start + length;
        let mut at = start + if choices.per_mille(300) { 0 } else { choices.below(300) };
        let mut left = match size {
            Size::Small => choices.between(1, 4),
            Size::Large if zone == 1 => 5,
            _ => choices.between(2, 8),
        };
        while at + 60 < end && left > 0 {
            let usual = choices.one_of(most);
            let frames = if zone == 1 && large && left == 4 { LARGE } else { 1 + choices.below(usual) };
            let frames = frames.min(end - at - 20);
            let reclaimable = frames < 700 && choices.per_mille(200);
            put(choices, at, frames, if reclaimable { RegionKind::AcpiReclaimable } else { RegionKind::Usable });
            if choices.per_mille(300) {
                let inside = at + choices.below(frames);
                let length = 1 + choices.below(50);
                put(choices, inside, length, RegionKind::Reserved);
            }
            let gap = choices.one_of(&[1, 3, 64, 600, 3000]);
            at += frames + choices.below(gap);
            left -= 1;
        }
    }
    if empty > 2 {
        // On both sides of a zone's bound.
        let below = choices.between(1, 90);
        put(choices, NORMAL - below, below + 200, RegionKind::Usable);
    }
    // Where the metadata finds room, whatever the rest is.
    put(choices, NORMAL + if small { 1600 } else { 20_000 }, 64, RegionKind::Usable);
    regions
}

/// The frames that a map makes usable, and those that can be reclaimed: found byte range by byte range and frame by frame.
fn meaning(regions: &[Region]) -> (Vec<u64>, Vec<u64>) {
    let frames = |region: &Region| region.start / FRAME_SIZE..region.end.div_ceil(FRAME_SIZE);
    let mut touched: Vec<u64> = regions.iter().flat_map(frames).filter(|frame| *frame >= LOW).collect();
    touched.sort_unstable();
    touched.dedup();
    let (mut usable, mut reclaimable) = (Vec::new(), Vec::new());
    for frame in touched {
        match kind_of(regions, frame) {
            Some(RegionKind::Usable) => usable.push(frame),
            Some(RegionKind::AcpiReclaimable) => reclaimable.push(frame),
            _ => {}
        }
    }
    (usable, reclaimable)
}

/// Ascending frames as ranges of one zone each.
fn ranges(frames: impl IntoIterator<Item = u64>) -> Vec<PfnRange> {
    let mut ranges: Vec<PfnRange> = Vec::new();
    for frame in frames.into_iter().map(Pfn::new) {
        match ranges.last_mut() {
            Some(last)
                if last.end == frame && Profile::X86_64.zone_of(last.start) == Profile::X86_64.zone_of(frame) =>
            {
                last.end = frame.offset(1);
            }
            _ => ranges.push(PfnRange::new(frame, frame.offset(1))),
        }
    }
    ranges
}
