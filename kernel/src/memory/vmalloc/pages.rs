//! Pages of mappings: to frames and away from them.

use super::super::frames::frames;
use super::super::paging;
use bifolio::frame::{Block, Gfp, Order, Pfn};
use core::fmt::Debug;
use core::iter;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use log::error;
use x86_64::structures::paging::mapper::{CleanUp, MapToError, MappedFrame, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Mapper, OffsetPageTable, Page, PageSize, PageTableFlags, PhysFrame, Size2MiB,
    Size4KiB, Translate,
};
use x86_64::{PhysAddr, VirtAddr};

/// Pages in a unit: what one page table of the lowest level maps.
pub(super) const UNIT_PAGES: u64 = Size2MiB::SIZE / Size4KiB::SIZE;

/// What the heap gives out is data.
const FLAGS: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE).union(PageTableFlags::NO_EXECUTE);

/// Pages that are mapped (Linux: `nr_vmalloc_pages`).
static MAPPED: AtomicU64 = AtomicU64::new(0);

/// How many pages are mapped, guards and page tables not counted.
pub fn count() -> u64 {
    MAPPED.load(Relaxed)
}

/// Runs `change` on the page tables.
fn with_table<R>(change: impl FnOnce(&mut OffsetPageTable<'static>) -> R) -> R {
    change(&mut paging::table())
}

/// Maps pages, none of which is, to frames of their own. `false`, and nothing is mapped, if there are too few.
///
/// Whole pageblocks are mapped as one page each, as long as there are any.
pub(super) fn map(first: Page, pages: u64) -> bool {
    let mut whole_blocks = true;
    let mut done = 0;
    while done < pages {
        let page = first + done;
        let is_whole = page.start_address().is_aligned(Size2MiB::SIZE) && pages - done >= UNIT_PAGES;
        if is_whole && whole_blocks {
            // Quickly or not at all: single pages do as well.
            whole_blocks = map_page::<Size2MiB>(page.start_address(), Order::PAGEBLOCK, Gfp::NOWAIT);
            if whole_blocks {
                done += UNIT_PAGES;
                continue;
            }
        }
        if !map_page::<Size4KiB>(page.start_address(), Order::ZERO, Gfp::KERNEL) {
            // SAFETY: nobody knows of these pages yet.
            unsafe { unmap(first, done) };
            return false;
        }
        done += 1;
    }
    true
}

/// Maps one page to a fresh frame.
fn map_page<S: PageSize + Debug>(start: VirtAddr, order: Order, gfp: Gfp) -> bool
where
    for<'a> OffsetPageTable<'a>: Mapper<S>,
{
    let Ok(block) = frames().allocate(order, gfp) else { return false };
    let (page, frame) = (Page::<S>::containing_address(start), PhysFrame::containing_address(physical(block.pfn())));
    let mut spares = Spares::default();
    loop {
        // SAFETY: the frame is fresh, and the page is in address space that nobody else has been given.
        let mapped = with_table(|table| unsafe { table.map_to(page, frame, FLAGS, &mut spares) });
        let is_mapped = match mapped {
            // Nothing was there that a TLB could remember.
            Ok(flush) => {
                flush.ignore();
                true
            }
            // What waits for memory does so without the lock.
            Err(MapToError::FrameAllocationFailed) if spares.fill() => continue,
            Err(MapToError::FrameAllocationFailed) => false,
            Err(error) => panic!("a page of unused address space cannot be mapped: {error:?}"),
        };
        spares.give_back();
        if is_mapped {
            // The mapping has it from here on.
            let _ = block.into_raw();
            MAPPED.fetch_add(order.frames(), Relaxed);
        } else {
            frames().free(block).expect("the frame was allocated just now");
            // What another CPU has just unmapped may have left them empty, and its flush may be still to come.
            let mut gathered = Gather::default();
            // SAFETY: as for all tables of these pages.
            unsafe { free_tables(page.start_address(), &mut gathered) };
            paging::flush(Page::containing_address(start), 1);
            gathered.free();
        }
        return is_mapped;
    }
}

/// Unmaps pages, all of which are mapped, and frees their frames and the tables that nothing else needs.
///
/// # Safety
/// The pages are of mappings, and nobody uses them any more.
pub(super) unsafe fn unmap(first: Page, pages: u64) {
    let mut gathered = Gather::default();
    let mut done = 0;
    while done < pages {
        let start = (first + done).start_address();
        // To the end of its unit: as far as one page table goes, so that interrupts are not masked for long.
        let behind = (start + 1_u64).align_up(Size2MiB::SIZE);
        let count = ((behind - start) / Size4KiB::SIZE).min(pages - done);
        with_table(|table| unmap_in_unit(table, start, count, &mut gathered));
        // SAFETY: tables of mappings are made by `map_page` and `unmap_in_unit` out of frames that are theirs.
        unsafe { free_tables(start, &mut gathered) };
        done += count;
    }
    paging::flush(first, pages);
    MAPPED.fetch_sub(pages, Relaxed);
    gathered.free();
}

/// Unmaps pages of one unit. A large page of which others are to stay becomes small ones first.
fn unmap_in_unit(table: &mut OffsetPageTable<'_>, start: VirtAddr, pages: u64, gathered: &mut Gather) {
    if let TranslateResult::Mapped { frame: MappedFrame::Size2MiB(block), .. } = table.translate(start) {
        let page = Page::<Size2MiB>::containing_address(start);
        table.unmap(page).expect("the page is mapped").1.ignore();
        let pfn = Pfn::containing(block.start_address().as_u64());
        let kept = UNIT_PAGES - pages;
        if kept == 0 {
            return gathered.add(pfn, Order::PAGEBLOCK);
        }
        // SAFETY: the block is the page's, and goes on as the frames of pages.
        let split = unsafe { frames().split_raw(pfn, Order::PAGEBLOCK, Order::ZERO) };
        split.expect("the page's frames are a block");
        // The table that is needed now goes into a frame that is not any more, so that shrinking never fails.
        // SAFETY: the frame was the page's, and is not mapped again.
        let table_frame = unsafe { Block::from_raw(pfn.offset(UNIT_PAGES - 1), Order::ZERO) };
        let mut spare = Spares([Some(table_frame), None, None]);
        for nth in 0..kept {
            let page = Page::<Size4KiB>::containing_address(page.start_address() + nth * Size4KiB::SIZE);
            let frame = PhysFrame::containing_address(physical(pfn.offset(nth)));
            // SAFETY: the page was mapped to this very frame a moment ago.
            let mapped = unsafe { table.map_to(page, frame, FLAGS, &mut spare) };
            mapped.expect("there is a frame for the one table that is missing").ignore();
        }
        (kept..UNIT_PAGES - 1).for_each(|nth| gathered.add(pfn.offset(nth), Order::ZERO));
        return;
    }
    for nth in 0..pages {
        let page = Page::<Size4KiB>::containing_address(start + nth * Size4KiB::SIZE);
        let (frame, flush) = table.unmap(page).expect("the page is mapped");
        flush.ignore();
        gathered.add(Pfn::containing(frame.start_address().as_u64()), Order::ZERO);
    }
}

/// Takes the page tables on the way to a unit that map nothing any more out of use. A TLB may still lead to them.
///
/// # Safety
/// They are tables of mappings, out of frames of their own.
unsafe fn free_tables(start: VirtAddr, gathered: &mut Gather) {
    let first = Page::containing_address(start.align_down(Size2MiB::SIZE));
    let unit = Page::range_inclusive(first, first + (UNIT_PAGES - 1));
    // SAFETY: by this function's contract the tables' frames are ours to free.
    with_table(|table| unsafe { table.clean_up_addr_range(unit, gathered) });
}

fn physical(pfn: Pfn) -> PhysAddr {
    PhysAddr::new(pfn.address())
}

/// Frames for page tables, as many as can be missing on the way to a page. Behind those, what is to be had without waiting:
/// tables are made with the lock on all of them held.
#[derive(Default)]
struct Spares([Option<Block>; 3]);

impl Spares {
    /// Waits for memory until there are frames for all tables. False if there are too few, or if there were enough already.
    fn fill(&mut self) -> bool {
        let mut filled = false;
        for spare in self.0.iter_mut().filter(|spare| spare.is_none()) {
            *spare = frames().allocate(Order::ZERO, Gfp::KERNEL | Gfp::NOWARN).ok();
            filled |= spare.is_some();
        }
        filled && self.0.iter().all(Option::is_some)
    }

    /// Frees the frames that were not needed.
    fn give_back(self) {
        for block in self.0.into_iter().flatten() {
            frames().free(block).expect("the frame was allocated a moment ago");
        }
    }
}

// SAFETY: each frame is given out once, and whoever put it in here has it for nothing else.
unsafe impl FrameAllocator<Size4KiB> for Spares {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let spare = self.0.iter_mut().find_map(Option::take);
        let block = spare.or_else(|| frames().allocate(Order::ZERO, Gfp::NOWAIT).ok())?;
        Some(PhysFrame::containing_address(physical(block.into_raw().0)))
    }
}

/// Frames that are not mapped any more, and that a TLB may still lead to: to be freed once it has been flushed (Linux:
/// `mmu_gather`). Each holds in its first word which is next, so there is always room for one more.
#[derive(Default)]
struct Gather(Option<(Pfn, Order)>);

impl Gather {
    /// In a word that leads nowhere.
    const END: u64 = 0;
    /// In a word that leads on, beside the order: both lie below a frame's address.
    const NEXT: u64 = 0x800;
    /// How far up the order lies: bit 0 of a word stays clear. What is gathered may be a page table, which a TLB may read
    /// until it is flushed, and to which such a word is an entry that is not present.
    const ORDER_SHIFT: u32 = 1;

    /// The word that leads to this block.
    const fn link(pfn: Pfn, order: Order) -> u64 {
        pfn.address() | Self::NEXT | (order.get() as u64) << Self::ORDER_SHIFT
    }

    fn add(&mut self, pfn: Pfn, order: Order) {
        let next = self.0.map_or(Self::END, |(pfn, order)| Self::link(pfn, order));
        let word: *mut u64 = paging::to_virtual(physical(pfn)).as_mut_ptr();
        // SAFETY: the window shows the frame, which is allocated and which nobody else uses.
        unsafe { word.write(next) };
        self.0 = Some((pfn, order));
    }

    /// Frees the frames. No TLB may lead to them any more.
    fn free(mut self) {
        iter::from_fn(|| {
            let (pfn, order) = self.0?;
            let word: *const u64 = paging::to_virtual(physical(pfn)).as_ptr();
            // SAFETY: `add` has written the word, and the frame is still allocated.
            let next = unsafe { word.read() };
            let order_of_next = Order::new(((next % Self::NEXT) >> Self::ORDER_SHIFT) as u8);
            self.0 = order_of_next.filter(|_| next != Self::END).map(|order| (Pfn::containing(next), order));
            Some((pfn, order))
        })
        .for_each(|(pfn, order)| {
            // SAFETY: whoever gathered the block has no other use for it.
            if let Err(error) = unsafe { frames().free_raw(pfn, order) } {
                error!("bad free of a frame that was mapped: {}", frames().report(&error));
            }
        });
    }
}

const _: () = {
    let words = Gather::END | Gather::link(Pfn::new(1), Order::ZERO) | Gather::link(Pfn::new(1), Order::PAGEBLOCK);
    assert!(words & PageTableFlags::PRESENT.bits() == 0, "a TLB may take the words for entries");
};

impl FrameDeallocator<Size4KiB> for Gather {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        self.add(Pfn::containing(frame.start_address().as_u64()), Order::ZERO);
    }
}
