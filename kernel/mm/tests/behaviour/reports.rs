//! The reports, letter for letter: Linux's tools read them.

use std::fmt::Write;

use bifolio::allocator::{PageAllocator, PerCpuPages, SetupError, View};
use bifolio::frame::{Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};
use bifolio::report;
use kit::Raw;

use super::{NORMAL, exhaust, free_each, order, range};
use kit::machine::{SingleCpu, allocator, allocator_with, allocator_with_pages, usable};

type Frames = PageAllocator<'static, SingleCpu>;

/// What a report writes.
macro_rules! written {
    ($report:ident, $frames:expr) => {{
        let mut text = String::new();
        report::$report($frames, &mut text).unwrap();
        text
    }};
}

/// Zones DMA and DMA32; and zone Normal for nothing but the metadata.
fn machine() -> Frames {
    allocator(&[usable(256, 1024), usable(8192, 12288), usable(NORMAL, NORMAL + 64)])
}

/// The lines that are not about zone Normal, of which the metadata takes what it needs.
fn without_normal(text: &str) -> String {
    text.lines().filter(|line| !line.contains("Normal")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn buddyinfo_is_linuxs() {
    let frames = machine();
    frames.take(Order::ZERO, Gfp::DMA | Gfp::MEMALLOC).unwrap();
    assert_eq!(
        without_normal(&written!(buddyinfo, &frames)),
        "Node 0, zone      DMA      1      1      1      1      1      1      1      1      2      0      0 \n\
         Node 0, zone    DMA32      0      0      0      0      0      0      0      0      0      0      4 \n"
    );
}

#[test]
fn pagetypeinfo_is_linuxs() {
    let frames = machine();
    frames.take(Order::ZERO, Gfp::KERNEL | Gfp::DMA32).unwrap();
    frames.isolate(PfnRange::new(Pfn::new(9216), Pfn::new(9217))).unwrap();
    assert_eq!(
        without_normal(&written!(pagetypeinfo, &frames)),
        "Page block order: 9\n\
         Pages per block:  512\n\
         \n\
         Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 \n\
         Node    0, zone      DMA, type    Unmovable      0      0      0      0      0      0      0      0      0      0      0 \n\
         Node    0, zone      DMA, type      Movable      0      0      0      0      0      0      0      0      1      1      0 \n\
         Node    0, zone      DMA, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n\
         Node    0, zone      DMA, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 \n\
         Node    0, zone      DMA, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 \n\
         Node    0, zone    DMA32, type    Unmovable      1      1      1      1      1      1      1      1      1      1      0 \n\
         Node    0, zone    DMA32, type      Movable      0      0      0      0      0      0      0      0      0      1      2 \n\
         Node    0, zone    DMA32, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n\
         Node    0, zone    DMA32, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 \n\
         Node    0, zone    DMA32, type      Isolate      0      0      0      0      0      0      0      0      0      1      0 \n\
         \n\
         Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate \n\
         Node 0, zone      DMA            0            2            0            0            0 \n\
         Node 0, zone    DMA32            2            5            0            0            1 \n"
    );
}

#[test]
fn zoneinfo_is_linuxs() {
    let arenas: &'static [PerCpuPages; 2] = Box::leak(Box::new([const { PerCpuPages::new() }; 2]));
    let frames: Frames = allocator_with(&[usable(256, 1024), usable(NORMAL, NORMAL + 4096)], arenas);
    frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    let [dma, _, normal] = ZoneKind::ALL.map(|kind| frames.zone(kind));
    let high = 3 * (6 * 64 + 32 + (32 << 1) + (28 << 2) + (22 << 3) + (16 << 4) + (15 << 5));
    let expected = format!(
        "Node 0, zone      DMA\n\
        \x20 pages free     768\n\
        \x20       boost    0\n\
        \x20       min      {}\n\
        \x20       low      {}\n\
        \x20       high     {}\n\
        \x20       spanned  768\n\
        \x20       present  768\n\
        \x20       managed  768\n\
        \x20       protection: (0, 0, 15)\n\
        \x20 pagesets\n\
        \x20   cpu: 0\n\
        \x20             count:    0\n\
        \x20             high:     {high}\n\
        \x20             batch:    64\n\
        \x20   cpu: 1\n\
        \x20             count:    0\n\
        \x20             high:     {high}\n\
        \x20             batch:    64\n\
        \x20 start_pfn:           256\n\
         Node 0, zone    DMA32\n\
        \x20 pages free     0\n\
        \x20       boost    0\n\
        \x20       min      0\n\
        \x20       low      0\n\
        \x20       high     0\n\
        \x20       spanned  0\n\
        \x20       present  0\n\
        \x20       managed  0\n\
        \x20       protection: (0, 0, 15)\n\
         Node 0, zone   Normal\n\
        \x20 pages free     {}\n\
        \x20       boost    0\n\
        \x20       min      {}\n\
        \x20       low      {}\n\
        \x20       high     {}\n\
        \x20       spanned  4096\n\
        \x20       present  4096\n\
        \x20       managed  {}\n\
        \x20       protection: (0, 0, 0)\n\
        \x20 pagesets\n\
        \x20   cpu: 0\n\
        \x20             count:    63\n\
        \x20             high:     {high}\n\
        \x20             batch:    64\n\
        \x20   cpu: 1\n\
        \x20             count:    0\n\
        \x20             high:     {high}\n\
        \x20             batch:    64\n\
        \x20 start_pfn:           1048576\n",
        dma.watermarks.min,
        dma.watermarks.low,
        dma.watermarks.high,
        normal.managed - 64,
        normal.watermarks.min,
        normal.watermarks.low,
        normal.watermarks.high,
        normal.managed,
    );
    assert_eq!(written!(zoneinfo, &frames), expected);
}

#[test]
fn the_fragmentation_indices_are_linuxs() {
    let frames = machine();
    assert_eq!(
        without_normal(&written!(extfrag_index, &frames)),
        "Node 0, zone      DMA -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 0.125 \n\
         Node 0, zone    DMA32 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 \n"
    );
    assert_eq!(
        without_normal(&written!(unusable_index, &frames)),
        "Node 0, zone      DMA 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.333 1.000 \n\
         Node 0, zone    DMA32 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 0.000 \n"
    );
}

/// The vector: 512 pages, all of order 0, at order 9; 1024 at order 3.
#[test]
fn memory_that_is_all_in_single_frames_has_linuxs_indices() {
    for (free, o, index) in [(512, 9, "0.997"), (1024, 3, "0.875")] {
        let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
        exhaust(&frames, Gfp::MEMALLOC);
        free_each(&frames, (0..free).map(|nth| 2 * nth));
        let text = written!(extfrag_index, &frames);
        assert_eq!(text.split_whitespace().nth(4 + o), Some(index), "{text}");
    }
}

#[test]
fn vmstat_counts_what_there_is_and_what_happened() {
    let frames = allocator_with_pages(&[usable(256, 1024), usable(NORMAL, NORMAL + 4096)]);
    let value = |name: &str| {
        let text = written!(vmstat, &frames);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_string);
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<u64>().unwrap()
    };
    let managed = frames.zone(ZoneKind::Normal).managed + 768;
    assert_eq!((value("nr_free_pages"), value("nr_free_pages_blocks")), (managed, 512 + 512 * 7));
    assert_eq!((value("pgalloc_normal"), value("pgfree"), value("bifolio_drain")), (0, 0, 0));
    // From the zone; a word through the arena.
    let block = frames.take(order(5), Gfp::DMA | Gfp::MEMALLOC).unwrap();
    let single = frames.take(Order::ZERO, Gfp::RECLAIMABLE).unwrap();
    assert_eq!((value("pgalloc_dma"), value("pgalloc_dma32"), value("pgalloc_normal")), (32, 0, 64));
    assert_eq!((value("bifolio_cached"), value("pgfree"), value("nr_free_pages")), (63, 0, managed - 96));
    frames.give(block, order(5)).unwrap();
    frames.give(single, Order::ZERO).unwrap();
    assert_eq!((value("pgfree"), value("bifolio_cached")), (32, 64));
    frames.drain();
    assert_eq!((value("pgfree"), value("bifolio_cached"), value("bifolio_drain")), (96, 0, 1));
    assert_eq!(value("bifolio_claim_whole_movable_to_unmovable"), 1);
    assert_eq!(value("bifolio_claim_whole_movable_to_reclaimable"), 1);
    assert_eq!(value("bifolio_steal_movable_to_reclaimable"), 0);
    frames.isolate(range(1024, 1025)).unwrap();
    assert_eq!((value("bifolio_isolated"), value("nr_free_pages")), (512, managed - 512));
    frames.unisolate(range(1024, 1025)).unwrap();
    exhaust(&frames, Gfp::KERNEL);
    assert_eq!((value("allocstall_dma"), value("allocstall_normal") > 0, value("bifolio_refused")), (0, true, 1));
    assert_eq!((value("pgscan_direct"), value("pgsteal_direct")), (0, 0));
    let lines = written!(vmstat, &frames);
    assert!(lines.lines().all(|line| line.split(' ').count() == 2), "{lines}");
}

#[test]
fn meminfo_is_linuxs() {
    let frames = machine();
    let text = written!(meminfo, &frames);
    let mut expected = String::new();
    let total = ZoneKind::ALL.map(|kind| frames.zone(kind).managed).iter().sum::<u64>() * 4;
    writeln!(expected, "MemTotal:       {total:8} kB").unwrap();
    writeln!(expected, "MemFree:        {total:8} kB").unwrap();
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_cpus_pages_count_their_refills() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    assert_eq!((frames.cpus(), frames.refills(0), frames.refills(1)), (1, 0, 0));
    let held: Vec<_> = (0..256).map(|_| frames.take(Order::ZERO, Gfp::KERNEL).unwrap()).collect();
    assert_eq!(frames.refills(0), 4);
    frames.take(Order::ZERO, Gfp::KERNEL | Gfp::MOVABLE).unwrap();
    assert_eq!(frames.refills(0), 5);
    held.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    frames.drain();
    assert_eq!(frames.refills(0), 5);
}

#[test]
fn each_kind_has_linuxs_letter() {
    let letters: String = Mobility::ALL.map(Mobility::letter).iter().collect();
    assert_eq!(letters, "UMEHI");
}

/// What is behind locks is not shown: whoever panics may hold them.
#[test]
fn what_debug_shows_takes_no_lock() {
    let pages = PerCpuPages::default();
    assert_eq!(format!("{pages:?}"), "PerCpuPages { refills: 0, .. }");
    let frames = machine();
    assert_eq!(format!("{frames:?}"), "PageAllocator { .. }");
    let view: &View<'_, SingleCpu> = &frames;
    assert_eq!(format!("{view:?}"), "View { .. }");
}

#[test]
fn what_is_refused_or_wrong_says_so() {
    let frames = machine();
    let marks = frames.zone(ZoneKind::Dma).watermarks;
    assert_eq!(marks.to_string(), format!("{}/{}/{}", marks.min, marks.low, marks.high));
    let block = frames.allocate(Order::ZERO, Gfp::KERNEL).unwrap();
    let refused = frames.split(block, order(1)).err().unwrap();
    assert_eq!(refused.to_string(), refused.error.to_string());
    assert_eq!(refused.to_string(), "a block of order 0 has no parts of order 1");
    frames.free(refused.given).unwrap();
    assert_eq!(SetupError::TooManyShrinkers.to_string(), "there is no room for one more shrinker");
    let entry = Region { start: 0x3000, end: 0x3000, kind: RegionKind::Usable };
    assert!(entry.fault().unwrap().to_string().ends_with("is empty: ignored"));
}
