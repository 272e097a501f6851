//! Ranges that grow and shrink where they are.

use super::zonelist::Request;
use super::{Cpu, PageAllocator};
use crate::error::{FreeError, RangeError, ResizeError};
use crate::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Makes an allocated range longer or shorter: one that is allocated as the [largest blocks](PfnRange::blocks) that make
    /// it up, such as a block, or what [`allocate_exact`](Self::allocate_exact) gave. The range that is returned is
    /// allocated in the same way. What the frames hold stays as it is.
    ///
    /// A range grows into free frames behind it, one or many blocks, whichever they are buddies of; nothing that an arena
    /// holds is taken from it. A range that shrinks frees its last frames. The flags are those of a request for what is
    /// added; shrinking needs none.
    ///
    /// # Errors
    /// [`ResizeError`], saying what is not allocated as it should be, or which frame is in the way; nothing has changed.
    pub fn resize(&self, range: PfnRange, frames: u64, gfp: Gfp) -> Result<PfnRange, ResizeError> {
        Self::announce(gfp);
        if range.is_empty() || frames == 0 {
            return Err(FreeError::NoFrames.into());
        }
        let end = Pfn::new(range.start.number().saturating_add(frames));
        let resized = PfnRange::new(range.start, end);
        let kind = ZoneKind::of(range.start);
        if resized.intersection(kind.range()) != resized || range.intersection(kind.range()) != range {
            return Err(RangeError::CrossesZones(resized).into());
        }
        self.with(kind, |zone| {
            range.blocks().try_for_each(|(pfn, given)| match zone.order_of(pfn)? {
                actual if actual != given => Err(FreeError::WrongOrder { pfn, given, actual }),
                _ => Ok(()),
            })?;
            // What a CPU handed out is its zone's from now on: as something else than what the CPU knows.
            zone.own(range);
            if frames < range.frames() {
                zone.shrink(range, frames)?;
            } else {
                let added = frames - range.frames();
                if added == 0 {
                    return Ok(());
                }
                let request = Request::new(Order::ZERO, gfp).map_err(|_| RangeError::ContradictoryFlags(gfp))?;
                if request.highest < kind {
                    return Err(RangeError::ContradictoryFlags(gfp).into());
                }
                let (mark, reserve) = request.marks(zone);
                if !gfp.contains(Gfp::MEMALLOC) && !zone.admits(added, mark, reserve, false) {
                    return Err(ResizeError::OutOfMemory { frames: added, gfp });
                }
                zone.extend(range, resized.end, request.mobility)?;
            }
            Ok(())
        })?;
        let added = PfnRange::new(range.end, resized.end);
        if gfp.contains(Gfp::ZERO) && !added.is_empty() {
            // SAFETY: the frames were allocated just now, and nobody else knows of them yet.
            if !unsafe { C::zero(added) } {
                self.resize(resized, range.frames(), gfp)?;
                return Err(RangeError::CannotZero.into());
            }
        }
        Ok(resized)
    }
}
