//! Memory that the kernel never sees: taken out of the boot loader's map, for allocators that want a region.

use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::{ptr, slice};
use kernel::memory::{MEMORY, paging};
use workloads::heap::Backing;
use x86_64::structures::paging::{Mapper, Page, PageSize, PageTableFlags, PhysFrame, Size2MiB};
use x86_64::{PhysAddr, VirtAddr};

/// Where regions are mapped, each so far behind it as it lies in memory: nothing else is.
const START: VirtAddr = VirtAddr::new(0xffff_c000_0000_0000);
/// What regions are aligned to: more than any block.
const ALIGN: u64 = 4 << 20;

/// Takes so many bytes, aligned to 4 MiB, from the end of a region of RAM: its physical address.
///
/// # Panics
/// The machine has too little memory.
pub fn reserve(boot_info: &mut BootInfo, bytes: u64) -> PhysAddr {
    let is_large = |start: u64, end: u64| end - start > 2 * bytes;
    let region = boot_info
        .memory_regions
        .iter_mut()
        .find(|region| region.kind == MemoryRegionKind::Usable && is_large(region.start, region.end));
    let region = region.expect("the machine has twice as much memory in one piece");
    region.end = (region.end - bytes) & !(ALIGN - 1);
    PhysAddr::new(region.end)
}

/// Maps so many bytes that were [reserved](reserve), once there is memory for page tables.
///
/// # Panics
/// There is none.
///
/// # Safety
/// They were, and nobody else uses them.
pub unsafe fn map(start: PhysAddr, bytes: u64) -> &'static mut [u64] {
    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
    let pages = (0..bytes).step_by(Size2MiB::SIZE as usize);
    for (page, frame) in pages.map(|offset| (START + start.as_u64() + offset, start + offset)) {
        let (page, frame) = (Page::<Size2MiB>::containing_address(page), PhysFrame::containing_address(frame));
        // SAFETY: by this function's contract the memory is nobody's, nor are the addresses.
        let mapped = unsafe { paging::table().map_to(page, frame, flags, &mut MEMORY.frames()) };
        mapped.expect("there is memory for page tables").flush();
    }
    let words = (START + start.as_u64()).as_mut_ptr();
    // SAFETY: so many bytes were mapped just now, nobody else refers to them, and any bits are valid words.
    unsafe { slice::from_raw_parts_mut(words, bytes as usize / size_of::<u64>()) }
}

/// The region for objects. There is one, for one allocator at a time.
pub struct ForObjects;

static BASE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static IS_IN_USE: AtomicBool = AtomicBool::new(false);

impl ForObjects {
    /// Says which memory it is.
    ///
    /// # Panics
    /// It is not as large as it must be.
    pub fn set(memory: &'static mut [u64]) {
        assert_eq!(size_of_val(memory), Self::SIZE);
        BASE.store(memory.as_mut_ptr().cast(), Ordering::Relaxed);
    }
}

impl Backing for ForObjects {
    const SIZE: usize = 128 << 20;

    fn new() -> Self {
        assert!(!IS_IN_USE.swap(true, Ordering::Relaxed), "there is one region, for one allocator at a time");
        Self
    }

    fn base(&self) -> NonNull<u8> {
        NonNull::new(BASE.load(Ordering::Relaxed)).expect("the region is set at boot")
    }
}

impl Drop for ForObjects {
    fn drop(&mut self) {
        IS_IN_USE.store(false, Ordering::Relaxed);
    }
}
