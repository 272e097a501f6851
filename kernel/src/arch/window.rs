//! The window: RAM, at addresses that differ from its physical ones by a constant (Linux: the direct map). And what is mapped,
//! there or anywhere.

use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::PageTableIndex;
use x86_64::{PhysAddr, VirtAddr};

/// The virtual address of physical address 0, where that is shown (Linux: `PAGE_OFFSET`). Aligned to more than any block, so that
/// blocks are aligned in the window as they are in memory.
pub const START: VirtAddr = VirtAddr::new(0xffff_8800_0000_0000);
/// Bytes of address space that are kept for it: so much memory there can be.
pub const SIZE: u64 = 64 << 40;

const PAGE: u64 = 4096;
/// How far up in an address the index into each level's tables lies, from level 4 down.
const SHIFTS: [u32; 4] = [39, 30, 21, 12];

/// How entries of the page tables in force are reached: [`UNKNOWN`], through the [`OPEN`] window, or at the address of the
/// entry that would map address 0, if an entry of level 4 leads back to the table that it is in.
static REACHED: AtomicU64 = AtomicU64::new(UNKNOWN);
const UNKNOWN: u64 = 0;
const OPEN: u64 = 1;

/// The page tables in force can be read by way of that entry of level 4, which leads back to its table.
///
/// # Safety
/// It does, until the window is [open](open).
pub(crate) unsafe fn read_tables_by(recursive: PageTableIndex) {
    REACHED.store(by_recursion(recursive), Ordering::Relaxed);
}

/// The window is there.
///
/// # Safety
/// It shows the page tables that are in force from now on.
pub(crate) unsafe fn open() {
    REACHED.store(OPEN, Ordering::Relaxed);
}

/// Where the window has its place for a physical address below [`SIZE`]. All RAM that can be given out is shown there.
pub fn to_virtual(address: PhysAddr) -> VirtAddr {
    START + address.as_u64()
}

/// The physical address that the window shows at `address`, which must lie in the window.
pub fn to_physical(address: VirtAddr) -> PhysAddr {
    PhysAddr::new(address - START)
}

/// The physical address that the window has at `address`; `None` if that does not lie in the window.
pub fn physical_in_window(address: usize) -> Option<u64> {
    (address as u64).checked_sub(START.as_u64()).filter(|&physical| physical < SIZE)
}

/// Whether the window shows a physical address.
pub(crate) fn shows(address: PhysAddr) -> bool {
    address.as_u64() < SIZE && is_mapped(START.as_u64() + address.as_u64())
}

/// Where the entry that maps address 0 is found by way of an entry of level 4 that leads back to its table.
pub(crate) fn by_recursion(recursive: PageTableIndex) -> u64 {
    VirtAddr::new_truncate(u64::from(u16::from(recursive)) << SHIFTS[0]).as_u64()
}

/// Where the entry that maps the page of an address is found, if the one for address 0 is at `first`. For that place in turn it
/// is the entry of the next level up, and so on.
pub(crate) fn entry_by_recursion(first: u64, address: u64) -> u64 {
    const BELOW_SIGN: u64 = (1 << 48) - 1;
    first + (address & BELOW_SIGN) / PAGE * size_of::<u64>() as u64
}

/// Whether a virtual address is mapped; false before that can be known.
///
/// Takes no lock and trusts nothing but the page tables, so that a fault's report can ask. Only for tables that nobody
/// changes meanwhile, or where everything else has stopped: a table that is freed on the way would lead anywhere.
pub fn is_mapped(address: u64) -> bool {
    const PRESENT: u64 = 1 << 0;
    const HUGE: u64 = 1 << 7;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

    let reached = REACHED.load(Ordering::Relaxed);
    if reached == UNKNOWN || VirtAddr::try_new(address).is_err() {
        return false;
    }
    let mut table = Cr3::read().0.start_address();
    for (level, shift) in (1..=4).rev().zip(SHIFTS) {
        let entry = if reached == OPEN {
            to_virtual(table).as_u64() + (address >> shift) % 512 * size_of::<u64>() as u64
        } else {
            (0..level).fold(address, |address, _| entry_by_recursion(reached, address))
        };
        // SAFETY: the entry lies in a page table of the active hierarchy, which the window shows by `open`'s contract, or the
        // entry of level 4 by that of `read_tables_by`. The levels above are present, or the walk would have ended.
        let entry = unsafe { (entry as *const u64).read_volatile() };
        if entry & PRESENT == 0 {
            return false;
        }
        if entry & HUGE != 0 && shift != SHIFTS[0] {
            return true;
        }
        table = PhysAddr::new(entry & ADDRESS);
    }
    true
}
