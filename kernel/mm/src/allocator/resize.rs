//! Ranges that grow and shrink where they are.

use super::record::done;
use super::{Call, Cpu, PageAllocator};
use crate::error::{FreeError, RangeError, Refused, ResizeError};
use crate::frame::{Blocks, Gfp, Pfn, PfnRange};
use crate::zone::Zone;

impl<C: Cpu> PageAllocator<'_, C> {
    /// Makes allocated frames more or fewer: a [block](crate::frame::Block), or what
    /// [`allocate_exact`](Self::allocate_exact) and its like gave. What the frames hold stays as it is.
    ///
    /// They grow into free frames behind them, one or many blocks, whichever those are buddies of; nothing that a CPU's pages
    /// hold is taken from them. Where they are to be fewer, the last are freed. The flags are those of a request for what is
    /// added; shrinking needs none.
    ///
    /// # Errors
    /// [`ResizeError`], saying what is in the way. It gives the frames back, which are as they were.
    pub fn resize(&self, blocks: Blocks, frames: u64, gfp: Gfp) -> Result<Blocks, Refused<Blocks, ResizeError>> {
        // SAFETY: `blocks` is the only owner of the frames, and is used no more if they become others.
        match unsafe { self.resize_raw(blocks.range(), frames, gfp) } {
            // SAFETY: `resize_raw` has made the range allocated, as the largest blocks, and what it was before is used no more.
            Ok(resized) => Ok(unsafe { Blocks::from_raw(resized) }),
            Err(error) => Err(Refused { given: blocks, error }),
        }
    }

    /// [`resize`](Self::resize) by number: of the allocated blocks that make up the range, which are as large as can be. The
    /// range that is returned is allocated in the same way.
    ///
    /// # Errors
    /// [`ResizeError`], saying what is not allocated as it should be, or which frame is in the way; nothing has changed.
    ///
    /// # Safety
    /// As for [`free_raw`](Self::free_raw), for each of the blocks; but that the memory of the first `frames` frames may be
    /// in use.
    pub unsafe fn resize_raw(&self, range: PfnRange, frames: u64, gfp: Gfp) -> Result<PfnRange, ResizeError> {
        let added = frames.saturating_sub(range.frames());
        if self.begin(added, gfp) {
            return Err(ResizeError::OutOfMemory { frames: added, gfp });
        }
        self.recorded(Call::Resize { range, frames, gfp }, done, || self.resize_pfns(range, frames, gfp))
    }

    /// What [`resize_raw`](Self::resize_raw) records. As there, the blocks are nobody else's, and the memory behind `frames` not in use.
    fn resize_pfns(&self, range: PfnRange, frames: u64, gfp: Gfp) -> Result<PfnRange, ResizeError> {
        let resized = self.resized(range, frames)?;
        self.clear_end(range, frames)?;
        self.with(self.zone_of(range.start), |zone| {
            range.blocks().try_for_each(|(pfn, order)| zone.look_for(pfn, order))?;
            // What a CPU handed out is its zone's from now on: as something else than what the CPU knows.
            zone.own(range);
            match frames.checked_sub(range.frames()) {
                None => zone.shrink(range, frames).map_err(ResizeError::from),
                Some(0) => Ok(()),
                Some(added) => self.extend(zone, range, added, gfp),
            }
        })?;
        let added = PfnRange::new(range.end, resized.end);
        if self.is_to_zero(gfp) && !added.is_empty() {
            // SAFETY: the frames are RAM, by the promise of `new`, and were allocated just now: no other code knows of them yet.
            if !unsafe { self.zero(added) } {
                self.resize_pfns(resized, range.frames(), gfp)?;
                return Err(RangeError::CannotZero.into());
            }
        }
        Ok(resized)
    }

    /// What a range becomes that is to have so many frames: in the zone that it is in.
    fn resized(&self, range: PfnRange, frames: u64) -> Result<PfnRange, ResizeError> {
        if range.is_empty() || frames == 0 {
            return Err(FreeError::NoFrames.into());
        }
        let end = Pfn::new(range.start.number().saturating_add(frames));
        self.zone_of_all(PfnRange::new(range.start, end.max(range.end)))?;
        Ok(PfnRange::new(range.start, end))
    }

    /// Takes the free frames behind a range, so many, as a request with these flags may.
    fn extend(&self, zone: &mut Zone<'_>, range: PfnRange, frames: u64, gfp: Gfp) -> Result<(), ResizeError> {
        let request = self.request_in(zone.stats.kind, gfp)?;
        let marks = request.marks(zone);
        if !gfp.contains(Gfp::MEMALLOC) && !zone.admits(frames, marks, false) {
            return Err(ResizeError::OutOfMemory { frames, gfp });
        }
        Ok(zone.extend(range, range.end.offset(frames), request.mobility)?)
    }
}
