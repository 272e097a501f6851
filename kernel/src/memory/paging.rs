//! Page tables, reached through the window.

use super::early::TableFrames;
use super::map;
use crate::arch::{ipi, window};
use crate::cpu::segments;
use crate::sync::{Mutex, MutexGuard, lockdep};
use bifolio::frame::{FRAME_SIZE, Pfn, PfnRange};
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{Mapper, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB};
use x86_64::{PhysAddr, VirtAddr};

pub use crate::arch::window::{is_mapped, physical_in_window, to_physical, to_virtual};

/// Where the registers of devices are mapped, a page each.
const DEVICES: VirtAddr = VirtAddr::new(0xffff_cf00_0000_0000);

static TABLE: Once<Mutex<OffsetPageTable<'static>>> = Once::new();

/// Takes charge of the page tables in force, and unmaps the pages that guard the boot processor's stacks for exceptions.
///
/// # Safety
/// They are the [kernel's own](super::space), and no one else refers to them.
pub(super) unsafe fn init() {
    TABLE.call_once(|| {
        let (level_4, _) = Cr3::read();
        let table: *mut PageTable = to_virtual(level_4.start_address()).as_mut_ptr();
        // SAFETY: the frame is the active level 4 table, the window shows it, and by this function's contract this is the only
        // reference to it. `Once` sees to it that there is no second one.
        Mutex::new("page tables", unsafe { OffsetPageTable::new(&mut *table, window::START) })
    });
    for guard in segments::guards() {
        let (_, flush) = table().unmap(Page::<Size4KiB>::containing_address(guard)).expect("statics are mapped");
        flush.flush();
    }
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
    let mapped = unsafe { table().map_to(page, frame, flags, &mut TableFrames) };
    // Nothing was there that a TLB could remember.
    mapped.ok()?.ignore();
    Some(page.start_address() + (registers.as_u64() - frame.start_address().as_u64()))
}

/// Has the window show what firmware keeps in memory, to be read only: where it begins. `None` if the memory map says nothing of
/// it, or there is no memory for page tables.
pub(super) fn show(start: PhysAddr, bytes: u64) -> Option<VirtAddr> {
    let end = start.as_u64().checked_add(bytes).filter(|end| *end <= window::SIZE.min(physical_limit()))?;
    let pages = PfnRange::new(Pfn::containing(start.as_u64()), Pfn::containing(end - 1).offset(1));
    let is_known = |pfn: Pfn| map::map().iter().any(|(range, _)| range.contains(pfn));
    let mut shown = (pages.start.number()..pages.end.number()).map(|number| {
        let (pfn, address) = (Pfn::new(number), PhysAddr::new(number * FRAME_SIZE));
        window::shows(address) || is_known(pfn) && map_firmware(address)
    });
    shown.all(|is_shown| is_shown).then(|| to_virtual(start))
}

/// Maps a page of the window that does not show anything yet; false without memory for page tables.
fn map_firmware(address: PhysAddr) -> bool {
    let flags = PageTableFlags::PRESENT | PageTableFlags::NO_EXECUTE | PageTableFlags::GLOBAL;
    let (page, frame) =
        (Page::<Size4KiB>::containing_address(to_virtual(address)), PhysFrame::containing_address(address));
    // SAFETY: the page is the frame's, which nobody writes to.
    match unsafe { table().map_to(page, frame, flags, &mut TableFrames) } {
        Ok(flush) => flush.ignore(),
        // Another CPU was faster.
        Err(MapToError::PageAlreadyMapped(_)) => {}
        Err(_) => return false,
    }
    true
}

/// The first address that this processor's page tables cannot name.
fn physical_limit() -> u64 {
    // Leaf 0x8000_0008, register EAX. Every processor that has long mode has it.
    1 << (__cpuid(0x8000_0008).eax & 0xff).min(52)
}

/// Makes sure that no CPU's TLB remembers these pages (see [`ipi::flush`]).
///
/// Waits for the other CPUs, so not to be called with a lock held.
pub(super) fn flush(first: Page, pages: u64) {
    lockdep::might_sleep("a TLB shootdown");
    ipi::flush(first, pages);
}
