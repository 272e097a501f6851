//! Memory maps that no firmware should have, one a boot: the kernel boots, says what it does not believe, and every
//! invariant holds. (The last is looked after by the framework, after each test.)
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use bifolio::error::AddError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, PHYSICAL_LIMIT, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{Defect, Fault, MemoryMap, Region, RegionKind};
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::sync::atomic::{AtomicU64, Ordering};
use framework::boots_with;
use kernel::cpu::start;
use kernel::host::{Input, Stopwatch};
use kernel::memory::frames;
use kernel::memory::map::{map, write};
use kernel::println;
use kit::Raw;
use protocol::input;
use rand::Rng;
use rand::seq::SliceRandom;
use spin::mutex::{SpinMutex, SpinMutexGuard};

framework::entry!(test_main);

/// More entries than any firmware has.
const MANY: usize = 10_000;
const ROOM: usize = MANY + 1000;
const MIB: u64 = 1 << 20;

type Entries = &'static mut [MemoryRegion];

fn entry(start: u64, end: u64, kind: MemoryRegionKind) -> MemoryRegion {
    MemoryRegion { start, end, kind }
}

fn usable(start: u64, end: u64) -> MemoryRegion {
    entry(start, end, MemoryRegionKind::Usable)
}

fn reserved(start: u64, end: u64) -> MemoryRegion {
    // As a BIOS says it.
    entry(start, end, MemoryRegionKind::UnknownBios(2))
}

fn acpi(start: u64, end: u64) -> MemoryRegion {
    entry(start, end, MemoryRegionKind::UnknownBios(3))
}

/// The firmware's entries with more of them in front, where they come first in everything.
fn with(firmware: Entries, more: impl Iterator<Item = MemoryRegion>) -> Entries {
    static ENTRIES: SpinMutex<[MemoryRegion; ROOM]> = SpinMutex::new([MemoryRegion::empty(); ROOM]);
    // A kernel boots once, with one map, which has the room for good.
    let entries = SpinMutexGuard::leak(ENTRIES.lock());
    let mut count = 0;
    for entry in more.chain(firmware.iter().copied()) {
        entries[count] = entry;
        count += 1;
    }
    &mut entries[..count]
}

/// The largest usable entry.
fn largest(firmware: &[MemoryRegion]) -> MemoryRegion {
    let usable = firmware.iter().filter(|entry| entry.kind == MemoryRegionKind::Usable);
    *usable.max_by_key(|entry| entry.end - entry.start).expect("there is memory")
}

/// Where the spare MiB starts.
static SPARE: AtomicU64 = AtomicU64::new(0);

/// The last MiB, whole, of the largest usable entry: RAM that is there.
fn spare(firmware: &[MemoryRegion]) -> (u64, u64) {
    let end = largest(firmware).end / MIB * MIB;
    SPARE.store(end - MIB, Ordering::Relaxed);
    (end - MIB, end)
}

/// A frame of the spare MiB.
fn spare_frame(nth: u64) -> Pfn {
    Pfn::containing(SPARE.load(Ordering::Relaxed)).offset(nth)
}

/// The map's kind of a frame, if it has one.
fn kind_of(pfn: Pfn) -> Option<RegionKind> {
    map().iter().find(|(range, _)| range.contains(pfn)).map(|(_, kind)| kind)
}

/// The one thing that the map does not believe.
#[track_caller]
fn only_fault() -> Fault {
    let faults: Vec<Fault> = map().faults().collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0]
}

/// Sees that all CPUs run, which are started in low memory; takes all memory and gives it back: each frame is one that the
/// map calls usable.
fn use_all() {
    let cpus = start::listed().expect("firmware lists CPUs");
    assert!((1..cpus).all(start::was_started), "not all of {cpus} CPUs run");
    let managed: u64 = ZoneKind::ALL.map(|kind| frames().zone(kind).managed).iter().sum();
    assert_eq!(managed + frames().metadata().frames(), map().frames(RegionKind::Usable));
    let ranges: Vec<PfnRange> = map().ranges(RegionKind::Usable).collect();
    let mut hoard = booted::Hoard::new();
    hoard.take(Gfp::MEMALLOC | Gfp::NOWARN);
    assert!(hoard.frames() > managed / 2, "{} of {managed} frames", hoard.frames());
    for block in hoard.blocks() {
        let behind = ranges.partition_point(|range| range.start <= block.start);
        assert!(ranges[behind - 1].intersection(block) == block, "{block} is not all usable");
    }
    hoard.give_back();
}

boots_with! { |firmware| with(firmware, [reserved(0xfd_0000_0000, 0)].into_iter()),
fn a_reserved_entry_that_ends_where_the_address_space_does() {
    let fault = only_fault();
    let kept = Region { start: 0xfd_0000_0000, end: PHYSICAL_LIMIT, kind: RegionKind::Reserved };
    assert_eq!((fault.defect, fault.entry.end, fault.kept), (Defect::WrapsAround, 0, Some(kept)));
    assert_eq!(kind_of(Pfn::containing(PHYSICAL_LIMIT - 1)), Some(RegionKind::Reserved));
    let mut shown = String::new();
    write(&mut shown).expect("a string takes everything");
    let line = "\nnot as given: the reserved entry 0xfd00000000..0x0 wraps around the address space: taken as reserved \
                0xfd00000000..0x10000000000000\n";
    assert!(shown.ends_with(line), "{shown}");
    use_all();
} }

boots_with! { |firmware| {
    let start = spare(firmware).0;
    with(firmware, [reserved(start, start - MIB)].into_iter())
},
fn a_reserved_entry_that_wraps_around_in_the_middle_of_memory() {
    let fault = only_fault();
    assert_eq!((fault.defect, fault.entry.start - fault.entry.end), (Defect::WrapsAround, MIB));
    assert!(map().ram().all(|range| range.end.address() <= fault.entry.start));
    use_all();
} }

boots_with! { |firmware| with(firmware, [usable(u64::MAX - 0xfff, 0x1000), reserved(u64::MAX - 0xfff, 0x1000)].into_iter()),
fn entries_that_wrap_around_behind_all_memory() {
    assert!(map().faults().all(|fault| fault.defect == Defect::WrapsAround && fault.kept.is_none()));
    assert_eq!(map().faults().count(), 2);
    use_all();
} }

boots_with! { |firmware| with(firmware, [usable(PHYSICAL_LIMIT - 64 * MIB, PHYSICAL_LIMIT + MIB)].into_iter()),
fn usable_memory_at_the_end_of_what_can_be_addressed() {
    let fault = only_fault();
    assert_eq!((fault.defect, fault.kept), (Defect::BeyondPhysicalLimit, None));
    assert_eq!(kind_of(Pfn::containing(fault.entry.start)), None);
    use_all();
} }

boots_with! { |firmware| {
    let (start, end) = spare(firmware);
    let at = [0, start, start + 7, end, PHYSICAL_LIMIT, u64::MAX];
    with(firmware, at.into_iter().flat_map(|at| [reserved(at, at), usable(at, at), acpi(at, at)]))
},
fn entries_without_a_byte() {
    assert!(map().faults().all(|fault| fault.defect == Defect::Empty && fault.kept.is_none()));
    assert_eq!(map().faults().count(), 18);
    use_all();
} }

boots_with! { |firmware| {
    let (start, end) = spare(firmware);
    let inside = [reserved(start + 0x2800, start + 0x2801), reserved(start + 0x8000, start + 0xa000)];
    let over = [usable(start, end), reserved(end - 0x1000, end + 0x1000), usable(start + 0x1000, end - 0x800)];
    with(firmware, inside.into_iter().chain(over))
},
fn entries_that_contradict_each_other() {
    assert_eq!(map().faults().count(), 0);
    for nth in 0..256 {
        let kind = if [2, 8, 9, 255].contains(&nth) { RegionKind::Reserved } else { RegionKind::Usable };
        assert_eq!(kind_of(spare_frame(nth)), Some(kind), "frame {nth} of the spare MiB");
    }
    use_all();
} }

boots_with! { |firmware| {
    firmware.shuffle(&mut booted::random());
    firmware
},
fn entries_in_no_order() {
    assert_eq!(map().faults().count(), 0);
    assert!(map().ram().map(|range| range.start).is_sorted());
    use_all();
} }

boots_with! { |firmware| {
    let (start, end) = spare(firmware);
    // Hides what is usable there.
    with(firmware, [acpi(start, start + 0x3200), reserved(start + 0x5000, end)].into_iter())
},
fn acpi_data_that_ends_inside_a_frame() {
    let managed = || ZoneKind::ALL.map(|kind| frames().zone(kind).managed).iter().sum::<u64>();
    let (before, range) = (managed(), |start, end| PfnRange::new(spare_frame(start), spare_frame(end)));
    // The frame in which they end belongs to nobody, and the reserved ones behind the next do for good.
    for (start, end, first) in [(3, 4, 3), (0, 4, 3), (5, 6, 5)] {
        let error = AddError::NotReclaimable(spare_frame(first));
        assert_eq!(frames().give_more(range(start, end)), Err(error), "frames {start}..{end} of the spare MiB");
    }
    assert_eq!(managed(), before);
    use_all();
    assert_eq!(frames().give_more(range(0, 3)), Ok(()));
    assert_eq!(managed(), before + 3);
    assert!((0..3).all(|nth| frames().give(spare_frame(nth), Order::ZERO).is_err()), "they are free");
} }

/// So many entries in a quarter of a machine's largest memory: every other frame is reserved, most of them several times.
fn many(firmware: Entries) -> Entries {
    let (largest, end) = (largest(firmware), spare(firmware).1);
    let pages = ((largest.end - largest.start) / 4 / FRAME_SIZE).min(MANY as u64) & !1;
    let mut random = booted::random();
    let entries = (0..MANY as u64).map(move |nth| {
        let start = end - (nth % pages + 1) * FRAME_SIZE;
        if nth % 2 == 0 {
            reserved(start, start + 1 + random.next_u64() % FRAME_SIZE)
        } else {
            usable(start, start + 0x800)
        }
    });
    let entries = with(firmware, entries);
    entries.shuffle(&mut booted::random());
    entries
}

boots_with! { many,
fn more_entries_than_any_firmware_has() {
    assert_eq!(map().faults().count(), 0);
    for nth in 0..256 {
        let kind = if nth % 2 == 0 { RegionKind::Usable } else { RegionKind::Reserved };
        assert_eq!(kind_of(spare_frame(nth)), Some(kind), "frame {nth} of the spare MiB");
    }
    use_all();
} }

boots_with! { |firmware| {
    let start = spare(firmware).0;
    with(firmware, (0..MANY as u64).map(move |nth| if nth % 2 == 0 { usable(start + nth, start) } else { reserved(nth, nth) }))
},
fn more_entries_that_cannot_be_true_than_anybody_reads() {
    // The first of those that end where they start.
    assert_eq!(map().faults().count(), MANY);
    use_all();
} }

boots_with! { should_panic, |firmware| {
    for entry in firmware.iter_mut() {
        if entry.kind == MemoryRegionKind::Usable {
            entry.kind = MemoryRegionKind::Bootloader;
        }
    }
    firmware
},
fn no_usable_memory_at_all() {} }

/// A map of so many entries that overlap and contradict each other in every way.
fn hostile(count: usize) -> Vec<Region> {
    let mut random = booted::random();
    let mut number = |below: u64| random.next_u64() % below;
    let region = |_| {
        let start = number(1 << 32);
        let length = if number(16) == 0 { number(1 << 30) } else { number(1 << 14) };
        let end = if number(32) == 0 { number(1 << 20) } else { start + length };
        Region { start, end, kind: RegionKind::ALL[number(3) as usize] }
    };
    (0..count).map(region).collect()
}

/// Of alternating kinds, as boards have them, only more.
fn alternating(count: usize) -> Vec<Region> {
    let start = |nth: usize| (1 + nth as u64) << 20;
    (0..count).map(|nth| Region { start: start(nth), end: start(nth + 1), kind: RegionKind::ALL[nth % 3] }).collect()
}

/// Instructions that it takes to sanitise a map and to walk over all ranges of each kind.
fn cost(mut regions: Vec<Region>) -> u64 {
    let stopwatch = Stopwatch::start();
    let map = MemoryMap::sanitise(&mut regions).expect("something is usable");
    let frames: u64 = RegionKind::ALL.map(|kind| map.frames(kind)).iter().sum();
    let time = stopwatch.elapsed().0;
    assert!(frames > 0);
    time
}

#[test_case]
fn ten_thousand_entries_take_under_twenty_million_instructions() {
    if !Input::read(input::CLOCK_SHIFT).is_given() {
        return;
    }
    for (what, entries) in [("alternating", alternating as fn(usize) -> Vec<Region>), ("overlapping", hostile)] {
        let [few, many] = [MANY / 10, MANY].map(|count| cost(entries(count)));
        println!("{what}: {few} instructions for {} entries, {many} for {MANY}", MANY / 10);
        assert!(many < 20_000_000, "{what}: {many} instructions");
        // Ten times as many entries: ten times as much, and a few more steps for sorting.
        assert!(many < 20 * few, "{what}: {few} and {many} instructions");
    }
}
