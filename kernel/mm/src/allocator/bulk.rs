//! Many single frames with one call (Linux: `alloc_pages_bulk`).

use super::arena::Collected;
use super::{AllocError, Cpu, PageAllocator, PerCpuPages};
use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Block, Gfp, Order, ZoneKind};

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

    /// Frees the blocks in the slots, and empties those: the frames of one zone that stand together under one lock, whatever
    /// words they lie in. A block of more than one frame goes by itself.
    ///
    /// # Errors
    /// The first [`FreeError`], as for [`free`](Self::free); that slot and those behind it are as they were.
    pub fn free_bulk(&self, slots: &mut [Option<Block>]) -> Result<(), FreeError> {
        let mut done = 0;
        while done < slots.len() {
            let end = slots.len().min(done + AT_A_TIME);
            done += self.in_arena(|arena| self.free_together(arena, &mut slots[done..end])).unwrap_or(0);
            if done < end {
                // What cannot go with the others goes alone, or is named.
                if let Some(block) = &slots[done] {
                    // SAFETY: the slot's owner gave it to be freed, and the slot is emptied if it is.
                    unsafe { self.free_raw(block.pfn(), block.order()) }?;
                    slots[done] = None;
                }
                done += 1;
            }
        }
        Ok(())
    }

    /// Frees the frames in the slots as far as each is of a run of this arena, or of a word that no arena has to do with, or
    /// that this one is returning. How many slots at the front are empty now.
    fn free_together(&self, arena: &PerCpuPages, slots: &mut [Option<Block>]) -> usize {
        let mut locked = None;
        let mut done = 0;
        while let Some(slot) = slots.get_mut(done) {
            let Some(pfn) = slot.as_ref().map(Block::pfn) else {
                done += 1;
                continue;
            };
            if !is_single(slot) {
                break;
            }
            if arena.free_into_run(pfn, Order::ZERO).is_some() {
                *slot = None;
                done += 1;
                continue;
            }
            let zone = self.lock_one(ZoneKind::of(pfn), &mut locked);
            let Some(mut word) = zone.singles(pfn) else {
                if arena.free_into_return(pfn, Order::ZERO) != Some(Collected::Kept) {
                    break;
                }
                *slot = None;
                done += 1;
                continue;
            };
            // All that follow in the same word. A frame that comes twice is not among them a second time.
            let (first, can_be) = (pfn.number() & !u64::from(WORD_FRAMES - 1), word.heads);
            for slot in &mut slots[done..] {
                let bit = slot.as_ref().map_or(u64::MAX, |block| block.pfn().number().wrapping_sub(first));
                if !is_single(slot) || bit >= u64::from(WORD_FRAMES) || word.heads >> bit & 1 == 0 {
                    break;
                }
                word.heads &= !(1 << bit);
                *slot = None;
                done += 1;
            }
            word.heads ^= can_be;
            if word.heads == 0 {
                break;
            }
            zone.free_batch(word);
        }
        done
    }
}

/// Whether there is a single frame in the slot.
fn is_single(slot: &Option<Block>) -> bool {
    slot.as_ref().is_some_and(|block| block.order() == Order::ZERO)
}
