//! What the heap holds, in figures and as Linux's slabinfo.

use core::fmt;

use super::{Heap, LargeStats, debug};
use crate::cpu::Cpu;
use crate::frame::{FRAME_SIZE, Order};
use crate::slab::arena::{Arena, ArenaId, CpuArena};
use crate::slab::class::{Geometry, SizeClass};
use crate::slab::source::PageSource;

/// A cache's figures at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CacheStats {
    /// The cache's name.
    pub name: &'static str,
    /// Bytes in a slot.
    pub object_size: usize,
    /// Slots in a slab of the usual order.
    pub objects_per_slab: usize,
    /// Frames in a slab of the usual order.
    pub frames_per_slab: u64,
    /// Live objects.
    pub active_objects: usize,
    /// Slots in all slabs, free or not.
    pub objects: usize,
    /// Slabs with a live object.
    pub active_slabs: usize,
    /// All slabs.
    pub slabs: usize,
    /// Frames in all slabs.
    pub frames: u64,
}

/// An arena's figures at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ArenaStats {
    /// Its slabs.
    pub slabs: usize,
    /// Frames in them.
    pub frames: u64,
    /// Live objects in them.
    pub active_objects: usize,
}

/// The page frames that a heap has from its source, by what they are used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct HeapFrames {
    /// Frames of slabs.
    pub slabs: u64,
    /// Frames of objects above the largest size class.
    pub large: u64,
    /// Frames of arenas, descriptors and page-map tables.
    pub metadata: u64,
}

/// What a CPU has done with the heap since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ArenaEvents {
    /// Times that it found no slot in its slabs and looked for more: in what others have freed of them, in slabs that nobody
    /// uses, in page frames.
    pub refills: u64,
    /// Objects of other CPUs' slabs that it has freed.
    pub remote_frees: u64,
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// What the CPU with this number has done. A snapshot: it goes on meanwhile. CPUs that have no arena of their own are
    /// not told apart.
    pub fn arena_events(&self, cpu: usize) -> ArenaEvents {
        let place = self.per_cpu(cpu);
        ArenaEvents { refills: place.refills.get(), remote_frees: place.remote_frees.get() }
    }

    /// The figures of every cache: of the classes, smallest first, then of those [with names of their own](super::Cache). Each
    /// is looked at when its turn comes.
    pub fn caches(&self) -> impl Iterator<Item = CacheStats> {
        self.numbered_caches().map(|(_, stats)| stats)
    }

    /// [`caches`](Self::caches), with their numbers.
    pub(super) fn numbered_caches(&self) -> impl Iterator<Item = (u16, CacheStats)> {
        (0..Arena::BINS as u16).filter_map(|number| {
            let class = SizeClass::all().nth(number.into()).map(|class| *class.geometry());
            let named = || self.debugging.records.with(|records| records.get(number)?.geometry);
            let geometry = class.or_else(named)?;
            Some((number, self.stats_of(number, &geometry)))
        })
    }

    /// The figures of a class's cache, in all arenas together.
    pub fn cache_stats(&self, class: SizeClass) -> CacheStats {
        self.stats_of(class.number(), class.geometry())
    }

    pub(super) fn stats_of(&self, number: u16, geometry: &Geometry) -> CacheStats {
        self.settled(|all| {
            let mut stats = CacheStats {
                name: geometry.name,
                object_size: geometry.size as usize,
                objects_per_slab: geometry.count(geometry.order).into(),
                frames_per_slab: geometry.order.frames(),
                active_objects: 0,
                objects: 0,
                active_slabs: 0,
                slabs: 0,
                frames: 0,
            };
            for slab in all.arenas().flat_map(|arena| arena.bin(number).slabs()) {
                let used = usize::from(slab.slots() - slab.free());
                stats.active_objects += used;
                stats.objects += usize::from(slab.slots());
                stats.active_slabs += usize::from(used > 0);
                stats.slabs += 1;
                stats.frames += slab.order().frames();
            }
            if let Some(record) = all.records.get(number) {
                debug::count(record, &mut stats);
            }
            stats
        })
    }

    /// The figures of a CPU's arena, or, without a number, of the arena that all share. `None` if the CPU has none.
    pub fn arena_stats(&self, cpu: Option<usize>) -> Option<ArenaStats> {
        let id = cpu.map_or(Some(ArenaId::SHARED), ArenaId::of)?;
        self.settled(|all| {
            let bins = all.arena(id)?.bins();
            Some(bins.flat_map(|(_, bin)| bin.slabs()).fold(ArenaStats::default(), |sum, slab| ArenaStats {
                slabs: sum.slabs + 1,
                frames: sum.frames + slab.order().frames(),
                active_objects: sum.active_objects + usize::from(slab.slots() - slab.free()),
            }))
        })
    }

    /// The figures of objects above the largest size class.
    pub fn large_stats(&self) -> LargeStats {
        self.large.with(|large| large.stats())
    }

    /// Live objects above the largest size class of which a block of `order` is the smallest that would hold one.
    pub fn large_objects(&self, order: Order) -> usize {
        self.large_stats().by_order[order.index()]
    }

    /// The frames that the heap has.
    pub fn frames(&self) -> HeapFrames {
        self.stopped(|all| {
            let slabs = all.arenas().flat_map(Arena::bins).flat_map(|(_, bin)| bin.slabs());
            let arenas = all.arenas().count() as u64 - 1;
            let debugged = all.records.iter().map(|record| {
                let leaked = record.leaked.iter().map(|slab| slab.order().frames()).sum::<u64>();
                record.slabs as u64 * record.shape.order.frames() + leaked
            });
            HeapFrames {
                slabs: slabs.map(|slab| slab.order().frames()).chain(debugged).sum(),
                large: all.large.stats().bytes.div_ceil(FRAME_SIZE),
                metadata: all.books.frames() as u64
                    + arenas * CpuArena::ORDER.frames()
                    + all.records.iter().count() as u64,
            }
        })
    }

    /// Writes the caches in the format of Linux's `/proc/slabinfo`, version 2.1.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_slabinfo(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("slabinfo - version: 2.1\n")?;
        out.write_str("# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>")?;
        out.write_str(" : tunables <limit> <batchcount> <sharedfactor>")?;
        out.write_str(" : slabdata <active_slabs> <num_slabs> <sharedavail>\n")?;
        for stats in self.caches() {
            writeln!(
                out,
                "{:<17} {:6} {:6} {:6} {:4} {:4} : tunables {:4} {:4} {:4} : slabdata {:6} {:6} {:6}",
                stats.name,
                stats.active_objects,
                stats.objects,
                stats.object_size,
                stats.objects_per_slab,
                stats.frames_per_slab,
                0,
                0,
                0,
                stats.active_slabs,
                stats.slabs,
                0,
            )?;
        }
        Ok(())
    }
}
