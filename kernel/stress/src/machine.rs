//! What stress needs of the machine that it works, beside what every machine of the allocator's is: a [`Cpu`].

use bifolio::allocator::{Cpu, PageAllocator};
use bifolio::error::FreeError;
use bifolio::frame::Pfn;
use bifolio::heap::{Heap, PageSource};
use core::fmt;
use core::ptr::NonNull;
use core::time::Duration;

/// A machine whose memory can be put under stress. A type without a value: what it tells of is there once.
///
/// # Safety
/// What it says is so: its frames are at the addresses that it gives, for as long as it runs, and are RAM.
pub unsafe trait Machine: Copy + fmt::Debug + Sync + 'static {
    /// Its CPUs, with numbers below [`Id::CPUS`](crate::Id::CPUS).
    type Cpu: Cpu + Sync + 'static;
    /// What its heap is made of.
    type Pages: PageSource + Sync + 'static;

    /// Its page frames.
    fn frames() -> &'static PageAllocator<'static, Self::Cpu>;
    /// Its heap.
    fn heap() -> &'static Heap<Self::Pages, Self::Cpu>;
    /// Where a frame can be read and written; those behind it follow.
    fn address_of(pfn: Pfn) -> *mut u64;
    /// Behind its last frame.
    fn end_of_ram() -> Pfn;

    /// Maps so many pages to frames that lie anywhere (Linux: `vmalloc`). `None` without memory for that.
    fn map(pages: u64) -> Option<NonNull<u8>>;
    /// Unmaps what [`map`](Self::map) gave.
    ///
    /// # Errors
    /// There is no such mapping.
    ///
    /// # Safety
    /// It was mapped with so many pages, and nobody uses them.
    unsafe fn unmap(start: NonNull<u8>, pages: u64) -> Result<(), FreeError>;
    /// Gives back the frames of what was unmapped where nothing may wait.
    fn finish_unmapping();

    /// The numbers of the CPUs that run, in ascending order.
    fn online() -> impl Iterator<Item = usize> + Clone;
    /// Runs `work` on the first `cpus` of them, or on all, at once, each with its number; returns when all have finished.
    fn on_cpus(cpus: usize, work: &(dyn Fn(usize) + Sync));

    /// Whether CPUs have timers.
    fn has_timers() -> bool;
    /// Calls `T` in each timer interrupt from now on.
    fn on_tick<T: Tick>();
    /// Calls nothing in timer interrupts any more. Handlers that have begun may still be at it.
    fn off_tick();
    /// Has the timer of the CPU that runs this interrupt it once, after `time`.
    fn set_alarm(time: Duration);
    /// Has it not interrupt.
    fn stop_timer();

    /// Whether somebody wants what is going on to end.
    fn is_cancelled() -> bool;
    /// How often the validator of locks has found something, if there is one.
    fn lock_reports() -> usize;
}

/// What is done in timer interrupts.
pub trait Tick {
    /// Does it, with interrupts masked.
    fn tick();
}
