//! The pages that descriptors live in.
//!
//! The same idea one level up: a page is cut into descriptors, and a bitmap at its head says which are vacant.
//!
//! A descriptor that was closed *rests* at first. A CPU that frees a slot for a second time may have found it before it was
//! closed, and still be at it; so it is opened again only after the heap has stood still (invariant *Metadata*), which ends
//! the rest of many at once.

use core::cell::Cell;
use core::ptr::NonNull;

use super::descriptor::Slab;
use super::list::{Linked, Links, List, Meta};
use crate::frame::FRAME_SIZE;

const DESCRIPTORS: usize = (FRAME_SIZE as usize - size_of::<Header>()) / size_of::<Slab>();
const ALL_VACANT: u64 = (1 << DESCRIPTORS) - 1;

/// The head of a page of descriptors.
#[repr(C, align(64))]
pub(crate) struct Header {
    links: Links<Header>,
    vacant: Cell<u64>,
}

impl Linked for Header {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl Meta<Header> {
    fn descriptor(self, index: usize) -> Meta<Slab> {
        debug_assert!(index < DESCRIPTORS);
        // SAFETY: behind the header follow `DESCRIPTORS` descriptors in the same page, initialised when it was added.
        unsafe { Meta::new(NonNull::new_unchecked(self.as_ptr().add(1).cast::<Slab>().add(index))) }
    }
}

/// The page that holds a descriptor, and the descriptor's place in it.
fn place_of(slab: Meta<Slab>) -> (Meta<Header>, usize) {
    let header = slab.as_ptr().map_addr(|address| address & !(FRAME_SIZE as usize - 1)).cast::<Header>();
    let offset = slab.as_ptr().addr() - header.addr() - size_of::<Header>();
    // SAFETY: descriptors lie in pages that start with a header, and their pointers have the whole page's provenance.
    (unsafe { Meta::new(NonNull::new_unchecked(header)) }, offset / size_of::<Slab>())
}

/// All pages of descriptors. It is touched under the registry's lock only.
pub(crate) struct Pool {
    /// Pages with a vacant descriptor; those without any other at the back.
    partial: List<Header>,
    /// Descriptors that were closed since the heap stood still, each to be vacant after the next time.
    resting: List<Slab>,
    rests: usize,
    pages: usize,
    open: usize,
}

impl Pool {
    /// The rest of so many descriptors ends together.
    const RESTED_AT_A_TIME: usize = 64;

    pub(crate) const fn new() -> Self {
        Self { partial: List::new(), resting: List::new(), rests: 0, pages: 0, open: 0 }
    }

    /// Whether [`take`](Self::take) would find nothing.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.partial.front().is_none()
    }

    /// Adds a page.
    ///
    /// # Safety
    /// `page` is a frame that is the pool's from now on.
    pub(crate) unsafe fn add(&mut self, page: NonNull<u8>) {
        let header = page.cast::<Header>();
        // SAFETY: the frame is ours, aligned, and has room for the header and the descriptors; what is written here
        // makes them initialised, as `Meta` demands.
        let header = unsafe {
            header.write(Header { links: Links::new(), vacant: Cell::new(ALL_VACANT) });
            let first = header.add(1).cast::<Slab>();
            for index in 0..DESCRIPTORS {
                first.add(index).write(Slab::vacant());
            }
            Meta::new(header)
        };
        self.partial.push_back(header);
        self.pages += 1;
    }

    /// Takes a vacant descriptor.
    pub(crate) fn take(&mut self) -> Option<Meta<Slab>> {
        let page = self.partial.front()?;
        let vacant = page.vacant.get();
        let rest = vacant & (vacant - 1);
        page.vacant.set(rest);
        if rest == 0 {
            self.partial.remove(page);
        }
        self.open += 1;
        Some(page.descriptor(vacant.trailing_zeros() as usize))
    }

    /// Takes back a descriptor that describes nothing any more. It rests.
    pub(crate) fn put(&mut self, slab: Meta<Slab>) {
        debug_assert!(place_of(slab).0.vacant.get() & 1 << place_of(slab).1 == 0);
        self.open -= 1;
        self.resting.push_back(slab);
        self.rests += 1;
    }

    /// Whether descriptors rest, and so many that it is time to end that.
    pub(crate) fn is_tired(&self) -> bool {
        self.rests >= Self::RESTED_AT_A_TIME.min(self.pages * DESCRIPTORS / 2).max(1)
    }

    /// Whether descriptors rest.
    pub(crate) fn has_resting(&self) -> bool {
        self.rests > 0
    }

    /// Ends the rest of descriptors, of so many at a time. Only while the heap stands still.
    pub(crate) fn end_rest(&mut self) {
        for _ in 0..Self::RESTED_AT_A_TIME {
            let Some(slab) = self.resting.front() else { return };
            self.resting.remove(slab);
            self.rests -= 1;
            self.vacate(slab);
        }
    }

    fn vacate(&self, slab: Meta<Slab>) {
        let (page, index) = place_of(slab);
        let vacant = page.vacant.get();
        page.vacant.set(vacant | 1 << index);
        if vacant == 0 {
            self.partial.push_front(page);
        }
        if page.vacant.get() == ALL_VACANT {
            self.partial.remove(page);
            self.partial.push_back(page);
        }
    }

    /// Removes a page without a descriptor in use and returns its frame.
    ///
    /// # Safety
    /// The caller holds every lock of the heap.
    pub(crate) unsafe fn remove_idle(&mut self) -> Option<NonNull<u8>> {
        let page = self.partial.back().filter(|page| page.vacant.get() == ALL_VACANT)?;
        self.partial.remove(page);
        self.pages -= 1;
        NonNull::new(page.as_ptr().cast())
    }

    /// Frames that hold descriptors.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// Descriptors in use.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Whether the page of this descriptor has it down as in use.
    pub(crate) fn has_open(&self, slab: Meta<Slab>) -> bool {
        let (page, index) = place_of(slab);
        page.vacant.get() & 1 << index == 0 && page.links.is_linked() == (page.vacant.get() != 0)
    }
}
