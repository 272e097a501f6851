//! Where memory goes: what slabs hold beside what was asked for, and who asked for how much.

use core::fmt;

use super::Heap;
use super::debug::live;
use crate::cpu::Cpu;
use crate::frame::FRAME_SIZE;
use crate::slab::debug::Site;
use crate::slab::source::PageSource;

/// How many call sites are told apart. What others have is shown in one line.
const SITES: usize = 64;

/// What was allocated from one place in the program, and lives.
#[derive(Clone, Copy)]
struct CallSite {
    site: Site,
    objects: usize,
    bytes: usize,
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Writes a line for each cache that has slabs, in bytes: what its live objects' slots take, what free slots take, and
    /// what belongs to no slot; and, while it is debugged, how much of live slots was not asked for (internal
    /// fragmentation).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_waste(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("# name               <objs>       <live>       <free>       <rest>   <unasked>\n")?;
        for (number, stats) in self.numbered_caches().filter(|(_, stats)| stats.slabs > 0) {
            let debugged = self.debugging.records.with(|records| {
                let record = records.get(number)?;
                let asked = live(record).map(|slot| slot.track(&record.shape).requested.get() as usize).sum::<usize>();
                Some((record.live * record.shape.size).saturating_sub(asked))
            });
            let bytes = |objects: usize| objects * stats.object_size;
            let free = bytes(stats.objects - stats.active_objects.min(stats.objects));
            let rest = (stats.frames * FRAME_SIZE) as usize - bytes(stats.objects);
            let live = bytes(stats.active_objects);
            write!(out, "{:<19} {:8} {live:12} {free:12} {rest:12}", stats.name, stats.active_objects)?;
            match debugged.filter(|_| live > 0) {
                Some(unasked) => {
                    let per_mille = unasked * 1000 / live;
                    writeln!(out, " {unasked:11} {}.{}%", per_mille / 10, per_mille % 10)?;
                }
                None => writeln!(out, " {:>11}", '-')?,
            }
        }
        Ok(())
    }

    /// Writes from where in the program live objects were allocated, whose caches keep that ([`SlabDebug::STORE_USER`](super::SlabDebug::STORE_USER)): the
    /// most bytes first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_call_sites(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        let mut sites: [Option<CallSite>; SITES] = [None; SITES];
        let (mut objects, mut bytes) = (0, 0);
        // `out` may allocate: nothing is written while what is debugged is locked.
        self.debugging.records.with(|records| {
            for record in records.iter() {
                for slot in live(record) {
                    let track = slot.track(&record.shape);
                    let Some(site) = track.allocated.get() else { continue };
                    let size = track.requested.get() as usize;
                    let is_its = |place: &&mut Option<CallSite>| place.is_none_or(|known| known.site == site);
                    match sites.iter_mut().find(is_its) {
                        Some(place) => {
                            let known = place.get_or_insert(CallSite { site, objects: 0, bytes: 0 });
                            known.objects += 1;
                            known.bytes += size;
                        }
                        None => (objects, bytes) = (objects + 1, bytes + size),
                    }
                }
            }
        });
        sites.sort_unstable_by_key(|site| core::cmp::Reverse(site.map(|site| site.bytes)));
        out.write_str("#    <bytes>   <objs> <allocated at>\n")?;
        for CallSite { site, objects, bytes } in sites.iter().flatten() {
            writeln!(out, "{bytes:12} {objects:8} {site}")?;
        }
        if objects > 0 {
            writeln!(out, "{bytes:12} {objects:8} elsewhere")?;
        }
        Ok(())
    }
}
