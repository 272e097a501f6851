//! Objects above the largest size class: runs of memory of their own.
//!
//! A run is as long as its object needs, as nearly as the page source can do that, and is resized where it is as far as the
//! source can do that. To the registry it is a descriptor like a slab's, to which its first frame leads: so a bad free of it is
//! found in the same way, and costs the same however long it is.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::{Heap, HeapError};
use crate::allocator::HeapCall;
use crate::cpu::Cpu;
use crate::frame::{FRAME_SIZE, Order};
use crate::hardening::Hardening;
use crate::slab::arena::ArenaId;
use crate::slab::descriptor::Slab;
use crate::slab::list::Meta;
use crate::slab::source::PageSource;

/// The figures of objects above the largest size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LargeStats {
    /// Live objects, by the order of the smallest block that would hold one.
    pub by_order: [usize; Order::COUNT],
    /// Live objects that are larger than any block.
    pub longer: usize,
    /// Bytes of all live objects' runs.
    pub bytes: u64,
    /// How often one was resized where it was.
    pub resized: u64,
    /// How often one was moved, since it could not be.
    pub moved: u64,
}

impl LargeStats {
    /// Live objects.
    pub fn objects(&self) -> usize {
        self.by_order.iter().sum::<usize>() + self.longer
    }

    fn like(&mut self, bytes: usize) -> &mut usize {
        match Order::covering((bytes as u64).div_ceil(FRAME_SIZE)) {
            Some(order) => &mut self.by_order[order.index()],
            None => &mut self.longer,
        }
    }

    /// Counts one more object of so many bytes.
    pub(super) fn count(&mut self, bytes: usize) {
        *self.like(bytes) += 1;
        self.bytes += bytes as u64;
    }

    fn discount(&mut self, bytes: usize) {
        *self.like(bytes) -= 1;
        self.bytes -= bytes as u64;
    }

    /// Whether the other has as many objects and bytes.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        (self.by_order, self.longer, self.bytes) == (other.by_order, other.longer, other.bytes)
    }
}

/// What the lock of large objects guards, besides their descriptors.
pub(super) struct Large(LargeStats);

impl Large {
    pub(super) const NAME: &'static str = "kmalloc-large";

    pub(super) const fn new() -> Self {
        Self(LargeStats { by_order: [0; Order::COUNT], longer: 0, bytes: 0, resized: 0, moved: 0 })
    }

    pub(super) fn stats(&self) -> LargeStats {
        self.0
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    #[cold]
    pub(super) fn allocate_large(&self, layout: Layout) -> Option<NonNull<u8>> {
        let run = S::run_for(layout)?;
        let open = || self.opened(|| self.registry.open_run(run));
        let slab = open().or_else(|| if self.shrink() > 0 { open() } else { None })?;
        let object = NonNull::new(slab.base())?;
        let adopt = || {
            self.large.with(|large| {
                large.0.count(run.size());
                slab.set_arena(ArenaId::NONE);
            });
        };
        let (bytes, align) = (run.size() as u64, run.align() as u64);
        let call = HeapCall::OpenRun { address: self.number_of(object), bytes, align };
        self.recorded(call, |()| Some(0), adopt);
        // SAFETY: nobody knows of the object yet.
        unsafe { self.init_run(object, 0..run.size(), Hardening::INIT_ON_ALLOC) };
        Some(object)
    }

    /// The live large object that starts at `object`.
    ///
    /// # Safety
    /// The lock of large objects is held, for as long as the descriptor is used.
    unsafe fn find_large(&self, object: NonNull<u8>) -> Option<Meta<Slab>> {
        // SAFETY: by this function's contract the lock of large objects is held (invariant *Metadata*).
        let slab = unsafe { self.registry.map.find(object.as_ptr().addr()) };
        (slab.is_large() && slab.base() == object.as_ptr()).then_some(slab)
    }

    /// Takes the large object that starts at `object`, if its run has so many bytes or their number is not known, away from
    /// everybody else.
    pub(super) fn take_large(&self, object: NonNull<u8>, bytes: Option<usize>) -> Option<Meta<Slab>> {
        self.large.with(|large| {
            // SAFETY: we hold the lock.
            let slab = unsafe { self.find_large(object) }?;
            if bytes.is_some_and(|bytes| slab.bytes() != bytes) {
                return None;
            }
            slab.set_arena(ArenaId::TRANSIT);
            large.0.discount(slab.bytes());
            Some(slab)
        })
    }

    #[cold]
    pub(super) fn free_large(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        let take = |run: Layout| {
            let take = || self.take_large(object, Some(run.size()));
            let call = HeapCall::CloseRun { address: self.number_of(object), bytes: run.size() as u64 };
            self.recorded(call, |slab| slab.map(|_| 0), take)
        };
        let slab = S::run_for(layout).and_then(take);
        let slab = slab.ok_or_else(|| self.diagnose(object, Some(Wanted::Layout(layout))))?;
        // SAFETY: the object is this CPU's alone since it was taken, and by the contract of `free` nobody uses it.
        unsafe { self.init_run(object, 0..slab.bytes(), Hardening::INIT_ON_FREE) };
        self.registry.close_run(slab);
        Ok(())
    }

    /// Makes a large object one of layout `wanted`, which is of no class, where it is. `false`, and nothing changed, if it is
    /// not large, or the source cannot do that.
    #[cold]
    pub(super) fn resize_large(&self, object: NonNull<u8>, wanted: Layout) -> bool {
        let Some(bytes) = S::run_for(wanted).map(|run| run.size()) else { return false };
        let address = self.number_of(object);
        let take = || self.take_large(object, None);
        let taken = self.recorded(HeapCall::TakeRun { address }, |slab| slab.map(|_| 0), take);
        let Some(slab) = taken else { return false };
        let run = slab.run();
        let is_run = |new: Layout| S::run_for(new) == Some(new);
        // SAFETY: the run came from the source, and is this now; whoever resizes the object promises that nobody uses what lies
        // behind the new end. The new length is one that runs of this alignment have.
        let resize = || unsafe {
            self.init_run(object, bytes..run.size(), Hardening::INIT_ON_FREE);
            let is_resized = self.registry.source.resize_run(object, run, bytes);
            if is_resized {
                self.init_run(object, run.size()..bytes, Hardening::INIT_ON_ALLOC);
            }
            is_resized
        };
        let fits = bytes == run.size() || Layout::from_size_align(bytes, run.align()).is_ok_and(is_run) && resize();
        let put = || self.put_large(slab, fits.then_some(bytes));
        let call = HeapCall::PutRun { address, bytes: fits.then_some(bytes as u64) };
        self.recorded(call, |()| Some(0), put);
        fits
    }

    /// Puts back a large object that was taken away to be resized, to so many bytes if it was.
    pub(super) fn put_large(&self, slab: Meta<Slab>, bytes: Option<usize>) {
        self.large.with(|large| {
            match bytes {
                Some(bytes) => {
                    large.0.resized += u64::from(bytes != slab.bytes());
                    slab.set_run_bytes(bytes);
                }
                None => large.0.moved += 1,
            }
            large.0.count(slab.bytes());
            slab.set_arena(ArenaId::NONE);
        });
    }

    #[cold]
    pub(super) fn is_live_large(&self, object: NonNull<u8>, layout: Layout) -> bool {
        let run = S::run_for(layout);
        self.large.with(|_| {
            // SAFETY: we hold the lock.
            let slab = unsafe { self.find_large(object) };
            slab.zip(run).is_some_and(|(slab, run)| slab.bytes() == run.size())
        })
    }

    /// A layout that the live large object which starts here could have; `None` if none does.
    pub(super) fn object_layout(&self, object: NonNull<u8>) -> Option<Layout> {
        self.large.with(|_| {
            // SAFETY: we hold the lock.
            let slab = unsafe { self.find_large(object) }?;
            Layout::from_size_align(slab.bytes(), 1).ok()
        })
    }
}
