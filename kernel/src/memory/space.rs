//! The kernel's address space, made while the boot loader's is in force, and put in its place.
//!
//! | from | what |
//! |---|---|
//! | `0` | nothing: a null pointer, whatever its offset, finds no memory |
//! | `ffff_8000_0000_0000` | what the boot loader mapped: the boot processor's stack, what it has to say, the screen |
//! | `ffff_8800_0000_0000` | the [window]: RAM that can be given out, and what was read of the firmware's tables |
//! | `ffff_ce00_0000_0000` | the allocators' metadata, each piece between pages that are not mapped |
//! | `ffff_cf00_0000_0000` | devices' registers |
//! | `ffff_d000_0000_0000` | [mappings](super::vmalloc), between pages that are not mapped |
//! | `ffff_ffff_8000_0000` | the kernel: code, which is read only; data, which cannot be executed |
//!
//! Nothing is mapped twice that the kernel runs on: code, data, stacks and metadata are not in the window. Page tables are, since
//! they are changed there.

use super::early::TableFrames;
use super::{early, vmalloc};
use crate::arch::window;
use bifolio::allocator::Plan;
use bifolio::frame::{FRAME_SIZE, Pfn, PfnRange};
use bifolio::memory_map::{MemoryMap, RegionKind};
use core::arch::x86_64::__cpuid;
use core::fmt::Debug;
use core::ops::Range;
use core::slice;
use spin::Once;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::{
    FrameAllocator, Mapper, Page, PageSize, PageTable, PageTableFlags, PageTableIndex, PhysFrame, RecursivePageTable,
    Size1GiB, Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// Where metadata is mapped, a piece in each [`METADATA_ROOM`].
const METADATA: VirtAddr = VirtAddr::new(0xffff_ce00_0000_0000);
const METADATA_ROOM: u64 = 256 << 30;

/// Data that is mapped as long as the kernel runs: a TLB that forgets all else may remember it.
const DATA: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::NO_EXECUTE)
    .union(PageTableFlags::GLOBAL);

/// Frames for tables that are not counted one by one: copies of the boot loader's, and those on the way to firmware's tables. Most
/// are for the screen, of which each shows 2 MiB.
const OTHER_TABLES: u64 = 64;

static METADATA_PIECES: Once<[Range<VirtAddr>; 2]> = Once::new();

/// Where the metadata of page frames and of address space is mapped.
pub fn metadata() -> [Range<VirtAddr>; 2] {
    METADATA_PIECES.get().expect("the address space is made at boot").clone()
}

/// What allocators keep their books in.
pub(super) struct Metadata {
    /// For page frames.
    pub frames: &'static mut [u64],
    /// For address space.
    pub area: &'static mut [u64],
}

/// Makes the kernel's page tables and puts them in force. `low` is RAM below 1 MiB that the window is to show as well.
///
/// # Panics
/// If there is no memory for them, or more memory than the window can show.
///
/// # Safety
/// The tables in force are the boot loader's, to which that entry of level 4 leads back; the plan is for this machine's map; and
/// nobody uses what the map calls usable, nor the frames in `low`.
pub(super) unsafe fn enter(
    recursive: PageTableIndex,
    plan: &Plan<'_>,
    map: &MemoryMap<'_>,
    low: Option<PfnRange>,
) -> Metadata {
    let end = map.ram().last().map_or(0, |range| range.end.address());
    assert!(end <= window::SIZE, "memory up to {end:#x}: the window onto it ends at {:#x}", window::SIZE);
    let area_pages = vmalloc::metadata_pages(map.frames(RegionKind::Usable) - plan.metadata().frames());
    early::init(plan, area_pages + tables_for(map.ram().chain([plan.metadata()])) + OTHER_TABLES);
    let area = early::take(area_pages).expect("they were counted");

    let level_4 = Page::from_page_table_indices(recursive, recursive, recursive, recursive);
    let level_4: *mut PageTable = level_4.start_address().as_mut_ptr();
    // SAFETY: by this function's contract the active table of level 4 is there, and nobody else refers to it.
    let mut table = RecursivePageTable::new(unsafe { &mut *level_4 }).expect("the entry leads back to its table");
    let shown = map.ram().flat_map(|range| early::without(range, plan.metadata()));
    for range in low.into_iter().chain(shown.flat_map(|range| early::without(range, area))) {
        // SAFETY: nobody uses the frames, and the window's addresses are nobody else's.
        unsafe { map_range(&mut table, range, window::to_virtual(PhysAddr::new(range.start.address()))) };
    }
    let [frames, area] = [(0, plan.metadata()), (1, area)].map(|(room, range)| {
        // As far behind its start as memory is behind the start of a large page, so that it can be mapped in large ones.
        let start = METADATA + room * METADATA_ROOM + range.start.address() % Size1GiB::SIZE;
        // SAFETY: nobody else uses the frames, and the addresses are for this.
        unsafe { map_range(&mut table, range, start) };
        start..start + range.frames() * FRAME_SIZE
    });
    METADATA_PIECES.call_once(|| [frames.clone(), area.clone()]);
    // SAFETY: the entry leads back to its table by this function's contract, and the window is mapped.
    let level_4 = unsafe { copy_tables(window::by_recursion(recursive), 4, 0) };
    // SAFETY: what this code runs on is mapped in the copy as it was.
    unsafe { Cr3::write(level_4, Cr3Flags::empty()) };
    // SAFETY: all tables that are in force now were made of early frames, which are RAM that the window shows.
    unsafe { window::open() };
    // SAFETY: the metadata was mapped above, nobody else refers to it, and any bits are valid words.
    let words = |piece: Range<VirtAddr>| unsafe {
        slice::from_raw_parts_mut(piece.start.as_mut_ptr(), (piece.end - piece.start) as usize / size_of::<u64>())
    };
    Metadata { frames: &mut words(frames)[..plan.metadata_words()], area: words(area) }
}

/// No fewer page tables than it takes to map these ranges, which are in order, at addresses that differ from theirs by a
/// multiple of the largest page.
fn tables_for(ranges: impl Iterator<Item = PfnRange>) -> u64 {
    /// How many frames a table of each level maps, from level 1 on.
    const FRAMES: [u64; 3] = [1 << 9, 1 << 18, 1 << 27];
    // Ranges may share tables at their ends.
    let mut latest = [None; FRAMES.len()];
    let mut tables = 0;
    for range in ranges.filter(|range| !range.is_empty()) {
        for (level, frames) in FRAMES.into_iter().enumerate() {
            let (first, last) = (range.start.number() / frames, (range.end.number() - 1) / frames);
            let more = last - first + u64::from(latest[level] != Some(first));
            // What lies between the ends is mapped by large pages, and takes no table of level 1.
            tables += if level == 0 { more.min(2) } else { more };
            latest[level] = Some(last);
        }
    }
    tables
}

/// Maps frames as data from an address on, in pages as large as can be.
///
/// # Safety
/// The frames are nobody else's to use, nor are the addresses.
unsafe fn map_range(table: &mut RecursivePageTable<'_>, range: PfnRange, at: VirtAddr) {
    // Leaf 0x8000_0001, register EDX. (Older processors have no such leaf, nor the pages.)
    let has_1gib = __cpuid(0x8000_0000).eax > 0x8000_0000 && __cpuid(0x8000_0001).edx >> 26 & 1 == 1;
    let bytes = range.frames() * FRAME_SIZE;
    let mut done = 0;
    while done < bytes {
        let (page, frame) = (at + done, PhysAddr::new(range.start.address() + done));
        let fits = |size: u64| page.is_aligned(size) && frame.is_aligned(size) && bytes - done >= size;
        // SAFETY: by this function's contract.
        done += unsafe {
            if has_1gib && fits(Size1GiB::SIZE) {
                map_page::<Size1GiB>(table, page, frame)
            } else if fits(Size2MiB::SIZE) {
                map_page::<Size2MiB>(table, page, frame)
            } else {
                map_page::<Size4KiB>(table, page, frame)
            }
        };
    }
}

/// Maps a page, and returns how large it is.
///
/// # Safety
/// The frame is nobody else's to use, nor is the page.
unsafe fn map_page<S: PageSize + Debug>(table: &mut RecursivePageTable<'_>, page: VirtAddr, frame: PhysAddr) -> u64
where
    for<'a> RecursivePageTable<'a>: Mapper<S>,
{
    let (page, frame) = (Page::<S>::containing_address(page), PhysFrame::containing_address(frame));
    // SAFETY: by this function's contract.
    let mapped = unsafe { table.map_to(page, frame, DATA, &mut TableFrames) };
    // Nothing was there that a TLB could remember.
    mapped.unwrap_or_else(|error| panic!("{page:?} cannot be mapped: {error:?}")).ignore();
    S::SIZE
}

/// Copies a page table of the boot loader's, and those that it leads to, but for what the kernel has made itself and what is not
/// of the upper half. The table is the one of that level for an address; `first` is [where entries are found](window::by_recursion).
///
/// # Safety
/// The table is there, nobody changes it or those below it, and the window shows early frames.
unsafe fn copy_tables(first: u64, level: u32, address: u64) -> PhysFrame {
    let table = (0..level).fold(address, |address, _| window::entry_by_recursion(first, address));
    // SAFETY: by this function's contract the table is there and does not change.
    let table = unsafe { &*(table as *const PageTable) };
    let frame = TableFrames.allocate_frame().expect("there are frames for copies of the boot loader's tables");
    let copy: *mut PageTable = window::to_virtual(frame.start_address()).as_mut_ptr();
    // SAFETY: the frame is fresh, the window shows it, and any bits are a page table.
    let copy = unsafe { &mut *copy };
    copy.zero();
    let (active, of_lower_half) = (Cr3::read().0.start_address(), if level == 4 { 256 } else { 0 });
    let entries = table.iter().zip(copy.iter_mut()).enumerate().skip(of_lower_half);
    for (index, (entry, copied)) in entries.filter(|(_, (entry, _))| !entry.is_unused() && entry.addr() != active) {
        let is_page = level == 1 || entry.flags().contains(PageTableFlags::HUGE_PAGE);
        if is_page {
            copied.set_addr(entry.addr(), entry.flags() | PageTableFlags::GLOBAL);
        } else if early::has_taken(Pfn::containing(entry.addr().as_u64())) {
            copied.set_addr(entry.addr(), entry.flags());
        } else {
            let behind = address | (index as u64) << (12 + 9 * (level - 1));
            // SAFETY: the entry leads to that table, and all else is by this function's contract.
            let below = unsafe { copy_tables(first, level - 1, behind) };
            copied.set_addr(below.start_address(), entry.flags());
        }
    }
    frame
}
