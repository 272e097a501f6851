//! The one block of memory that a world's state lies in.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan, SetupError};

use crate::cpu::Replayed;

pub(crate) type Frames = PageAllocator<'static, Replayed>;

/// Bytes that checkpoints share if they are the same.
pub(crate) const PIECE: usize = 4096;
pub(crate) type Piece = Rc<[u8; PIECE]>;

/// An allocator with all that it refers to, in one block that does not move.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Sets an allocator up. Its metadata is zero at first, as the hash of its state wants it.
    pub(crate) fn new(plan: &Plan<'_>, cpus: usize) -> Result<Self, SetupError> {
        let words = plan.metadata_words();
        let (layout, pages_at) = place(Layout::new::<UnsafeCell<Frames>>(), Layout::array::<PerCpuPages>(cpus));
        let (layout, words_at) = place(layout, Layout::array::<u64>(words));
        let layout = layout.align_to(PIECE).expect("a power of two").pad_to_align();
        // SAFETY: the layout is not of size 0, since it has room for an allocator.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let memory = Self { base, layout };
        // SAFETY: `place` has put the pages there, aligned; the block is fresh, so nothing else refers to them, and they are written
        // before they are borrowed. They live until `memory` is dropped, which its user has the allocator outlive in no way.
        let pages = unsafe {
            let pages = base.add(pages_at).cast::<PerCpuPages>();
            (0..cpus).for_each(|cpu| pages.add(cpu).write(PerCpuPages::new()));
            NonNull::slice_from_raw_parts(pages, cpus).as_ref()
        };
        // SAFETY: likewise of the words, for which zeros are as good as any bits.
        let metadata = unsafe { NonNull::slice_from_raw_parts(base.add(words_at).cast::<u64>(), words).as_mut() };
        // SAFETY: the frames are numbers, which nobody takes for memory.
        let frames = unsafe { Frames::new(plan, metadata, pages) }?;
        // SAFETY: `place` has put the allocator first, aligned.
        unsafe { base.cast::<Frames>().write(frames) };
        Ok(memory)
    }

    /// The allocator.
    pub(crate) fn frames(&self) -> &Frames {
        // SAFETY: `new` has written it there, and it is written anew by `restore` alone, which borrows mutably.
        unsafe { self.base.cast::<Frames>().as_ref() }
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// A copy of all bytes, in pieces; those that are the same as in `before` are shared with it.
    pub(crate) fn copy(&mut self, before: Option<&[Piece]>) -> Vec<Piece> {
        let piece = |index: usize| {
            // SAFETY: the block was zeroed and is as long as that; nobody uses the allocator meanwhile, which is borrowed from
            // `self`. Padding holds whatever was there: zeros, or copies of such.
            let bytes = unsafe { self.base.add(index * PIECE).cast::<[u8; PIECE]>().as_ref() };
            match before.and_then(|before| before.get(index)) {
                Some(same) if **same == *bytes => Rc::clone(same),
                _ => Rc::new(*bytes),
            }
        };
        (0..self.bytes() / PIECE).map(piece).collect()
    }

    /// Makes the bytes those of a copy of this block.
    pub(crate) fn restore(&mut self, copy: &[Piece]) {
        for (index, piece) in copy.iter().enumerate().take(self.bytes() / PIECE) {
            // SAFETY: as in `copy`. What the bytes refer to lies at the same addresses as when they were copied: in this block, which
            // does not move, or in the world's script, which lives as long.
            unsafe { self.base.add(index * PIECE).cast::<[u8; PIECE]>().write(**piece) };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout. The allocator in it has nothing to drop: it is words in this very block.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Puts something behind what there is; where it begins.
fn place(layout: Layout, next: Result<Layout, core::alloc::LayoutError>) -> (Layout, usize) {
    next.and_then(|next| layout.extend(next)).expect("a machine's metadata fits into memory")
}
