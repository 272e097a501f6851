//! Pages in a part of the address space that nothing is mapped in.

use kernel::memory::{MEMORY, paging};
use x86_64::VirtAddr;
use x86_64::structures::paging::mapper::{CleanUp, MapToError};
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Mapper, OffsetPageTable, Page, PageSize, PageTableFlags, PhysFrame,
};

/// The start of 512 GiB that nothing is mapped in: half of the upper half, far from the kernel and from the window.
pub const EMPTY: VirtAddr = VirtAddr::new(0xffff_c000_0000_0000);
const WRITABLE: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::WRITABLE);

/// Maps a page of that part to a fresh frame, one of these.
///
/// # Errors
/// [`MapToError`] if there are too few frames, or the page is mapped. Tables that were made on the way
/// [stay](free_empty_tables).
pub fn map<S: PageSize>(
    page: Page<S>,
    mut frames: impl FrameAllocator<S> + FrameDeallocator<S>,
) -> Result<PhysFrame<S>, MapToError<S>>
where
    for<'a> OffsetPageTable<'a>: Mapper<S>,
{
    let frame = frames.allocate_frame().ok_or(MapToError::FrameAllocationFailed)?;
    // SAFETY: the frame is fresh, and nobody refers to the page: it lies in the empty part of the address space.
    match unsafe { paging::table().map_to(page, frame, WRITABLE, &mut MEMORY.frames()) } {
        Ok(flush) => {
            flush.flush();
            Ok(frame)
        }
        Err(error) => {
            // SAFETY: the frame was not mapped.
            unsafe { frames.deallocate_frame(frame) };
            Err(error)
        }
    }
}

/// Unmaps a page that was [mapped](map), and frees its frame.
///
/// # Panics
/// If it is not mapped.
pub fn unmap<S: PageSize>(page: Page<S>, mut frames: impl FrameDeallocator<S>)
where
    for<'a> OffsetPageTable<'a>: Mapper<S>,
{
    let (frame, flush) = paging::table().unmap(page).expect("the page is mapped");
    flush.flush();
    // SAFETY: the frame was mapped at this page alone.
    unsafe { frames.deallocate_frame(frame) };
}

/// Frees the page tables of that part that map nothing any more.
pub fn free_empty_tables() {
    // SAFETY: the tables' frames came from `MEMORY`, and what they map is unmapped.
    unsafe {
        let first = Page::containing_address(EMPTY);
        let last = Page::containing_address(EMPTY + ((1_u64 << 39) - 1));
        paging::table().clean_up_addr_range(Page::range_inclusive(first, last), &mut MEMORY.frames());
    }
}
