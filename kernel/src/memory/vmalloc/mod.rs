//! Memory whose addresses follow each other out of frames that lie anywhere, between guard pages (Linux: `vmalloc`).
//!
//! For what is larger than any block of frames, and for what no block is left for. Address space is given out in units of
//! 2 MiB, what one page table maps, so that no two mappings share a table of the lowest level. Which units are taken is
//! known to a page allocator of its own, to which each unit is a frame: it places, splits and merges them, grows ranges
//! where they are, and tells every bad free, in half a byte a unit.
//!
//! A mapping begins with its first unit and leaves at least the last page of its last one unmapped. So there is a guard
//! page on either side of it: its own, and the one of whatever ends before it.

mod deferred;
mod pages;

pub use deferred::is_deferred;
pub use pages::count as pages;

use super::frames::{Processor, frames};
use super::paging;
use crate::host::Stopwatch;
use crate::sync::{self, lockdep};
use bifolio::allocator::{BlockState, PageAllocator, Plan, Shrinker};
use bifolio::error::FreeError;
use bifolio::frame::{Blocks, FRAME_SIZE, Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use core::fmt::{self, Write};
use core::iter;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use log::info;
use pages::UNIT_PAGES;
use spin::Once;
use x86_64::VirtAddr;
use x86_64::structures::paging::{Page, PageSize, Size2MiB, Size4KiB, Translate};

/// The first address: see [`space`](super::space) for what lies below and above.
const START: VirtAddr = VirtAddr::new(0xffff_d000_0000_0000);
/// Bytes in a unit.
const UNIT: u64 = Size2MiB::SIZE;
/// As which frame the first unit is known to the allocator of units: the first of the zone that has no special uses.
const FIRST: Pfn = Profile::X86_64.range(ZoneKind::Normal).start;
/// How much address space there is, for each byte of memory: so much that its pieces do not matter.
const ROOM: u64 = 4;
/// Units that the allocator keeps metadata for together: 64 GiB.
const SECTION: u64 = 1 << 15;
/// Pages at the end of a mapping that are not mapped.
const GUARD_PAGES: u64 = 1;

/// How units are asked for: there is nobody to keep any for.
const GFP: Gfp = Gfp::MOVABLE.union(Gfp::MEMALLOC).union(Gfp::NOWARN);

/// How many units there are; 0 until [`init`].
static UNITS: AtomicU64 = AtomicU64::new(0);
static AREA: Once<PageAllocator<'static, Processor>> = Once::new();

/// How many units there are on a machine that manages so many frames.
fn units(managed: u64) -> u64 {
    (ROOM * managed).div_ceil(UNIT_PAGES).next_multiple_of(SECTION)
}

/// Runs `with` on the plan for so many units.
fn with_plan<R>(units: u64, with: impl FnOnce(&Plan<'_>) -> R) -> R {
    let mut all = [Region { start: FIRST.address(), end: FIRST.offset(units).address(), kind: RegionKind::Usable }];
    let map = MemoryMap::sanitise(&mut all).unwrap_or_else(|error| panic!("no address space: {error}"));
    with(&Plan::apart(map))
}

/// Pages of metadata on a machine that manages so many frames.
pub(super) fn metadata_pages(managed: u64) -> u64 {
    let words = with_plan(units(managed), |plan| plan.metadata_words());
    ((words * size_of::<u64>()) as u64).div_ceil(FRAME_SIZE)
}

/// Sets the allocator of units up, with [so many pages](metadata_pages) for its metadata.
///
/// # Panics
/// If they are too few.
pub(super) fn init(metadata: &'static mut [u64]) {
    let stopwatch = Stopwatch::start();
    let units = units(ZoneKind::ALL.map(|kind| frames().zone(kind).managed).iter().sum());
    let pages = size_of_val(metadata) as u64 / FRAME_SIZE;
    let area = with_plan(units, |plan| {
        // SAFETY: the units are address space that nobody else uses, and no other allocator's blocks come here.
        unsafe { PageAllocator::new(plan, &mut metadata[..plan.metadata_words()], &[]) }
    });
    AREA.call_once(|| area.unwrap_or_else(|error| panic!("no address space: {error}")));
    UNITS.store(units, Ordering::Relaxed);
    let (gib, time) = (units * UNIT / (1 << 30), stopwatch.elapsed());
    info!("vmalloc: {gib} GiB of address space at {START:p}, {pages} metadata pages, set up in {time}");
}

/// How many units a mapping of so many pages takes: those of the pages and the guard.
fn units_for(pages: u64) -> u64 {
    (pages + GUARD_PAGES).div_ceil(UNIT_PAGES)
}

/// The units from this address on.
fn units_at(start: VirtAddr, units: u64) -> PfnRange {
    let first = FIRST.offset((start - START) / UNIT);
    PfnRange::new(first, first.offset(units))
}

fn address_of(unit: Pfn) -> VirtAddr {
    START + (unit.number() - FIRST.number()) * UNIT
}

/// Whether the address lies where mappings are made.
pub fn contains(address: VirtAddr) -> bool {
    address >= START && (address - START) / UNIT < UNITS.load(Ordering::Relaxed)
}

/// How far behind the first address an address lies, where mappings are made.
pub fn offset(address: VirtAddr) -> Option<u64> {
    contains(address).then(|| address - START)
}

/// Takes units for a mapping that is aligned to so many pages.
fn take(area: &PageAllocator<'_, Processor>, units: u64, align: u64) -> Option<Blocks> {
    let align = (align / UNIT_PAGES).max(1);
    // What is mapped may be to grow. At the start of a block that is twice as large it has room to, until that is taken by
    // something smaller.
    let roomy = Order::covering(units).and_then(|order| Order::new(order.get() + 1));
    let roomy = roomy.filter(|roomy| roomy.frames() >= align);
    if let Some(Ok(taken)) = roomy.map(|align| area.allocate_exact_aligned(units, align, GFP)) {
        return Some(taken);
    }
    area.allocate_contiguous_aligned(units, align, GFP).ok()
}

/// Maps so many pages, at least one, aligned to `align` of them, a power of two, to frames that are theirs alone. `None`, and
/// nothing has changed, if there is no memory or no address space for that.
///
/// Waits for memory, and may have to have other CPUs forget what was mapped before: not for interrupt handlers.
pub fn allocate(pages: u64, align: u64) -> Option<NonNull<u8>> {
    lockdep::might_sleep("mapping memory");
    let area = AREA.get()?;
    free_deferred();
    let taken = take(area, units_for(pages), align)?;
    let start = address_of(taken.range().start);
    if !pages::map(Page::containing_address(start), pages) {
        area.free_range(taken).expect("the units were taken just now");
        return None;
    }
    // The mapping has them from here on.
    let _ = taken.into_raw();
    NonNull::new(start.as_mut_ptr())
}

/// Maps so many pages, for ever, before and behind each of which one is not mapped, to frames of their own. The first that is not is where
/// it begins. `None` as for [`allocate`].
pub(super) fn allocate_spaced(pages: u64) -> Option<NonNull<u8>> {
    lockdep::might_sleep("mapping memory");
    let area = AREA.get()?;
    let taken = take(area, units_for(2 * pages), 1)?;
    let start = address_of(taken.range().start);
    let page = |nth| Page::<Size4KiB>::containing_address(start) + (2 * nth + 1);
    let mapped = (0..pages).take_while(|&nth| pages::map(page(nth), 1)).count() as u64;
    if mapped < pages {
        // SAFETY: nobody knows of these pages yet.
        (0..mapped).for_each(|nth| unsafe { pages::unmap(page(nth), 1) });
        area.free_range(taken).expect("the units were taken just now");
        return None;
    }
    let _ = taken.into_raw();
    NonNull::new(start.as_mut_ptr())
}

/// Unmaps so many pages from `start` on, and frees their frames and the page tables that only they needed.
///
/// Where nothing may wait, as in an interrupt handler, that is [left to somebody else](free_deferred).
///
/// # Errors
/// [`FreeError`], in units instead of frames, if there is no such mapping; nothing has changed.
///
/// # Safety
/// The pages came from [`allocate`] or were last [resized](resize) to that number, and nobody uses them any more.
pub unsafe fn free(start: NonNull<u8>, pages: u64) -> Result<(), FreeError> {
    let start = VirtAddr::from_ptr(start.as_ptr());
    let units = units_at(start, units_for(pages));
    let Some(area) = AREA.get() else { return Err(FreeError::NotManaged(units.start)) };
    for (unit, given) in units.blocks() {
        let actual = area.order_of(unit)?;
        if actual != given {
            return Err(FreeError::WrongOrder { pfn: unit, given, actual });
        }
    }
    if sync::may_sleep() {
        // SAFETY: by this function's contract nobody uses the pages, and so their units.
        unsafe {
            pages::unmap(Page::containing_address(start), pages);
            return area.free_range_raw(units);
        }
    }
    // SAFETY: the pages are a mapping, as was just looked up, and nobody uses them any more.
    unsafe { deferred::add(start.as_mut_ptr(), pages) };
    Ok(())
}

/// Frees the mappings that could not be when they were given back, and returns how many frames they had. Behind it there are
/// none, not even any that another CPU is at. Not where nothing may wait.
pub fn free_deferred() -> u64 {
    deferred::free_noted(free)
}

/// A CPU that runs out of memory can have what is about to be freed anyway.
pub(super) struct DeferredFrees;

impl Shrinker for DeferredFrees {
    fn shrink(&self, _: u64) -> u64 {
        free_deferred()
    }
}

/// Makes a mapping of `from` pages one of `to` pages, at least one, where it is. `false`, and nothing has changed, if there
/// is no memory for that, or the addresses behind it are taken, or if nothing may wait here.
///
/// # Safety
/// As for [`free`], but that only what lies behind the first `to` pages is unused.
pub unsafe fn resize(start: NonNull<u8>, from: u64, to: u64) -> bool {
    let Some(area) = AREA.get().filter(|_| sync::may_sleep()) else { return false };
    let start = VirtAddr::from_ptr(start.as_ptr());
    let first = Page::<Size4KiB>::containing_address(start);
    let [old, new] = [from, to].map(units_for);
    if to < from {
        // SAFETY: by this function's contract nobody uses what is cut off.
        unsafe { pages::unmap(first + to, from - to) };
    }
    // SAFETY: the units are the mapping's, and nobody uses what is cut off.
    if old != new && unsafe { area.resize_raw(units_at(start, old), new, GFP) }.is_err() {
        debug_assert!(to > from, "units can always be given back");
        return false;
    }
    if to > from && !pages::map(first + from, to - from) {
        // SAFETY: the units are the mapping's, and nothing is mapped at what was added.
        unsafe { area.resize_raw(units_at(start, new), old, GFP) }.expect("units can always be given back");
        return false;
    }
    true
}

/// Where an address lies at which nothing is mapped, as a fault's report calls it. `None` if it is
/// not among mappings at all.
///
/// Takes no lock and trusts nothing but the page tables, so that a fault's report can ask.
pub fn place_of(address: u64) -> Option<&'static str> {
    let address = VirtAddr::try_new(address).ok()?;
    let page = address.align_down(Size4KiB::SIZE);
    // The page before the first address guards what begins there.
    let behind = page.as_u64().checked_add(Size4KiB::SIZE).map(VirtAddr::new_truncate);
    if !contains(page) && !behind.is_some_and(contains) {
        return None;
    }
    let is_mapped = |address: VirtAddr| paging::is_mapped(address.as_u64());
    Some(if is_mapped(page - 1) || is_mapped(address.align_down(UNIT)) {
        "a guard page, behind the end of what the heap has mapped"
    } else if is_mapped(page + Size4KiB::SIZE) {
        "a guard page, before the start of what the heap has mapped"
    } else {
        "the heap's address space for mappings, where there is none now"
    })
}

/// Bytes of address space: all, and those that mappings take, guards included.
pub fn totals() -> (u64, u64) {
    let zone = AREA.get().map(|area| area.zone(ZoneKind::Normal));
    zone.map_or((0, 0), |zone| (zone.managed * UNIT, (zone.managed - zone.free) * UNIT))
}

/// Whether a page of a mapping is mapped: looked at with the tables locked, since whoever unmaps something frees tables.
fn is_mapped(address: VirtAddr) -> bool {
    paging::table().translate_addr(address).is_some()
}

/// Blocks that are taken, in the order of their addresses, those of one mapping as several.
fn blocks(area: &PageAllocator<'_, Processor>) -> impl Iterator<Item = (VirtAddr, VirtAddr)> {
    /// How many are looked up at once.
    const AT_ONCE: usize = 32;
    let mut from = FIRST;
    iter::from_fn(move || {
        // What the blocks are wanted for takes locks, and may allocate: not while their zone is locked.
        let mut found = [None; AT_ONCE];
        let mut room = found.iter_mut();
        area.for_each_block(ZoneKind::Normal, |block| {
            if block.state == BlockState::Allocated && block.pfn >= from {
                let units = PfnRange::new(block.pfn, block.pfn.offset(block.order.frames()));
                room.next().into_iter().for_each(|slot| *slot = Some(units));
            }
        });
        from = found.iter().flatten().next_back()?.end;
        Some(found.into_iter().flatten())
    })
    .flatten()
    .map(|units| (address_of(units.start), address_of(units.end)))
}

/// Writes a line for each mapping, like Linux's `/proc/vmallocinfo`: its addresses with the guard, their number, and how
/// many pages are mapped. Other CPUs may map and unmap meanwhile: what changes is shown as it was at some moment, or not.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write) -> fmt::Result {
    let Some(area) = AREA.get() else { return Ok(()) };
    let mut line = |(start, end): (VirtAddr, VirtAddr)| {
        let mut mapped = (end - start) / Size4KiB::SIZE;
        while mapped > 0 && !is_mapped(start + (mapped - 1) * Size4KiB::SIZE) {
            mapped -= 1;
        }
        if mapped == 0 {
            // On its way.
            return Ok(());
        }
        let end = start + (mapped + GUARD_PAGES) * Size4KiB::SIZE;
        writeln!(out, "{:#018x}-{:#018x} {:>12} pages={mapped} vmalloc", start.as_u64(), end.as_u64(), end - start)
    };
    // A mapping may be of several blocks: it begins where the page before is not mapped.
    let mut mapping: Option<(VirtAddr, VirtAddr)> = None;
    for (start, end) in blocks(area) {
        match &mut mapping {
            Some((_, last)) if *last == start && is_mapped(start - 1) => *last = end,
            _ => mapping.replace((start, end)).map_or(Ok(()), &mut line)?,
        }
    }
    mapping.map_or(Ok(()), line)
}
