//! Ranges of frames: chosen by the caller, or longer than any block (Linux: `alloc_contig_range`, `alloc_contig_pages`).
//!
//! These walk over pageblocks. They are for set-up and for the few callers that need megabytes in a row, not for hot paths.

use super::record::{done, first_of};
use super::zonelist::Request;
use super::{AllocError, Call, Cpu, PageAllocator, View};
use crate::error::RangeError;
use crate::frame::{Blocks, Gfp, Order, PfnRange, ZoneKind};

impl<C: Cpu> PageAllocator<'_, C> {
    /// Isolates every pageblock that the range lies in: nothing is allocated from it any more, and what is free there, or
    /// is freed, is counted apart (Linux: `start_isolate_page_range`). What is in CPUs' pages is still handed out until they
    /// are [drained](Self::drain).
    ///
    /// # Errors
    /// [`RangeError`] if the range is empty, or not in one zone's RAM, or a pageblock is isolated already.
    pub fn isolate(&self, range: PfnRange) -> Result<(), RangeError> {
        let isolate = || self.with(self.zone_of_all(range)?, |zone| zone.isolate(range));
        self.recorded(Call::Isolate(range), done, isolate)
    }

    /// Ends the isolation of every pageblock that the range lies in; each has the mobility that it had before. Of what is
    /// not isolated nothing changes.
    ///
    /// # Errors
    /// [`RangeError`] if the range is empty, or not in one zone's RAM; the isolation of none is ended then.
    pub fn unisolate(&self, range: PfnRange) -> Result<(), RangeError> {
        let unisolate = || self.with(self.zone_of_all(range)?, |zone| zone.unisolate(range));
        self.recorded(Call::Unisolate(range), done, unisolate)
    }

    /// Allocates exactly these frames, as the [largest blocks](PfnRange::blocks) that make up the range: to be freed
    /// together, with [`free_range`](Self::free_range), or each by itself. No watermark is asked.
    ///
    /// Frames that CPUs' pages hold are taken back from them; if there are still allocated ones in the range, and the request
    /// may wait, shrinkers are asked for memory once. Nothing that is allocated is moved.
    ///
    /// # Errors
    /// [`RangeError`], saying which frame is in the way; nothing is allocated then, and every pageblock is as it was.
    pub fn allocate_range(&self, range: PfnRange, gfp: Gfp) -> Result<Blocks, RangeError> {
        self.announce(gfp);
        if self.must_fail(range.frames(), gfp) {
            return Err(RangeError::Busy(range.start));
        }
        self.recorded(Call::AllocateRange { range, gfp }, first_of, || self.take_range(range, gfp))
    }

    fn take_range(&self, range: PfnRange, gfp: Gfp) -> Result<Blocks, RangeError> {
        let kind = self.zone_of_all(range)?;
        if gfp.mobility().is_none() || gfp.highest_zone().is_none_or(|highest| highest < kind) {
            return Err(RangeError::ContradictoryFlags(gfp));
        }
        self.with(kind, |zone| zone.isolate(range))?;
        let take = || {
            self.drain();
            self.with(kind, |zone| zone.take_range(range))
        };
        let taken = take().or_else(|error| {
            let may_reclaim = gfp.contains(Gfp::WAIT) && !gfp.contains(Gfp::MEMALLOC);
            let may_help = matches!(error, RangeError::Busy(_)) && may_reclaim;
            if may_help && self.shrink(range.frames(), &self.slow.direct) > 0 { take() } else { Err(error) }
        });
        self.with(kind, |zone| zone.unisolate(range)).expect("the range was isolated here");
        taken?;
        // SAFETY: `take_range` has allocated the range, as the largest blocks that there can be, to this call alone.
        let frames = unsafe { Blocks::from_raw(range) };
        if self.is_to_zero(gfp) { self.zeroed(frames).map_err(|_| RangeError::CannotZero) } else { Ok(frames) }
    }

    /// Allocates so many frames in a row, as the [largest blocks](PfnRange::blocks) that make them up: to be freed together,
    /// with [`free_range`](Self::free_range), or each by itself. If the number is a power of two, they are aligned to it.
    ///
    /// They are what [`allocate_run`](Self::allocate_run) finds, or else come from a block, as from
    /// [`allocate_exact`](Self::allocate_exact); otherwise the zones are searched block by block.
    ///
    /// # Errors
    /// [`AllocError`] if no frames are asked for, the flags contradict each other, or no zone has so many free frames in a
    /// row and may give them.
    pub fn allocate_contiguous(&self, frames: u64, gfp: Gfp) -> Result<Blocks, AllocError> {
        self.allocate_contiguous_aligned(frames, if frames.is_power_of_two() { frames } else { 1 }, gfp)
    }

    /// [`allocate_contiguous`](Self::allocate_contiguous), aligned to `align` frames, a power of two.
    ///
    /// # Errors
    /// As for [`allocate_contiguous`](Self::allocate_contiguous).
    pub fn allocate_contiguous_aligned(&self, frames: u64, align: u64, gfp: Gfp) -> Result<Blocks, AllocError> {
        self.announce(gfp);
        if self.must_fail(frames, gfp) {
            return Err(AllocError::NoFreeRun { frames, gfp });
        }
        let call = Call::AllocateContiguous { frames, align, gfp };
        self.recorded(call, first_of, || self.find_contiguous(frames, align, gfp))
    }

    fn find_contiguous(&self, frames: u64, align: u64, gfp: Gfp) -> Result<Blocks, AllocError> {
        let found = self.allocate_run(frames, align, gfp | Gfp::NOWARN);
        if !matches!(found, Err(AllocError::NoFreeRun { .. })) {
            return found;
        }
        if let Some(order) = Order::covering(align) {
            if let Ok(exact) = self.allocate_exact_aligned(frames, order, gfp | Gfp::NOWARN) {
                return Ok(exact);
            }
        }
        let request = self.request(Order::ZERO, gfp)?;
        if request.zonelist().all(|kind| self.zone(kind).managed < frames) {
            // Whatever is given back, it is not enough.
            return Err(AllocError::NoFreeRun { frames, gfp });
        }
        let search = || {
            self.drain();
            self.take_free_run(&request, frames, align)
        };
        let reclaim = || (request.may_reclaim() && self.shrink(frames, &self.slow.direct) > 0).then(search).flatten();
        let range = search().or_else(reclaim).ok_or(AllocError::NoFreeRun { frames, gfp })?;
        // SAFETY: `take_range` has allocated the range, as the largest blocks there can be, to this call alone.
        let frames = unsafe { Blocks::from_raw(range) };
        if self.is_to_zero(gfp) { self.zeroed(frames) } else { Ok(frames) }
    }

    /// Allocates so many frames in a row, aligned to `align` of them, a power of two, out of the shortest run of free frames
    /// that holds them: whatever blocks it is of, and across the borders of pageblocks. They are allocated as the
    /// [largest blocks](PfnRange::blocks) that make them up: to be freed together, with [`free_range`](Self::free_range), or each
    /// by itself.
    ///
    /// The search is bounded: it looks at a few pageblocks of the request's mobility. It takes nothing from CPUs' pages, and asks
    /// nobody for memory.
    ///
    /// # Errors
    /// [`AllocError`] if no frames are asked for, the flags contradict each other, or no run was found.
    pub fn allocate_run(&self, frames: u64, align: u64, gfp: Gfp) -> Result<Blocks, AllocError> {
        self.announce(gfp);
        if self.must_fail(frames, gfp) {
            return Err(AllocError::NoFreeRun { frames, gfp });
        }
        self.recorded(Call::AllocateRun { frames, align, gfp }, first_of, || self.find_run(frames, align, gfp))
    }

    fn find_run(&self, frames: u64, align: u64, gfp: Gfp) -> Result<Blocks, AllocError> {
        if frames == 0 {
            return Err(AllocError::NoFrames);
        }
        let request = self.request(Order::ZERO, gfp)?;
        let run = request.zonelist().find_map(|kind| {
            self.with(kind, |zone| {
                let (mark, reserve) = request.marks(zone);
                let admitted = zone.admits(frames, mark, reserve, false);
                if admitted { zone.allocate_run(frames, align, request.mobility) } else { None }
            })
        });
        let run = run.ok_or(AllocError::NoFreeRun { frames, gfp })?;
        // SAFETY: the zone has allocated the range, as the largest blocks there can be, to this call alone.
        let frames = unsafe { Blocks::from_raw(run) };
        if self.is_to_zero(gfp) { self.zeroed(frames) } else { Ok(frames) }
    }

    /// Allocates the first free frames in a row, so many, of the highest zone that has them and may give them.
    fn take_free_run(&self, request: &Request, frames: u64, align: u64) -> Option<PfnRange> {
        request.zonelist().find_map(|kind| {
            self.with(kind, |zone| {
                let (mark, reserve) = request.marks(zone);
                if !zone.admits(frames, mark, reserve, false) {
                    return None;
                }
                let range = zone.free_run(frames, align)?;
                zone.take_range(range).ok().map(|()| range)
            })
        })
    }
}

impl<C: Cpu> View<'_, C> {
    /// The zone that a range lies in.
    fn zone_of_all(&self, range: PfnRange) -> Result<ZoneKind, RangeError> {
        if range.is_empty() {
            return Err(RangeError::NoFrames);
        }
        let kind = self.zone_of(range.start);
        if range.intersection(self.profile.range(kind)) == range {
            Ok(kind)
        } else {
            Err(RangeError::CrossesZones(range))
        }
    }
}
