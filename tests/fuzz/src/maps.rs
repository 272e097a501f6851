//! Firmware's memory maps: each frame has the kind that all entries together give it, and an allocator gives out what is usable and
//! nothing else.

use std::collections::BTreeSet;

use bifolio::allocator::{PageAllocator, Plan};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use bifolio::heap::SingleCpu;
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::map::{LIMIT, kind_of};
use kit::{Raw, over_numbers};
use model::choices::Choices;

/// Bytes of a frame.
const FRAME: u64 = 4096;
/// Where entries are likely to begin and to end: zones, pageblocks, what can be addressed.
const PLACES: [u64; 11] =
    [0, 0x9_fc00, 1 << 20, 1 << 21, 1 << 24, 0xc000_0000, 1 << 32, 5 << 30, 1 << 40, LIMIT - (1 << 20), LIMIT];
/// No allocator is made whose metadata is larger than this, in words: it would take longer than all else.
const MOST_WORDS: usize = 1 << 14;

pub(crate) fn run(bytes: &[u8]) {
    let mut choices = Choices::bytes(bytes);
    let mut regions = Vec::new();
    while !choices.are_spent() {
        regions.push(region(&mut choices));
    }
    let mut sorted = regions.clone();
    let frames = telling(&regions);
    let Ok(map) = MemoryMap::sanitise(&mut sorted) else {
        return assert!(
            frames.iter().all(|frame| kind_of(&regions, *frame) != Some(RegionKind::Usable)),
            "{regions:x?}"
        );
    };
    let all: Vec<(PfnRange, RegionKind)> = map.iter().collect();
    let apart = |pair: &[(PfnRange, RegionKind)]| {
        let (lower, upper) = (pair[0], pair[1]);
        lower.0.end < upper.0.start || lower.0.end == upper.0.start && lower.1 != upper.1
    };
    assert!(all.windows(2).all(apart) && all.iter().all(|(range, _)| !range.is_empty()), "{all:?} of {regions:x?}");
    for frame in frames {
        let of = |(range, _): &&(PfnRange, RegionKind)| range.contains(Pfn::new(frame));
        let kind = all.iter().find(of).map(|(_, kind)| *kind);
        assert_eq!(kind, kind_of(&regions, frame), "frame {frame:#x} of {regions:x?}");
    }
    let broken = regions.iter().filter(|entry| entry.start >= entry.end || entry.end > LIMIT).count();
    assert_eq!(map.faults().inspect(|fault| _ = fault.to_string()).count(), broken);
    if let Ok(plan) = Plan::new(map)
        && plan.metadata_words() <= MOST_WORDS
    {
        allocate(&plan, &regions);
    }
}

/// An entry: from a place, or from anywhere, or from where another place is so many frames on; it ends nearby, or anywhere.
fn region(choices: &mut Choices) -> Region {
    let kind = choices.one_of(&RegionKind::ALL);
    let start = match choices.below(4) {
        0 => choices.below(u64::MAX),
        way => choices.one_of(&PLACES).wrapping_add(choices.below(1 << 16) * [1, 1 << 10, FRAME][way as usize - 1]),
    };
    let end = match choices.below(4) {
        0 => choices.below(u64::MAX),
        1 => choices.one_of(&PLACES),
        2 => start.wrapping_add(choices.below(1 << 16)),
        _ => start.wrapping_add(choices.below(1 << 16) * FRAME),
    };
    Region { start, end, kind }
}

/// The frames around each edge: between two of them nothing changes.
fn telling(regions: &[Region]) -> BTreeSet<u64> {
    let edges = regions.iter().flat_map(|region| [region.start, region.end]).chain([1 << 20, 0, LIMIT - 1]);
    let around = edges.flat_map(|edge| [edge / FRAME, (edge / FRAME).saturating_sub(1), edge / FRAME + 1]);
    around.filter(|frame| *frame < LIMIT / FRAME).collect()
}

/// Has an allocator give out all that it has, in large pieces: each is usable, no two are the same, and all are taken back.
fn allocate(plan: &Plan<'_>, regions: &[Region]) {
    let mut metadata = vec![u64::MAX; plan.metadata_words()];
    let frames: PageAllocator<'_, SingleCpu> = match over_numbers(plan, &mut metadata, &[]) {
        Ok(frames) => frames,
        Err(error) => panic!("{error}, of {regions:x?}"),
    };
    assert_eq!(frames.validate(), Ok(()));
    let is_usable = |pfn: Pfn| kind_of(regions, pfn.number()) == Some(RegionKind::Usable);
    let mut taken: Vec<(Pfn, Order)> = Vec::new();
    for order in Order::all().rev() {
        while let Ok(pfn) = frames.take(order, Gfp::MEMALLOC | Gfp::NOWARN) {
            let last = pfn.offset(order.frames() - 1);
            assert!(is_usable(pfn) && is_usable(last), "{pfn} of order {order} of {regions:x?}");
            assert!(!frames.metadata().contains(pfn) && !frames.metadata().contains(last));
            taken.push((pfn, order));
        }
    }
    let count: u64 = taken.iter().map(|(_, order)| order.frames()).sum();
    taken.sort_unstable();
    let meet = |pair: &[(Pfn, Order)]| pair[0].0.offset(pair[0].1.frames()) > pair[1].0;
    assert!(!taken.windows(2).any(meet), "a frame has two owners: {taken:?}");
    let usable: u64 = MemoryMap::sanitise(&mut regions.to_vec()).map_or(0, |map| map.frames(RegionKind::Usable));
    assert_eq!(count + frames.metadata().frames(), usable, "of {regions:x?}");
    taken.iter().for_each(|(pfn, order)| assert_eq!(frames.give(*pfn, *order), Ok(())));
    assert_eq!(frames.validate(), Ok(()));
}
