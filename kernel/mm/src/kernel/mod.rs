//! Page frames and a heap on top of them, as one static: what a kernel writes that has no wishes of its own.
//!
//! ```no_run
//! use bifolio::kernel::{Kernel, NoInterrupts, Regions, Uniprocessor};
//! use bifolio::memory_map::{Region, RegionKind};
//!
//! #[global_allocator]
//! static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new(); // `X86`, `Riscv64` or `Aarch64` where there are some
//!
//! # fn kernel_image() -> core::ops::Range<u64> { 0..0 }
//! # fn main() -> Result<(), bifolio::kernel::InitError> {
//! let firmware = [Region { start: 0, end: 64 << 20, kind: RegionKind::Usable }];
//! let mut regions = Regions::<64>::new();
//! regions.extend(firmware); // with the feature `bootloader_api`: `boot_info.memory_regions.iter()`
//! regions.reserve(kernel_image());
//! // SAFETY: the map is the machine's, which has one CPU; nobody uses what is usable in it; the window shows it.
//! unsafe { MEMORY.init(regions, 0xffff_8000_0000_0000)? };
//! let usage = MEMORY.frames().usage();
//! assert_eq!(usage.total, usage.used + usage.free);
//! # Ok(())
//! # }
//! ```
//!
//! A kernel that wants more, such as metadata that is mapped elsewhere, mappings for large objects, or shrinkers of its own, sets its
//! page frames up by itself and hands them to a [`Memory`], which a [`Kernel`] is made of too.

mod cpus;
mod device_tree;
mod foreign;
mod memory;
mod regions;
mod window;

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ops::Deref;

#[cfg(target_arch = "aarch64")]
pub use cpus::Aarch64;
#[cfg(target_arch = "riscv64")]
pub use cpus::Riscv64;
#[cfg(target_arch = "x86_64")]
pub use cpus::X86;
pub use cpus::{Interrupts, NoInterrupts, Numbered, Shared, Uniprocessor};
pub use device_tree::{DeviceTree, DeviceTreeError};
#[cfg(feature = "x86_64")]
pub use foreign::LargeFrames;
pub use memory::Memory;
pub use regions::Regions;
pub use window::{Mappings, NoMappings, Window};

use crate::allocator::{PageAllocator, PerCpuPages, Plan, SetupError};
use crate::cpu::Cpu;
use crate::error::table::errors;
use crate::memory_map::MapError;

errors! {
    /// Why there is no memory.
    pub enum InitError {
        /// There are more regions than there was room for.
        TooManyRegions {
            /// How many there are.
            given: usize,
            /// For how many there was room.
            room: usize,
        } => "there are {given} regions of memory, and room for {room}",
        /// It was set up before.
        Twice => "memory was set up before",
        /// Blocks would not be aligned to their size where the window shows them: the largest of them are as large as `align`.
        Offset {
            /// What is added to a physical address.
            offset: u64,
            /// What it must be a multiple of, in bytes.
            align: u64,
        } => "a window at an offset of {offset:#x} does not show memory aligned to {align:#x} as such",
        /// The map makes no sense.
        Map(error: MapError) => from,
        /// The page allocator cannot be set up.
        Setup(error: SetupError) => from,
    }
}

/// All memory of a kernel on CPUs of kind `C`, of which the first `CPUS` have pages, and an arena of the heap, of their own: page
/// frames, and the heap as a `GlobalAlloc`. It is a [`Memory`], which sets its page frames up by itself.
///
/// Until [`init`](Self::init) there are no frames, and so every allocation is refused.
pub struct Kernel<C, const CPUS: usize = 1> {
    memory: Memory<C, CPUS>,
    pages: [PerCpuPages; CPUS],
}

impl<C: Cpu, const CPUS: usize> Kernel<C, CPUS> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self { memory: Memory::new(), pages: [const { PerCpuPages::new() }; CPUS] }
    }

    /// Takes charge of the machine's memory. The metadata goes into what is usable; the heap works from here on.
    ///
    /// # Errors
    /// [`InitError`] if there are too many regions, nothing is usable, all of it is too small, or `offset` is no multiple of 4 MiB.
    /// Nothing has been written to then.
    ///
    /// # Safety
    /// - Nobody uses what the regions call usable, but for what of it is reserved in them: this is its owner from here on.
    /// - Adding `offset` to a physical address makes the one at which the kernel sees it, readable and writable, for as long as it
    ///   runs.
    /// - The CPUs that use this are those that `C` says they are: for [`Uniprocessor`], one; with [`NoInterrupts`], no handler of an
    ///   interrupt does.
    pub unsafe fn init<const N: usize>(&'static self, mut regions: Regions<N>, offset: u64) -> Result<(), InitError> {
        self.memory.admit(offset)?;
        let plan = Plan::new(regions.map(offset)?)?;
        let start = plan.metadata().start.address().wrapping_add(offset);
        // SAFETY: by this function's contract nobody else uses these frames, which the plan took out of usable ones, and they are
        // seen there for as long as the kernel runs. Frames are aligned there too, and any bits are valid words.
        let metadata = unsafe {
            let words = core::ptr::with_exposed_provenance_mut(start as usize);
            core::slice::from_raw_parts_mut(words, plan.metadata_words())
        };
        // SAFETY: by this function's contract nobody else uses what is usable.
        let frames = unsafe { PageAllocator::new(&plan, metadata, &self.pages) }?;
        // SAFETY: this function's contract has that all usable frames are seen at the offset, and that the CPUs are those of `C`.
        unsafe { self.memory.start(frames, offset, &NoMappings) }
    }
}

impl<C, const CPUS: usize> Deref for Kernel<C, CPUS> {
    type Target = Memory<C, CPUS>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.memory
    }
}

impl<C: Cpu, const CPUS: usize> Default for Kernel<C, CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, const CPUS: usize> fmt::Debug for Kernel<C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// A kernel's page frames: a [`PageAllocator`], and, with the feature `x86_64`, what that crate has page tables made of, frames of 4 KiB.
pub struct Frames<'a, C>(&'a PageAllocator<'static, C>);

// SAFETY: they are a kernel's that was given its memory, by the contract of whose `init` its CPUs are those that `C` says they are.
unsafe impl<C: Cpu> Sync for Frames<'_, C> {}
// SAFETY: likewise.
unsafe impl<C: Cpu> Send for Frames<'_, C> {}

impl<'a, C> Frames<'a, C> {
    /// The page allocator, for as long as it is there.
    #[inline]
    pub fn allocator(&self) -> &'a PageAllocator<'static, C> {
        self.0
    }
}

impl<C> Deref for Frames<'_, C> {
    type Target = PageAllocator<'static, C>;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl<C> fmt::Debug for Frames<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frames")
    }
}

// SAFETY: it is the heap's.
unsafe impl<C: Cpu, const CPUS: usize> GlobalAlloc for Kernel<C, CPUS> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the trait's contract, which is the same there.
        unsafe { self.memory.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: by the trait's contract the object is of this heap, and has this layout.
        unsafe { self.memory.dealloc(object, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the trait's contract, which is the same there.
        unsafe { self.memory.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the trait's contract the object is of this heap, and has this layout.
        unsafe { self.memory.realloc(object, layout, size) }
    }
}
