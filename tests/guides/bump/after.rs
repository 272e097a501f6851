//! A kernel as in the tutorial "Writing an OS in Rust", whose frames and heap are one allocator's.
#![no_std]
#![no_main]

use bifolio::kernel::{Kernel, Regions, Uniprocessor, X86};
use bootloader_api::{BootInfo, entry_point};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, Size4KiB};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<X86>> = Kernel::new();

entry_point!(main, config = &guides::CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let window = VirtAddr::new(guides::window(boot_info));
    // SAFETY: the table is the one in use, which the window shows, and nobody else has a reference to it.
    let mut mapper = unsafe { OffsetPageTable::new(root(window), window) };
    let mut regions = Regions::<128>::new();
    regions.extend(boot_info.memory_regions.iter());
    // SAFETY: nobody uses what the boot loader calls usable, which the window shows; the machine's other CPUs do not run.
    unsafe { MEMORY.init(regions, window.as_u64()) }.expect("the machine has memory");
    let mut frame_allocator = MEMORY.frames();
    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;

    let page = Page::<Size4KiB>::containing_address(VirtAddr::new(0x5555_5555_0000));
    let frame = frame_allocator.allocate_frame().expect("there is a frame");
    // SAFETY: the page is nobody's, and the frame was allocated for it.
    unsafe { mapper.map_to(page, frame, flags, &mut frame_allocator) }.expect("nothing is mapped there").flush();
    guides::finish()
}

/// The page table in use.
///
/// # Safety
/// Nobody else has a reference to it, and the window shows it.
unsafe fn root(window: VirtAddr) -> &'static mut PageTable {
    let table = window + Cr3::read().0.start_address().as_u64();
    // SAFETY: by this function's contract.
    unsafe { &mut *table.as_mut_ptr() }
}
