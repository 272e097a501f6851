//! Many single frames with one call (Linux: `alloc_pages_bulk`).

use super::{AllocError, Cpu, PageAllocator};
use crate::error::FreeError;
use crate::frame::{Gfp, Order, Pfn};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Allocates a frame for each empty slot, and leaves the others as they are. Returns how many slots it filled: fewer
    /// than were empty if memory is short, since only the first frame is worth waiting for, or the reserves.
    ///
    /// # Errors
    /// [`AllocError`] if not one frame could be allocated, for the reasons that
    /// [`allocate`](PageAllocator::allocate) has, or if there are no slots.
    pub fn allocate_bulk(&self, slots: &mut [Option<Pfn>], gfp: Gfp) -> Result<usize, AllocError> {
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

    /// Frees the frames in the slots, and empties those.
    ///
    /// # Errors
    /// The first [`FreeError`]; that slot and those behind it are as they were.
    pub fn free_bulk(&self, slots: &mut [Option<Pfn>]) -> Result<(), FreeError> {
        for slot in slots {
            if let Some(pfn) = *slot {
                self.free(pfn, Order::ZERO)?;
                *slot = None;
            }
        }
        Ok(())
    }
}
