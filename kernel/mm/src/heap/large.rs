//! Objects above the largest size class: runs of page frames of their own.
//!
//! A run has exactly the frames that its object needs, if the page source can do that, and is resized where it is as far as
//! the source can do that. To the registry it is a descriptor like a slab's, to which its first frame leads: so a bad free
//! of it is found in the same way, and costs the same however long it is.

use core::alloc::Layout;
use core::ptr::NonNull;

use super::diagnose::Wanted;
use super::{Heap, HeapError};
use crate::cpu::Cpu;
use crate::frame::{FRAME_SIZE, Order};
use crate::slab::descriptor::{Owner, Slab};
use crate::slab::list::Meta;
use crate::slab::source::PageSource;

/// The figures of objects above the largest size class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LargeStats {
    /// Live objects, by the order of the smallest block that would hold one.
    pub by_order: [usize; Order::COUNT],
    /// Live objects that are larger than any block.
    pub longer: usize,
    /// Frames of all live objects.
    pub frames: u64,
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

    fn like(&mut self, frames: u64) -> &mut usize {
        match Order::covering(frames) {
            Some(order) => &mut self.by_order[order.index()],
            None => &mut self.longer,
        }
    }

    /// Counts one more object of so many frames.
    pub(super) fn count(&mut self, frames: u64) {
        *self.like(frames) += 1;
        self.frames += frames;
    }

    fn discount(&mut self, frames: u64) {
        *self.like(frames) -= 1;
        self.frames -= frames;
    }

    /// Whether the other has as many objects and frames.
    pub(super) fn counts_as(&self, other: &Self) -> bool {
        (self.by_order, self.longer, self.frames) == (other.by_order, other.longer, other.frames)
    }
}

/// What the lock of large objects guards, besides their descriptors.
pub(super) struct Large(LargeStats);

impl Large {
    pub(super) const NAME: &'static str = "kmalloc-large";

    pub(super) const fn new() -> Self {
        Self(LargeStats { by_order: [0; Order::COUNT], longer: 0, frames: 0, resized: 0, moved: 0 })
    }

    pub(super) fn stats(&self) -> LargeStats {
        self.0
    }
}

/// The run that a large object takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    frames: u32,
    align: Order,
}

impl Run {
    /// The run for an object of this layout; `None` if the source has none that is as long, or as aligned.
    pub(super) fn of<S: PageSource>(layout: Layout) -> Option<Self> {
        let align = Order::covering((layout.align() as u64).div_ceil(FRAME_SIZE))?;
        let frames = S::run_frames((layout.size().max(1) as u64).div_ceil(FRAME_SIZE), align)?;
        // What a descriptor has room for: 16 TiB.
        Some(Self { frames: frames.try_into().ok()?, align })
    }

    pub(super) fn bytes(self) -> usize {
        self.frames as usize * FRAME_SIZE as usize
    }
}

impl<S: PageSource, C: Cpu, const CPUS: usize> Heap<S, C, CPUS> {
    #[cold]
    pub(super) fn allocate_large(&self, layout: Layout) -> Option<NonNull<u8>> {
        let run = Run::of::<S>(layout)?;
        let open = || self.registry.open_run(run.frames, run.align);
        let slab = open().or_else(|| if self.shrink() > 0 { open() } else { None })?;
        self.large.with(|large| {
            large.0.count(run.frames.into());
            slab.set_owner(Owner::LARGE);
        });
        NonNull::new(slab.base())
    }

    /// The live large object that starts at `object`.
    ///
    /// # Safety
    /// The lock of large objects is held, for as long as the descriptor is used.
    unsafe fn find_large(&self, object: NonNull<u8>) -> Option<Meta<Slab>> {
        // SAFETY: the caller holds a lock.
        let slab = unsafe { self.registry.map.find(object.as_ptr().addr()) };
        (slab.owner() == Owner::LARGE && slab.base() == object.as_ptr()).then_some(slab)
    }

    /// Takes the large object that starts at `object`, if it has so many frames or their number is not known, away from
    /// everybody else.
    fn take_large(&self, object: NonNull<u8>, frames: Option<u32>) -> Option<Meta<Slab>> {
        self.large.with(|large| {
            // SAFETY: we hold the lock.
            let slab = unsafe { self.find_large(object) }?;
            if frames.is_some_and(|frames| slab.run_frames() != frames.into()) {
                return None;
            }
            slab.set_owner(Owner::TRANSIT);
            large.0.discount(slab.run_frames());
            Some(slab)
        })
    }

    #[cold]
    pub(super) fn free_large(&self, object: NonNull<u8>, layout: Layout) -> Result<(), HeapError> {
        let slab = Run::of::<S>(layout).and_then(|run| self.take_large(object, Some(run.frames)));
        self.registry.close_run(slab.ok_or_else(|| self.diagnose(object, Some(Wanted::Layout(layout))))?);
        Ok(())
    }

    /// Makes a large object one of layout `wanted`, which is of no class, where it is. `false`, and nothing changed, if it is
    /// not large, or the source cannot do that.
    #[cold]
    pub(super) fn resize_large(&self, object: NonNull<u8>, wanted: Layout) -> bool {
        let Some(to) = Run::of::<S>(wanted) else { return false };
        let Some(slab) = self.take_large(object, None) else { return false };
        let (from, frames, align) = (slab.run_frames(), u64::from(to.frames), slab.order());
        // SAFETY: the run came from the source with this alignment, and has this length; whoever resizes the object promises
        // that nobody uses what lies behind the new end. The new length is one that runs of this alignment have.
        let resize = || unsafe { self.registry.source.resize_run(object, from, frames, align) };
        let fits = from == frames || S::run_frames(frames, align) == Some(frames) && resize();
        self.large.with(|large| {
            if fits {
                slab.set_run_frames(to.frames);
                large.0.resized += u64::from(from != frames);
            } else {
                large.0.moved += 1;
            }
            large.0.count(slab.run_frames());
            slab.set_owner(Owner::LARGE);
        });
        fits
    }

    #[cold]
    pub(super) fn is_live_large(&self, object: NonNull<u8>, layout: Layout) -> bool {
        let run = Run::of::<S>(layout);
        self.large.with(|_| {
            // SAFETY: we hold the lock.
            let slab = unsafe { self.find_large(object) };
            slab.zip(run).is_some_and(|(slab, run)| slab.run_frames() == run.frames.into())
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
