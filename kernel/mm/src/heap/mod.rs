//! The kernel heap: any `Layout`, from size classes on slabs and, above those, from page frames directly.
//!
//! [`Heap`] is the whole of it, a `GlobalAlloc` that can be a `static`. It has no size of its own: it grows by blocks
//! from its [`PageSource`] and gives them back as they empty. Allocation takes the lowest free slot of the first slab
//! with one in the layout's class; only where there is none does it fetch frames. A free finds the slab by the address,
//! and frees only the start of a live slot of the layout's class. Every other address is refused, with nothing changed,
//! and named in a [`HeapError`].
//!
//! # Use
//!
//! ```
//! use bifolio::allocator::Cpu;
//! use bifolio::error::FreeError;
//! use bifolio::frame::Order;
//! use bifolio::heap::{Heap, PageSource};
//! use core::alloc::Layout;
//! use core::ptr::NonNull;
//!
//! struct Machine;
//! impl Cpu for Machine {
//!     fn current() -> usize {
//!         0 // a kernel reads its per-CPU data
//!     }
//!     fn synchronize() {} // with more than one CPU: an interrupt to all others
//!     fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
//!         critical() // a kernel masks interrupts here
//!     }
//! }
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
//! # Locks
//! One for each class, one for large objects, one for the registry; interrupts are masked while one is held, so the heap
//! may be used in interrupt handlers. On its fast path an operation holds one class's lock. No lock is held while frames
//! are fetched or given back, so the page allocator may call [`Heap::shrink`] when it runs short.

mod check;
mod large;
mod report;
mod shrink;

use core::alloc::{GlobalAlloc, Layout};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

pub use crate::slab::{HeapError, PageSource, SizeClass};
pub use report::{CacheStats, HeapFrames};

use crate::allocator::Cpu;
use crate::frame::Order;
use crate::slab::cache::{Cache, Freed};
use crate::slab::class::Geometry;
use crate::slab::descriptor::{Owner, Slab};
use crate::slab::list::Meta;
use crate::slab::lock::{Guard, Locked};
use crate::slab::registry::{Books, Registry};
use large::Large;

/// A heap over blocks of page frames from `S`, on CPUs of kind `C`.
pub struct Heap<S, C> {
    caches: [Locked<Cache>; SizeClass::COUNT],
    large: Locked<Large>,
    registry: Registry<S>,
    cpu: PhantomData<fn() -> C>,
}

impl<S: PageSource, C: Cpu> Heap<S, C> {
    /// A heap that has nothing yet: it takes its first frames from `source` with its first allocation.
    pub const fn new(source: S) -> Self {
        let mut caches = [const { Locked::new(Cache::new(0)) }; SizeClass::COUNT];
        let mut number = 0;
        while number < SizeClass::COUNT {
            caches[number] = Locked::new(Cache::new(number));
            number += 1;
        }
        Self { caches, large: Locked::new(Large::new()), registry: Registry::new(source), cpu: PhantomData }
    }

    /// Chooses what becomes of errors that no caller can be told of, those of the `GlobalAlloc` face above all: `hook`
    /// may log and return, whereupon the memory stays allocated, or panic, as it does unless this is called.
    ///
    /// A heap that is the global allocator must not unwind; there, a hook that panics must abort.
    pub fn set_error_hook(&self, hook: fn(&HeapError)) {
        self.registry.hook.with::<C, _>(|current| *current = hook);
    }

    /// Where the heap has its frames from.
    pub fn source(&self) -> &S {
        &self.registry.source
    }

    /// Allocates memory for `layout`, with unspecified contents; `None` if there are too few page frames, or if `layout`
    /// takes more than the largest block, 4 MiB, in size or alignment. A size of zero is taken for one byte.
    #[inline]
    pub fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let Some(class) = SizeClass::of(layout) else {
            return self.allocate_large(layout);
        };
        match self.cache(class).with::<C, _>(Cache::take) {
            None => self.allocate_slowly(class),
            object => object,
        }
    }

    #[cold]
    fn allocate_slowly(&self, class: SizeClass) -> Option<NonNull<u8>> {
        self.cache(class).with::<C, _>(Cache::take_any).or_else(|| self.grow(class))
    }

    /// Frees an object.
    ///
    /// # Errors
    /// Anything but a live object's start, with a layout of its size class (or, for large objects, block order), is
    /// refused and named. The heap is unchanged.
    ///
    /// # Safety
    /// If `object` is live, it is the caller's, and nobody uses it any more.
    #[inline]
    pub unsafe fn free(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        if self.free_quickly(object.as_ptr().addr(), layout) { Ok(()) } else { self.free_slowly(object, layout) }
    }

    /// Frees an object of a size class if nothing is wrong and its slab stays where it is; else does nothing.
    #[inline]
    fn free_quickly(&self, address: usize, layout: Layout) -> bool {
        SizeClass::of(layout).is_some_and(|class| {
            self.cache(class).with::<C, _>(|cache| {
                // SAFETY: we hold the cache's lock.
                unsafe { self.find_slot(cache.owner(), address) }.is_some_and(|(slab, slot)| cache.put(slab, slot))
            })
        })
    }

    #[cold]
    fn free_slowly(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        let Some(class) = SizeClass::of(layout) else {
            return self.free_large(object, layout);
        };
        let freed = self.cache(class).with::<C, _>(|cache| {
            // SAFETY: we hold the cache's lock.
            let (slab, slot) = unsafe { self.find_slot(cache.owner(), object.as_ptr().addr()) }?;
            Some(cache.put_any(slab, slot))
        });
        match freed {
            Some(Freed::Kept) => Ok(()),
            Some(Freed::Emptied(slab)) => {
                self.registry.close::<C>(slab);
                Ok(())
            }
            Some(Freed::Twice) | None => Err(self.diagnose(object, layout)),
        }
    }

    /// What is left to do of a `dealloc` that was not quick.
    #[cold]
    fn deallocate_slowly(&self, object: *mut u8, layout: Layout) {
        let freed = match NonNull::new(object) {
            Some(object) => self.free_slowly(object, layout),
            None => Err(HeapError::Foreign { address: 0 }),
        };
        if let Err(error) = freed {
            self.registry.report::<C>(&error);
        }
    }

    /// Changes an object's size, in place where class or block order stay the same, else by moving its contents.
    /// `Ok(None)` if there is no memory for that; the object is then as it was.
    ///
    /// # Errors
    /// As for [`free`](Self::free).
    ///
    /// # Safety
    /// As for [`free`](Self::free); the caller goes on with what is returned, and with `layout` of the new size.
    pub unsafe fn reallocate(
        &self,
        object: NonNull<u8>,
        layout: Layout,
        size: usize,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        if !self.is_live(object, layout) {
            return Err(self.diagnose(object, layout));
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
            return Ok(None);
        };
        if Self::usable_size(wanted) == Self::usable_size(layout) {
            return Ok(Some(object));
        }
        let Some(moved) = self.allocate(wanted) else {
            return Ok(None);
        };
        // SAFETY: both are live objects, and different ones, of at least as many bytes as are copied.
        unsafe {
            ptr::copy_nonoverlapping(object.as_ptr(), moved.as_ptr(), size.min(layout.size()));
            self.free(object, layout)?;
        }
        Ok(Some(moved))
    }

    /// How many bytes an object of this layout may use: the size of its slot or block. `None` if no object has it.
    pub fn usable_size(layout: Layout) -> Option<usize> {
        match SizeClass::of(layout) {
            Some(class) => Some(class.size()),
            None => large::order_of(layout).map(|order| order.bytes() as usize),
        }
    }

    /// Whether a live object with a layout like this one starts at `object`.
    pub fn is_live(&self, object: NonNull<u8>, layout: Layout) -> bool {
        let Some(class) = SizeClass::of(layout) else {
            return self.is_live_large(object, layout);
        };
        self.cache(class).with::<C, _>(|cache| {
            // SAFETY: we hold the cache's lock.
            unsafe { self.find_slot(cache.owner(), object.as_ptr().addr()) }
                .is_some_and(|(slab, slot)| !slab.is_free(slot))
        })
    }

    #[inline]
    fn cache(&self, class: SizeClass) -> &Locked<Cache> {
        &self.caches[class.index()]
    }

    /// The slot that starts at `address`, if it is one of `owner`'s.
    ///
    /// # Safety
    /// The owner's lock is held, for as long as the slab is used.
    #[inline]
    unsafe fn find_slot(&self, owner: Owner, address: usize) -> Option<(Meta<Slab>, u16)> {
        // SAFETY: the caller holds a lock.
        let slab = unsafe { self.registry.map.find(address) };
        if slab.owner() != owner {
            return None;
        }
        Some((slab, slab.slot_at(address)?))
    }

    /// Fetches a slab for a class that has no free slot, and takes one. Tries a smaller slab where there is no block of
    /// the usual order, and gives back empty slabs of other classes before it gives up.
    #[cold]
    fn grow(&self, class: SizeClass) -> Option<NonNull<u8>> {
        let geometry = class.geometry();
        let slab = self.fetch(geometry).or_else(|| if self.shrink() > 0 { self.fetch(geometry) } else { None });
        self.cache(class).with::<C, _>(|cache| {
            if let Some(slab) = slab {
                cache.adopt(slab);
            }
            // Without a new slab there may still be a slot that was freed meanwhile.
            cache.take_any()
        })
    }

    fn fetch(&self, geometry: &Geometry) -> Option<Meta<Slab>> {
        let open = |order| self.registry.open::<C>(order, geometry.size, geometry.slots(order), geometry.divider);
        open(geometry.order)
            .or_else(|| if geometry.least_order < geometry.order { open(geometry.least_order) } else { None })
    }

    /// What is wrong with freeing `object` as a `layout`, looked at with the heap at a standstill.
    #[cold]
    fn diagnose(&self, object: NonNull<u8>, layout: Layout) -> HeapError {
        let address = object.as_ptr().addr();
        self.stopped(|_| {
            // SAFETY: all locks are held.
            let Some((slab, cache)) = (unsafe { self.slab_around(address) }) else {
                return HeapError::Foreign { address };
            };
            let offset = address - slab.base().addr();
            let slot = offset / slab.size();
            if slot >= usize::from(slab.slots()) {
                return HeapError::Foreign { address };
            }
            let (slot, offset) = (slot as u16, offset % slab.size());
            if offset != 0 {
                return HeapError::Interior { address, cache, slot, offset };
            }
            let (given, actual) = (layout.size(), slab.size());
            if slab.is_free(slot) || Self::usable_size(layout) == Some(actual) {
                // In the second case it was free when it was to be freed, and has been allocated again since.
                return HeapError::DoubleFree { address, cache, slot };
            }
            HeapError::WrongLayout { address, cache, slot, given, actual }
        })
    }

    /// The slab or large block that `address` lies in, and its cache's name.
    ///
    /// Only the first frame of a block of one slot leads to its descriptor, but blocks are aligned to their size: the
    /// block around an address starts at one of as many addresses as there are orders.
    ///
    /// # Safety
    /// Every lock of the heap is held, for as long as the slab is used.
    unsafe fn slab_around(&self, address: usize) -> Option<(Meta<Slab>, &'static str)> {
        Order::all().find_map(|order| {
            // SAFETY: the caller holds all locks.
            let slab = unsafe { self.registry.map.find(address & !(order.bytes() as usize - 1)) };
            let cache = Self::name(slab.owner())?;
            let is_inside = address.wrapping_sub(slab.base().addr()) < slab.order().bytes() as usize;
            is_inside.then_some((slab, cache))
        })
    }

    /// The name of the cache that owns a slab; `None` if none does.
    fn name(owner: Owner) -> Option<&'static str> {
        match owner {
            Owner::LARGE => Some(Large::NAME),
            _ => SizeClass::all().nth(owner.index()).map(|class| class.geometry().name),
        }
    }

    /// Runs `f` with every lock of the heap held. They are taken in one order, and nobody else takes two of them.
    fn stopped<R>(&self, f: impl FnOnce(&mut Stopped<'_>) -> R) -> R {
        C::without_interrupts(|| {
            f(&mut Stopped {
                caches: self.caches.each_ref().map(Locked::lock),
                large: self.large.lock(),
                books: self.registry.books.lock(),
            })
        })
    }
}

/// Every lock of a heap, held.
struct Stopped<'a> {
    caches: [Guard<'a, Cache>; SizeClass::COUNT],
    large: Guard<'a, Large>,
    books: Guard<'a, Books>,
}

// SAFETY: a free slot is given to one caller at a time, since the lock of its class is held while its bit is cleared;
// it is as large and as aligned as its class, which was chosen to suffice for the layout, and stays the caller's until
// the caller frees it: the slab is not given back while a slot is in use. Nothing here unwinds but the error hook, for
// which `set_error_hook` says what it owes.
unsafe impl<S: PageSource, C: Cpu> GlobalAlloc for Heap<S, C> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocate(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if !self.free_quickly(object.addr(), layout) {
            self.deallocate_slowly(object, layout);
        }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(object) = NonNull::new(object) else {
            self.registry.report::<C>(&HeapError::Foreign { address: 0 });
            return ptr::null_mut();
        };
        // SAFETY: the caller's word.
        match unsafe { self.reallocate(object, layout, size) } {
            Ok(moved) => moved.map_or(ptr::null_mut(), NonNull::as_ptr),
            Err(error) => {
                self.registry.report::<C>(&error);
                ptr::null_mut()
            }
        }
    }
}
