//! The machine's memory map: the boot loader's list, translated and sanitised.

use crate::host::Ticks;
use bifolio::frame::{FRAME_SIZE, Pfn, PfnRange};
use bifolio::memory_map::{LOW_MEMORY_END, MemoryMap, Region, RegionKind};
use bootloader_api::info::{MemoryRegion, MemoryRegionKind};
use core::fmt::{self, Write};
use log::info;
use spin::{Mutex, MutexGuard, Once};
use x86_64::PhysAddr;

/// Entries that the kernel has room for. Firmware seen so far has up to 122.
const CAPACITY: usize = 1024;
/// UEFI's number for memory that holds ACPI tables.
const UEFI_ACPI_RECLAIM: u32 = 9;
/// The BIOS's number for memory that holds ACPI tables.
const BIOS_ACPI_RECLAIM: u32 = 3;

static REGIONS: Mutex<[Region; CAPACITY]> =
    Mutex::new([Region { start: 0, end: 0, kind: RegionKind::Reserved }; CAPACITY]);
static MAP: Once<MemoryMap<'static>> = Once::new();

/// Sanitises the boot loader's memory map.
///
/// # Panics
/// If the map has more entries than there is room for or makes no sense; the message says which entry.
pub(super) fn init(raw: &[MemoryRegion]) -> &'static MemoryMap<'static> {
    MAP.call_once(|| {
        // The map refers to the entries for as long as the kernel runs, so their lock is never released.
        let regions = MutexGuard::leak(REGIONS.lock());
        assert!(raw.len() <= CAPACITY, "memory map: {} entries, and room for {CAPACITY}", raw.len());
        let regions = &mut regions[..raw.len()];
        for (region, raw) in regions.iter_mut().zip(raw) {
            *region = Region { start: raw.start, end: raw.end, kind: kind(raw.kind) };
        }
        MemoryMap::sanitise(regions).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// The machine's memory map.
///
/// # Panics
/// Before [`memory::init`](super::init).
pub fn map() -> &'static MemoryMap<'static> {
    MAP.get().expect("the memory map comes first of all memory")
}

/// So many pages below 1 MiB that the boot loader calls usable: the map reserves that memory on every machine, for the
/// start of other CPUs before all. The first page is the BIOS's, whatever anybody says.
pub(super) fn low_memory(raw: &[MemoryRegion], pages: u64) -> Option<PhysAddr> {
    let overlaps = |start: u64, end: u64| {
        raw.iter().any(|other| kind(other.kind) != RegionKind::Usable && other.start < end && start < other.end)
    };
    let start = |region: &MemoryRegion| {
        let first = region.start.next_multiple_of(FRAME_SIZE).max(FRAME_SIZE);
        let starts = (first..region.end.min(LOW_MEMORY_END)).step_by(FRAME_SIZE as usize);
        let mut fitting = starts.take_while(|start| start + pages * FRAME_SIZE <= region.end.min(LOW_MEMORY_END));
        fitting.find(|&start| !overlaps(start, start + pages * FRAME_SIZE))
    };
    raw.iter().filter(|region| kind(region.kind) == RegionKind::Usable).find_map(start).map(PhysAddr::new)
}

/// What a kind of the boot loader's allows. Unknown kinds, also those that it may invent, are reserved.
fn kind(raw: MemoryRegionKind) -> RegionKind {
    match raw {
        MemoryRegionKind::Usable => RegionKind::Usable,
        MemoryRegionKind::UnknownUefi(UEFI_ACPI_RECLAIM) | MemoryRegionKind::UnknownBios(BIOS_ACPI_RECLAIM) => {
            RegionKind::AcpiReclaimable
        }
        _ => RegionKind::Reserved,
    }
}

/// The end of the RAM that the map tells of: reserved ranges may lie far behind, and are not RAM.
pub fn end_of_ram() -> Pfn {
    let ram = map().ranges(RegionKind::Usable).chain(map().ranges(RegionKind::AcpiReclaimable));
    ram.map(|range| range.end).max().unwrap_or_default()
}

/// All ranges of the map in ascending order, each with its kind.
fn ranges() -> impl Iterator<Item = (PfnRange, RegionKind)> {
    // Each kind's ranges ascend, and no two overlap: what comes next is the lowest that lies behind the last one.
    let mut position = Pfn::new(0);
    core::iter::from_fn(move || {
        let rest = |kind| map().ranges(kind).find(|range| range.start >= position).map(|range| (range, kind));
        let next = RegionKind::ALL.into_iter().filter_map(rest).min_by_key(|(range, _)| range.start)?;
        position = next.0.end;
        Some(next)
    })
}

/// Writes the map, a line a range, with addresses in bytes.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write) -> fmt::Result {
    for (range, kind) in ranges() {
        writeln!(out, "{}", Line(range, kind))?;
    }
    Ok(())
}

struct Line(PfnRange, RegionKind);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(range, kind) = self;
        let (start, last) = (range.start.address(), range.end.address() - 1);
        write!(f, "[mem {start:#018x}-{last:#018x}] {:>10} kB  {kind}", range.frames() * (FRAME_SIZE / 1024))
    }
}

/// Says in the log what became of the boot loader's entries.
pub(super) fn summarise(entries: usize, time: Ticks) {
    info!("memory map: {entries} entries, sanitised in {time}:");
    for (range, kind) in ranges() {
        info!("  {}", Line(range, kind));
    }
}
