//! All memory of a kernel that has set up its page frames by itself.

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;

use spin::Once;

use super::window::Ready;
use super::{Frames, InitError, Mappings, Window};
use crate::allocator::{PageAllocator, Shrinker};
use crate::cpu::Cpu;
use crate::frame::Order;
use crate::hardening::Hardening;
use crate::heap::{Heap, MAX_CPUS};

/// What a [`Kernel`](super::Kernel) is made of, for a kernel that has set up its page frames by itself: with metadata mapped elsewhere,
/// [early frames](crate::allocator::EarlyFrames), shrinkers or a [recorder](crate::allocator::Recorder) before anything is given
/// out, as many CPUs' pages as there are CPUs, and mappings for large objects.
///
/// Until [`start`](Self::start) there are no frames, and so every allocation is refused. Of CPUs of kind `C` the first `CPUS` have an
/// arena of the heap of their own.
///
/// ```no_run
/// use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
/// use bifolio::kernel::{InitError, Memory, NoMappings};
/// use bifolio::memory_map::MemoryMap;
/// # type Processor = bifolio::kernel::Uniprocessor<bifolio::kernel::NoInterrupts>;
///
/// static PAGES: [PerCpuPages; 4] = [const { PerCpuPages::new() }; 4];
///
/// #[global_allocator]
/// static MEMORY: Memory<Processor, 4> = Memory::new();
///
/// /// With the metadata that was planned, wherever it is mapped.
/// fn init(plan: &Plan<'_>, metadata: &'static mut [u64]) -> Result<(), InitError> {
///     // SAFETY: nobody uses what the plan's map calls usable.
///     let frames = unsafe { PageAllocator::new(plan, metadata, &PAGES) }?;
///     // SAFETY: what is usable is seen there; the CPUs are what `Processor` says.
///     unsafe { MEMORY.start(frames, 0xffff_8000_0000_0000, &NoMappings) }
/// }
/// ```
pub struct Memory<C, const CPUS: usize = MAX_CPUS> {
    heap: Heap<Window<C>, C, CPUS>,
}

// SAFETY: the contract of `start` says that the machine's CPUs are those that `C` says they are, so no two share what one has of its
// own. Until then nothing is there that they could be given.
unsafe impl<C: Cpu, const CPUS: usize> Sync for Memory<C, CPUS> {}

impl<C: Cpu, const CPUS: usize> Memory<C, CPUS> {
    /// No memory yet.
    pub const fn new() -> Self {
        Self { heap: Heap::new(Window { ready: Once::new() }) }
    }

    /// Whether memory can be set up, and be seen at that offset.
    pub(super) fn admit(&self, offset: u64) -> Result<(), InitError> {
        let align = Order::MAX.bytes();
        if offset % align != 0 {
            return Err(InitError::Offset { offset, align });
        }
        if self.heap.source().ready.is_completed() { Err(InitError::Twice) } else { Ok(()) }
    }

    /// Gives the heap page frames to work on, and `mappings` for what is too large for those; frames are zeroed where they are seen.
    /// When the frames run short, the heap gives back what it does not use.
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
        let ready = self.heap.source().ready.call_once(|| Ready { frames, offset, mappings });
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
        self.heap.source().ready.get().map(|ready| Frames(&ready.frames))
    }

    /// The heap.
    pub const fn heap(&self) -> &Heap<Window<C>, C, CPUS> {
        &self.heap
    }
}

/// Gives back what its heap does not use.
impl<C: Cpu, const CPUS: usize> Shrinker for Memory<C, CPUS> {
    fn shrink(&self, _: u64) -> u64 {
        self.heap.shrink()
    }
}

impl<C: Cpu, const CPUS: usize> Default for Memory<C, CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C, const CPUS: usize> fmt::Debug for Memory<C, CPUS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

// SAFETY: it is the heap's.
unsafe impl<C: Cpu, const CPUS: usize> GlobalAlloc for Memory<C, CPUS> {
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
