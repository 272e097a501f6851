//! A kernel as in the tutorial "Writing an OS in Rust": frames are taken one behind the other from the memory map, a heap is mapped,
//! and a bump allocator hands it out.
#![no_std]
#![no_main]

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use bootloader_api::info::{MemoryRegionKind, MemoryRegions};
use bootloader_api::{BootInfo, entry_point};
use spin::Mutex;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

/// Where the heap is mapped, and its size, in bytes.
const HEAP_START: u64 = 0x4444_4444_0000;
const HEAP_SIZE: u64 = 8 << 20;

/// Frames one behind the other.
struct BootInfoFrameAllocator {
    memory_map: &'static MemoryRegions,
    next: usize,
}

impl BootInfoFrameAllocator {
    fn usable_frames(&self) -> impl Iterator<Item = PhysFrame> + use<> {
        let usable = self.memory_map.iter().filter(|region| region.kind == MemoryRegionKind::Usable);
        let addresses = usable.flat_map(|region| (region.start..region.end).step_by(4096));
        addresses.map(|address| PhysFrame::containing_address(PhysAddr::new(address)))
    }
}

// SAFETY: each frame is handed out once, and is usable.
unsafe impl FrameAllocator<Size4KiB> for BootInfoFrameAllocator {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = self.usable_frames().nth(self.next);
        self.next += 1;
        frame
    }
}

/// Objects one behind the other; memory comes back when none is left.
struct BumpAllocator {
    next: u64,
    allocations: usize,
}

struct Locked<A>(Mutex<A>);

// SAFETY: each object is behind the last one, and within the heap.
unsafe impl GlobalAlloc for Locked<BumpAllocator> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut bump = self.0.lock();
        let start = bump.next.next_multiple_of(layout.align() as u64);
        let end = start + layout.size() as u64;
        if end > HEAP_START + HEAP_SIZE {
            return ptr::null_mut();
        }
        bump.next = end;
        bump.allocations += 1;
        start as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        let mut bump = self.0.lock();
        bump.allocations -= 1;
        if bump.allocations == 0 {
            bump.next = HEAP_START;
        }
    }
}

#[global_allocator]
static ALLOCATOR: Locked<BumpAllocator> = Locked(Mutex::new(BumpAllocator { next: HEAP_START, allocations: 0 }));

entry_point!(main, config = &guides::CONFIG);

fn main(boot_info: &'static mut BootInfo) -> ! {
    let window = VirtAddr::new(guides::window(boot_info));
    // SAFETY: the table is the one in use, which the window shows, and nobody else has a reference to it.
    let mut mapper = unsafe { OffsetPageTable::new(root(window), window) };
    let mut frame_allocator = BootInfoFrameAllocator { memory_map: &boot_info.memory_regions, next: 0 };
    let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
    let first = Page::<Size4KiB>::containing_address(VirtAddr::new(HEAP_START));
    for page in Page::range(first, first + HEAP_SIZE / 4096) {
        let frame = frame_allocator.allocate_frame().expect("there is a frame");
        // SAFETY: the page is the heap's, and the frame was allocated for it.
        unsafe { mapper.map_to(page, frame, flags, &mut frame_allocator) }.expect("nothing is mapped there").flush();
    }

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
