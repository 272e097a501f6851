//! Page tables, reached through the boot loader's window onto all physical memory.

use super::frames::KernelFrames;
use crate::arch::{ipi, window};
use crate::sync::{Mutex, MutexGuard, lockdep};
use bifolio::frame::Order;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

pub use crate::arch::window::{is_mapped, to_physical, to_virtual};

/// Where the registers of devices are mapped, a page each.
const DEVICES: VirtAddr = VirtAddr::new(0xffff_cf00_0000_0000);

static TABLE: Once<Mutex<OffsetPageTable<'static>>> = Once::new();

/// Takes over the boot loader's page tables.
///
/// # Panics
/// If the window is not aligned to the largest block of frames: blocks are aligned in it as they are in memory.
///
/// # Safety
/// All physical memory is mapped at `window`, stays mapped, and no one else refers to the page tables.
pub(super) unsafe fn init(window: VirtAddr) {
    assert!(window.is_aligned(Order::MAX.bytes()), "the window onto physical memory at {window:?} is not aligned");
    // SAFETY: by this function's contract.
    unsafe { window::init(window) };
    TABLE.call_once(|| {
        let (level_4, _) = Cr3::read();
        let table: *mut PageTable = to_virtual(level_4.start_address()).as_mut_ptr();
        // SAFETY: the frame is the active level 4 table, the window maps it, and by this function's contract this is
        // the only reference to it. `Once` sees to it that there is no second one.
        Mutex::new("page tables", unsafe { OffsetPageTable::new(&mut *table, window) })
    });
}

/// The kernel's page tables, locked; interrupts are masked meanwhile.
///
/// # Panics
/// Before [`memory::init`](super::init).
pub fn table() -> MutexGuard<'static, OffsetPageTable<'static>> {
    TABLE.get().expect("paging is set up with the rest of memory").lock()
}

/// Maps the page that holds a device's registers, for good, so that no cache comes between. `None` without memory for the
/// page tables.
pub(super) fn map_device(registers: PhysAddr) -> Option<VirtAddr> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let flags = PageTableFlags::PRESENT
        | PageTableFlags::WRITABLE
        | PageTableFlags::NO_EXECUTE
        | PageTableFlags::NO_CACHE
        | PageTableFlags::WRITE_THROUGH;
    let page = Page::<Size4KiB>::containing_address(DEVICES) + NEXT.fetch_add(1, Ordering::Relaxed);
    let frame = PhysFrame::containing_address(registers);
    // SAFETY: the page is used by nobody else, and the frame is a device's: no memory that Rust knows of.
    let mapped = unsafe { table().map_to(page, frame, flags, &mut KernelFrames) };
    // Nothing was there that a TLB could remember.
    mapped.ok()?.ignore();
    Some(page.start_address() + (registers.as_u64() - frame.start_address().as_u64()))
}

/// Makes sure that no CPU's TLB remembers these pages (see [`ipi::flush`]).
///
/// Waits for the other CPUs, so not to be called with a lock held.
pub(super) fn flush(first: Page, pages: u64) {
    lockdep::might_sleep("a TLB shootdown");
    ipi::flush(first, pages);
}
