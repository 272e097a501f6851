//! Page tables, reached through the boot loader's window onto all physical memory.

use super::frames::KernelFrames;
use crate::sync::{Mutex, MutexGuard};
use bifolio::frame::Order;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::{Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

/// Where the registers of devices are mapped, a page each.
const DEVICES: VirtAddr = VirtAddr::new(0xffff_cf00_0000_0000);

/// The virtual address of physical address 0; 0 until [`init`].
static WINDOW: AtomicU64 = AtomicU64::new(0);
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
    WINDOW.store(window.as_u64(), Ordering::Relaxed);
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

/// Where the window shows a physical address. Any address the memory map knows is shown.
pub fn to_virtual(address: PhysAddr) -> VirtAddr {
    VirtAddr::new(WINDOW.load(Ordering::Relaxed) + address.as_u64())
}

/// The physical address that the window shows at `address`, which must lie in the window.
pub fn to_physical(address: VirtAddr) -> PhysAddr {
    PhysAddr::new(address.as_u64() - WINDOW.load(Ordering::Relaxed))
}

/// Whether the window shows a physical address.
pub(crate) fn shows(address: PhysAddr) -> bool {
    let window = WINDOW.load(Ordering::Relaxed);
    // What lies behind the window is another mapping's, if any's: the boot loader puts at most all of RAM there.
    window.checked_add(address.as_u64()).is_some_and(is_mapped)
}

/// Maps the page that holds a device's registers, for good, so that no cache comes between. `None` without memory for the
/// page tables.
pub(crate) fn map_device(registers: PhysAddr) -> Option<VirtAddr> {
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

/// Whether a virtual address is mapped; false before [`memory::init`](super::init).
///
/// Takes no lock and trusts nothing but the page tables, so that a fault's report can ask. Only for tables that nobody
/// changes meanwhile, or where everything else has stopped: a table that is freed on the way would lead anywhere.
pub fn is_mapped(address: u64) -> bool {
    const PRESENT: u64 = 1 << 0;
    const HUGE: u64 = 1 << 7;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    if WINDOW.load(Ordering::Relaxed) == 0 || VirtAddr::try_new(address).is_err() {
        return false;
    }
    let mut table = Cr3::read().0.start_address();
    for shift in [39, 30, 21, 12] {
        let index = (address >> shift) as usize % 512;
        let entries: *const u64 = to_virtual(table).as_ptr();
        // SAFETY: `table` is a page table of the active hierarchy, which the window shows; the index is below 512.
        let entry = unsafe { entries.add(index).read_volatile() };
        if entry & PRESENT == 0 {
            return false;
        }
        if entry & HUGE != 0 && shift != 39 {
            return true;
        }
        table = PhysAddr::new(entry & ADDRESS);
    }
    true
}
