//! The sanitiser against what firmware really says, and against an oracle that asks every frame.

use RegionKind::{AcpiReclaimable, Reserved, Usable};
use bifolio::allocator::{Plan, SetupError};
use bifolio::frame::{PfnRange, ZoneKind};
use bifolio::memory_map::{MapError, MemoryMap, Region, RegionKind};
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

fn refusal(regions: &[Region]) -> MapError {
    MemoryMap::sanitise(&mut regions.to_vec()).unwrap_err()
}

#[test]
fn usable_is_rounded_inward_and_the_rest_outward() {
    // A BIOS ends low memory at 0x9fc00; here the same raggedness lies higher up.
    let map = [
        region(MIB + 0xc00, 2 * MIB + 0x400, Usable),
        region(3 * MIB + 0x800, 3 * MIB + 0x900, AcpiReclaimable),
        region(4 * MIB + 0x800, 4 * MIB + 0x900, Reserved),
    ];
    assert_eq!(ranges(&map, Usable), [(MIB + 0x1000, 2 * MIB)]);
    assert_eq!(ranges(&map, AcpiReclaimable), [(3 * MIB, 3 * MIB + 0x1000)]);
    assert_eq!(ranges(&map, Reserved), [(0, MIB), (4 * MIB, 4 * MIB + 0x1000)]);
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
    let mut metadata = vec![0; plan.metadata_words()];
    let frames = bifolio::allocator::PageAllocator::<Host>::new(&plan, &mut metadata, &[]).unwrap();
    assert_eq!(frames.zone(ZoneKind::Dma).managed, 0);
    assert_eq!(frames.zone(ZoneKind::Dma).present, 0);
    assert_eq!(frames.zone(ZoneKind::Dma32).managed, 48 * 256 - plan.metadata().frames());
    frames.validate().unwrap();
}

struct Host;
// SAFETY: one CPU at a time, which nothing interrupts.
unsafe impl bifolio::allocator::Cpu for Host {
    fn current() -> usize {
        0
    }

    fn synchronize() {}

    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
        critical()
    }
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

#[test]
fn an_entry_that_wraps_around_is_named() {
    let bad = region(u64::MAX - 0xfff, 0x1000, Usable);
    assert_eq!(refusal(&[region(MIB, 8 * MIB, Usable), bad]), MapError::WrapsAround(bad));
    let text = MapError::WrapsAround(bad).to_string();
    assert!(text.contains("0xfffffffffffff000") && text.contains("wraps around"), "{text}");
}

#[test]
fn usable_memory_beyond_the_physical_limit_is_named_and_reserved_memory_there_ignored() {
    let bad = region(1 << 52, (1 << 52) + MIB, Usable);
    assert_eq!(refusal(&[bad]), MapError::BeyondPhysicalLimit(bad));
    let map = [region(MIB, 8 * MIB, Usable), region(1 << 60, u64::MAX, Reserved)];
    assert_eq!(ranges(&map, Usable), [(MIB, 8 * MIB)]);
    assert_eq!(ranges(&map, Reserved), [(0, MIB)]);
}

#[test]
fn a_map_without_a_usable_frame_is_refused() {
    assert_eq!(refusal(&[]), MapError::NothingUsable);
    assert_eq!(refusal(&[region(0, MIB, Usable)]), MapError::NothingUsable);
    assert_eq!(refusal(&[region(0, u64::MAX, Reserved), region(MIB, GIB, Usable)]), MapError::NothingUsable);
    assert_eq!(refusal(&[region(2 * MIB + 1, 2 * MIB + 0x1fff, Usable)]), MapError::NothingUsable);
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
    let kind = prop_oneof![4 => Just(Usable), 1 => Just(AcpiReclaimable), 1 => Just(Reserved)];
    let one = (edge.clone(), edge, kind).prop_map(|(a, b, kind)| region(a.min(b), a.max(b), kind));
    proptest::collection::vec(one, 1..12)
}

/// The frame's kind, by asking every byte of it that could differ.
fn kind_of(regions: &[Region], frame: u64) -> Option<RegionKind> {
    let (start, end) = (frame * 0x1000, (frame + 1) * 0x1000);
    if end <= MIB {
        return Some(Reserved);
    }
    let touches = |kind| regions.iter().any(|r| r.kind == kind && r.start < r.end && r.start < end && r.end > start);
    [Reserved, AcpiReclaimable].into_iter().find(|kind| touches(*kind)).or_else(|| {
        let edges = regions.iter().flat_map(|r| [r.start, r.end]).filter(|edge| (start..end).contains(edge));
        let covered = |byte: u64| regions.iter().any(|r| r.kind == Usable && r.start <= byte && byte < r.end);
        let whole = edges.chain([start]).all(covered);
        whole.then_some(Usable)
    })
}

proptest! {
    /// Each frame has the kind that it must have, the ranges are maximal and ascending, and none is of two kinds.
    #[test]
    fn every_frame_has_its_kind(regions in any_regions()) {
        let mut sorted = regions.clone();
        let usable = (0..300).any(|frame| kind_of(&regions, frame) == Some(Usable));
        match MemoryMap::sanitise(&mut sorted) {
            Err(error) => {
                prop_assert_eq!(error, MapError::NothingUsable);
                prop_assert!(!usable);
            }
            Ok(map) => {
                for kind in RegionKind::ALL {
                    let ranges: Vec<PfnRange> = map.ranges(kind).collect();
                    prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", ranges);
                    for frame in 0..300 {
                        let within = ranges.iter().any(|range| (range.start.number()..range.end.number()).contains(&frame));
                        prop_assert_eq!(within, kind_of(&regions, frame) == Some(kind), "frame {:#x} {}", frame, kind);
                    }
                    prop_assert_eq!(map.frames(kind), ranges.iter().map(|range| range.frames()).sum::<u64>());
                }
                let ram: u64 = map.ram().map(PfnRange::frames).sum();
                prop_assert_eq!(ram, map.frames(Usable) + map.frames(AcpiReclaimable));
            }
        }
    }
}
