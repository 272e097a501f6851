//! Where the heap's memory went, for people: in all, and cache by cache.

use core::fmt;

use super::{CacheStats, Heap};
use crate::cpu::Cpu;
use crate::frame::FRAME_SIZE;
use crate::slab::arena::Arena;
use crate::slab::source::PageSource;

/// Bytes as KiB with two decimals, rounded, as slabtop writes them.
struct Kib(u64);

/// Bytes as hundredths of a KiB, rounded.
fn hundredths(bytes: u64) -> u64 {
    (bytes * 100 + 512) / 1024
}

impl fmt::Display for Kib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = hundredths(self.0);
        write!(f, "{}.{:02}K", hundredths / 100, hundredths % 100)
    }
}

/// Which part the first is of the second, in percent with one decimal, rounded; of nothing it is all.
struct Percent(u64, u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = if self.1 == 0 { 1000 } else { rounded(u128::from(self.0) * 1000, self.1.into()) };
        write!(f, "{}.{}%", tenths / 10, tenths % 10)
    }
}

fn rounded(dividend: u128, divisor: u128) -> u128 {
    (dividend + divisor / 2) / divisor
}

impl CacheStats {
    /// Bytes of the slots of live objects.
    pub fn live_bytes(&self) -> u64 {
        (self.active_objects * self.object_size) as u64
    }

    /// Bytes of all slabs.
    pub fn slab_bytes(&self) -> u64 {
        self.frames * FRAME_SIZE
    }

    /// Bytes of slabs that no live object's slot is in: free slots, and what lies behind each slab's last one.
    pub fn waste(&self) -> u64 {
        self.slab_bytes() - self.live_bytes()
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Writes what the heap has its memory for: slabs, large objects and its own metadata, and which part of it live objects
    /// do not take.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_summary(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let (frames, large) = (self.frames(), self.large_stats());
        let (mut objects, mut live, mut slabs) = (0, 0, 0);
        for stats in self.caches() {
            objects += stats.active_objects;
            live += stats.live_bytes();
            slabs += stats.slabs;
        }
        let bytes = |frames: u64| frames * FRAME_SIZE;
        let all = bytes(frames.slabs + frames.large + frames.metadata);
        let mut line =
            |name, bytes: u64, of: fmt::Arguments<'_>| writeln!(out, "{name:<9} {:>8} kB  {of}", bytes / 1024);
        line(
            "slabs",
            bytes(frames.slabs),
            format_args!("slabs: {slabs}; objects: {objects}, in slots of {}", Kib(live)),
        )?;
        line(
            "large",
            bytes(frames.large),
            format_args!(
                "objects: {}, above 4 MiB: {}; resized in place: {}, moved: {}",
                large.objects(),
                large.longer,
                large.resized,
                large.moved
            ),
        )?;
        line("metadata", bytes(frames.metadata), format_args!("arenas, descriptors, page map"))?;
        let kept = self.source().kept();
        if kept > 0 {
            line("kept", kept, format_args!("by the page source, for what comes next; not among the rest"))?;
        }
        let used = live + bytes(frames.large);
        line("in all", all, format_args!("{} of it in use", Percent(used, all)))
    }

    /// Writes the caches that have slabs, those with the most memory first, as slabtop does, and for each what is not in use
    /// of that.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_slabtop(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut caches: [Option<CacheStats>; Arena::BINS] = [None; Arena::BINS];
        self.caches().zip(&mut caches).for_each(|(stats, place)| *place = Some(stats));
        caches.sort_unstable_by_key(|stats| core::cmp::Reverse(stats.map(|stats| stats.slab_bytes())));
        let caches = || caches.iter().flatten().filter(|stats| stats.slabs > 0);
        let sum = |count: fn(&CacheStats) -> u64| caches().map(count).sum::<u64>();
        let title =
            ["Active / Total Objects (% used)", "Active / Total Slabs (% used)", "Active / Total Size (% used)"];
        let (active, objects) = (sum(|stats| stats.active_objects as u64), sum(|stats| stats.objects as u64));
        writeln!(out, " {:<34} : {active} / {objects} ({})", title[0], Percent(active, objects))?;
        let (active, slabs) = (sum(|stats| stats.active_slabs as u64), sum(|stats| stats.slabs as u64));
        writeln!(out, " {:<34} : {active} / {slabs} ({})", title[1], Percent(active, slabs))?;
        let (live, held) = (sum(CacheStats::live_bytes), sum(CacheStats::slab_bytes));
        writeln!(out, " {:<34} : {} / {} ({})", title[2], Kib(live), Kib(held), Percent(live, held))?;
        writeln!(out)?;
        writeln!(out, "  OBJS ACTIVE  USE OBJ SIZE  SLABS OBJ/SLAB CACHE SIZE      WASTE NAME")?;
        for stats in caches() {
            let object_size = hundredths(stats.object_size as u64);
            writeln!(
                out,
                "{:6} {:6} {:3}% {:5}.{:02}K {:6} {:8} {:9}K {:9}K {}",
                stats.objects,
                stats.active_objects,
                stats.active_objects * 100 / stats.objects,
                object_size / 100,
                object_size % 100,
                stats.slabs,
                stats.objects_per_slab,
                stats.slab_bytes() / 1024,
                stats.waste() / 1024,
                stats.name,
            )?;
        }
        Ok(())
    }
}
