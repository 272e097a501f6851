//! What is done beside serving requests and frees where it is [switched on](crate::hardening): zeros, before frames are given out
//! and when they are freed.
//!
//! While anything is on, the fast paths end as they do where nothing is at hand: CPUs' pages are closed to them, and zone Normal gives
//! no whole pageblocks. What comes here then does what they would have done.

use super::reclaim::NOWHERE;
use super::{AllocError, Cpu, FAST, PageAllocator};
use crate::error::FreeError;
use crate::frame::{Block, Gfp, Order, Pfn, PfnRange, ZoneKind};
use crate::hardening::Hardening;
use crate::per_cpu::BATCHED;

impl<C: Cpu> PageAllocator<'_, C> {
    /// Chooses what is done beside serving requests and frees, from now on; on other CPUs, once this returns. By default nothing.
    /// Not to be called with interrupts masked, nor by two CPUs at once.
    ///
    /// # Errors
    /// [`AllocError::CannotZero`], and nothing has changed, unless frames are zeroed [where they are seen](Self::zero_at).
    pub fn harden(&self, hardening: Hardening) -> Result<(), AllocError> {
        if self.seen_at == NOWHERE {
            return Err(AllocError::CannotZero);
        }
        let is_hardened = !hardening.is_empty();
        // What needs zeros finds out before it may begin, and what needs none ends before it may begin without.
        if is_hardened {
            self.hardening.set(hardening);
        }
        let is_slow = is_hardened || self.recording.is_some();
        let alone = loop {
            match self.draining.try_lock() {
                Some(alone) => break alone,
                None => C::relax(),
            }
        };
        self.stopping(|| self.pages.iter().for_each(|pages| pages.set_slow(is_slow)));
        drop(alone);
        self.zones.iter().for_each(|zone| zone.with(|zone| zone.withhold_wholes(is_slow)));
        self.hardening.set(hardening);
        Ok(())
    }

    /// What is done beside serving requests and frees.
    pub fn hardening(&self) -> Hardening {
        self.hardening.get()
    }

    pub(super) fn is_hardened(&self) -> bool {
        !self.hardening().is_empty()
    }

    /// Whether what a request with these flags is given is to hold zeros.
    pub(super) fn is_to_zero(&self, gfp: Gfp) -> bool {
        gfp.contains(Gfp::ZERO) || self.hardening().contains(Hardening::INIT_ON_ALLOC)
    }

    /// Serves a request that no fast path did, since they are closed, or since it is for zeros.
    #[cold]
    #[inline(never)]
    pub(super) fn allocate_as_closed(&self, order: Order, gfp: Gfp) -> Result<Pfn, AllocError> {
        let plain = gfp - Gfp::ZERO;
        let pfn = match self.allocate_slowly_at_once(order, plain) {
            Some(pfn) => pfn,
            None => self.allocate_from_zones(order, plain)?,
        };
        if !self.is_to_zero(gfp) {
            return Ok(pfn);
        }
        // SAFETY: the block was allocated just now, as one of `order`, to this call alone.
        let block = unsafe { Block::from_raw(pfn, order) };
        self.zeroed(block.into()).map(|zeroed| zeroed.range().start).ok_or(AllocError::CannotZero)
    }

    /// Serves a request without a look at the zones' index, as far as that is done where the fast paths are open.
    fn allocate_slowly_at_once(&self, order: Order, gfp: Gfp) -> Option<Pfn> {
        let mobility = gfp.mobility().filter(|_| FAST.contains(gfp))?;
        if order >= Order::PAGEBLOCK {
            return self.with(ZoneKind::Normal, |zone| zone.allocate_whole(order, mobility, true));
        }
        let pages = self.enter_slowly()?;
        let at_hand = (order.index() < BATCHED).then(|| pages.batch(order, mobility).allocate()).flatten();
        at_hand.or_else(|| self.allocate_in(pages, order, mobility))
    }

    /// Frees a block that no fast path did, since they are closed; or names what is there instead.
    #[cold]
    #[inline(never)]
    pub(super) fn free_as_closed(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        let is_cleared = self.hardening().contains(Hardening::INIT_ON_FREE);
        if order.index() < BATCHED
            && let Some(pages) = self.enter_slowly()
            && pages.free(pfn, order)
        {
            if is_cleared {
                // SAFETY: the block was allocated, and nobody is given it before this CPU leaves its pages.
                unsafe { self.zero(PfnRange::of(pfn, order)) };
            }
            return Ok(());
        }
        if is_cleared {
            self.look_for(pfn, order)?;
            // SAFETY: there is such a block, and by the contract of `free_raw` it is nobody else's.
            unsafe { self.zero(PfnRange::of(pfn, order)) };
        }
        // As where the fast paths are open: a frame goes where their look at `least` says, whatever there is room for.
        let is_freed = order == Order::ZERO
            && self.enter_slowly().is_some_and(|pages| self.free_frame_of_others(pages, pfn))
            || order < Order::PAGEBLOCK && self.enter_slowly().is_some_and(|pages| self.free_in(pages, pfn, order));
        if is_freed { Ok(()) } else { self.with(self.zone_of(pfn), |zone| zone.free(pfn, order)) }
    }

    /// Fills what is to be freed of a range that shrinks to so many frames with zeros, if that is wanted.
    ///
    /// # Errors
    /// The range is not allocated as its largest blocks; nothing has changed.
    pub(super) fn clear_end(&self, range: PfnRange, frames: u64) -> Result<(), FreeError> {
        if frames < range.frames() && self.hardening().contains(Hardening::INIT_ON_FREE) {
            range.blocks().try_for_each(|(pfn, order)| self.look_for(pfn, order))?;
            // SAFETY: they are allocated, and by the contract of `resize_raw` nobody uses what is behind its new end.
            unsafe { self.zero(PfnRange::new(range.start.offset(frames), range.end)) };
        }
        Ok(())
    }

    /// Sees that there is an allocated block of `order`.
    pub(super) fn look_for(&self, pfn: Pfn, order: Order) -> Result<(), FreeError> {
        self.with(self.zone_of(pfn), |zone| zone.look_for(pfn, order))
    }
}
