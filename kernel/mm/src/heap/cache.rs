//! Caches of one type: objects of exactly its size, under a name of its own.
//!
//! A type of which there are many deserves a cache: nothing is rounded up to a class, slabinfo shows how many there are, a
//! free of anything else is refused, a constructor runs once for a slot and not for each object, and when the cache is
//! destroyed it says who is still there.
//!
//! ```
//! # use bifolio::heap::{CacheOptions, Heap, SingleCpu};
//! struct Inode {
//!     number: u64,
//!     name: [u8; 93],
//! }
//!
//! # let mut region = vec![0u8; 256 << 10];
//! # let heap = Heap::<_, SingleCpu, 1>::with_slabs_in(&mut region)?;
//! let inodes = heap.cache::<Inode>(CacheOptions::new("inode"))?;
//! let root = inodes.allocate().ok_or("no memory")?;
//! // SAFETY: the object is ours, and not used afterwards.
//! unsafe {
//!     root.write(Inode { number: 1, name: [0; 93] });
//!     assert_eq!(root.as_ref().number, 1);
//!     inodes.free(root)?;
//! }
//! assert_eq!(inodes.destroy(|object| println!("{object:?} is left")), 0);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

use crate::sync::atomic::Ordering::Relaxed;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, align_of, size_of};
use core::panic::Location;
use core::ptr::NonNull;

use super::debug::{live, object_of, settle};
use super::diagnose::Wanted;
use super::slow::Kind;
use super::{CacheStats, Entered, Heap, HeapError, LiveObject, MAX_CPUS, SizeClass, SlabDebug};
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::error::table::errors;
use crate::frame::Order;
use crate::slab::arena::{Arena, ArenaId, Emptied};
use crate::slab::class::Geometry;
use crate::slab::debug::{Record, Shape};
use crate::slab::source::PageSource;

/// How a cache of `T` is to be.
pub struct CacheOptions<T> {
    name: &'static str,
    align: usize,
    constructor: Option<fn(NonNull<T>)>,
    debug: SlabDebug,
}

impl<T> CacheOptions<T> {
    /// A cache of this name, and nothing special about it.
    pub const fn new(name: &'static str) -> Self {
        Self { name, align: align_of::<T>(), constructor: None, debug: SlabDebug::empty() }
    }

    /// Aligns objects to so many bytes, a power of two, if that is more than their type asks for.
    #[must_use]
    pub const fn align(mut self, align: usize) -> Self {
        if align > self.align {
            self.align = align;
        }
        self
    }

    /// Runs this on every slot before its first object is given out. Objects are to be freed in the state that it leaves them
    /// in, and are found in it. (Where freed objects are poisoned, it runs again.)
    #[must_use]
    pub const fn constructor(mut self, constructor: fn(NonNull<T>)) -> Self {
        self.constructor = Some(constructor);
        self
    }

    /// Debugs objects from the first on.
    #[must_use]
    pub const fn debug(mut self, debug: SlabDebug) -> Self {
        self.debug = debug;
        self
    }
}

errors! {
    /// Why there is no cache.
    pub enum CacheError {
        /// Objects are larger, or more aligned, than a slab can have them: 8 KiB. Those need no cache.
        TooLarge {
            /// Bytes in an object, padded to its alignment.
            size: usize,
        } => "objects of {size} bytes are too large for a cache",
        /// The alignment is no power of two.
        InvalidAlignment(align: usize) => "an alignment of {align}, which is no power of two",
        /// There are as many caches as a heap has room for.
        TooMany => ("there are {} caches already", CACHES),
        /// There is no frame to keep it in.
        OutOfMemory => "no memory for a cache",
    }
}

/// How many caches there can be, besides the classes'.
const CACHES: usize = Arena::BINS - SizeClass::COUNT;

/// A cache of objects of type `T`. Dropped while objects live, it reports each as [`HeapError::Leaked`].
pub struct Cache<'h, T, S: PageSource, C: Cpu, const CPUS: usize = MAX_CPUS> {
    heap: &'h Heap<S, C, CPUS>,
    number: u16,
    geometry: Geometry,
    constructor: Option<fn(NonNull<T>)>,
    objects: PhantomData<fn() -> T>,
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Makes a cache of objects of type `T`.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn cache<T>(&self, options: CacheOptions<T>) -> Result<Cache<'_, T, S, C, CPUS>, CacheError> {
        let CacheOptions { name, align, constructor, debug } = options;
        if !align.is_power_of_two() {
            return Err(CacheError::InvalidAlignment(align));
        }
        let align = align.max(size_of::<u64>());
        let size = size_of::<T>().max(1).checked_next_multiple_of(align).unwrap_or(usize::MAX);
        if size > SizeClass::MAX_SIZE {
            return Err(CacheError::TooLarge { size });
        }
        let (geometry, shape) = (Geometry::new(name, size as u32), Shape::new(size, align));
        let add = || self.add_cache(geometry, shape, debug);
        let call = HeapCall::NewCache { size: size as u64 };
        let number = self.recorded(call, |number| number.as_ref().ok().map(|&number| number.into()), add)?;
        self.debugging.set_constructed(number, constructor.is_some());
        Ok(Cache { heap: self, number, geometry, constructor, objects: PhantomData })
    }

    /// Makes the record of a new cache, and returns its number.
    pub(super) fn add_cache(&self, geometry: Geometry, shape: Shape, debug: SlabDebug) -> Result<u16, CacheError> {
        let frame = self.registry.source.allocate(Order::ZERO).ok_or(CacheError::OutOfMemory)?;
        let number = self.debugging.records.with(|records| {
            let mut numbers = SizeClass::COUNT as u16..Arena::BINS as u16;
            let number = numbers.find(|number| records.get(*number).is_none())?;
            let mut record = Record::new(number, geometry.name, shape);
            (record.geometry, record.flags) = (Some(geometry), debug);
            self.debugging.set_on(&record);
            // SAFETY: the frame came from the source for this alone.
            unsafe { records.add(frame, record) };
            self.debugging.is_used.store(true, Relaxed);
            Some(number)
        });
        number.ok_or_else(|| {
            // SAFETY: it came from the source a moment ago, and nothing was made of it.
            unsafe { self.registry.give_back(frame, Order::ZERO) };
            CacheError::TooMany
        })
    }
}

impl<T, S: PageSource, C: Cpu, const CPUS: usize> Cache<'_, T, S, C, CPUS> {
    fn with_kind<R>(&self, f: impl FnOnce(Kind<'_>) -> R) -> R {
        let constructor = self.constructor;
        let construct =
            move |object: NonNull<u8>| constructor.into_iter().for_each(|construct| construct(object.cast()));
        let construct: Option<&dyn Fn(NonNull<u8>)> = if constructor.is_some() { Some(&construct) } else { None };
        f(Kind { number: self.number, geometry: &self.geometry, construct })
    }

    /// Allocates room for an object, aligned, and in the state that the constructor leaves it in, if there is one; else with
    /// unspecified contents. `None` if there is no memory.
    #[inline]
    #[track_caller]
    pub fn allocate(&self) -> Option<NonNull<T>> {
        let site = Location::caller();
        let taken = self.heap.take_in_hand(self.number);
        let taken = taken.or_else(|| self.heap.refill(self.number, size_of::<T>()));
        let slowly = || self.with_kind(|kind| self.heap.allocate_slowly(kind, size_of::<T>(), site));
        taken.or_else(slowly).map(NonNull::cast)
    }

    /// Frees an object, without dropping what is in it.
    ///
    /// # Errors
    /// As for [`Heap::free`]; objects of other caches are refused, whatever their size.
    ///
    /// # Safety
    /// If the object is live, it is the caller's, and nobody uses it any more.
    #[inline]
    #[track_caller]
    pub unsafe fn free(&self, object: NonNull<T>) -> Result<(), HeapError> {
        let site = Location::caller();
        let object = object.cast::<u8>();
        match self.heap.free_quickly(object.as_ptr().addr(), Some(self.number)) {
            Ok(()) => Ok(()),
            Err(entered) => self.free_slowly(entered, object, site),
        }
    }

    #[cold]
    fn free_slowly(
        &self,
        entered: Entered<'_, C>,
        object: NonNull<u8>,
        site: &'static Location<'static>,
    ) -> Result<(), HeapError> {
        let address = object.as_ptr().addr();
        if self.heap.free_by_map(entered, address, Some(self.number)) {
            return Ok(());
        }
        let wanted = Wanted::Cache(self.number, size_of::<T>());
        self.heap.free_any(object, Some(wanted), Some(self.number), site)
    }

    /// Chooses how objects are debugged that are allocated from now on, as [`Heap::set_debug`] does for a class.
    pub fn set_debug(&self, flags: SlabDebug) {
        self.with_kind(|kind| self.heap.change_record(kind, |record| record.flags = flags));
    }

    /// Lets an allocation fail, as [`Heap::set_fail_after`] does for a class.
    pub fn set_fail_after(&self, successes: Option<u64>) {
        self.with_kind(|kind| self.heap.change_record(kind, |record| record.fail_after = successes));
    }

    /// The cache's figures.
    pub fn stats(&self) -> CacheStats {
        self.heap.stats_of(self.number, &self.geometry)
    }

    /// Ends the cache. Every object that still lives is shown to `leaked`, and stays allocated for ever: code that frees it is told
    /// [`HeapError::Destroyed`]. Returns how many there are.
    pub fn destroy(self, leaked: impl FnMut(LiveObject)) -> usize {
        ManuallyDrop::new(self).end(leaked)
    }

    fn end(&self, mut leaked: impl FnMut(LiveObject)) -> usize {
        let end = || self.heap.end_cache(self.number);
        self.heap.recorded(HeapCall::EndCache { cache: self.number }, |()| Some(0), end);
        let mut count = 0;
        // One by one, since what is told may want to allocate.
        while let Some(object) = self.heap.debugging.records.with(|records| {
            let record = records.get(self.number)?;
            let plain = record.leaked.iter().flat_map(|slab| {
                (0..slab.slots().into()).filter(move |slot| !slab.is_free(*slot)).map(move |slot| LiveObject {
                    address: slab.slot(slot).addr(),
                    size: size_of::<T>(),
                    cpu: None,
                    allocated: None,
                })
            });
            plain.chain(live(record).map(|slot| object_of(slot, &record.shape))).nth(count)
        }) {
            count += 1;
            leaked(object);
        }
        if count == 0 {
            // The record with it.
            self.heap.give_back_records();
        }
        count
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    /// Closes all slabs of a cache that have no object; the others are in nobody's arena any more.
    pub(super) fn end_cache(&self, cache: u16) {
        self.debugging.records.with(|records| {
            if let Some(record) = records.get(cache) {
                (record.is_destroyed, record.flags, record.fail_after) = (true, SlabDebug::empty(), None);
                self.debugging.set_on(record);
            }
        });
        self.settled(|_| ());
        while let Some(emptied) = self.stopped(|all| {
            loop {
                let slab = all.arenas().find_map(|arena| arena.pop_any(cache))?;
                let emptied = if slab.is_empty() { Emptied::new(slab) } else { None };
                if emptied.is_some() {
                    return emptied;
                }
                slab.set_arena(ArenaId::NONE);
                all.records.get(cache)?.leaked.push_back(slab);
            }
        }) {
            self.close(emptied);
        }
        while let Some(freed) = self.debugging.records.with(|records| {
            let record = records.get(cache)?;
            let freed = match record.wake() {
                Some(slot) => record.release(slot),
                None => record.pop_empty()?,
            };
            Some(settle(record, freed))
        }) {
            self.dispose(freed);
        }
    }
}

impl<T, S: PageSource, C: Cpu, const CPUS: usize> Drop for Cache<'_, T, S, C, CPUS> {
    fn drop(&mut self) {
        let cache = self.geometry.name;
        self.end(|LiveObject { address, size, allocated, .. }| {
            self.heap.registry.report(&HeapError::Leaked { address, cache, size, allocated });
        });
    }
}
