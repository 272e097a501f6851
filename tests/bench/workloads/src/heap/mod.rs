//! The heap: what every allocator of objects is asked to do, and the loops that do it.
//!
//! As for page frames a loop does as little as can be done besides the calls. The first word of an object is written as
//! soon as it is allocated: a program that asks for memory uses it, and an allocator that hands out what no cache holds
//! makes it wait. Each loop is one piece of code, whoever calls it.

mod bifolio;
mod linked_list;
mod region;
mod talc;
mod window;

pub use bifolio::BifolioHeap;
pub use linked_list::LinkedList;
pub use region::{Backing, InRegion, RegionHeap};
pub use talc::DefaultTalc;
pub use window::{Sizes, Window};

use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::{self, NonNull};

/// An allocator of objects, for all threads of a run. Calls are resolved and inlined at compile time.
pub trait Objects: Sync + Sized {
    /// The package's name.
    const NAME: &'static str;

    /// An allocator that has no object yet. One that exists once in a process has them all back by now.
    fn new() -> Self;

    /// Has whatever the CPU that this runs on needs for itself made now, as a kernel does before a CPU is to be quick.
    fn prepare(&self) {}

    /// Allocates an object.
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>>;

    /// Frees an object.
    ///
    /// # Safety
    /// [`allocate`](Self::allocate) returned it for this layout, and nobody uses it any more.
    unsafe fn free(&self, object: NonNull<u8>, layout: Layout);

    /// Allocates an object of zeros.
    #[inline]
    fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
        let object = self.allocate(layout)?;
        // SAFETY: the object has as many bytes and nobody knows it yet.
        unsafe { object.write_bytes(0, layout.size()) };
        Some(object)
    }

    /// Changes an object's size; its contents stay, as far as they fit. `None` leaves it as it was. What an allocator
    /// cannot do itself is what Rust's own `GlobalAlloc` does then: move it.
    ///
    /// # Safety
    /// As for [`free`](Self::free); from here on the object has `size` bytes.
    #[inline]
    unsafe fn reallocate(&self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        let moved = self.allocate(aligned(size, layout.align()))?;
        // SAFETY: two objects, each of at least as many bytes; by this function's contract the old one may be freed.
        unsafe {
            ptr::copy_nonoverlapping(object.as_ptr(), moved.as_ptr(), size.min(layout.size()));
            self.free(object, layout);
        }
        Some(moved)
    }
}

/// What most objects are aligned to.
pub const ALIGN: usize = 8;

/// An object of 64 bytes.
pub const SIXTY_FOUR: Layout = sized(64);

/// The layout of an object of so many bytes, from 1 to a few GiB.
#[inline]
pub const fn sized(size: usize) -> Layout {
    aligned(size, ALIGN)
}

/// The layout of an object with this alignment, a power of two.
#[inline]
pub const fn aligned(size: usize, align: usize) -> Layout {
    // SAFETY: sizes of the workloads are far from the end of the address space, and alignments are powers of two.
    unsafe { Layout::from_size_align_unchecked(size, align) }
}

/// Uses an object that has just been allocated, as far as every program does.
#[inline]
pub fn touch(object: NonNull<u8>) {
    // SAFETY: the smallest object has a word, and is aligned to one.
    unsafe { object.cast::<usize>().write_volatile(1) };
}

/// One object, allocated and freed again, so many times; how often it was refused.
#[inline(never)]
pub fn pairs<A: Objects>(heap: &A, count: u64) -> u64 {
    let mut refused = 0;
    for _ in 0..count {
        match heap.allocate(SIXTY_FOUR) {
            Some(object) => {
                touch(object);
                // SAFETY: it was just allocated so, and nobody knows it.
                unsafe { heap.free(black_box(object), SIXTY_FOUR) };
            }
            None => refused += 1,
        }
    }
    refused
}

/// Objects that a list holds, in the order of their allocation or not.
pub type List = [Option<NonNull<u8>>];

/// Fills the list with objects of 64 bytes; how many it did not get.
#[inline(never)]
pub fn fill<A: Objects>(heap: &A, objects: &mut List) -> u64 {
    let mut refused = 0;
    for slot in objects {
        *slot = heap.allocate(SIXTY_FOUR);
        match *slot {
            Some(object) => touch(object),
            None => refused += 1,
        }
    }
    refused
}

/// Frees the list's objects in this order.
///
/// # Safety
/// [`fill`] allocated them, and each is freed once.
#[inline(never)]
pub unsafe fn free_all<A: Objects>(heap: &A, objects: &List) {
    for object in objects.iter().copied().flatten() {
        // SAFETY: by this function's contract.
        unsafe { heap.free(object, SIXTY_FOUR) };
    }
}
