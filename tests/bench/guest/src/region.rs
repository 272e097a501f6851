//! Memory that the kernel never sees: taken out of the boot loader's map, for allocators that want a region.

use bootloader_api::BootInfo;
use bootloader_api::info::MemoryRegionKind;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::{ptr, slice};
use workloads::heap::Backing;

/// What regions are aligned to: more than any block.
const ALIGN: u64 = 4 << 20;

/// Takes so many bytes, aligned to 4 MiB, from the end of a region of RAM.
///
/// # Panics
/// The machine has too little memory.
pub fn reserve(boot_info: &mut BootInfo, bytes: u64) -> &'static mut [u64] {
    let window = boot_info.physical_memory_offset.into_option().expect("the boot loader maps physical memory");
    let is_large = |start: u64, end: u64| end - start > 2 * bytes;
    let region = boot_info
        .memory_regions
        .iter_mut()
        .find(|region| region.kind == MemoryRegionKind::Usable && is_large(region.start, region.end));
    let region = region.expect("the machine has twice as much memory in one piece");
    region.end = (region.end - bytes) & !(ALIGN - 1);
    let words = (window + region.end) as *mut u64;
    // SAFETY: the region was usable and the window shows it. It is not any more, so that nobody else will refer to it.
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
