//! The machine's memory map: the boot loader's list, translated and sanitised.

use crate::host::Ticks;
use bifolio::frame::{FRAME_SIZE, Pfn, PfnRange, Profile};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use bootloader_api::info::MemoryRegion;
use core::fmt::{self, Write};
use core::{array, slice};
use log::{info, warn};
use spin::Once;
use x86_64::PhysAddr;

/// How many entries that cannot be true are named in the log: a map that is made of them must not drown all else.
const WARNINGS: usize = 16;

static MAP: Once<MemoryMap<'static>> = Once::new();

/// Translates the boot loader's entries where they are: so there is room for as many as it has.
pub(super) fn translate(raw: &'static mut [MemoryRegion]) -> &'static mut [Region] {
    const { assert!(size_of::<Region>() == size_of::<MemoryRegion>()) };
    const { assert!(align_of::<Region>() == align_of::<MemoryRegion>()) };
    let (start, count) = (raw.as_mut_ptr(), raw.len());
    for place in 0..count {
        // SAFETY: the place is inside the slice, which nobody else refers to, and holds what was read before it is written
        // over; sizes and alignments are the same.
        unsafe {
            let raw = start.add(place).read();
            start.cast::<Region>().add(place).write(Region::from(&raw));
        }
    }
    // SAFETY: all of the slice holds regions now, and it is borrowed for good.
    unsafe { slice::from_raw_parts_mut(start.cast(), count) }
}

/// Says in the log which entries cannot be true, and what becomes of them: before anything is done with the map, which may
/// be the end.
pub(super) fn warn_of_faults(regions: &[Region]) {
    let faults = || regions.iter().filter_map(Region::fault);
    faults().take(WARNINGS).for_each(|fault| warn!("memory map: {fault}"));
    let more = faults().skip(WARNINGS).count();
    if more > 0 {
        warn!("memory map: and {more} more of {} entries cannot be true", regions.len());
    }
}

/// Sanitises the memory map.
///
/// # Panics
/// If nothing is usable.
pub(super) fn init(regions: &'static mut [Region]) -> &'static MemoryMap<'static> {
    MAP.call_once(|| MemoryMap::sanitise(regions).unwrap_or_else(|error| panic!("{error}")))
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
pub(super) fn low_memory(regions: &[Region], pages: usize) -> Option<PhysAddr> {
    const LOW: PfnRange = Profile::X86_64.low_memory();
    const PAGES: usize = LOW.frames() as usize;
    let (mut usable, mut other) = ([false; PAGES], [false; PAGES]);
    other[0] = true;
    for region in regions.iter().filter_map(Region::believed) {
        let [start, end] = [region.start, region.end].map(|address| address.min(LOW.end.address()));
        let up = |address: u64| address.div_ceil(FRAME_SIZE) as usize;
        let down = |address: u64| (address / FRAME_SIZE) as usize;
        match region.kind {
            RegionKind::Usable => usable[up(start)..down(end).max(up(start))].fill(true),
            _ => other[down(start)..up(end)].fill(true),
        }
    }
    let free: [bool; PAGES] = array::from_fn(|page| usable[page] && !other[page]);
    let first = free.windows(pages).position(|run| run.iter().all(|free| *free))?;
    Some(PhysAddr::new(first as u64 * FRAME_SIZE))
}

/// The end of the RAM that the map tells of: reserved ranges may lie far behind, and are not RAM.
pub fn end_of_ram() -> Pfn {
    map().ram().last().map_or(Pfn::default(), |range| range.end)
}

/// Writes the map, a line a range, with addresses in bytes; then what firmware said that cannot be true.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write) -> fmt::Result {
    for (range, kind) in map().iter() {
        writeln!(out, "{}", Line(range, kind))?;
    }
    map().faults().try_for_each(|fault| writeln!(out, "not as given: {fault}"))
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
    for (range, kind) in map().iter() {
        info!("  {}", Line(range, kind));
    }
}
