//! What CPUs need, and do when they have nothing to do, and what only layers above this one know how to: handed in by
//! [`memory::init`](crate::memory::init).

use core::fmt;
use core::ptr::NonNull;
use spin::Once;
use x86_64::{PhysAddr, VirtAddr};

/// Memory, as CPUs need it.
pub trait Memory: Sync {
    /// Maps the page that holds a device's registers, for good. `None` without memory for the page tables.
    fn map_device(&self, registers: PhysAddr) -> Option<VirtAddr>;

    /// Where so many bytes that firmware keeps in memory can be read, for good. `None` if there is no such memory.
    fn show(&self, start: PhysAddr, bytes: u64) -> Option<VirtAddr>;

    /// Memory of so many pages, before and behind which none is mapped: where it starts. `None` if there is none.
    fn stack(&self, pages: u64) -> Option<NonNull<u8>>;

    /// Takes a [stack](Self::stack) back.
    ///
    /// # Safety
    /// It has so many pages, and nobody uses it.
    unsafe fn free_stack(&self, start: NonNull<u8>, pages: u64);

    /// Gets ready what the CPU that runs this has of its own, so that its first requests are quick. Without memory it has it later.
    fn prepare_cpu(&self);

    /// Where an address lies at which nothing is mapped, as a fault's report calls it. Takes no lock.
    fn name_of(&self, address: u64) -> Option<&'static str>;

    /// Writes what else is known of such an address, in lines, if anything is. Waits for no lock.
    ///
    /// # Errors
    /// Those of the writer.
    fn explain(&self, address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// What a CPU with nothing to do does before it sleeps.
pub trait IdleWork: Sync {
    /// Whether there is some now. Looked at with interrupts masked, before the CPU sleeps.
    fn is_due(&self) -> bool;

    /// Does what there is. True if there was anything.
    fn run(&self) -> bool;

    /// Has the CPU, which is about to sleep with interrupts masked, woken when there will be some.
    fn set_alarm(&self);

    /// The CPU has had something else to do.
    fn postpone(&self);
}

static MEMORY: Once<&'static dyn Memory> = Once::new();
static IDLE_WORK: Once<&'static dyn IdleWork> = Once::new();

/// Hands both in. Only the first time counts.
pub(crate) fn give(memory: &'static dyn Memory, idle_work: &'static dyn IdleWork) {
    MEMORY.call_once(|| memory);
    IDLE_WORK.call_once(|| idle_work);
}

/// Memory; `None` before it is handed in.
pub(super) fn memory() -> Option<&'static dyn Memory> {
    MEMORY.get().copied()
}

/// What CPUs do that have nothing to do; `None` before it is handed in.
pub(super) fn idle_work() -> Option<&'static dyn IdleWork> {
    IDLE_WORK.get().copied()
}

/// Where an address lies at which nothing is mapped, if anybody can tell.
pub(super) fn name_of(address: u64) -> Option<&'static str> {
    memory()?.name_of(address)
}

/// Writes what else is known of it.
pub(super) fn explain(address: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    memory().map_or(Ok(()), |memory| memory.explain(address, f))
}
