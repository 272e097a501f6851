//! The pages that descriptors live in.
//!
//! The same idea one level up: a page is cut into descriptors, and a bitmap at its head says which are vacant.
//!
//! A descriptor that was closed waits at first. A CPU that frees a slot for a second time may have found it before it was
//! closed, and still be at it; so it is opened again only after a grace period (invariant *Metadata*), which one is for all that
//! wait (Linux: `SLAB_TYPESAFE_BY_RCU`).

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
    /// So many of the first descriptors are initialised.
    ready: Cell<usize>,
}

impl Linked for Header {
    fn links(&self) -> &Links<Self> {
        &self.links
    }
}

impl Meta<Header> {
    /// A descriptor of the page. The first that was never asked for is initialised for that: they are asked for in their order.
    fn descriptor(self, index: usize) -> Meta<Slab> {
        debug_assert!(index < DESCRIPTORS && index <= self.ready.get());
        // SAFETY: behind the header is room for `DESCRIPTORS` descriptors in the same page. So many as are `ready` are initialised, and
        // nothing leads to the one behind those.
        unsafe {
            let descriptor = NonNull::new_unchecked(self.as_ptr().add(1).cast::<Slab>().add(index));
            if index == self.ready.get() {
                descriptor.write(Slab::vacant());
                self.ready.set(index + 1);
            }
            Meta::new(descriptor)
        }
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
    /// Descriptors that were closed and have not been opened again, the first of them in front.
    closed: List<Slab>,
    /// How many were ever put there.
    closings: u64,
    /// For how many of those a grace period has passed.
    passed: u64,
    /// How many of those are there no more.
    reused: u64,
    pages: usize,
    open: usize,
}

impl Pool {
    /// A grace period is due when so many descriptors wait for it.
    const DUE: u64 = 64;
    /// Of so many at a time it is seen to that their pages know them as vacant.
    const VACATED_AT_A_TIME: usize = 64;

    pub(crate) const fn new() -> Self {
        let (partial, closed) = (List::new(), List::new());
        Self { partial, closed, closings: 0, passed: 0, reused: 0, pages: 0, open: 0 }
    }

    /// Whether [`take`](Self::take) would find nothing.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.partial.front().is_none() && self.reused == self.passed
    }

    /// Adds a page.
    ///
    /// # Safety
    /// `page` is a frame that is the pool's from now on.
    pub(crate) unsafe fn add(&mut self, page: NonNull<u8>) {
        let header = page.cast::<Header>();
        // SAFETY: the frame is ours, aligned, and has room for the header; what is written here makes it initialised, as `Meta` demands.
        let header = unsafe {
            header.write(Header { links: Links::new(), vacant: Cell::new(ALL_VACANT), ready: Cell::new(0) });
            Meta::new(header)
        };
        self.partial.push_back(header);
        self.pages += 1;
    }

    /// Takes a descriptor that can be opened.
    pub(crate) fn take(&mut self) -> Option<Meta<Slab>> {
        if let Some(slab) = self.take_closed() {
            self.open += 1;
            return Some(slab);
        }
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

    /// Takes a descriptor that was closed, once a grace period has passed since.
    fn take_closed(&mut self) -> Option<Meta<Slab>> {
        let slab = self.closed.front().filter(|_| self.reused < self.passed)?;
        self.closed.remove(slab);
        self.reused += 1;
        Some(slab)
    }

    /// Takes back a descriptor that describes nothing any more. Whether a grace period is due: again and again, if none passes.
    pub(crate) fn put(&mut self, slab: Meta<Slab>) -> bool {
        debug_assert!(place_of(slab).0.vacant.get() & 1 << place_of(slab).1 == 0);
        self.open -= 1;
        self.closed.push_back(slab);
        self.closings += 1;
        let due = Self::DUE.min((self.pages * DESCRIPTORS / 2) as u64).max(1);
        (self.closings - self.passed) % due == 0
    }

    /// How many descriptors were ever closed; `None` if none waits for a grace period.
    pub(crate) fn closings(&self) -> Option<u64> {
        (self.closings > self.passed).then_some(self.closings)
    }

    /// A grace period has passed that began when so many descriptors [had been closed](Self::closings).
    pub(crate) fn pass(&mut self, closings: u64) {
        self.passed = self.passed.max(closings);
    }

    /// Has pages know as vacant what could be opened again, so many at a time, so that the pages can be given back. Whether there is more.
    pub(crate) fn vacate_some(&mut self) -> bool {
        (0..Self::VACATED_AT_A_TIME).all(|_| self.take_closed().inspect(|&slab| self.vacate(slab)).is_some())
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

    /// Removes a page of which all descriptors are vacant, so that nobody is at any of them, and returns its frame.
    pub(crate) fn remove_idle(&mut self) -> Option<NonNull<u8>> {
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
