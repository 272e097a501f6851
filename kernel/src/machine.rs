//! The machine, as the crate [`stress`] knows one: what all CPUs can be at once in the allocator and the heap.

use crate::console;
use crate::cpu::{self, MAX_CPUS, timer};
use crate::memory::frames::Processor;
use crate::memory::heap::HEAP;
use crate::memory::{frames, map, paging, vmalloc};
use crate::sync::lockdep;
use bifolio::allocator::PageAllocator;
use bifolio::error::FreeError;
use bifolio::frame::Pfn;
use bifolio::heap::Heap;
use bifolio::kernel::Window;
use core::ptr::NonNull;
use core::time::Duration;
use stress::{Id, Tick};
use x86_64::PhysAddr;

/// The machine that the kernel runs on.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

// SAFETY: the window shows all RAM, for as long as the kernel runs.
unsafe impl stress::Machine for Machine {
    type Cpu = Processor;
    type Pages = Window<Processor>;

    fn frames() -> &'static PageAllocator<'static, Processor> {
        frames()
    }

    fn heap() -> &'static Heap<Window<Processor>, Processor> {
        HEAP
    }

    fn address_of(pfn: Pfn) -> *mut u64 {
        paging::to_virtual(PhysAddr::new(pfn.address())).as_mut_ptr()
    }

    fn end_of_ram() -> Pfn {
        map::end_of_ram()
    }

    fn map(pages: u64) -> Option<NonNull<u8>> {
        vmalloc::allocate(pages, 1)
    }

    unsafe fn unmap(start: NonNull<u8>, pages: u64) -> Result<(), FreeError> {
        // SAFETY: by this function's contract.
        unsafe { vmalloc::free(start, pages) }
    }

    fn finish_unmapping() {
        vmalloc::free_deferred();
    }

    fn online() -> impl Iterator<Item = usize> + Clone {
        cpu::online()
    }

    fn on_cpus(cpus: usize, work: &(dyn Fn(usize) + Sync)) {
        cpu::on_cpus(cpus, work);
    }

    fn has_timers() -> bool {
        timer::rate() > 0
    }

    fn on_tick<T: Tick>() {
        timer::set_hook(Some(|_| T::tick()));
    }

    fn off_tick() {
        timer::set_hook(None);
    }

    fn set_alarm(time: Duration) {
        timer::set_alarm(time);
    }

    fn stop_timer() {
        timer::set_period(Duration::ZERO);
    }

    fn is_cancelled() -> bool {
        console::is_cancelled()
    }

    fn lock_reports() -> usize {
        lockdep::count()
    }
}

const _: () = assert!(MAX_CPUS <= Id::CPUS, "stress cannot tell so many CPUs apart");
