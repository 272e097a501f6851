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
//! # Step by step
//!
//! [`Kernel::init`] is the short form of five steps. A kernel with wishes of its own takes them one by one, and none of them by another
//! way; this project's own does (`kernel/src/memory/mod.rs` there).
//!
//! | step | in `init` | what else it can be |
//! |---|---|---|
//! | the memory map | [`Regions::map`] | [`MemoryMap::sanitise_for`](crate::memory_map::MemoryMap::sanitise_for), of a list that is as long as firmware's |
//! | a plan | [`Plan::new`] | [`Plan::with_words`]: a word of the kernel's own for each frame; [`Plan::apart`]: metadata that the map knows nothing of |
//! | a place for the metadata | [`Plan::metadata_in_window`] | wherever it is mapped, by page tables that are [early frames](Plan::early_frames) |
//! | the zones | [`PageAllocator::new`], on [`Kernel::pages`] | and before anything is given out [`hand_over`](PageAllocator::hand_over), [`record`](PageAllocator::record), [`add_shrinker`](PageAllocator::add_shrinker) |
//! | the heap | [`Kernel::start`], with [`NoMappings`] | [`Mappings`] for large objects, and requests that may wait |
//!
//! ```no_run
//! use bifolio::allocator::{PageAllocator, Plan};
//! use bifolio::kernel::{InitError, Kernel, NoMappings, Regions};
//! # type Processor = bifolio::kernel::Uniprocessor<bifolio::kernel::NoInterrupts>;
//!
//! const WINDOW: u64 = 0xffff_8000_0000_0000;
//! #[global_allocator]
//! static MEMORY: Kernel<Processor, 4> = Kernel::new();
//!
//! fn init(mut regions: Regions<64>) -> Result<(), InitError> {
//!     let plan = Plan::new(regions.map(WINDOW)?)?.with_words()?;
//!     // SAFETY: nobody uses what is usable, which the window shows. (Or what was mapped elsewhere for this plan.)
//!     let metadata = unsafe { plan.metadata_in_window(WINDOW) };
//!     // SAFETY: nobody uses what is usable.
//!     let frames = unsafe { PageAllocator::new(&plan, metadata, MEMORY.pages()) }?;
//!     // SAFETY: the window shows what is usable; the CPUs are what `Processor` says.
//!     unsafe { MEMORY.start(frames, WINDOW, &NoMappings) }
//! }
//! ```

mod cpus;
mod device_tree;
mod foreign;
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
pub use regions::Regions;
pub use window::{Mappings, NoMappings, Window};

use crate::allocator::{PageAllocator, PerCpuPages, Plan, SetupError, Shrinker};
use crate::cpu::Cpu;
use crate::error::table::errors;
use crate::frame::{Gfp, Order};
use crate::hardening::Hardening;
use crate::heap::Heap;
use window::Ready;

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
        /// The map makes no sense, or the page allocator cannot be set up by it.
        Setup(error: SetupError) => from,
    }
}

/// All memory of a kernel on CPUs of kind `C`, as one static: page frames, and the heap as a `GlobalAlloc`. The first `CPUS` of them have
/// pages of their own, and the first `ARENAS` an arena of the heap. (Of [`MAX_CPUS`](crate::heap::MAX_CPUS) of those the heap's fast paths
/// find a CPU's without comparing its number; each takes 128 bytes, and memory once its CPU allocates.)
///
/// Until [`init`](Self::init), or [`start`](Self::start), there are no frames, and so every allocation is refused.
pub struct Kernel<C, const CPUS: usize = 1, const ARENAS: usize = CPUS> {
    heap: Heap<Window<C>, C, ARENAS>,
    pages: [PerCpuPages; CPUS],
}

// SAFETY: the contracts of `init` and `start` say that the machine's CPUs are those that `C` says they are, so no two share what one has of
// its own. Until then nothing is there that they could be given.
unsafe impl<C: Cpu, const CPUS: usize, const ARENAS: usize> Sync for Kernel<C, CPUS, ARENAS> {}

impl<C: Cpu, const CPUS: usize, const ARENAS: usize> Kernel<C, CPUS, ARENAS> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self { heap: Heap::new(Window::new()), pages: [const { PerCpuPages::new() }; CPUS] }
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
        self.admit(offset)?;
        let plan = Plan::new(regions.map(offset)?)?;
        // SAFETY: by this function's contract nobody else uses these frames, which the plan took out of usable ones, and they are
        // seen there, aligned, for as long as the kernel runs. What would be seen at address 0 the map keeps.
        let metadata = unsafe { plan.metadata_in_window(offset) };
        // SAFETY: by this function's contract nobody else uses what is usable.
        let frames = unsafe { PageAllocator::new(&plan, metadata, &self.pages) }?;
        // SAFETY: this function's contract has that all usable frames are seen at the offset, and that the CPUs are those of `C`.
        unsafe { self.start(frames, offset, &NoMappings) }
    }

    /// Whether memory can be set up, and be seen at that offset.
    fn admit(&self, offset: u64) -> Result<(), InitError> {
        let align = Order::MAX.bytes();
        if offset % align != 0 {
            return Err(InitError::Offset { offset, align });
        }
        if self.heap.source().ready.is_completed() { Err(InitError::Twice) } else { Ok(()) }
    }

    /// The CPUs' own pages, of CPU 0 first, for the one page allocator that [`start`](Self::start) is given. With the first few of them
    /// only so many CPUs have some.
    pub const fn pages(&self) -> &[PerCpuPages; CPUS] {
        &self.pages
    }

    /// The last step of a set-up [by hand](self#step-by-step): gives the heap page frames to work on, and `mappings` for what is too large
    /// for those; frames are zeroed where they are seen. When the frames run short, the heap gives back what it does not use.
    ///
    /// # Errors
    /// [`InitError::Offset`], if `offset` is no multiple of 4 MiB, or [`InitError::Twice`].
    ///
    /// # Panics
    /// If the allocator has as many shrinkers as it has room for.
    ///
    /// # Safety
    /// - Adding `offset` to the physical address of a frame that `frames` gives out makes the one at which the kernel sees it,
    ///   readable and writable, for as long as it runs.
    /// - The CPUs that use this are those that `C` says they are.
    pub unsafe fn start(
        &'static self,
        mut frames: PageAllocator<'static, C>,
        offset: u64,
        mappings: &'static dyn Mappings,
    ) -> Result<(), InitError> {
        self.admit(offset)?;
        // SAFETY: they are seen there by this function's contract.
        unsafe { frames.zero_at(offset) };
        let ready = self.heap.source().open(Ready { frames, offset, mappings });
        ready.frames.add_shrinker(self).expect("there is room for one more shrinker");
        Ok(())
    }

    /// Chooses what is done beside serving requests and frees, of page frames and of the heap, as [`PageAllocator::harden`] and
    /// [`Heap::harden`] do.
    ///
    /// # Panics
    /// Before there are frames.
    pub fn harden(&self, hardening: Hardening) {
        self.frames().harden(hardening).expect("frames are zeroed where they are seen");
        self.heap.harden(hardening);
    }

    /// The machine's page frames.
    ///
    /// # Panics
    /// Before they were given.
    pub fn frames(&self) -> Frames<'_, C> {
        self.try_frames().expect("memory is set up")
    }

    /// The machine's page frames; `None` before they were given.
    pub fn try_frames(&self) -> Option<Frames<'_, C>> {
        self.heap.source().ready.get().map(Frames)
    }

    /// The heap.
    pub const fn heap(&self) -> &Heap<Window<C>, C, ARENAS> {
        &self.heap
    }
}

/// Gives back what its heap does not use.
impl<C: Cpu, const CPUS: usize, const ARENAS: usize> Shrinker for Kernel<C, CPUS, ARENAS> {
    fn shrink(&self, _: u64) -> u64 {
        self.heap.shrink()
    }
}

impl<C: Cpu, const CPUS: usize, const ARENAS: usize> Default for Kernel<C, CPUS, ARENAS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, const CPUS: usize, const ARENAS: usize> fmt::Debug for Kernel<C, CPUS, ARENAS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

/// A kernel's page frames: a [`PageAllocator`], and, with the feature `x86_64`, what that crate has page tables made of, frames of 4 KiB.
pub struct Frames<'a, C>(&'a Ready<C>);

// SAFETY: they are a kernel's that was given its memory, by the contract of whose `init` its CPUs are those that `C` says they are.
unsafe impl<C: Cpu> Sync for Frames<'_, C> {}
// SAFETY: likewise.
unsafe impl<C: Cpu> Send for Frames<'_, C> {}

impl<'a, C> Frames<'a, C> {
    /// The page allocator, for as long as it is there.
    #[inline]
    pub fn allocator(&self) -> &'a PageAllocator<'static, C> {
        &self.0.frames
    }

    /// The flags of a request by code that says none.
    #[cfg_attr(not(feature = "x86_64"), expect(dead_code, reason = "that crate's is the one face that knows no flags"))]
    fn gfp(&self) -> Gfp {
        self.0.mappings.gfp()
    }
}

impl<C> Deref for Frames<'_, C> {
    type Target = PageAllocator<'static, C>;

    fn deref(&self) -> &Self::Target {
        &self.0.frames
    }
}

impl<C> fmt::Debug for Frames<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frames")
    }
}

// SAFETY: it is the heap's.
unsafe impl<C: Cpu, const CPUS: usize, const ARENAS: usize> GlobalAlloc for Kernel<C, CPUS, ARENAS> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the trait's contract, which is the same there.
        unsafe { self.heap.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: by the trait's contract the object is of this heap, and has this layout.
        unsafe { self.heap.dealloc(object, layout) };
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the trait's contract, which is the same there.
        unsafe { self.heap.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the trait's contract the object is of this heap, and has this layout.
        unsafe { self.heap.realloc(object, layout, size) }
    }
}
