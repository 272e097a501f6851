//! The memory that an allocator's whole state lies in, so that a copy of it is the state, and copying back returns to it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use kit::Turns;

/// The allocator that is looked at.
pub(super) type Frames = PageAllocator<'static, Turns>;

const WORD: usize = size_of::<u64>();

/// An allocator with all that it refers to, which does not move.
pub(super) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

/// The words of a state that are others than in the first: where, and what.
pub(super) type Difference = Box<[(u32, u64)]>;

impl Memory {
    /// Sets an allocator up, with pages for so many CPUs.
    pub(super) fn new(plan: &Plan<'_>, cpus: usize) -> Self {
        let words = plan.metadata_words();
        let beside = |layout: Layout, next: Layout| layout.extend(next).expect("it is little");
        let (layout, pages_at) = beside(Layout::new::<Frames>(), Layout::array::<PerCpuPages>(cpus).expect("few"));
        let (layout, words_at) = beside(layout, Layout::array::<u64>(words).expect("few"));
        let layout = layout.align_to(WORD).expect("a power of two").pad_to_align();
        // SAFETY: the layout is not of size 0, since it has room for an allocator.
        let Some(base) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: the pages lie in the block where the layout has put them; nothing else refers to them, and they are written before
        // they are borrowed. The block lives until `Drop`, and nobody has the allocator longer than that.
        let pages = unsafe {
            let pages = base.add(pages_at).cast::<PerCpuPages>();
            (0..cpus).for_each(|cpu| pages.add(cpu).write(PerCpuPages::new()));
            NonNull::slice_from_raw_parts(pages, cpus).as_ref()
        };
        // SAFETY: likewise of the words, for which zeros are as good as any bits.
        let metadata = unsafe { NonNull::slice_from_raw_parts(base.add(words_at).cast::<u64>(), words).as_mut() };
        // SAFETY: the frames are numbers, which nobody takes for memory.
        let frames = unsafe { Frames::new(plan, metadata, pages) }.expect("the metadata has the planned size");
        // SAFETY: the layout has put the allocator first, and there is none yet.
        unsafe { base.cast::<Frames>().write(frames) };
        Self { base, layout }
    }

    /// The allocator.
    pub(super) fn frames(&self) -> &Frames {
        // SAFETY: `new` has written it there, and it is overwritten by `restore` alone, which borrows mutably.
        unsafe { self.base.cast::<Frames>().as_ref() }
    }

    fn words(&mut self) -> &mut [u64] {
        let words = self.layout.size() / WORD;
        // SAFETY: the block is as long, aligned, and was zero before anything was written; it is borrowed mutably, so nobody uses
        // the allocator meanwhile. Padding holds zeros, or what it was overwritten with.
        unsafe { NonNull::slice_from_raw_parts(self.base.cast::<u64>(), words).as_mut() }
    }

    /// A copy of all words.
    pub(super) fn image(&mut self) -> Box<[u64]> {
        self.words().into()
    }

    /// What is other than in the first state.
    pub(super) fn difference(&mut self, first: &[u64]) -> Difference {
        let words = (0..).zip(self.words().iter().zip(first));
        words.filter(|(_, (now, then))| now != then).map(|(index, (now, _))| (index, *now)).collect()
    }

    /// Returns to a state. All that the words refer to lies in this memory, which has not moved.
    pub(super) fn restore(&mut self, first: &[u64], difference: &Difference) {
        let words = self.words();
        words.copy_from_slice(first);
        for (index, word) in difference {
            words[*index as usize] = *word;
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and what is in it has nothing to drop: words in this very block.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
