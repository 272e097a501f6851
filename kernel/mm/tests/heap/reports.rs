//! What the heap tells of itself.

use std::alloc::Layout;

use bifolio::heap::{ArenaEvents, ArenaStats, CacheOptions, Heap, HeapFrames, Malloc, SizeClass, SlotSource};
use kit::scale;

use crate::objects::{Object, TestHeap, assert_empties, layout};
use crate::source::{Blocks, Thread};

#[test]
fn slabinfo_has_the_format_of_linux() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let objects: Vec<_> = (0..600).map(|seed| Object::new(&heap, layout(60, 8), seed as u8)).collect();
    let mut text = String::new();
    heap.write_slabinfo(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "slabinfo - version: 2.1");
    assert_eq!(
        lines[1],
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
         : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
    );
    assert_eq!(lines.len(), 2 + SizeClass::COUNT);
    assert_eq!(
        lines[2 + 7],
        "kmalloc-64           600   1024     64  512    8 : tunables    0    0    0 : slabdata      2      2      0"
    );
    assert_eq!(
        lines[2],
        "kmalloc-8              0      0      8  512    1 : tunables    0    0    0 : slabdata      0      0      0"
    );
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

/// An arena's slabs, their frames and the objects in them.
fn stats_of(heap: &TestHeap, cpu: Option<usize>) -> Option<(usize, u64, usize)> {
    heap.arena_stats(cpu).map(|stats| (stats.slabs, stats.frames, stats.active_objects))
}

/// How often a CPU's arena was refilled, and how often it freed for another.
fn events_of(heap: &TestHeap, cpu: usize) -> (u64, u64) {
    let events = heap.arena_events(cpu);
    (events.refills, events.remote_frees)
}

#[test]
fn an_arena_tells_of_its_slabs() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    assert_eq!(heap.arena_stats(Some(0)), None, "it has allocated nothing");
    assert_eq!(heap.arena_stats(None), Some(ArenaStats::default()));
    let objects: Vec<_> = (0..600).map(|seed| Object::new(&heap, layout(60, 8), seed as u8)).collect();
    assert_eq!(stats_of(&heap, Some(0)), Some((2, 16, 600)));
    assert_eq!(heap.arena_stats(Some(1)), None);
    heap.retire_cpu();
    assert_eq!(stats_of(&heap, None), Some((2, 16, 600)));
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn a_cpu_counts_refills_and_what_it_frees_for_others() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    assert_eq!(heap.arena_events(0), ArenaEvents::default());
    let objects: Vec<_> = (0..600).map(|seed| Object::new(&heap, layout(60, 8), seed as u8)).collect();
    // Two slabs.
    assert_eq!(events_of(&heap, 0), (2, 0));
    Thread::become_cpu(1);
    Object::new(&heap, layout(60, 8), 1).free(&heap);
    objects.into_iter().for_each(|object| object.free(&heap));
    Thread::become_cpu(0);
    assert_eq!(events_of(&heap, 0), (2, 0));
    assert_eq!(events_of(&heap, 1), (1, 600));
    assert_empties(&heap);
}

#[test]
fn what_is_freed_in_shared_slabs_is_not_freed_for_another_cpu() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let objects: Vec<_> = (0..100).map(|seed| Object::new(&heap, layout(60, 8), seed as u8)).collect();
    heap.retire_cpu();
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_eq!(events_of(&heap, 0), (1, 0));
    assert_empties(&heap);
}

#[test]
fn frames_are_accounted_for_by_use() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    assert_eq!(heap.frames(), HeapFrames::default());
    let small = Object::new(&heap, layout(64, 8), 1);
    let large = Object::new(&heap, layout(60_000, 8), 2);
    let frames = heap.frames();
    assert_eq!((frames.slabs, frames.large), (8, 16));
    assert_eq!(frames.slabs + frames.large + frames.metadata, heap.source().frames());
    assert_eq!(heap.large_objects(bifolio::frame::Order::new(4).unwrap()), 1);
    small.free(&heap);
    large.free(&heap);
    assert_empties(&heap);
}

#[test]
fn slabtop_shows_the_largest_caches_first_and_what_they_waste() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let objects: Vec<_> =
        (0..600).map(|seed| Object::new(&heap, layout(if seed % 3 == 0 { 1000 } else { 60 }, 8), seed as u8)).collect();
    let mut text = String::new();
    heap.write_slabtop(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            " Active / Total Objects (% used)    : 600 / 736 (81.5%)",
            " Active / Total Slabs (% used)      : 8 / 8 (100.0%)",
            " Active / Total Size (% used)       : 225.00K / 256.00K (87.9%)",
            "",
            "  OBJS ACTIVE  USE OBJ SIZE  SLABS OBJ/SLAB CACHE SIZE      WASTE NAME",
            "   224    200  89%     1.00K      7       32       224K        24K kmalloc-1024",
            "   512    400  78%     0.06K      1      512        32K         7K kmalloc-64",
        ]
    );
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn the_summary_says_what_memory_is_for() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let small = Object::new(&heap, layout(64, 8), 1);
    let large = Object::new(&heap, layout(60_000, 8), 2);
    let mut text = String::new();
    heap.write_summary(&mut text).unwrap();
    let metadata = heap.frames().metadata * 4;
    let all = metadata + 32 + 64;
    let used = ((64 + 64 * 1024) * 1000 + all * 1024 / 2) / (all * 1024);
    assert_eq!(
        text,
        format!(
            "slabs           32 kB  slabs: 1; objects: 1, in slots of 0.06K\n\
             large           64 kB  objects: 1, above 4 MiB: 0; resized in place: 0, moved: 0\n\
             metadata  {metadata:>8} kB  arenas, descriptors, page map\n\
             in all    {all:>8} kB  {}.{}% of it in use\n",
            used / 10,
            used % 10
        )
    );
    small.free(&heap);
    large.free(&heap);
    assert_empties(&heap);
}

/// Nothing that one report counts is missing in another.
#[test]
fn a_cache_with_a_name_is_in_every_report() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let inodes = heap.cache::<[u64; 75]>(CacheOptions::new("inode")).unwrap();
    let objects: Vec<_> = (0..500).map(|_| inodes.allocate().unwrap()).collect();
    let stats = inodes.stats();
    assert_eq!((stats.active_objects, stats.object_size), (500, 600));
    assert_eq!(heap.caches().filter(|stats| stats.slabs > 0).collect::<Vec<_>>(), [stats]);
    assert_eq!(heap.caches().count(), SizeClass::COUNT + 1);
    type Report = fn(&TestHeap, &mut dyn std::fmt::Write) -> std::fmt::Result;
    let reports: [(Report, String); 5] = [
        (TestHeap::write_slabinfo, format!("inode                500 {:6}", stats.objects)),
        (TestHeap::write_slabtop, format!(" : 500 / {} (", stats.objects)),
        (TestHeap::write_slabtop, format!("{:9}K inode", stats.waste() / 1024)),
        (TestHeap::write_waste, "inode                    500       300000".to_owned()),
        (TestHeap::write_summary, format!("slabs: {}; objects: 500, in slots of 292.97K\n", stats.slabs)),
    ];
    for (write, expected) in reports {
        let mut text = String::new();
        write(&heap, &mut text).unwrap();
        assert!(text.contains(&expected), "{expected:?} is not in\n{text}");
    }
    // SAFETY: the objects are ours, and not used afterwards.
    objects.into_iter().for_each(|object| unsafe { inodes.free(object).unwrap() });
    drop(inodes);
    assert_empties(&heap);
}

#[test]
fn the_slot_that_is_told_is_the_one_that_is_given() {
    let mut region = vec![0; 4 << 20];
    let region = Heap::in_region(&mut region).unwrap();
    let heap = region.heap().slabs().unwrap();
    let (mut held, mut state, mut sources) = (Vec::new(), 1_u64, Vec::new());
    let mut random = move |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 33) as usize % below
    };
    for turn in 0..scale::size(10_000, 1500) {
        // There are times to allocate and times to free.
        let is_to_free = random(10) < if turn / 700 % 2 == 0 { 4 } else { 7 };
        if is_to_free && !held.is_empty() {
            let (object, layout) = held.swap_remove(random(held.len()));
            // SAFETY: the object is the test's, and used no more.
            unsafe { heap.free(object, layout) }.unwrap();
            continue;
        }
        let layout = Layout::from_size_align([24, 56, 700][random(3)], 8).unwrap();
        let told = heap.next_slot(layout);
        let object = heap.allocate(layout).unwrap();
        held.push((object, layout));
        let Some(told) = told else { continue };
        assert_eq!(told.address, object.as_ptr().addr(), "{told:?}");
        let slab = heap.slab_words(told.address).unwrap();
        assert_eq!(slab.info.start + told.slot * layout.size().next_multiple_of(8), told.address, "{slab:?}");
        assert_eq!(slab.words[told.slot / 64].free >> (told.slot % 64) & 1, 0);
        if !sources.contains(&told.source) {
            sources.push(told.source);
        }
    }
    for source in [SlotSource::InHand, SlotSource::NextWord, SlotSource::Partial, SlotSource::Empty] {
        assert!(sources.contains(&source), "{source:?} is not among {sources:?}");
    }
}

/// All else is behind locks, which whoever panics may hold.
#[test]
fn what_debug_shows_of_a_heap_is_its_name() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let options = CacheOptions::<u64>::new("number");
    assert_eq!(format!("{options:?}"), "CacheOptions { .. }");
    let cache = heap.cache(options).unwrap();
    assert_eq!(format!("{heap:?} {cache:?} {:?}", Malloc::new(&heap)), "Heap { .. } Cache { .. } Malloc { .. }");
    let malloc = Malloc::new(&heap);
    assert!(std::ptr::eq(Clone::clone(&malloc).heap(), malloc.heap()));
    let mut region = vec![0; 4 << 20];
    let region = Clone::clone(&Heap::in_region(&mut region).unwrap().heap());
    assert_eq!(format!("{region:?} {:?}", region.slabs().unwrap().source()), "Heap { .. } RegionPages { .. }");
    let mut small = [0; 1024];
    assert_eq!(format!("{:?}", Heap::in_region(&mut small).unwrap().heap()), "SmallHeap { .. }");
}

#[test]
fn a_slab_shows_its_slots_and_which_comes_next() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let objects: Vec<_> = (0..70).map(|seed| Object::new(&heap, layout(60, 8), seed)).collect();
    let slab = heap.slab_words(objects[0].start()).unwrap().info.start;
    let mut used = Vec::new();
    let info = heap
        .slab_at(objects[69].start(), |slot, is_used| {
            if is_used {
                used.push(slab + slot * 64);
            }
        })
        .unwrap();
    assert_eq!((info.cache, info.start, info.object_size, info.slots), ("kmalloc-64", slab, 64, 512));
    assert_eq!(used, objects.iter().map(Object::start).collect::<Vec<_>>());
    assert_eq!(heap.slab_at(0x1000, |_, _| ()), None);
    let next = heap.next_slot(layout(60, 8)).unwrap();
    let mut lines = Vec::new();
    let words = heap.slab_words(next.slab).unwrap();
    words.tell_slot(0x5000, next.slot, 0x5000 + 64 * next.slot as u64, &mut |words| lines.push(words.to_string()));
    let free = words.words[1].free;
    assert_eq!((next.slot, words.words[1].remote), (70, 0));
    assert_eq!(
        lines,
        [
            format!("word 1 of the slab at 0x5000: free {free:#018x}, freed by other CPUs 0x0000000000000000"),
            "so slot 70 of 512 is served, bit 6, the lowest: 0x6180".to_owned(),
        ]
    );
    let large = Object::new(&heap, layout(60_000, 8), 1);
    let mut slots = Vec::new();
    let info = heap.slab_at(large.start() + 9000, |slot, is_used| slots.push((slot, is_used))).unwrap();
    assert_eq!((info.cache, info.start, info.slots, slots), ("kmalloc-large", large.start(), 1, vec![(0, true)]));
    large.free(&heap);
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn where_a_slot_comes_from_is_said_in_words() {
    let sources = [SlotSource::InHand, SlotSource::NextWord, SlotSource::Partial, SlotSource::Empty, SlotSource::Freed];
    assert_eq!(
        sources.map(|source| source.to_string()),
        [
            "this CPU has slots of one word of a slab in hand",
            "nothing is in hand; the next word of the current slab with free slots is taken up",
            "the current slab is full; the fullest of those with free slots follows",
            "the current slab is full, and no other has both objects and free slots; an empty one follows",
            "all slabs are full as far as is known; in one that was, slots have been freed",
        ]
    );
    assert_eq!(SizeClass::of(layout(60, 8)).map(SizeClass::name), Some("kmalloc-64"));
}
