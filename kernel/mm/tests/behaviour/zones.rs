//! Which zone serves a request, how low it goes, and what becomes of memory that comes later.

use bifolio::allocator::{AllocError, PageAllocator, ZoneStats};
use bifolio::error::{AddError, FreeError};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};
use kit::{Raw, Sound};

use super::{NORMAL, exhaust, order};
use kit::machine::{SingleCpu, allocator, usable};

use ZoneKind::{Dma, Dma32, Normal};

/// 15 MiB, 192 MiB and 256 MiB.
fn machine() -> PageAllocator<'static, SingleCpu> {
    allocator(&[usable(256, 4096), usable(4096, 4096 + 49_152), usable(NORMAL, NORMAL + 65_536)])
}

fn zones(frames: &PageAllocator<'_, SingleCpu>) -> [ZoneStats; 3] {
    ZoneKind::ALL.map(|kind| frames.zone(kind))
}

#[test]
fn marks_and_reserves_follow_from_what_is_managed() {
    let [dma, dma32, normal] = zones(&machine());
    let total = dma.managed + dma32.managed + normal.managed;
    assert_eq!((dma.managed, dma32.managed), (3840, 49_152));
    let min_free = (16 * total * 4).isqrt() / 4;
    for zone in [dma, dma32, normal] {
        let min = min_free * zone.managed / total;
        let step = (min / 4).max(zone.managed / 1000);
        assert_eq!([zone.watermarks.min, zone.watermarks.low, zone.watermarks.high], [min, min + step, min + 2 * step]);
    }
    assert_eq!(dma.protection, [0, dma32.managed / 256, (dma32.managed + normal.managed) / 256]);
    assert_eq!(dma32.protection, [0, 0, normal.managed / 256]);
    assert_eq!(normal.protection, [0, 0, 0]);
}

/// A request for any zone leaves the lower ones what they keep from it; one for a lower zone takes that, too.
#[test]
fn each_zone_keeps_frames_from_requests_that_could_use_a_higher_one() {
    let frames = machine();
    let left = |gfp: Gfp| {
        exhaust(&frames, gfp);
        let zones = zones(&frames);
        zones.map(|zone| zone.free - zone.watermarks.min)
    };
    let [dma, dma32, _] = zones(&frames).map(|zone| zone.protection);
    assert_eq!(left(Gfp::KERNEL), [dma[2], dma32[2], 0]);
    assert_eq!(left(Gfp::KERNEL | Gfp::DMA32), [dma[1], 0, 0]);
    assert_eq!(left(Gfp::KERNEL | Gfp::DMA), [0, 0, 0]);
}

/// The fast path ends at `low` in every zone before any zone is asked for more.
#[test]
fn every_zone_goes_down_to_low_before_one_goes_further() {
    let frames = machine();
    let above_low = |zone: &ZoneStats| zone.free - (zone.watermarks.low + zone.protection[2]);
    let spare = |frames: &PageAllocator<'_, SingleCpu>| zones(frames).iter().map(above_low).sum::<u64>();
    let mut order_of_zones = Vec::new();
    while spare(&frames) > 0 {
        let zone = frames.take(Order::ZERO, Gfp::MOVABLE).map(|pfn| Profile::X86_64.zone_of(pfn)).unwrap();
        if order_of_zones.last() != Some(&zone) {
            order_of_zones.push(zone);
        }
    }
    assert_eq!(order_of_zones, [Normal, Dma32, Dma]);
    assert!(zones(&frames).iter().all(|zone| zone.free == zone.watermarks.low + zone.protection[2]));
    assert_eq!(frames.take(Order::ZERO, Gfp::MOVABLE).map(|pfn| Profile::X86_64.zone_of(pfn)), Ok(Normal));
}

/// How many frames a block leaves counts, but for the frame that any request takes.
#[test]
fn larger_blocks_leave_the_same_mark() {
    for (gfp, mark) in [(Gfp::KERNEL, 8), (Gfp::NOWAIT, 8), (Gfp::HIGH | Gfp::WAIT, 4), (Gfp::ATOMIC, 3)] {
        for o in [1, 3, 5] {
            let frames = allocator(&[usable(4096, 4096 + 16_384)]);
            let zone = || frames.zone(Dma32);
            let min = zone().watermarks.min;
            let mark = match mark {
                8 => min,
                4 => min - min / 2,
                _ => (min - min / 2) - (min - min / 2) / 4,
            };
            while zone().free > mark + 3 * (1 << o) {
                frames.take(order(o), gfp | Gfp::MOVABLE).unwrap();
            }
            // Down to a count at which one frame decides.
            while zone().free > mark + (1 << o) {
                frames.take(Order::ZERO, Gfp::MOVABLE | Gfp::MEMALLOC).unwrap();
            }
            let last = frames.take(Order::ZERO, Gfp::MOVABLE | Gfp::MEMALLOC).unwrap();
            assert_eq!(zone().free, mark + (1 << o) - 1);
            assert!(frames.take(order(o), gfp | Gfp::MOVABLE | Gfp::NOWARN).is_err(), "{gfp} of order {o}");
            frames.give(last, Order::ZERO).unwrap();
            assert!(frames.take(order(o), gfp | Gfp::MOVABLE).is_ok(), "{gfp} of order {o}");
            assert_eq!(zone().free, mark);
        }
    }
}

#[test]
fn a_request_for_a_zone_without_memory_goes_to_the_next_lower() {
    let frames = allocator(&[usable(256, 4096), usable(NORMAL, NORMAL + 4096)]);
    let empty = frames.zone(Dma32);
    assert_eq!((empty.spanned, empty.present, empty.managed, empty.free), (0, 0, 0, 0));
    assert_eq!(frames.take(Order::ZERO, Gfp::DMA32).map(|pfn| Profile::X86_64.zone_of(pfn)), Ok(Dma));
    assert_eq!(frames.take(Order::ZERO, Gfp::KERNEL).map(|pfn| Profile::X86_64.zone_of(pfn)), Ok(Normal));
    let high = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    for gfp in [Gfp::DMA, Gfp::DMA32] {
        let gfp = gfp | Gfp::MEMALLOC;
        assert_eq!(high.take(Order::ZERO, gfp), Err(AllocError::OutOfMemory { order: Order::ZERO, gfp }));
    }
    high.sound();
    let low = allocator(&[usable(256, 4096)]);
    assert_eq!(low.take(Order::ZERO, Gfp::KERNEL).map(|pfn| Profile::X86_64.zone_of(pfn)), Ok(Dma));
    assert_eq!(low.zone(Dma).protection, [0, 0, 0]);
    low.sound();
}

/// Two terabytes apart, and between them nothing: neither frames nor metadata.
#[test]
fn memory_that_lies_far_apart_is_one_zone() {
    let tib = 1 << 28;
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096), usable(2 * tib, 2 * tib + 4096)]);
    let zone = frames.zone(Normal);
    assert_eq!((zone.spanned, zone.present), (2 * tib + 4096 - NORMAL, 8192));
    assert!(frames.metadata().frames() < 16);
    let all = exhaust(&frames, Gfp::MEMALLOC);
    assert_eq!(all.len() as u64, zone.managed);
    assert!(all.iter().any(|pfn| pfn.number() < tib) && all.iter().any(|pfn| pfn.number() >= 2 * tib));
    for hole in [NORMAL + 4096, tib, 2 * tib - 1, 2 * tib + 4096] {
        assert_eq!(frames.give(Pfn::new(hole), Order::ZERO), Err(FreeError::NotManaged(Pfn::new(hole))));
    }
    all.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    assert_eq!(frames.zone(Normal).free, zone.managed);
    frames.sound();
}

/// A map with memory that is not usable yet.
fn with_acpi(start: u64, end: u64) -> PageAllocator<'static, SingleCpu> {
    let later = Region { start: start * 4096, end: end * 4096, kind: RegionKind::AcpiReclaimable };
    allocator(&[usable(256, 4096), usable(4096, 8192), later, usable(NORMAL, NORMAL + 8192)])
}

#[test]
fn memory_that_comes_later_moves_marks_and_reserves() {
    let frames = with_acpi(8192, 40_960);
    let [_, before, _] = zones(&frames);
    frames.give_more(PfnRange::new(Pfn::new(8192), Pfn::new(40_960))).unwrap();
    let [dma, dma32, normal] = zones(&frames);
    assert_eq!((dma32.managed, dma32.free), (before.managed + 32_768, before.free + 32_768));
    assert_eq!(dma.protection[1], dma32.managed / 256);
    let total = dma.managed + dma32.managed + normal.managed;
    assert_eq!(dma32.watermarks.min, (16 * total * 4).isqrt() / 4 * dma32.managed / total);
    frames.sound();
}

/// Up to the end of what was free before, and on: one block.
#[test]
fn memory_that_comes_later_merges_with_what_lies_beside_it() {
    let frames = with_acpi(8192 - 512, 8192 + 512);
    let largest = |frames: &PageAllocator<'_, SingleCpu>| frames.free_blocks(Dma32).of(Order::MAX);
    let before = largest(&frames);
    for start in [8192 - 512, 8192 - 256, 8192, 8192 + 256] {
        frames.give_more(PfnRange::new(Pfn::new(start), Pfn::new(start + 256))).unwrap();
        frames.sound();
    }
    assert_eq!(largest(&frames), before + 1);
}

#[test]
fn memory_that_comes_into_an_isolated_pageblock_is_isolated() {
    let frames = with_acpi(7936, 8192);
    frames.isolate(PfnRange::new(Pfn::new(7680), Pfn::new(7681))).unwrap();
    let before = frames.zone(Dma32);
    frames.give_more(PfnRange::new(Pfn::new(7936), Pfn::new(8192))).unwrap();
    let after = frames.zone(Dma32);
    assert_eq!((after.free, after.isolated), (before.free, before.isolated + 256));
    frames.sound();
}

#[test]
fn memory_that_is_there_already_or_nowhere_is_refused_as_a_whole() {
    let frames = with_acpi(8192, 8704);
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let before = zones(&frames);
    let cases = [
        (range(8000, 8300), AddError::Overlaps(Pfn::new(8000))),
        (range(8192, 200_000), AddError::NotPlanned(range(8192, 200_000))),
        (range(NORMAL - 9, NORMAL + 9), AddError::NotPlanned(range(NORMAL - 9, NORMAL))),
        // Beyond every zone.
        (range(1 << 40, (1 << 40) + 5), AddError::NotPlanned(range(1 << 40, (1 << 40) + 5))),
        (range(u64::MAX - 5, u64::MAX), AddError::NotPlanned(range(u64::MAX - 5, u64::MAX))),
    ];
    for (range, error) in cases {
        assert_eq!(frames.give_more(range), Err(error), "{range}");
        assert_eq!(zones(&frames), before);
    }
    frames.sound();
}

/// The kinds of frames that are reserved in a zone's spans: only what the map called reclaimable may come later.
#[test]
fn nothing_but_reclaimable_memory_can_be_added() {
    let region = |start: u64, end: u64, kind| Region { start, end, kind };
    let mib = |mib: u64| mib << 20;
    let frames = allocator(&[
        region(0, mib(8), RegionKind::Usable),
        region(mib(12), mib(16), RegionKind::Usable),
        region(mib(4), mib(5), RegionKind::Reserved),
        region(mib(6), mib(7), RegionKind::AcpiReclaimable),
        region(0x400_0000, 0x400_3200, RegionKind::AcpiReclaimable),
    ]);
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let before = zones(&frames);
    for (range, first) in [
        // A reserved entry, a part of it, and one beside what may be added.
        (range(0x400, 0x500), 0x400),
        (range(0x4ff, 0x500), 0x4ff),
        // A hole: what no entry speaks of.
        (range(0x800, 0xc00), 0x800),
        (range(0xbff, 0xc00), 0xbff),
        // The first MiB, which the map calls usable, and part of which no machine has.
        (range(0, 0x100), 0),
        (range(0xa0, 0xa1), 0xa0),
        // The frame in which ACPI data ends, alone and with all before it; and behind it.
        (range(0x4003, 0x4004), 0x4003),
        (range(0x4000, 0x4004), 0x4003),
        (range(0x4004, 0x4005), 0x4004),
    ] {
        assert_eq!(frames.give_more(range), Err(AddError::NotReclaimable(Pfn::new(first))), "{range}");
        assert_eq!(zones(&frames), before, "{range}");
        frames.sound();
    }
    assert_eq!(frames.give_more(range(0x5ff, 0x700)), Err(AddError::Overlaps(Pfn::new(0x5ff))));
    assert_eq!(frames.give_more(range(0x600, 0x680)), Ok(()));
    assert_eq!(frames.give_more(range(0x600, 0x700)), Err(AddError::Overlaps(Pfn::new(0x600))));
    assert_eq!(frames.give_more(range(0x680, 0x700)), Ok(()));
    assert_eq!(frames.give_more(range(0x4000, 0x4003)), Ok(()));
    frames.sound();
    let after = zones(&frames);
    assert_eq!(after.map(|zone| zone.managed), [before[0].managed + 0x100, before[1].managed + 3, 0]);
    for zone in after {
        assert_eq!(
            zone.managed + frames.metadata().intersection(Profile::X86_64.range(zone.kind)).frames(),
            zone.present
        );
    }
}

/// Each can be added by itself, and what lies between cannot.
#[test]
fn any_number_of_ranges_can_come_later() {
    let mut map = vec![usable(256, 4096), usable(NORMAL, NORMAL + 4096)];
    let start = |nth: u64| 8194 + 7 * nth;
    map.extend((0..1000).map(|nth| Region {
        start: start(nth) * 4096,
        end: (start(nth) + 5) * 4096,
        kind: RegionKind::AcpiReclaimable,
    }));
    let frames = allocator(&map);
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    for nth in 0..1000 {
        let (first, end) = (start(nth), start(nth) + 5);
        assert_eq!(frames.give_more(range(end, end + 1)), Err(AddError::NotReclaimable(Pfn::new(end))));
        assert_eq!(frames.give_more(range(first, end + 1)), Err(AddError::NotReclaimable(Pfn::new(end))));
        assert_eq!(frames.give_more(range(first - 1, end)), Err(AddError::NotReclaimable(Pfn::new(first - 1))));
        assert_eq!(frames.give_more(range(first, end)), Ok(()));
    }
    assert_eq!(frames.zone(Dma32).managed, 5000);
    frames.sound();
}

#[test]
fn no_order_is_larger_than_ten() {
    assert_eq!((Order::new(10), Order::new(11), Order::new(u8::MAX)), (Some(Order::MAX), None, None));
    assert_eq!((Order::covering(1024), Order::covering(1025)), (Some(Order::MAX), None));
}
