//! The kernel heap: any `Layout`, from size classes on slabs and, above those, from runs of page frames.
//!
//! [`Heap`] is the whole of it, a `GlobalAlloc` that can be a `static`. It has no size of its own: it grows by blocks
//! from its [`PageSource`] and gives them back as they empty. Allocation takes the lowest free slot of a word of the slab
//! that the CPU has open for the layout's class; only where no slab has one does it fetch frames. A free finds the slab by
//! the address, and frees only the start of a live slot of the layout's class. Every other address is refused, with
//! nothing changed, and named in a [`HeapError`].
//!
//! # Use
//!
//! ```
//! use bifolio::cpu::{Cpu, Hooks};
//! use bifolio::error::FreeError;
//! use bifolio::frame::Order;
//! use bifolio::heap::{Heap, PageSource};
//! use core::alloc::Layout;
//! use core::ptr::NonNull;
//!
//! struct Machine;
//! // SAFETY: one CPU at a time, which nothing interrupts.
//! unsafe impl Cpu for Machine {
//!     fn current() -> usize {
//!         0 // a kernel reads its per-CPU data
//!     }
//!
//!     fn synchronize() {} // with more than one CPU: see `Cpu`
//!
//!     fn mask_interrupts() -> bool {
//!         false // a kernel masks them, and says whether they were enabled
//!     }
//!
//!     fn restore_interrupts(_: bool) {} // a kernel enables them, if they were
//! }
//!
//! impl Hooks for Machine {}
//!
//! /// A kernel asks its page allocator, and returns where it has mapped the frames.
//! struct Pages;
//!
//! # fn layout(order: Order) -> Layout {
//! #     Layout::from_size_align(order.bytes() as usize, order.bytes() as usize).unwrap()
//! # }
//! // SAFETY: blocks are exclusive, mapped, and aligned to their size.
//! unsafe impl PageSource for Pages {
//!     fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
//!         // ...
//! #        NonNull::new(unsafe { std::alloc::alloc(layout(order)) })
//!     }
//!     unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
//!         // ...
//! #        unsafe { std::alloc::dealloc(block.as_ptr(), layout(order)) };
//! #        Ok(())
//!     }
//! }
//!
//! // In a kernel, `#[global_allocator]` stands before this, and that is all.
//! static HEAP: Heap<Pages, Machine> = Heap::new(Pages);
//!
//! let layout = Layout::new::<[u64; 12]>();
//! let object = HEAP.allocate(layout).expect("there is memory");
//! // SAFETY: the object is ours, and not used afterwards.
//! let (first, second) = unsafe { (HEAP.free(object, layout), HEAP.free(object, layout)) };
//! assert_eq!(first, Ok(()));
//! assert!(second.unwrap_err().to_string().ends_with("slot 0 of kmalloc-96 is free already (double free)"));
//! ```
//!
//! # CPUs
//! Each of up to 127 CPUs ([`MAX_CPUS`]) has an arena: slabs that it alone allocates from. While it has a slab with a free
//! slot, it takes no lock and no locked instruction, to allocate or to free. An object of another CPU's slab is freed with
//! one locked instruction, and up to two more if it is the first of its word, into a bitmap that the owner takes over when it
//! next runs out. More CPUs than that share one arena behind a lock, which also has the slabs of CPUs that have
//! [retired](Heap::retire_cpu): they go to the next CPU that needs one, before any frame is fetched. An arena comes into being
//! when its CPU first allocates, or when it is [prepared](Heap::prepare_cpu).
//!
//! Two CPUs that free one object at the same moment never give its memory two owners: one of them is refused, or else the
//! second free is reported by the error hook, when the slab's owner comes upon it.
//! Nothing is refused as long as a slab of any CPU has a slot for it.
//!
//! Interrupts are masked while an arena or a lock is held, so the heap may be used in interrupt handlers. Neither is held
//! while frames are fetched or given back, so the page allocator may call [`Heap::shrink`] when it runs short.

mod cache;
mod check;
#[cfg(feature = "allocator-api2")]
mod collections;
mod debug;
mod diagnose;
mod fixed;
mod free;
mod grains;
mod harden;
mod history;
mod large;
mod look;
mod malloc;
mod numbers;
mod opaque;
mod record;
mod region;
mod relocate;
mod report;
mod retire;
mod sample;
mod shrink;
mod slow;
mod small;
mod stop;
mod summary;
#[cfg(test)]
mod tests;
mod waste;

use crate::sync::atomic::{AtomicBool, AtomicPtr};
use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::{self, NonNull};

pub use crate::slab::{HeapError, PageSource, Sample, Sampler, SizeClass, SlabDebug, SlotPart};
pub use cache::{Cache, CacheError, CacheOptions};
pub use debug::LiveObject;
pub use fixed::StaticHeap;
pub use history::{HeapReport, SlotHistory};
pub use large::LargeStats;
pub use look::{NextSlot, SlabInfo, SlabWord, SlabWords, SlotSource};
pub use malloc::{Malloc, MallocError, Objects};
pub use region::{InRegion, RegionError, RegionHeap, RegionPages, SingleCpu};
pub use report::{ArenaEvents, ArenaStats, CacheStats, HeapFrames};
pub use small::{SmallHeap, SmallStats};

use crate::allocator::Recording;
use crate::cpu::{Cpu, Masked, Place};
use crate::hardening::Switches;
use crate::slab::arena::{Arena, ArenaId, CpuArena};
use crate::slab::per_cpu::{PerCpu, Places};
use crate::slab::registry::Registry;
use crate::sync::Mutex;
use debug::Debugging;
use diagnose::Wanted;
use large::Large;
use sample::Sampling;
use stop::Stopped;

/// The most CPUs that can have an arena of their own.
pub const MAX_CPUS: usize = ArenaId::CPUS;

/// A heap over blocks of page frames from `S`, on CPUs of kind `C`, of which the first `CPUS`, at most as many as by default,
/// can have an arena of their own. A machine that has fewer need not have 128 bytes for each that it might have had.
#[repr(C)]
pub struct Heap<S, C, const CPUS: usize = MAX_CPUS> {
    /// A place for each CPU that can have an arena. It comes first in memory: fast paths find it by the heap's address.
    per_cpu: Places<CPUS>,
    shared: Arena,
    /// A CPU that holds it has the shared arena to itself.
    shared_lock: Mutex<(), C>,
    /// Somebody has stopped all arenas.
    stopped: AtomicBool,
    large: Mutex<Large, C>,
    debugging: Debugging<C>,
    hardening: Switches,
    sampling: Sampling,
    /// See [`recording_at_once`](Self::recording_at_once); null for none.
    recorded_at_once: AtomicPtr<Recording<'static>>,
    registry: Registry<S, C>,
    cpu: PhantomData<C>,
}

/// The CPU that this runs on is inside its arena, with interrupts masked, for as long as this lives.
struct Entered<'a, C: Cpu> {
    place: &'a PerCpu,
    _masked: Masked<C>,
}

impl<'a, C: Cpu> Entered<'a, C> {
    /// The arena that the CPU is in; `None` if it has none, or if fast paths are closed.
    #[inline(always)]
    fn own(&self) -> Option<&'a CpuArena> {
        let own = self.place.own();
        (own.arena().id() != ArenaId::NOBODY).then_some(own)
    }
}

impl<C: Cpu> Drop for Entered<'_, C> {
    #[inline(always)]
    fn drop(&mut self) {
        self.place.leave();
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// A heap that has nothing yet: it takes its first frames from `source` with its first allocation.
    pub const fn new(source: S) -> Self {
        Self {
            per_cpu: const { Places::new() },
            shared: Arena::new(ArenaId::SHARED),
            shared_lock: Mutex::new("heap: shared arena", ()),
            stopped: AtomicBool::new(false),
            large: Mutex::new("heap: large objects", Large::new()),
            debugging: Debugging::new(),
            hardening: Switches::off(),
            sampling: Sampling::new(),
            recorded_at_once: AtomicPtr::new(ptr::null_mut()),
            registry: Registry::new(source),
            cpu: PhantomData,
        }
    }

    /// Chooses what becomes of errors that no caller can be told of, those of the `GlobalAlloc` face above all: `hook`
    /// may log and return, whereupon the memory stays allocated, or panic, as it does unless this is called.
    ///
    /// A heap that is the global allocator must not unwind; there, a hook that panics must abort.
    pub fn set_error_hook(&self, hook: fn(&HeapError)) {
        self.registry.hook.with(|current| *current = hook);
    }

    /// Where the heap has its frames from.
    pub fn source(&self) -> &S {
        &self.registry.source
    }

    /// Enters the arena of the CPU that this runs on, for as long as the guard lives. If it has none, or if all stand still, that is
    /// an arena without a slab, [`ArenaId::NOBODY`]: then nothing else of the heap may be touched.
    #[inline(always)]
    fn enter(&self) -> (Entered<'_, C>, &CpuArena) {
        let masked = Masked::new();
        let place = self.per_cpu.at(C::place());
        let own = place.enter();
        (Entered { place, _masked: masked }, own)
    }

    /// Runs `f` in that arena.
    #[inline(always)]
    fn inside<R>(&self, f: impl FnOnce(&CpuArena) -> R) -> R {
        let (_entered, own) = self.enter();
        f(own)
    }

    /// Takes a slot of a cache that is in hand.
    #[inline(always)]
    fn take_in_hand(&self, cache: u16) -> Option<NonNull<u8>> {
        let (_entered, own) = self.enter();
        own.arena().hand(cache).take()
    }

    /// Frees the slot that starts at `address`, if it is of the right cache, where one is said, in a slab that is remembered.
    ///
    /// # Errors
    /// That was not done: but for a count, nothing was. The CPU is still in its arena.
    #[inline(always)]
    fn free_quickly(&self, address: usize, cache: Option<u16>) -> Result<(), Entered<'_, C>> {
        let (entered, own) = self.enter();
        let slab = own.remembered(address);
        let slot = slab.slot_at(address).filter(|_| cache.is_none_or(|cache| slab.cache() == cache));
        if slot.is_some_and(|slot| slab.put(slot)) { Ok(()) } else { Err(entered) }
    }

    /// [`free_quickly`](Self::free_quickly) for what has this layout. Of what has no size class, or no size, nothing is tried.
    #[inline(always)]
    fn free_quickly_of(&self, address: usize, layout: Layout) -> Result<(), Option<Entered<'_, C>>> {
        let class = SizeClass::of_sized(layout.size(), layout.align()).ok_or(None)?;
        self.free_quickly(address, Some(class.number())).map_err(Some)
    }

    /// The place of a CPU, or of the arena with that number.
    #[inline(always)]
    fn per_cpu(&self, number: usize) -> &PerCpu {
        self.per_cpu.at(Place::of(number))
    }

    /// Allocates memory for `layout`, with unspecified contents; `None` if there are too few page frames, or if the size or
    /// the alignment is more than [the page source has](PageSource::run_for). A size of zero is taken for one byte.
    #[inline]
    #[track_caller]
    pub fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let Some(class) = SizeClass::of_sized(layout.size(), layout.align()) else {
            return self.allocate_otherwise(layout, Location::caller());
        };
        let object = self.take_in_hand(class.number());
        if object.is_some() { object } else { self.allocate_of(class, layout.size(), Location::caller()) }
    }

    /// Allocates memory for `layout` that is filled with zeros; `None` as for [`allocate`](Self::allocate).
    #[track_caller]
    pub fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        let object = self.allocate(layout)?;
        // SAFETY: the object is ours, and this long.
        unsafe { object.write_bytes(0, layout.size()) };
        Some(object)
    }

    /// Allocates an object of this layout for each place in `objects`, as long as there is memory. Returns how many: those
    /// at the front are initialised.
    #[track_caller]
    pub fn allocate_bulk(&self, layout: Layout, objects: &mut [MaybeUninit<NonNull<u8>>]) -> usize {
        /// Interrupts are not masked for longer than this many objects take.
        const AT_A_TIME: usize = 64;
        let mut count = 0;
        while count < objects.len() {
            if let Some(class) = SizeClass::of(layout) {
                let places = objects[count..].iter_mut().take(AT_A_TIME);
                count += self.inside(|own| {
                    let hand = own.arena().hand(class.number());
                    places.map_while(|place| hand.take().map(|object| place.write(object))).count()
                });
            }
            let Some(place) = objects.get_mut(count) else { break };
            let Some(object) = self.allocate(layout) else { break };
            place.write(object);
            count += 1;
        }
        count
    }

    /// Frees an object.
    ///
    /// # Errors
    /// Anything but a live object's start, with a layout of its size class (or, for large objects, number of frames), is
    /// refused and named. The heap is unchanged.
    ///
    /// # Safety
    /// If `object` is live, it is the caller's, and nobody uses it any more.
    #[inline]
    #[track_caller]
    pub unsafe fn free(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        match self.free_quickly_of(object.as_ptr().addr(), layout) {
            Ok(()) => Ok(()),
            Err(entered) => self.free_slowly(object, layout, Location::caller(), entered),
        }
    }

    /// Frees an object whose layout is not known, as C's `free` does.
    ///
    /// # Errors
    /// As for [`free`](Self::free), but for a wrong layout.
    ///
    /// # Safety
    /// As for [`free`](Self::free).
    #[inline]
    #[track_caller]
    pub unsafe fn free_unsized(&self, object: NonNull<u8>) -> Result<(), HeapError> {
        match self.free_quickly(object.as_ptr().addr(), None) {
            Ok(()) => Ok(()),
            Err(entered) => self.free_unsized_slowly(entered, object, Location::caller()),
        }
    }

    /// Frees objects of one layout.
    ///
    /// # Errors
    /// The first that [`free`](Self::free) finds; all other objects are freed.
    ///
    /// # Safety
    /// As for [`free`](Self::free), for each of them.
    #[track_caller]
    pub unsafe fn free_bulk(&self, objects: &[NonNull<u8>], layout: Layout) -> Result<(), HeapError> {
        let mut result = Ok(());
        for &object in objects {
            // SAFETY: by this function's contract each live object is the caller's, and nobody uses it any more, as `free` asks.
            result = result.and(unsafe { self.free(object, layout) });
        }
        result
    }

    /// A `dealloc` that was not quick.
    #[cold]
    fn deallocate_slowly(&self, entered: Option<Entered<'_, C>>, object: *mut u8, layout: Layout) {
        let freed = match NonNull::new(object) {
            Some(object) => self.free_slowly(object, layout, Location::caller(), entered),
            None => {
                drop(entered);
                Err(HeapError::Foreign { address: 0 })
            }
        };
        if let Err(error) = freed {
            self.registry.report(&error);
        }
    }

    /// How many bytes an object of this layout may use: the size of its slot, or of its frames. `None` if no object has it.
    pub fn usable_size(layout: Layout) -> Option<usize> {
        match SizeClass::of(layout) {
            Some(class) => Some(class.size()),
            None => S::run_for(layout).map(|run| run.size()),
        }
    }

    /// How many bytes the live object that starts here may use, as `malloc_usable_size` says.
    ///
    /// # Errors
    /// No live object starts here; what is here instead is named.
    pub fn object_size(&self, object: NonNull<u8>) -> Result<usize, HeapError> {
        let address = object.as_ptr().addr();
        let size = self.look_in_arena(|_| {
            // SAFETY: we are inside an arena.
            let slab = unsafe { self.registry.map.find(address) };
            let slot = slab.slot_at(address).filter(|_| slab.arena().is_there())?;
            (!slab.is_free(slot)).then(|| slab.size())
        });
        size.or_else(|| Some(self.object_layout(object)?.size()))
            .or_else(|| self.debugged_size(object))
            .or_else(|| self.judge_sample(object, None)?.ok().map(|sample| sample.size))
            .ok_or_else(|| self.diagnose(object, None))
    }

    /// Whether a live object with a layout like this one starts at `object`.
    pub fn is_live(&self, object: NonNull<u8>, layout: Layout) -> bool {
        let address = object.as_ptr().addr();
        let Some(class) = SizeClass::of(layout) else {
            return self.is_live_large(object, layout);
        };
        self.look_in_arena(|_| {
            // SAFETY: we are inside an arena.
            let slab = unsafe { self.registry.map.find(address) };
            slab.cache() == class.number()
                && slab.arena().is_there()
                && slab.slot_at(address).is_some_and(|slot| !slab.is_free(slot))
        }) || matches!(self.judge_debugged(object, Some(Wanted::Layout(layout))), Some(Ok(_)))
            || matches!(self.judge_sample(object, Some(Wanted::Layout(layout))), Some(Ok(_)))
    }
}

// SAFETY: a free slot is given to one caller at a time, since its slab is one arena's, and that is one CPU's at a time;
// it is as large and as aligned as its class, which was chosen to suffice for the layout, and stays the caller's until
// the caller frees it: the slab is not given back while a slot is in use. Nothing here unwinds but the error hook, for
// which `set_error_hook` says what it owes.
unsafe impl<S: PageSource, C: Cpu, const CPUS: usize> GlobalAlloc for Heap<S, C, CPUS> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if let Err(entered) = self.free_quickly_of(object.addr(), layout) {
            self.deallocate_slowly(entered, object, layout);
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.allocate_zeroed(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(object) = NonNull::new(object) else {
            self.registry.report(&HeapError::Foreign { address: 0 });
            return ptr::null_mut();
        };
        // SAFETY: by `GlobalAlloc`'s contract the object is the caller's, and has this layout.
        match unsafe { self.reallocate(object, layout, size) } {
            Ok(moved) => moved.map_or(ptr::null_mut(), NonNull::as_ptr),
            Err(error) => {
                self.registry.report(&error);
                ptr::null_mut()
            }
        }
    }
}
