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
//! A kernel that wants more, such as an arena of the heap for each CPU, mappings for large objects, or shrinkers of its own, is made
//! of the same parts: [`PageAllocator`] and [`Heap`].

mod cpus;
mod foreign;
mod regions;

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

use spin::Once;

#[cfg(target_arch = "aarch64")]
pub use cpus::Aarch64;
#[cfg(target_arch = "riscv64")]
pub use cpus::Riscv64;
#[cfg(target_arch = "x86_64")]
pub use cpus::X86;
pub use cpus::{Interrupts, NoInterrupts, Numbered, Shared, Uniprocessor};
#[cfg(feature = "x86_64")]
pub use foreign::LargeFrames;
pub use regions::Regions;

use crate::allocator::{PageAllocator, PerCpuPages, Plan, SetupError, Shrinker};
use crate::cpu::Cpu;
use crate::error::{FreeError, table::errors};
use crate::frame::{Gfp, Order, Pfn};
use crate::heap::{Heap, PageSource};
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
/// frames, and the heap as a `GlobalAlloc`.
///
/// Until [`init`](Self::init) there are no frames, and so every allocation is refused.
pub struct Kernel<C, const CPUS: usize = 1> {
    heap: Heap<Window<C>, C, CPUS>,
    pages: [PerCpuPages; CPUS],
}

// SAFETY: the contract of `init` says that the machine's CPUs are those that `C` says they are, so no two share what one has of its
// own. Until then nothing is there that they could be given.
unsafe impl<C: Cpu, const CPUS: usize> Sync for Kernel<C, CPUS> {}

/// Page frames, where a window onto physical memory shows them.
struct Window<C> {
    ready: Once<Ready<C>>,
}

struct Ready<C> {
    frames: PageAllocator<'static, C>,
    /// What is added to a physical address for the one at which it is seen.
    offset: u64,
}

/// The flags of the heap's requests: nothing says whether they may wait.
const GFP: Gfp = Gfp::ATOMIC.union(Gfp::NOWARN);

// SAFETY: the allocator gives a block to one owner at a time, aligned to its size, and the window shows all of it, by the contract
// of `Kernel::init`, which has seen that it is aligned there too.
unsafe impl<C: Cpu> PageSource for Window<C> {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        let ready = self.ready.get()?;
        let (pfn, _) = ready.frames.allocate(order, GFP).ok()?.into_raw();
        let address = pfn.address().wrapping_add(ready.offset);
        NonNull::new(core::ptr::with_exposed_provenance_mut(address as usize))
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        let ready = self.ready.get().expect("set up, since it gave out the block");
        let address = (block.as_ptr().expose_provenance() as u64).wrapping_sub(ready.offset);
        // SAFETY: by this function's contract the block was allocated above, and is the caller's to free.
        unsafe { ready.frames.free_raw(Pfn::containing(address), order) }
    }
}

impl<C: Cpu, const CPUS: usize> Kernel<C, CPUS> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self { heap: Heap::new(Window { ready: Once::new() }), pages: [const { PerCpuPages::new() }; CPUS] }
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
        let align = Order::MAX.bytes();
        if offset % align != 0 {
            return Err(InitError::Offset { offset, align });
        }
        let plan = Plan::new(regions.map(offset)?)?;
        let start = plan.metadata().start.address().wrapping_add(offset);
        let window = &self.heap.source().ready;
        if window.is_completed() {
            return Err(InitError::Twice);
        }
        // SAFETY: by this function's contract nobody else uses these frames, which the plan took out of usable ones, and they are
        // seen there for as long as the kernel runs. Frames are aligned there too, and any bits are valid words.
        let metadata = unsafe {
            let words = core::ptr::with_exposed_provenance_mut(start as usize);
            core::slice::from_raw_parts_mut(words, plan.metadata_words())
        };
        // SAFETY: by this function's contract nobody else uses what is usable.
        let mut frames = unsafe { PageAllocator::new(&plan, metadata, &self.pages) }?;
        // SAFETY: they are seen there by this function's contract.
        unsafe { frames.zero_at(offset) };
        let ready = window.call_once(|| Ready { frames, offset });
        ready.frames.add_shrinker(self).expect("there is room for the first shrinker");
        Ok(())
    }

    /// The machine's page frames.
    ///
    /// # Panics
    /// Before [`init`](Self::init).
    pub fn frames(&self) -> Frames<'_, C> {
        Frames(&self.heap.source().ready.get().expect("memory is set up").frames)
    }

    /// The heap.
    pub fn heap(&self) -> &Heap<impl PageSource + use<C, CPUS>, C, CPUS> {
        &self.heap
    }
}

/// Gives back what its heap does not use.
impl<C: Cpu, const CPUS: usize> Shrinker for Kernel<C, CPUS> {
    fn shrink(&self, _: u64) -> u64 {
        self.heap.shrink()
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
