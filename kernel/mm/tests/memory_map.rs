//! The sanitiser against what firmware really says, and against an oracle that asks every frame.

use RegionKind::{AcpiReclaimable, Reserved, Usable};
use bifolio::allocator::{Plan, SetupError};
use bifolio::frame::{Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{Defect, Fault, MemoryMap, Region, RegionKind};
use kit::machine::metadata;
use kit::map::{LIMIT, kind_of};
use kit::{Sound, over_numbers};
use proptest::prelude::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn region(start: u64, end: u64, kind: RegionKind) -> Region {
    Region { start, end, kind }
}

/// The ranges of one kind, in bytes.
fn ranges(regions: &[Region], kind: RegionKind) -> Vec<(u64, u64)> {
    let mut regions = regions.to_vec();
    let map = MemoryMap::sanitise(&mut regions).unwrap();
    map.ranges(kind).map(|range| (range.start.address(), range.end.address())).collect()
}

/// What the map says of the entries that cannot be true.
fn faults(regions: &[Region]) -> Vec<Fault> {
    MemoryMap::sanitise(&mut regions.to_vec()).unwrap().faults().collect()
}

fn refusal(regions: &[Region]) -> SetupError {
    MemoryMap::sanitise(&mut regions.to_vec()).unwrap_err()
}

#[test]
fn usable_is_rounded_inward_and_the_rest_outward() {
    // A BIOS ends low memory at 0x9fc00; here the same raggedness lies higher up.
    let map = [region(MIB + 0xc00, 2 * MIB + 0x400, Usable), region(4 * MIB + 0x800, 4 * MIB + 0x900, Reserved)];
    assert_eq!(ranges(&map, Usable), [(MIB + 0x1000, 2 * MIB)]);
    assert_eq!(ranges(&map, Reserved), [(0, MIB), (4 * MIB, 4 * MIB + 0x1000)]);
}

/// What else is in the frame is not known to be RAM, and even if it is, the frame is never free as a whole.
#[test]
fn a_frame_that_acpi_data_has_a_part_of_is_nobodys() {
    let ends_inside = region(0x400_0000, 0x400_3200, AcpiReclaimable);
    for behind in [region(0x500_0000, 0x600_0000, Usable), region(0x400_3200, 0x600_0000, Usable)] {
        let map = [region(MIB, 0x400_0000, Usable), ends_inside, behind];
        assert_eq!(ranges(&map, AcpiReclaimable), [(0x400_0000, 0x400_3000)]);
        assert_eq!(ranges(&map, Reserved), [(0, MIB), (0x400_3000, 0x400_4000)]);
        assert_eq!(ranges(&map, Usable)[1], (behind.start.next_multiple_of(0x1000), 0x600_0000));
    }
    let within = [region(MIB, 8 * MIB, Usable), region(3 * MIB + 0x800, 3 * MIB + 0x900, AcpiReclaimable)];
    assert_eq!(ranges(&within, AcpiReclaimable), []);
    assert_eq!(ranges(&within, Reserved), [(0, MIB), (3 * MIB, 3 * MIB + 0x1000)]);
    // Two tables that share a frame between them lose nothing.
    let meeting = [
        region(MIB, 2 * MIB, Usable),
        region(3 * MIB, 3 * MIB + 0x1800, AcpiReclaimable),
        region(3 * MIB + 0x1800, 3 * MIB + 0x3000, AcpiReclaimable),
    ];
    assert_eq!(ranges(&meeting, AcpiReclaimable), [(3 * MIB, 3 * MIB + 0x3000)]);
}

#[test]
fn adjacent_entries_are_one_even_where_they_meet_inside_a_frame() {
    // UEFI hands over 122 entries at 256 MiB, nearly all of them adjacent.
    let map: Vec<Region> = (0..122).map(|n| region(MIB + n * 0x1800, MIB + (n + 1) * 0x1800, Usable)).collect();
    assert_eq!(ranges(&map, Usable), [(MIB, MIB + 122 * 0x1800)]);
}

#[test]
fn the_first_mib_is_reserved_although_firmware_calls_it_usable() {
    let map = [region(0, 640 * KIB, Usable), region(640 * KIB, 8 * MIB, Usable)];
    assert_eq!(ranges(&map, Usable), [(MIB, 8 * MIB)]);
    assert_eq!(ranges(&map, Reserved), [(0, MIB)]);
}

#[test]
fn metadata_costs_what_ram_there_is_and_not_how_high_the_map_reaches() {
    let words = |regions: &[Region]| {
        let mut regions = regions.to_vec();
        Plan::new(MemoryMap::sanitise(&mut regions).unwrap()).unwrap().metadata_words()
    };
    let plain = [region(MIB, 512 * MIB, Usable)];
    let reaching = [plain[0], region(0xfd_0000_0000, 0x100_0000_0000, Reserved)];
    assert_eq!(words(&plain), words(&reaching));
    // RAM in [0, 2 GiB) and from 1 TiB up costs what the same RAM in one piece costs, give or take a page.
    let piece = [region(MIB, 2 * GIB, Usable), region(4 * GIB, 6 * GIB, Usable)];
    let sparse = [region(MIB, 2 * GIB, Usable), region(TIB, TIB + 2 * GIB, Usable)];
    assert_eq!(words(&piece), words(&sparse));
}

#[test]
fn no_usable_memory_below_16_mib_leaves_an_empty_zone() {
    let mut regions = [region(16 * MIB, 64 * MIB, Usable)];
    let plan = Plan::new(MemoryMap::sanitise(&mut regions).unwrap()).unwrap();
    let metadata = metadata(plan.metadata_words());
    let frames = over_numbers::<bifolio::heap::SingleCpu>(&plan, metadata, &[]).unwrap();
    assert_eq!(frames.zone(ZoneKind::Dma).managed, 0);
    assert_eq!(frames.zone(ZoneKind::Dma).present, 0);
    assert_eq!(frames.zone(ZoneKind::Dma32).managed, 48 * 256 - plan.metadata().frames());
    frames.sound();
}

#[test]
fn unsorted_overlapping_and_empty_entries_are_put_in_order() {
    let map = [
        region(32 * MIB, 64 * MIB, Usable),
        region(5 * MIB, 5 * MIB, Reserved),
        region(MIB, 40 * MIB, Usable),
        region(10 * MIB, 12 * MIB, AcpiReclaimable),
        region(11 * MIB, 13 * MIB, Reserved),
        region(30 * MIB, 31 * MIB, Usable),
    ];
    assert_eq!(ranges(&map, Usable), [(MIB, 10 * MIB), (13 * MIB, 64 * MIB)]);
    assert_eq!(ranges(&map, AcpiReclaimable), [(10 * MIB, 11 * MIB)]);
    assert_eq!(ranges(&map, Reserved), [(0, MIB), (11 * MIB, 13 * MIB)]);
}

/// Memory that is there beside an entry that cannot be true.
const GOOD: Region = Region { start: MIB, end: 512 * MIB, kind: Usable };

/// An entry, what is wrong with it, and what is kept of it.
type Found = (Region, Defect, Option<Region>);

/// The only fault of a map of this entry and good memory, and the good memory that is left.
fn beside_good(entry: Region) -> (Found, Vec<(u64, u64)>) {
    // Whichever comes first.
    let [first, second] = [[entry, GOOD], [GOOD, entry]].map(|map| (faults(&map), ranges(&map, Usable)));
    assert_eq!(first, second);
    assert_eq!(first.0.len(), 1, "{first:?}");
    let Fault { entry, defect, kept, .. } = first.0[0];
    ((entry, defect, kept), first.1)
}

#[test]
fn a_reserved_entry_of_which_the_end_is_nonsense_takes_what_lies_behind_its_start() {
    for (start, end, defect) in [
        // Up to 2^64, whose address is 0.
        (256 * MIB, 0, Defect::WrapsAround),
        (256 * MIB, 0x1000, Defect::WrapsAround),
        (256 * MIB, 256 * MIB - 1, Defect::WrapsAround),
        (256 * MIB, LIMIT + 1, Defect::BeyondPhysicalLimit),
        (256 * MIB, u64::MAX, Defect::BeyondPhysicalLimit),
    ] {
        for kind in [Reserved, AcpiReclaimable] {
            let entry = region(start, end, kind);
            let kept = Some(region(start, LIMIT, Reserved));
            assert_eq!(beside_good(entry), ((entry, defect, kept), vec![(MIB, 256 * MIB)]));
            assert_eq!(ranges(&[entry, GOOD], AcpiReclaimable), []);
            assert_eq!(ranges(&[entry, GOOD], Reserved), [(0, MIB), (start, LIMIT)]);
        }
    }
}

#[test]
fn a_reserved_entry_beyond_all_memory_takes_none() {
    for (start, end, defect) in [
        (u64::MAX - 0xfff, 0, Defect::WrapsAround),
        (u64::MAX - 0xfff, 0x1000, Defect::WrapsAround),
        (u64::MAX, u64::MAX - 1, Defect::WrapsAround),
        (LIMIT, LIMIT + 1, Defect::BeyondPhysicalLimit),
        (1 << 60, u64::MAX, Defect::BeyondPhysicalLimit),
    ] {
        let entry = region(start, end, Reserved);
        assert_eq!(beside_good(entry), ((entry, defect, None), vec![(MIB, 512 * MIB)]));
    }
}

/// Nothing says that its start is any better than its end.
#[test]
fn a_usable_entry_that_cannot_be_true_gives_no_memory() {
    for (start, end, defect) in [
        (LIMIT - MIB, LIMIT + MIB, Defect::BeyondPhysicalLimit),
        (1024 * MIB, u64::MAX, Defect::BeyondPhysicalLimit),
        (LIMIT, LIMIT + MIB, Defect::BeyondPhysicalLimit),
        (1024 * MIB, 0, Defect::WrapsAround),
        (1024 * MIB, 768 * MIB, Defect::WrapsAround),
        (u64::MAX - 0xfff, 0x1000, Defect::WrapsAround),
    ] {
        let entry = region(start, end, Usable);
        assert_eq!(beside_good(entry), ((entry, defect, None), vec![(MIB, 512 * MIB)]));
    }
    // What ends just there is as good as any.
    let last = region(LIMIT - MIB, LIMIT, Usable);
    assert_eq!(faults(&[GOOD, last]), []);
    assert_eq!(ranges(&[GOOD, last], Usable), [(MIB, 512 * MIB), (LIMIT - MIB, LIMIT)]);
}

#[test]
fn an_entry_without_a_byte_is_ignored_and_named() {
    for kind in RegionKind::ALL {
        for at in [0, 5 * MIB, 5 * MIB + 7, LIMIT, u64::MAX] {
            let entry = region(at, at, kind);
            assert_eq!(beside_good(entry), ((entry, Defect::Empty, None), vec![(MIB, 512 * MIB)]));
        }
    }
}

#[test]
fn faults_say_which_entry_it_is_and_what_became_of_it() {
    let text = |start, end, kind| region(start, end, kind).fault().unwrap().to_string();
    assert_eq!(
        text(0xfd_0000_0000, 0, Reserved),
        "the reserved entry 0xfd00000000..0x0 wraps around the address space: taken as reserved \
         0xfd00000000..0x10000000000000"
    );
    assert_eq!(
        text(MIB, LIMIT + 1, Usable),
        "the usable entry 0x100000..0x10000000000001 ends beyond the 0x10000000000000 bytes that can be addressed: \
         ignored"
    );
    assert_eq!(text(MIB, MIB, AcpiReclaimable), "the ACPI reclaimable entry 0x100000..0x100000 is empty: ignored");
    assert_eq!(GOOD.fault(), None);
}

#[test]
fn all_faults_are_kept_however_many_there_are() {
    let mut map: Vec<Region> = (0..5000).map(|n| region((5000 - n) * MIB, 0, Usable)).collect();
    map.push(GOOD);
    let faults = faults(&map);
    assert_eq!(faults.len(), 5000);
    assert!(faults.is_sorted_by_key(|fault| fault.entry.start));
    assert_eq!(ranges(&map, Usable), [(MIB, 512 * MIB)]);
}

#[test]
fn a_map_without_a_usable_frame_is_refused() {
    assert_eq!(refusal(&[]), SetupError::NothingUsable);
    assert_eq!(refusal(&[region(0, MIB, Usable)]), SetupError::NothingUsable);
    assert_eq!(refusal(&[region(0, u64::MAX, Reserved), region(MIB, GIB, Usable)]), SetupError::NothingUsable);
    assert_eq!(refusal(&[region(2 * MIB + 1, 2 * MIB + 0x1fff, Usable)]), SetupError::NothingUsable);
}

#[test]
fn ram_without_room_for_the_metadata_is_refused() {
    let mut regions: Vec<Region> =
        (0..64).map(|n| region(GIB + n * 64 * MIB, GIB + n * 64 * MIB + 4 * KIB, Usable)).collect();
    let map = MemoryMap::sanitise(&mut regions).unwrap();
    match Plan::new(map) {
        Err(SetupError::NoRoomForMetadata { needed, largest: 1 }) => assert!(needed > 1),
        other => panic!("{other:?}"),
    }
}

fn any_regions() -> impl Strategy<Value = Vec<Region>> {
    // Ends that are often equal, adjacent, inside one frame, or empty.
    let edge = (0u64..24, prop_oneof![Just(0u64), Just(1), Just(0x7ff), Just(0x800), Just(0xfff)])
        .prop_map(|(frame, rest)| MIB + frame * 0x1000 - 0x8000 + rest);
    let kind = prop_oneof![4 => Just(Usable), 2 => Just(AcpiReclaimable), 1 => Just(Reserved)];
    let good =
        (edge.clone(), edge.clone(), kind.clone()).prop_map(|(a, b, kind)| region(a.min(b), a.max(b), kind)).boxed();
    let nonsense = prop_oneof![Just(0u64), Just(0x1000), Just(LIMIT + 1), Just(u64::MAX), edge.clone()];
    let bad = (prop_oneof![edge, Just(LIMIT), Just(u64::MAX)], nonsense, kind)
        .prop_map(|(start, end, kind)| region(start, end, kind));
    let many = proptest::collection::vec(good, 1..12);
    (many, proptest::option::weighted(0.3, bad), any::<prop::sample::Index>()).prop_map(|(mut many, bad, place)| {
        if let Some(bad) = bad {
            many.insert(place.index(many.len()), bad);
        }
        many
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// Each frame has the kind that it must have, the ranges are maximal and ascending, and none is of two kinds.
    #[test]
    fn every_frame_has_its_kind(regions in any_regions()) {
        let mut sorted = regions.clone();
        let usable = (0..300).any(|frame| kind_of(&regions, frame) == Some(Usable));
        match MemoryMap::sanitise(&mut sorted) {
            Err(error) => {
                prop_assert_eq!(error, SetupError::NothingUsable);
                prop_assert!(!usable);
            }
            Ok(map) => {
                let all: Vec<(PfnRange, RegionKind)> = map.iter().collect();
                let apart = |pair: &[(PfnRange, RegionKind)]| {
                    pair[0].0.end < pair[1].0.start || pair[0].0.end == pair[1].0.start && pair[0].1 != pair[1].1
                };
                prop_assert!(all.windows(2).all(apart) && all.iter().all(|(range, _)| !range.is_empty()), "{:?}", all);
                for frame in 0..300 {
                    let of = |(range, _): &&(PfnRange, RegionKind)| range.contains(Pfn::new(frame));
                    let kind = all.iter().find(of).map(|(_, kind)| *kind);
                    prop_assert_eq!(kind, kind_of(&regions, frame), "frame {:#x}", frame);
                }
                for kind in RegionKind::ALL {
                    let ranges: Vec<PfnRange> = map.ranges(kind).collect();
                    let of_kind: Vec<PfnRange> = all.iter().filter(|(_, k)| *k == kind).map(|(range, _)| *range).collect();
                    prop_assert_eq!(&ranges, &of_kind);
                    prop_assert_eq!(map.frames(kind), ranges.iter().map(|range| range.frames()).sum::<u64>());
                }
                let ram: Vec<PfnRange> = all.iter().filter(|(_, kind)| *kind != Reserved).map(|(range, _)| *range).collect();
                prop_assert_eq!(map.ram().collect::<Vec<_>>(), ram);
                let broken = regions.iter().filter(|entry| entry.start >= entry.end || entry.end > LIMIT).count();
                prop_assert_eq!(map.faults().count(), broken);
            }
        }
    }
}
