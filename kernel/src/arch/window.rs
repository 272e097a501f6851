//! The boot loader's window onto all physical memory, and what its page tables map.

use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::registers::control::Cr3;
use x86_64::{PhysAddr, VirtAddr};

/// The virtual address of physical address 0; 0 until [`init`].
static WINDOW: AtomicU64 = AtomicU64::new(0);

/// Tells where the window is.
///
/// # Safety
/// All physical memory is mapped there, and stays mapped.
pub(crate) unsafe fn init(window: VirtAddr) {
    WINDOW.store(window.as_u64(), Ordering::Relaxed);
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

/// Whether a virtual address is mapped; false before the window is known.
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
