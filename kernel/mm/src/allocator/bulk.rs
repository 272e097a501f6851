//! Many single frames with one call (Linux: `alloc_pages_bulk`).

use super::{AllocError, Cpu, PageAllocator, PerCpuPages};
use crate::error::FreeError;
use crate::frame::{Block, Gfp, Order};

/// A zone is not locked, and interrupts are not masked, for longer than the freeing of this many frames takes.
const AT_A_TIME: usize = 64;

impl<C: Cpu> PageAllocator<'_, C> {
    /// Allocates a frame for each empty slot, and leaves the others as they are. Returns how many slots it filled: fewer
    /// than were empty if memory is short, since only the first frame is worth waiting for, or the reserves.
    ///
    /// # Errors
    /// [`AllocError`] if not one frame could be allocated, for the reasons that
    /// [`allocate`](PageAllocator::allocate) has, or if there are no slots.
    pub fn allocate_bulk(&self, slots: &mut [Option<Block>], gfp: Gfp) -> Result<usize, AllocError> {
        if slots.is_empty() {
            return Err(AllocError::NoFrames);
        }
        let mut filled = 0;
        for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
            *slot = match filled {
                0 => Some(self.allocate(Order::ZERO, gfp)?),
                _ => self.allocate(Order::ZERO, gfp | Gfp::READILY).ok(),
            };
            if slot.is_none() {
                break;
            }
            filled += 1;
        }
        Ok(filled)
    }

    /// Frees the blocks in the slots, and empties those: the frames of one pageblock that stand together under one lock. A
    /// block of more than one frame goes by itself.
    ///
    /// # Errors
    /// The first [`FreeError`], as for [`free`](Self::free); that slot and those behind it are as they were.
    pub fn free_bulk(&self, slots: &mut [Option<Block>]) -> Result<(), FreeError> {
        let mut done = 0;
        while done < slots.len() {
            let end = slots.len().min(done + AT_A_TIME);
            done += self.enter().map_or(0, |pages| self.free_together(&pages, &mut slots[done..end]));
            if done < end {
                // What cannot go with the others goes alone, or is named.
                if let Some(block) = &slots[done] {
                    // SAFETY: the slot has the block's only owner, and is emptied if the block is freed.
                    unsafe { self.free_raw(block.pfn(), block.order()) }?;
                    slots[done] = None;
                }
                done += 1;
            }
        }
        Ok(())
    }

    /// Frees the frames in the slots as far as each is of a batch of this CPU's, or takes no more than to set a bit. How many
    /// slots at the front are empty now.
    fn free_together(&self, pages: &PerCpuPages, slots: &mut [Option<Block>]) -> usize {
        let mut done = 0;
        while let Some(slot) = slots.get_mut(done) {
            match slot.as_ref().map(|block| (block.pfn(), block.order())) {
                Some((pfn, Order::ZERO)) if pages.free(pfn, Order::ZERO) => *slot = None,
                Some((pfn, Order::ZERO)) => match self.blocks_of(pfn).free_together(&mut slots[done..]) {
                    (0, _) => break,
                    (count, is_all_free) => {
                        self.note(pfn, is_all_free);
                        done += count;
                        continue;
                    }
                },
                Some(_) => break,
                None => {}
            }
            done += 1;
        }
        done
    }
}
