//! Objects that know what they hold.

use std::alloc::Layout;
use std::ptr::NonNull;

use bifolio::heap::{Heap, HeapError, MAX_CPUS, PageSource};
use kit::{Sound, scale};

use crate::source::{Blocks, Thread};

/// A heap that stands still asks each of them.
pub const CPUS: usize = scale::size(MAX_CPUS, 4);

pub type TestHeap = Heap<Blocks, Thread, CPUS>;

pub fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A live object, filled to its last byte with a pattern of its own, or as far as there is time for.
#[derive(Debug)]
pub struct Object {
    pub address: NonNull<u8>,
    pub layout: Layout,
    seed: u8,
}

// SAFETY: the memory belongs to the object, which belongs to one thread at a time.
unsafe impl Send for Object {}

impl Object {
    /// Allocates and fills; `None` if the heap refuses.
    pub fn try_new<S: PageSource>(heap: &Heap<S, Thread, CPUS>, layout: Layout, seed: u8) -> Option<Self> {
        let object = Self { address: heap.allocate(layout)?, layout, seed };
        assert!(object.start() % layout.align() == 0, "misaligned: {object:?}");
        object.fill(0);
        Some(object)
    }

    pub fn new<S: PageSource>(heap: &Heap<S, Thread, CPUS>, layout: Layout, seed: u8) -> Self {
        Self::try_new(heap, layout, seed).unwrap_or_else(|| panic!("no memory for {layout:?}"))
    }

    pub fn start(&self) -> usize {
        self.address.as_ptr().addr()
    }

    pub fn end(&self) -> usize {
        self.start() + self.layout.size()
    }

    fn pattern(&self, index: usize) -> u8 {
        self.seed ^ (index as u8).wrapping_mul(37)
    }

    /// Writes the pattern from byte `from` on.
    fn fill(&self, from: usize) {
        for index in scale::bytes(from, self.layout.size()) {
            // SAFETY: the object is ours, and this long.
            unsafe { self.address.add(index).write(self.pattern(index)) };
        }
    }

    /// Asserts that the first `length` bytes hold the pattern.
    fn check_first(&self, length: usize) {
        for index in scale::bytes(0, length) {
            // SAFETY: the object is ours, this long, and was filled.
            let byte = unsafe { self.address.add(index).read() };
            assert_eq!(byte, self.pattern(index), "byte {index} of {self:?} was overwritten");
        }
    }

    /// Asserts that nobody wrote to the object.
    pub fn check(&self) {
        self.check_first(self.layout.size());
    }

    /// Resizes; `false`, and nothing changed, if the heap has no memory for that.
    pub fn resize<S: PageSource>(&mut self, heap: &Heap<S, Thread, CPUS>, size: usize) -> bool {
        // SAFETY: the object is ours; we go on with what comes back.
        let Some(address) = unsafe { heap.reallocate(self.address, self.layout, size) }.unwrap() else {
            self.check();
            return false;
        };
        let kept = self.layout.size().min(size);
        self.address = address;
        self.layout = layout(size, self.layout.align());
        assert!(self.start() % self.layout.align() == 0, "misaligned: {self:?}");
        self.check_first(kept);
        self.fill(kept);
        true
    }

    /// Checks the contents and frees.
    pub fn free<S: PageSource>(self, heap: &Heap<S, Thread, CPUS>) {
        self.check();
        // SAFETY: the object is ours, and nobody uses it afterwards.
        unsafe { heap.free(self.address, self.layout) }.unwrap();
    }
}

/// Frees what may not be freed and asserts that it is refused with the heap unchanged. Returns the error.
pub fn bad_free(heap: &TestHeap, address: usize, layout: Layout) -> HeapError {
    let before = state(heap);
    let object = NonNull::new(std::ptr::without_provenance_mut(address)).unwrap();
    assert!(!heap.is_live(object, layout));
    // SAFETY: nobody's object starts here with this layout.
    let error = unsafe { heap.free(object, layout) }.expect_err("a bad free was taken");
    assert_eq!(state(heap), before, "{error} changed the heap");
    heap.sound();
    error
}

/// All that a heap tells of itself, and the blocks that it holds.
pub fn state(heap: &TestHeap) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut slabinfo = String::new();
    heap.write_slabinfo(&mut slabinfo).unwrap();
    (slabinfo, heap.frames(), heap.source().out(), heap.source().requests())
}

/// Asserts that the heap, which has no live object, gives every frame back.
pub fn assert_empties(heap: &TestHeap) {
    heap.sound();
    let held = heap.source().frames();
    assert_eq!(heap.shrink(), held, "shrink says how much it gave back");
    assert_eq!(heap.source().out(), [], "the heap gave everything back");
    assert_eq!(heap.frames(), Default::default());
    heap.sound();
}
