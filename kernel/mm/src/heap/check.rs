//! Everything that the heap derives or counts, derived and counted once more from bitmaps and page map, and compared.

use super::{Heap, LargeStats, Stopped};
use crate::cpu::Cpu;
use crate::error::Violation;
use crate::frame::{FRAME_SHIFT, FRAME_SIZE};
use crate::slab::arena::ArenaId;
use crate::slab::class::SizeClass;
use crate::slab::debug::Shape;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::page_map::PageMap;
use crate::slab::source::PageSource;

/// What the page map says, counted slab by slab.
struct Truth {
    /// The slabs of arenas.
    slabs: usize,
    large: LargeStats,
    /// The slabs that are debugged.
    debugged: usize,
    blocks: usize,
}

fn check(address: usize, rule: &'static str, holds: bool) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { rule, address: address as u64 }) }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Checks the invariants of the heap, slab by slab and slot by slot. The heap stands still meanwhile, with
    /// interrupts masked: this is for tests and for debugging.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn validate(&self) -> Result<(), Violation> {
        self.settled(|all| {
            let truth = self.count(all)?;
            check(0, "the descriptors in use are those the page map leads to", truth.blocks == all.books.pool.open())?;
            check(0, "the count of large objects is their number", truth.large.counts_as(&all.large.stats()))?;
            let mut slabs = 0;
            for arena in all.arenas() {
                check(0, "an arena remembers slabs of its own", arena.remembers_its_own())?;
                for (cache, bin) in arena.bins() {
                    check(0, "what a bin has in hand is free", bin.is_in_hand())?;
                    for slab in bin.slabs() {
                        let check = |rule, holds| check(slab.base().addr(), rule, holds);
                        slabs += 1;
                        check("a slab is in one place", slabs <= truth.slabs)?;
                        check("the slabs of a bin are its own", (slab.arena(), slab.cache()) == (arena.id(), cache))?;
                        check("a slab is on the list that its fill demands", bin.is_in_place(slab))?;
                        check("a slab counts down to its next list", bin.counts_down(slab))?;
                        check("no slot is free twice, or behind the last", slab.is_consistent())?;
                    }
                }
            }
            check(0, "every slab is in an arena", slabs == truth.slabs)?;
            let debugged = all.records.iter().map(|record| record.slabs).sum::<usize>();
            check(0, "every slab that is debugged is in a record", debugged == truth.debugged)?;
            for record in all.records.iter() {
                let holds = record.is_consistent();
                check(record.number.into(), "the lists and counts of a record are what its tracks say", holds)?;
            }
            Ok(())
        })
    }

    /// Walks the page map, checking each block as it is met.
    fn count(&self, all: &Stopped<'_, C>) -> Result<Truth, Violation> {
        let mut truth = Truth { slabs: 0, large: LargeStats::default(), debugged: 0, blocks: 0 };
        let mut cursor = Some(0);
        // The first address behind the block that was met last, and its descriptor.
        let mut last: Option<(usize, Meta<Slab>)> = None;
        // SAFETY: all locks are held.
        while let Some(table) = unsafe { self.registry.map.next_table(0, cursor) } {
            cursor = PageMap::behind(0, table);
            // SAFETY: likewise.
            for (address, slab) in unsafe { self.registry.map.slabs(table) } {
                if let Some((end, _)) = last.filter(|(_, block)| *block == slab) {
                    check(address, "a block's frames lead to its descriptor", address < end)?;
                    continue;
                }
                // The map knows the lower 48 bits of an address; the rest follows from them.
                let base = slab.base().addr();
                let masked = PageMap::masked(base);
                let first = masked & !(FRAME_SIZE as usize - 1);
                check(base, "a block's first frame leads to its descriptor", first == address)?;
                check(base, "blocks do not overlap", last.is_none_or(|(end, _)| end <= masked))?;
                self.check_block(all, slab, &mut truth)?;
                last = Some((masked + slab.bytes(), slab));
            }
        }
        Ok(truth)
    }

    fn check_block(&self, all: &Stopped<'_, C>, slab: Meta<Slab>, truth: &mut Truth) -> Result<(), Violation> {
        let base = slab.base().addr();
        let check = |rule, holds| check(base, rule, holds);
        check(
            "a block is aligned to its size, a run as it was asked for",
            base % (if slab.is_run() { slab.run().align() } else { slab.bytes() }) == 0,
        )?;
        check("the descriptor of a block is in use", all.books.pool.has_open(slab))?;
        truth.blocks += 1;
        if slab.is_run() {
            check(
                "a run is as long as runs are",
                S::run_for(slab.run()) == Some(slab.run()) && slab.bytes() >= FRAME_SIZE as usize,
            )?;
        }
        if slab.arena() == ArenaId::TRANSIT {
            return check("a slab on its way has no objects", slab.is_run() || slab.is_empty());
        }
        if slab.is_large() {
            truth.large.count(slab.bytes());
            return Ok(());
        }
        self.check_slab(all, slab, truth)
    }

    /// Checks what has objects of a cache.
    fn check_slab(&self, all: &Stopped<'_, C>, slab: Meta<Slab>, truth: &mut Truth) -> Result<(), Violation> {
        let check = |rule, holds| check(slab.base().addr(), rule, holds);
        if let Some(number) = slab.debugged_cache() {
            truth.debugged += 1;
            let record = all.records.iter().find(|record| record.number == number);
            let is_shaped = |shape: &Shape| slab.size() == shape.stride && usize::from(slab.slots()) == shape.slots();
            check(
                "a slab that is debugged has its record's shape",
                record.is_some_and(|record| is_shaped(&record.shape)),
            )?;
            return check("no slot is free twice, or behind the last", slab.is_consistent());
        }
        let (owner, cache) = (slab.arena(), slab.cache());
        let record = all.records.iter().find(|record| record.number == cache);
        let class = SizeClass::all().nth(cache.into()).map(|class| *class.geometry());
        let Some(geometry) = class.or_else(|| record?.geometry) else {
            return check("a block that the page map leads to has an owner", false);
        };
        check("a slab's slots have its cache's size", slab.size() == geometry.size as usize)?;
        check("a slab has the slots of its order", slab.slots() == geometry.count(slab.order()))?;
        let is_leaked = owner == ArenaId::NONE && record.is_some_and(|record| record.is_destroyed);
        check("a slab's arena is there", is_leaked || all.arena(owner).is_some())?;
        self.check_slots(slab)?;
        truth.slabs += usize::from(!is_leaked);
        Ok(())
    }

    /// Checks that what lies in a slab leads to it: its frames, and of its addresses just those at which a slot starts.
    fn check_slots(&self, slab: Meta<Slab>) -> Result<(), Violation> {
        let base = slab.base().addr();
        let check = |rule, holds| check(base, rule, holds);
        if slab.slots() > 1 {
            for frame in 0..slab.order().frames() as usize {
                // SAFETY: all locks are held.
                let leads_back = unsafe { self.registry.map.find(base + (frame << FRAME_SHIFT)) } == slab;
                check("a slab's frames lead to its descriptor", leads_back)?;
            }
        }
        for slot in 0..slab.slots().into() {
            let start = base + slot * slab.size();
            let exact = slab.slot_at(start) == Some(slot) && slab.slot_at(start + 1).is_none();
            check("the start of a slot, and it alone, can be freed", exact)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use core::alloc::Layout;
    use core::ptr::NonNull;

    use super::super::large::Large;
    use super::*;
    use crate::heap::tests::{Host, Leak};

    /// The rule that `validate` finds broken after `corrupt` has been at a sound heap, and at the slab of an object.
    fn rule_broken_by(corrupt: impl FnOnce(&mut Stopped<'_, Host>, &PageMap, Meta<Slab>)) -> &'static str {
        let heap = Heap::<Leak, Host>::new(Leak);
        let object = heap.allocate(Layout::new::<[u64; 8]>()).unwrap();
        for size in [8, 64, 1000, 100_000] {
            heap.allocate(Layout::from_size_align(size, 8).unwrap()).unwrap();
        }
        heap.validate().unwrap();
        heap.stopped(|all| {
            // SAFETY: all locks are held.
            let slab = unsafe { heap.registry.map.find(object.as_ptr().addr()) };
            corrupt(all, &heap.registry.map, slab);
        });
        heap.validate().expect_err("the corruption went unnoticed").rule
    }

    const CLASS: u16 = 7;

    #[test]
    #[cfg_attr(miri, ignore = "walks whole heaps, again and again")]
    fn each_slab_that_is_corrupted_breaks_its_rule() {
        let slots = |slab: Meta<Slab>, cache| {
            let geometry = SizeClass::all().nth(CLASS.into()).unwrap().geometry();
            slab.open(NonNull::new(slab.base()).unwrap(), slab.order(), geometry.slots(cache, slab.order()));
            slab.set_arena(ArenaId::of(0).unwrap());
        };
        assert_eq!(rule_broken_by(|_, _, slab| slots(slab, CLASS + 1)), "a slab's slots have its cache's size");
        assert_eq!(
            rule_broken_by(|_, _, slab| slots(slab, SizeClass::COUNT as u16)),
            "a block that the page map leads to has an owner"
        );
        assert_eq!(rule_broken_by(|_, _, slab| slab.set_arena(ArenaId::TRANSIT)), "a slab on its way has no objects");
        assert_eq!(rule_broken_by(|_, _, slab| slab.set_arena(ArenaId::of(5).unwrap())), "a slab's arena is there");
        assert_eq!(rule_broken_by(|_, _, slab| slab.set_arena(ArenaId::SHARED)), "the slabs of a bin are its own");
        assert_eq!(rule_broken_by(|_, _, slab| assert!(slab.take_nth(0).is_some())), "what a bin has in hand is free");
        assert_eq!(rule_broken_by(|_, _, slab| _ = slab.free_twice(100)), "no slot is free twice, or behind the last");
    }

    #[test]
    #[cfg_attr(miri, ignore = "walks whole heaps, again and again")]
    fn each_arena_that_is_corrupted_breaks_its_rule() {
        assert_eq!(
            rule_broken_by(|all, _, _| {
                let bin = all.arenas().next().unwrap().bin(CLASS);
                bin.set_aside();
                let slab = bin.slabs().next().unwrap();
                while slab.take_nth(0).is_some() {}
            }),
            "a slab is on the list that its fill demands"
        );
        assert_eq!(
            rule_broken_by(|all, _, _| {
                all.arenas().next().unwrap().pop_any(CLASS).unwrap();
            }),
            "every slab is in an arena"
        );
        assert_eq!(
            rule_broken_by(|all, _, slab| {
                let arena = all.arenas().next().unwrap();
                arena.remember(slab);
                slab.set_arena(ArenaId::SHARED);
            }),
            "an arena remembers slabs of its own"
        );
        assert_eq!(
            rule_broken_by(|all, _, slab| {
                all.arenas().next().unwrap().bin(CLASS).set_aside();
                slab.until.set(100);
            }),
            "a slab counts down to its next list"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "walks whole heaps, again and again")]
    fn each_book_and_map_that_is_corrupted_breaks_its_rule() {
        assert_eq!(
            rule_broken_by(|all, _, slab| {
                all.books.pool.put(slab);
                let closings = all.books.pool.closings().unwrap();
                all.books.pool.pass(closings);
                all.books.pool.vacate_some();
            }),
            "the descriptor of a block is in use"
        );
        assert_eq!(
            rule_broken_by(|all, _, _| assert!(all.books.pool.take().is_some())),
            "the descriptors in use are those the page map leads to"
        );
        assert_eq!(
            rule_broken_by(|_, map, slab| {
                let last = slab.base().addr() + slab.order().bytes() as usize - 1;
                // SAFETY: all locks are held.
                unsafe { map.set(last, 1, None) };
            }),
            "a slab's frames lead to its descriptor"
        );
        assert_eq!(
            rule_broken_by(|_, map, slab| {
                // SAFETY: all locks are held.
                unsafe { map.set(slab.base().addr(), 1, None) };
            }),
            "a block's first frame leads to its descriptor"
        );
        assert_eq!(rule_broken_by(|all, _, _| *all.large = Large::new()), "the count of large objects is their number");
    }
}
