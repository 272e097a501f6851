//! The mistakes.

use anyhow::Result;

use crate::copy::replaced;

/// A mistake.
#[derive(Debug)]
pub struct Plant {
    /// What is wrong.
    pub what: &'static str,
    /// Where it is, below the crate's sources.
    pub file: &'static str,
    /// What is there: an expression, or whole statements none of which binds anything.
    old: &'static str,
    /// What is planted instead.
    new: &'static str,
    /// What must find it: the program with the test, and the test's path.
    pub test: &'static str,
}

const fn plant(
    what: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
    test: &'static str,
) -> Plant {
    Plant { what, file, old, new, test }
}

/// All of them.
#[rustfmt::skip]
pub static PLANTS: [Plant; COUNT] = [
    plant("a request that may leave a zone one frame short of its reserve",
          "zone/watermark.rs",
          "rest >= reserve",
          "rest.saturating_add(1) >= reserve",
          "behaviour::frames::lower_zones_keep_a_256th_of_the_higher_ones_back"),
    plant("a tail of an exact count that is not freed",
          "zone/split.rs",
          "self.free(upper, half)?;",
          "",
          "behaviour::exact::every_exact_count_is_allocated_exactly_and_its_tail_is_free"),
    plant("a block at the new end of which a frame stays when a range shrinks",
          "zone/resize.rs",
          "pfn < end",
          "pfn <= end",
          "behaviour::resize::every_length_becomes_every_other_in_place"),
    plant("a range that grows into a pageblock of another mobility",
          "zone/resize.rs",
          "own == mobility || own.is_mergeable() && free",
          "own.is_mergeable()",
          "behaviour::resize::growing_mixes_no_mobilities"),
    plant("frames of an isolated pageblock that are counted nowhere",
          "zone/isolate.rs",
          "self.count_free(mobility, free);",
          "",
          "behaviour::isolation::isolated_frames_are_counted_apart_and_not_allocated"),
    plant("pageblocks that stay isolated",
          "zone/isolate.rs",
          "self.pageblocks_of(range)?.for_each(|pageblock| self.set_isolated(pageblock, false));",
          "self.pageblocks_of(range)?;",
          "behaviour::isolation::exactly_the_range_is_taken_and_put_back"),
    plant("more than a hundredth of a zone kept for those who cannot wait",
          "zone/highatomic.rs",
          "self.special.reserved_highatomic >= hundredth.next_multiple_of(PAGEBLOCK_FRAMES)",
          "false",
          "behaviour::highatomic::at_most_a_hundredth_of_the_zone_is_kept_in_whole_pageblocks"),
    plant("a pageblock that is counted as kept when it is given up",
          "zone/highatomic.rs",
          "if mobility == Mobility::HighAtomic { 1 } else { u64::MAX }",
          "1_u64",
          "behaviour::highatomic::what_is_kept_can_be_given_up_at_any_time"),
    plant("a free pageblock of which only one half changes its mobility",
          "zone/highatomic.rs",
          "if pair { number & !1..=number | 1 } else { number..=number }",
          "number..=number",
          "lib::zone::mobility::tests::a_pair_that_is_kept_is_given_up_as_one"),
    plant("a request that may use the reserves and asks shrinkers all the same",
          "allocator/zonelist.rs",
          "self.gfp.contains(Gfp::WAIT) && !self.gfp.contains(Gfp::MEMALLOC)",
          "self.gfp.contains(Gfp::WAIT)",
          "behaviour::reclaim::shrinkers_are_asked_by_requests_that_may_wait_and_no_others"),
    plant("a request for a low zone that is served by a higher one",
          "allocator/zonelist.rs",
          "ZoneKind::ALL[..=self.highest.index()].iter()",
          "ZoneKind::ALL[..].iter()",
          "behaviour::frames::a_request_falls_back_downward_and_never_upward"),
    plant("a refusal that asks shrinkers before it empties the CPUs' pages",
          "allocator/zonelist.rs",
          "self.drain();\n                self.allocate_at_need(request)",
          "self.allocate_at_need(request)",
          "behaviour::reclaim::arenas_are_drained_before_shrinkers_are_asked"),
    plant("a refusal without a report",
          "allocator/zonelist.rs",
          "self.refuse(&request);",
          "",
          "behaviour::reclaim::the_report_of_a_refusal_is_linuxs"),
    plant("shrinkers that are asked for a frame at a time",
          "allocator/reclaim.rs",
          "frames.max(CLUSTER)",
          "frames",
          "behaviour::reclaim::shrinkers_are_asked_until_there_is_enough"),
    plant("a CPU that asks shrinkers once and never again",
          "allocator/reclaim.rs",
          "slow.shrinking.fetch_and(!own, Relaxed);",
          "",
          "behaviour::reclaim::shrinkers_are_asked_until_there_is_enough"),
    plant("reclaimed frames that nobody counts",
          "allocator/reclaim.rs",
          "counts.reclaimed.fetch_add(given, Relaxed);",
          "",
          "behaviour::reclaim::shrinkers_are_asked_until_there_is_enough"),
    plant("a movable request that claims a pageblock for the sake of a small block",
          "zone/mobility.rs",
          "order.get() < WORTH_CLAIMING && !sticky",
          "false",
          "behaviour::mobility::a_movable_request_claims_no_block_below_half_a_pageblocks_order"),
    plant("a pageblock that is claimed for its free frames alone",
          "zone/mobility.rs",
          "header.free() + compatible(header, mobility) >= HALF",
          "header.free() >= HALF",
          "behaviour::mobility::allocated_frames_of_the_requests_kind_count_as_half_free"),
    plant("stolen frames that are forgotten",
          "zone/mobility.rs",
          "block.header.set_foreign(foreign + frames as u32);",
          "",
          "behaviour::mobility::stolen_frames_count_for_who_stole_them"),
    plant("kept frames that count as free for everybody",
          "zone/settle.rs",
          "if reserves_too { self.special.free_highatomic } else { 0 }",
          "self.special.free_highatomic",
          "behaviour::highatomic::kept_frames_are_not_counted_for_others"),
    plant("a pageblock whose header keeps its old level",
          "zone/settle.rs",
          "block.header.set_level(level);",
          "",
          "behaviour::frames::every_frame_is_handed_out_once_at_every_order"),
    plant("free frames that are counted again at each look",
          "zone/settle.rs",
          "block.header.set_counted(free);",
          "",
          "lib::zone::settle::tests::what_is_counted_before_its_turn_is_counted_once"),
    plant("a bulk that says it filled one slot, whatever it filled",
          "allocator/bulk.rs",
          "filled += 1;",
          "filled = 1;",
          "behaviour::exact::bulk_fills_empty_slots_and_no_others"),
    plant("frames beyond the first of a bulk that take the reserves",
          "allocator/bulk.rs",
          "gfp | Gfp::READILY",
          "gfp",
          "behaviour::reclaim::a_bulk_that_returns_fewer_is_not_reported"),
    plant("frames that cannot be zeroed and are lost",
          "allocator/zeroed.rs",
          "self.free_range(frames).expect(\"the frames were allocated just now\");",
          "let _ = frames;",
          "behaviour::exact::a_machine_that_cannot_zero_frames_says_so_and_loses_none"),
    plant("a bad free by an owner that nobody hears of",
          "allocator/owned.rs",
          "self.allocator.slow.count_bad_drop();",
          "",
          "behaviour::owned::a_block_that_was_freed_by_its_number_is_reported"),
    plant("a range of which the blocks before a bad one are freed",
          "allocator/exact.rs",
          "self.look_for(pfn, order)",
          "self.order_of(pfn).map(|_| ())",
          "behaviour::exact::a_range_is_freed_as_a_whole_or_not_at_all"),
    plant("a range that is not taken back from the CPUs' pages",
          "allocator/contiguous.rs",
          "self.drain();\n            self.with(kind, |zone| zone.take_isolated(range))",
          "self.with(kind, |zone| zone.take_isolated(range))",
          "behaviour::isolation::a_range_takes_back_what_arenas_hold"),
    plant("firmware's entry that gives out a frame of which it has a part",
          "memory_map/sweep.rs",
          "PfnRange::new(up(start), Pfn::containing(end))",
          "PfnRange::new(Pfn::containing(start), up(end))",
          "memory_map::usable_is_rounded_inward_and_the_rest_outward"),
    plant("a slab of more frames than there are in a row, and no smaller one",
          "heap/slow.rs",
          "if geometry.least_order < usual { open(geometry.least_order) } else { None }",
          "None",
          "heap::shortage::memory_in_small_pieces_still_serves_every_class"),
    plant("frees for other CPUs that nobody counts",
          "heap/slow.rs",
          "place.remote_frees.increment();",
          "",
          "heap::reports::a_cpu_counts_refills_and_what_it_frees_for_others"),
    plant("a second empty slab that is kept and forgotten",
          "heap/slow.rs",
          "self.close(emptied);\n                true",
          "_ = emptied;\n                true",
          "heap::layouts::one_empty_slab_is_kept_and_the_next_goes_back_at_once"),
    plant("a large object that is freed with a wrong length",
          "heap/large.rs",
          "bytes.is_some_and(|bytes| slab.bytes() != bytes)",
          "bytes.is_none() && slab.bytes() == 0",
          "heap::large::every_bad_free_is_named_whatever_the_length"),
    plant("a large object that is counted when it is gone",
          "heap/large.rs",
          "large.0.discount(slab.bytes());",
          "",
          "heap::bad_frees::large_objects_are_told_as_exactly"),
    plant("a large object that is refused although the heap holds empty slabs",
          "heap/large.rs",
          "if self.shrink() > 0 { open() } else { None }",
          "None",
          "heap::shortage::empty_slabs_of_other_classes_are_used_before_anything_is_refused"),
    plant("a debugged object that is resized where it is",
          "heap/relocate.rs",
          "self.is_debugged(object) || object.as_ptr().addr() % wanted.align() != 0",
          "object.as_ptr().addr() % wanted.align() != 0",
          "heap::region::what_is_debugged_moves_whichever_way_it_is_resized"),
    plant("an object of which half moves along",
          "heap/relocate.rs",
          "held.min(wanted.size())",
          "held.min(wanted.size()) / 2",
          "heap::layouts::resizing_keeps_the_contents_and_the_place_where_it_can"),
    plant("an arena that is lost when its CPU has retired",
          "heap/shrink.rs",
          "frames += unsafe { self.registry.give_back(arena, CpuArena::ORDER) };",
          "_ = arena;",
          "heap::faults::each_request_for_frames_can_fail_alone"),
    plant("a heap that says it gave no slab back",
          "heap/shrink.rs",
          "frames += self.close(emptied);",
          "self.close(emptied);",
          "heap::shortage::a_limit_that_is_lifted_lets_the_heap_grow_again"),
    plant("a frame for a cache's record that is lost when there are too many",
          "heap/cache.rs",
          "unsafe { self.registry.give_back(frame, Order::ZERO) };",
          "",
          "heap::caches::a_cache_that_cannot_be_is_refused"),
    plant("an object of a cache that has ended and is freed all the same",
          "heap/cache.rs",
          "(true, SlabDebug::empty(), None)",
          "(false, SlabDebug::empty(), None)",
          "heap::caches::what_is_left_is_listed_and_can_never_be_freed"),
    plant("a slab's block that is lost where there is no frame to describe it",
          "slab/registry.rs",
          "unsafe { self.give_back_slab(block, order) };",
          "",
          "heap::faults::each_request_for_frames_can_fail_alone"),
    plant("frames that are zeroed where the request says so and nowhere else",
          "allocator/harden.rs",
          "gfp.contains(Gfp::ZERO) || self.hardening().contains(Hardening::INIT_ON_ALLOC)",
          "gfp.contains(Gfp::ZERO)",
          "hardening::frames_hold_zeros_when_they_are_allocated"),
    plant("a bad free that clears what it does not free",
          "allocator/harden.rs",
          "self.look_for(pfn, order)?;",
          "",
          "hardening::a_bad_free_clears_nothing"),
    plant("fast paths that stay open while more is to be done",
          "allocator/harden.rs",
          "pages.set_slow(is_slow)",
          "()",
          "hardening::frames_hold_zeros_once_they_are_freed"),
    plant("pageblocks that go the fast way while more is to be done",
          "allocator/harden.rs",
          "zone.withhold_wholes(is_slow)",
          "()",
          "hardening::frames_hold_zeros_when_they_are_allocated"),
    plant("an object that another CPU frees and that is not cleared",
          "heap/slow.rs",
          "!slab.is_free(slot)",
          "false",
          "hardening::objects_hold_zeros_once_they_are_freed"),
    plant("a second free that clears what is free",
          "heap/slow.rs",
          "matches!(freed, Freed::Done | Freed::Surplus(_))",
          "true",
          "hardening::a_bad_free_of_an_object_clears_nothing"),
    plant("an object that is cleared although its constructor made it",
          "heap/harden.rs",
          "!self.debugging.is_constructed(cache)",
          "true",
          "hardening::what_a_constructor_made_and_what_is_poisoned_stays_as_it_is"),
    plant("a large object that grows by what others have left",
          "heap/large.rs",
          "self.init_run(object, run.size()..bytes, Hardening::INIT_ON_ALLOC);",
          "",
          "hardening::a_heap_clears_large_objects_where_its_source_does_not"),
    plant("a sample that is freed as one of any cache",
          "heap/sample.rs",
          "!wanted.is_of(sample.number)",
          "false",
          "samples::bad_frees_of_samples_are_named"),
    plant("a sample that is resized where it is",
          "heap/relocate.rs",
          "self.judge_sample(object, None).is_some()",
          "false",
          "samples::a_sample_is_an_object_as_any_other"),
];

/// How many there are.
const COUNT: usize = 52;

/// Every so many of them is one of the twelve that `make test` hunts.
const EVERY: usize = COUNT / 12;

/// The twelve that are hunted each time.
pub fn fixed() -> impl Iterator<Item = &'static Plant> {
    PLANTS.iter().step_by(EVERY).take(12)
}

impl Plant {
    /// Where the crate's sources are.
    pub(crate) const SOURCES: &str = "kernel/mm/src";

    /// Its number in the table, from 1 on.
    pub fn number(&self) -> usize {
        PLANTS.iter().take_while(|other| !std::ptr::eq(*other, self)).count() + 1
    }

    /// The program with the test that must find it: `lib`, or an integration test of the crate.
    pub fn program(&self) -> &'static str {
        self.test.split_once("::").map_or(self.test, |(program, _)| program)
    }

    /// The path of that test in its program.
    pub fn test(&self) -> &'static str {
        self.test.split_once("::").map_or(self.test, |(_, test)| test)
    }

    /// The file that it is in, with a switch between what is there and what is planted instead.
    ///
    /// # Errors
    /// If what is to be changed is not there, or is there twice.
    pub fn switched(&self, text: &str) -> Result<String> {
        let (old, new) = (self.old, self.new);
        let choice = format!("if crate::planted::is({}) {{ {new} }} else {{ {old} }}", self.number());
        let choice = if old.ends_with([';', '}']) { choice } else { format!("({choice})") };
        replaced(text, old, &choice, self.file)
    }
}
