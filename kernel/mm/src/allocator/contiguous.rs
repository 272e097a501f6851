//! Ranges of frames: chosen by the caller, or longer than any block (Linux: `alloc_contig_range`, `alloc_contig_pages`).
//!
//! These walk over pageblocks. They are for set-up and for the few callers that need megabytes in a row, not for hot paths.

use super::record::done;
use super::zonelist::Request;
use super::{AllocError, Call, Cpu, PageAllocator, View};
use crate::error::RangeError;
use crate::frame::{Blocks, Gfp, Order, PfnRange, ZoneKind};
use crate::zone::Zone;

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
        let (call, errors) =
            (Call::AllocateRange { range, gfp }, [RangeError::Busy(range.start), RangeError::CannotZero]);
        self.allocate_row(call, range.frames(), gfp, errors, || self.take_range(range, gfp))
    }

    fn take_range(&self, range: PfnRange, gfp: Gfp) -> Result<PfnRange, RangeError> {
        let kind = self.zone_of_all(range)?;
        let may_reclaim = self.request_in(kind, gfp)?.may_reclaim();
        self.with(kind, |zone| zone.isolate(range))?;
        let take = || {
            self.drain();
            self.with(kind, |zone| zone.take_free(range, None))
        };
        let taken = take().or_else(|error| {
            let may_help = matches!(error, RangeError::Busy(_)) && may_reclaim;
            if may_help && self.shrink(range.frames(), &self.direct) > 0 { take() } else { Err(error) }
        });
        self.with(kind, |zone| zone.unisolate(range)).expect("the range was isolated here");
        taken.map(|()| range)
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
        let errors = [AllocError::NoFreeRun { frames, gfp }, AllocError::CannotZero];
        let call = Call::AllocateContiguous { frames, align, gfp };
        self.allocate_row(call, frames, gfp, errors, || self.take_contiguous(frames, align, gfp))
    }

    fn take_contiguous(&self, frames: u64, align: u64, gfp: Gfp) -> Result<PfnRange, AllocError> {
        let found = self.take_run(frames, align, gfp);
        if !matches!(found, Err(AllocError::NoFreeRun { .. })) {
            return found;
        }
        if let Some(order) = Order::covering(align) {
            if let Ok(exact) = self.take_exact(frames, order, gfp | Gfp::NOWARN) {
                return Ok(exact);
            }
        }
        let request = self.request(Order::ZERO, gfp)?;
        if self.zonelist(&request).all(|kind| self.zone(kind).managed < frames) {
            // Whatever is given back, it is not enough.
            return Err(AllocError::NoFreeRun { frames, gfp });
        }
        let search = || {
            self.drain();
            self.find_admitted(&request, frames, |zone| zone.allocate_first_run(frames, align))
        };
        let reclaim = || (request.may_reclaim() && self.shrink(frames, &self.direct) > 0).then(search).flatten();
        search().or_else(reclaim).ok_or(AllocError::NoFreeRun { frames, gfp })
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
        let errors = [AllocError::NoFreeRun { frames, gfp }, AllocError::CannotZero];
        let call = Call::AllocateRun { frames, align, gfp };
        self.allocate_row(call, frames, gfp, errors, || self.take_run(frames, align, gfp))
    }

    fn take_run(&self, frames: u64, align: u64, gfp: Gfp) -> Result<PfnRange, AllocError> {
        if frames == 0 {
            return Err(AllocError::NoFrames);
        }
        let request = self.request(Order::ZERO, gfp)?;
        let run = self.find_admitted(&request, frames, |zone| zone.allocate_run(frames, align, request.mobility));
        run.ok_or(AllocError::NoFreeRun { frames, gfp })
    }

    /// What `take` finds in the highest zone that may give so many frames and has them.
    fn find_admitted(
        &self,
        request: &Request,
        frames: u64,
        take: impl Fn(&mut Zone<'_>) -> Option<PfnRange>,
    ) -> Option<PfnRange> {
        let take_in = |zone: &mut Zone<'_>| {
            let marks = request.marks(zone);
            if zone.admits(frames, marks, false) { take(zone) } else { None }
        };
        self.zonelist(request).find_map(|kind| self.with(kind, take_in))
    }
}

impl<C: Cpu> View<'_, C> {
    /// The zone that a range lies in.
    pub(super) fn zone_of_all(&self, range: PfnRange) -> Result<ZoneKind, RangeError> {
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
