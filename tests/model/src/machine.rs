//! Machines to allocate on: a random memory map, simulated CPUs, and a cache that gives memory back.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use bifolio::allocator::{Cpu, PageAllocator, PerCpuPages, Plan, SetupError, Shrinker};
use bifolio::frame::{FRAME_SIZE, Order, Pfn, PfnRange, Profile};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
pub use kit::Turns;
use kit::{Random, Raw, over_numbers};

/// The first frame of zone DMA32.
const DMA32: u64 = 4096;
/// The first frame of zone Normal.
const NORMAL: u64 = 1 << 20;
/// Frames of the first MiB, which the allocator never gets.
const LOW: u64 = 256;
/// Frames of a zone that is large enough to keep pageblocks for requests that cannot wait.
const LARGE: u64 = 54_000;

/// A cache of blocks that it gives back when memory is short.
#[derive(Default)]
pub struct Cache {
    frames: OnceLock<&'static PageAllocator<'static, Turns>>,
    blocks: Mutex<Vec<(Pfn, Order)>>,
    freed: Mutex<Vec<(Pfn, Order)>>,
    has_freed: AtomicBool,
}

impl Cache {
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

impl Shrinker for Cache {
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
pub struct Machine {
    /// The allocator, with all that is usable free.
    pub frames: &'static PageAllocator<'static, Turns>,
    /// How many CPUs have an arena.
    pub cpus: usize,
    /// Where RAM is, in ascending order.
    pub ram: Vec<PfnRange>,
    /// What is free at first.
    pub usable: Vec<PfnRange>,
    /// What can be added later.
    pub reclaimable: Vec<PfnRange>,
    /// The allocator's shrinker.
    pub cache: &'static Cache,
}

impl Machine {
    /// A machine with this many CPUs and a random memory map, in which one zone is `large` or none is.
    ///
    /// What is made here is never taken down: the allocator and its shrinker know one another, and it is little.
    pub fn random(random: &mut Random, cpus: usize, large: bool) -> Self {
        let regions = regions(random, large);
        let mut sanitised = regions.clone();
        let map = MemoryMap::sanitise(&mut sanitised).expect("the map is sound");
        let plan = Plan::new(map).expect("the map has room for the metadata");
        let metadata = Box::leak(vec![random.bits(); plan.metadata_words()].into_boxed_slice());
        let arenas: Vec<PerCpuPages> = (0..cpus).map(|_| PerCpuPages::new()).collect();
        let frames = over_numbers(&plan, metadata, Box::leak(arenas.into_boxed_slice()));
        let frames: &'static _ = Box::leak(Box::new(frames.expect("the metadata has the planned size")));
        let cache: &'static Cache = Box::leak(Box::default());
        assert!(cache.frames.set(frames).is_ok() && frames.add_shrinker(cache).is_ok());

        let (usable, reclaimable) = meaning(&regions);
        let own = |frame: &u64| plan.metadata().contains(Pfn::new(*frame));
        let mut ram: Vec<u64> = usable.iter().chain(&reclaimable).copied().collect();
        ram.sort_unstable();
        Self {
            frames,
            cpus,
            ram: ranges(ram),
            usable: ranges(usable.into_iter().filter(|frame| !own(frame))),
            reclaimable: ranges(reclaimable),
            cache,
        }
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

/// A random map: ragged memory in all three zones or two, holes, tables that can be reclaimed, reserved pieces inside of
/// usable ones, ends inside of frames.
fn regions(random: &mut Random, large: bool) -> Vec<Region> {
    let mut regions = Vec::new();
    let mut put = |random: &mut Random, start: u64, frames: u64, kind| {
        let ragged = |random: &mut Random| if random.per_mille(500) { random.below(FRAME_SIZE) } else { 0 };
        let (start, end) = (start * FRAME_SIZE + ragged(random), (start + frames) * FRAME_SIZE + ragged(random));
        regions.push(Region { start, end, kind });
    };
    let empty = if large { 2 } else { random.below(6) };
    for (zone, (start, end)) in [(LOW, DMA32), (DMA32, DMA32 + 60_000), (NORMAL, NORMAL + 9000)].into_iter().enumerate()
    {
        if zone as u64 == empty {
            continue;
        }
        let mut at = start + if random.per_mille(300) { 0 } else { random.below(300) };
        let mut left = if zone == 1 && large { 5 } else { random.between(2, 8) };
        while at + 60 < end && left > 0 {
            let usual = random.one_of(&[40, 200, 700, 2500]);
            let frames = if zone == 1 && large && left == 4 { LARGE } else { 1 + random.below(usual) };
            let frames = frames.min(end - at - 20);
            let reclaimable = frames < 700 && random.per_mille(200);
            put(random, at, frames, if reclaimable { RegionKind::AcpiReclaimable } else { RegionKind::Usable });
            if random.per_mille(300) {
                let inside = at + random.below(frames);
                let length = 1 + random.below(50);
                put(random, inside, length, RegionKind::Reserved);
            }
            let gap = random.one_of(&[1, 3, 64, 600, 3000]);
            at += frames + random.below(gap);
            left -= 1;
        }
    }
    if empty > 2 {
        // On both sides of a zone's bound.
        let below = random.between(1, 90);
        put(random, NORMAL - below, below + 200, RegionKind::Usable);
    }
    // Where the metadata finds room, whatever the rest is.
    put(random, NORMAL + 20_000, 64, RegionKind::Usable);
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
        let bytes = frame * FRAME_SIZE..(frame + 1) * FRAME_SIZE;
        let here = regions.iter().filter(|region| region.start < bytes.end && bytes.start < region.end);
        let mut edges: Vec<u64> = here.clone().flat_map(|region| [region.start, region.end]).collect();
        edges.extend([bytes.start, bytes.end]);
        edges.retain(|edge| bytes.start <= *edge && *edge <= bytes.end);
        edges.sort_unstable();
        // The kind of each stretch between two edges. What no entry covers is not RAM, which spoils the frame; and of one that
        // tables have only a part of, the rest is nobody's.
        let kind = |at: u64| {
            here.clone().filter(|region| region.start <= at && at < region.end).map(|region| region.kind).max()
        };
        let mut stretches = edges.windows(2).filter(|pair| pair[0] < pair[1]).map(|pair| kind(pair[0]));
        let first = stretches.next().flatten().filter(|first| stretches.all(|kind| kind == Some(*first)));
        match first {
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
