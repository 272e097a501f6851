//! The memory that a world's state lies in: one block, and what the heap keeps of itself.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use alloc::vec::Vec;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan, SetupError};
use bifolio::heap::Heap;

use crate::checkpoints::Changes;
use crate::cpu::Replayed;
use crate::script::Script;
use crate::source::{CHUNK, Source};

pub(crate) type Frames = PageAllocator<'static, Replayed>;
pub(crate) type Objects = Heap<Source, Replayed>;

/// What memory is looked at and copied in: so many bytes of words, aligned to their number.
const PIECE: usize = 4096;
type Piece = [u64; PIECE / size_of::<u64>()];

/// An allocator and a heap with all that they refer to, which does not move.
#[derive(Debug)]
pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
    /// Where the heap is in the block.
    heap: usize,
}

impl Memory {
    /// Sets an allocator up, and a heap that asks `script` for its frames. The allocator's metadata is zero at first, as the hash of its
    /// state wants it.
    pub(crate) fn new(plan: &Plan<'_>, cpus: usize, script: &Script) -> Result<Self, SetupError> {
        let words = plan.metadata_words();
        let (layout, heap) = place(Layout::new::<UnsafeCell<Frames>>(), Ok(Layout::new::<UnsafeCell<Objects>>()));
        let (layout, pages_at) = place(layout, Layout::array::<PerCpuPages>(cpus));
        let (layout, words_at) = place(layout, Layout::array::<u64>(words));
        let layout = layout.align_to(PIECE).expect("a power of two").pad_to_align();
        // SAFETY: the layout is not of size 0, since it has room for an allocator.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let memory = Self { base, layout, heap };
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
        // SAFETY: `place` has put the allocator first and the heap at `heap`, aligned.
        unsafe {
            base.cast::<Frames>().write(frames);
            base.add(heap).cast::<Objects>().write(Heap::new(Source::new(script)));
        }
        Ok(memory)
    }

    /// The allocator.
    pub(crate) fn frames(&self) -> &Frames {
        // SAFETY: `new` has written it there, and it is written anew by `restore` alone, which borrows mutably.
        unsafe { self.base.cast::<Frames>().as_ref() }
    }

    /// The heap.
    pub(crate) fn heap(&self) -> &Objects {
        // SAFETY: as for the allocator.
        unsafe { self.base.add(self.heap).cast::<Objects>().as_ref() }
    }

    /// How many bytes the block has.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// The pieces of the block, and then those of what the heap keeps of itself.
    fn pieces(&self) -> impl Iterator<Item = NonNull<Piece>> {
        let in_block = |base: NonNull<u8>, bytes: usize| {
            // SAFETY: the piece lies inside of what is so long.
            (0..bytes / PIECE).map(move |index| unsafe { base.add(index * PIECE).cast() })
        };
        let chunks = self.heap().source().chunks();
        in_block(self.base, self.bytes()).chain(chunks.into_iter().flat_map(move |chunk| in_block(chunk, CHUNK)))
    }

    /// Shows all words, piece by piece.
    fn for_each_piece(&self, mut visit: impl FnMut(&Piece)) {
        for piece in self.pieces() {
            // SAFETY: the memory was zeroed and is as long as that, and pieces begin where blocks of their size do; nobody uses the
            // allocator or the heap meanwhile, since no other thread has the world. Padding holds whatever was there: zeros, or copies
            // of such.
            visit(unsafe { piece.as_ref() });
        }
    }

    /// A copy of all words.
    pub(crate) fn copy(&self) -> Vec<u64> {
        let mut words = Vec::new();
        self.for_each_piece(|piece| words.extend_from_slice(piece));
        words
    }

    /// Makes `latest`, which is a copy of this memory or empty, one of what it is now, and returns what of it has changed. `None` if there
    /// are more words.
    pub(crate) fn changes(&self, latest: &mut Vec<u64>) -> Option<Changes> {
        let (mut changes, mut at, known) = (Changes::default(), 0, latest.len());
        self.for_each_piece(|piece| {
            match latest.get_mut(at..at + piece.len()) {
                Some(before) if before == piece => {}
                Some(before) => {
                    for (nth, (before, word)) in before.iter_mut().zip(piece).enumerate() {
                        if before != word {
                            *before = *word;
                            changes.push(at + nth, *word);
                        }
                    }
                }
                None => latest.extend_from_slice(piece),
            }
            at += piece.len();
        });
        (at == known).then_some(changes)
    }

    /// Makes the words those of a copy of this memory. What the heap has had to itself since then stays, and is not used.
    pub(crate) fn restore(&mut self, copy: &[u64]) {
        let pieces: Vec<_> = self.pieces().collect();
        for (piece, copy) in pieces.into_iter().zip(copy.as_chunks().0) {
            // SAFETY: as in `for_each_piece`. What the words refer to lies at the same addresses as when they were copied: in this
            // memory, which does not move, or in the world's script, which lives as long.
            unsafe { piece.write(*copy) };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout. The allocator and the heap in it have nothing to drop: they are words in this very
        // block, and in the script's chunks.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Puts something behind what there is; where it begins.
fn place(layout: Layout, next: Result<Layout, core::alloc::LayoutError>) -> (Layout, usize) {
    next.and_then(|next| layout.extend(next)).expect("a machine's metadata fits into memory")
}
