//! The same heap by C's functions: by size alone, and back by address alone.

use std::alloc::Layout;
use std::ptr::{NonNull, null_mut};

use bifolio::heap::{Heap, HeapError, Malloc, MallocError};

use super::pages::Pages;
use super::{MOST_CPUS, Round, contents, group};
use crate::machine::Turns;

/// What C asks for when it says nothing of alignment: that of `max_align_t` for what is large enough to need it.
pub(super) fn layout_of(size: usize) -> Layout {
    Layout::from_size_align(size, if size < 16 { 8 } else { 16 }).expect("sizes are small")
}

impl<'m> Round<'m> {
    fn malloc(&self) -> Malloc<&Heap<Pages<'m>, Turns, MOST_CPUS>> {
        Malloc::new(&self.heap)
    }

    /// Calls one of C's functions.
    pub(super) fn use_malloc(&mut self) {
        match self.random.below(8) {
            0..4 => self.allocate_by_size(),
            4..7 => self.free_by_address(),
            _ => self.ask_for_nonsense(),
        }
    }

    fn allocate_by_size(&mut self) {
        let (size, align) = self.phase.size_and_align(&mut self.random);
        let refusals = self.heap.source().refusals.get();
        let (way, count) = (self.random.below(4), self.random.one_of(&[1, 2, 3, 16]));
        let (name, layout, result) = match way {
            0 => ("malloc", layout_of(size), self.malloc().malloc(size)),
            1 => {
                let each = size.div_ceil(count);
                ("calloc", layout_of(count * each), self.malloc().calloc(count, each))
            }
            2 => {
                let layout = Layout::from_size_align(size, align).expect("sizes and alignments are small");
                ("aligned_alloc", layout, self.malloc().aligned_alloc(align, size))
            }
            // SAFETY: null is no object.
            _ => ("realloc of null", layout_of(size), unsafe { self.malloc().realloc(null_mut(), size) }),
        };
        self.tally.count(group::OPERATIONS, name);
        match result {
            Ok(address) => {
                // SAFETY: the object is new, this long, and filled by the heap.
                assert!(name != "calloc" || unsafe { contents::is_all(address, 0, layout.size()) });
                self.took(address, layout);
            }
            Err(error) => {
                assert_eq!(error, MallocError::OutOfMemory(layout));
                self.refused(name, layout, refusals);
            }
        }
    }

    fn free_by_address(&mut self) {
        let Some(index) = self.nth() else { return };
        let object = self.live[index];
        let (size, align) = (object.layout.size(), object.layout.align());
        // SAFETY: the object is ours, and filled.
        unsafe { contents::check(object.address, object.number, size) };
        let way = self.random.below(3);
        let expected = match way {
            1 => self.blocks().verdict(object.start(), Some(layout_of(size))),
            _ => Ok(()),
        };
        if expected.is_ok() {
            self.live.swap_remove(index);
            self.gave(&object);
        }
        let start = object.address.as_ptr();
        // SAFETY: the object is ours, and not used afterwards if it is freed.
        let (name, freed) = unsafe {
            match way {
                0 => ("free by address", self.malloc().free(start).map_err(MallocError::from)),
                1 => ("free_sized", self.malloc().free_sized(start, size)),
                _ => ("free_aligned_sized", self.malloc().free_aligned_sized(start, align, size)),
            }
        };
        self.tally.count(group::OPERATIONS, name);
        assert_eq!(freed, expected.map_err(MallocError::NoObject), "{name} of {start:p}, {:?}", object.layout);
    }

    /// Asks for what there cannot be, or for nothing.
    fn ask_for_nonsense(&mut self) {
        self.tally.count(group::REFUSALS, "nonsense");
        let size = 2 + self.random.below(5000) as usize;
        let (count, align) = (usize::MAX / size + 1, [0, 3, 24, usize::MAX][size % 4]);
        assert_eq!(self.malloc().calloc(count, size), Err(MallocError::TooMany { count, size }));
        assert_eq!(self.malloc().aligned_alloc(align, size), Err(MallocError::InvalidAlignment { align, size }));
        // SAFETY: null is no object.
        assert_eq!(unsafe { self.malloc().free(null_mut()) }, Ok(()));
        // No bytes are an object, of which there is nothing to be filled.
        let Ok(nothing) = self.malloc().malloc(0) else { return };
        let object = nothing.as_ptr();
        self.heap.source().blocks.borrow_mut().take(
            object.addr(),
            layout_of(0),
            !self.debug_of(layout_of(0)).is_empty(),
        );
        self.heap.source().blocks.borrow_mut().give(object.addr());
        // SAFETY: the object is ours, and not used afterwards.
        assert_eq!(unsafe { self.malloc().free(object) }, Ok(()));
    }

    /// Resizes an object by its address alone, as [`Heap::reallocate`](bifolio::heap::Heap::reallocate) does with its layout.
    ///
    /// # Safety
    /// The object is the caller's, which goes on with what comes back.
    pub(super) unsafe fn resize_by_address(
        &self,
        object: NonNull<u8>,
        size: usize,
    ) -> Result<Option<NonNull<u8>>, HeapError> {
        // SAFETY: by this function's contract.
        match unsafe { self.malloc().realloc(object.as_ptr(), size) } {
            Ok(moved) => Ok(Some(moved)),
            Err(MallocError::NoObject(error)) => Err(error),
            Err(error) => {
                assert_eq!(error, MallocError::OutOfMemory(layout_of(size)));
                Ok(None)
            }
        }
    }
}
