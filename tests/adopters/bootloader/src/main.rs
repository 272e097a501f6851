//! A kernel for x86_64 that the crate `bootloader` boots, with BIOS or UEFI. What it has of bifolio is `MEMORY`.
#![no_std]
#![no_main]

use core::panic::PanicInfo;

use adopter_checks::pc;
use bifolio::kernel::{Kernel, Regions, Uniprocessor, X86};
use bootloader_api::config::{BootloaderConfig, Mapping};
use bootloader_api::{BootInfo, entry_point};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{
    FrameAllocator, FrameDeallocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags,
};

#[global_allocator]
static MEMORY: Kernel<Uniprocessor<X86>> = Kernel::new();

static CONFIG: BootloaderConfig = {
    let mut config = BootloaderConfig::new_default();
    config.mappings.physical_memory = Some(Mapping::Dynamic);
    config
};
entry_point!(main, config = &CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let window = boot_info.physical_memory_offset.into_option().expect("the boot loader maps physical memory");
    let mut regions = Regions::<128>::new();
    regions.extend(boot_info.memory_regions.iter());
    // SAFETY: nobody uses what the boot loader calls usable, which it maps there; the other CPUs do not run.
    unsafe { MEMORY.init(regions, window) }.expect("the machine has memory");
    adopter_checks::run(&MEMORY, &mut pc::Serial);
    a_page_is_mapped(VirtAddr::new(window));
    pc::exit(pc::SUCCESS)
}

/// Page tables are made of the allocator's frames, and a page of what they map.
fn a_page_is_mapped(window: VirtAddr) {
    let before = MEMORY.frames().usage();
    let page = Page::containing_address(VirtAddr::new(0x5555_5555_0000));
    let root = window + Cr3::read().0.start_address().as_u64();
    // SAFETY: the table is the one in use, which the window shows, and nobody else has a reference to it.
    let mut mapper = unsafe { OffsetPageTable::new(&mut *root.as_mut_ptr::<PageTable>(), window) };
    let mut frames = MEMORY.frames();
    let frame = frames.allocate_frame().expect("there is a frame");
    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
    // SAFETY: the page is nobody's, and the frame was allocated for it.
    unsafe { mapper.map_to(page, frame, flags, &mut frames) }.expect("nothing is mapped there").flush();
    // SAFETY: the page was mapped just now, for this alone.
    unsafe { page.start_address().as_mut_ptr::<u64>().write_volatile(7) };
    let (frame, flush) = mapper.unmap(page).expect("it is mapped");
    flush.flush();
    // SAFETY: nothing maps the frame any more.
    unsafe { frames.deallocate_frame(frame) };
    assert_eq!(frames.usage().used, before.used + 3, "three tables are left");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    pc::fail(info)
}
