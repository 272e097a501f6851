//! What would become of a request, told by the decisions that serve it, and nothing done.
//!
//! Each zone first looks at all that became free in it, as before a report. Then what a search would find is known, so the same
//! functions are asked as when memory is allocated or freed: they decide, and here nobody acts on it.

mod sentences;

use super::zonelist::Request;
use super::{AllocError, Cpu, FAST, Holding, PageAllocator};
use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use crate::per_cpu::{BATCHED, PerCpuPages};
use crate::zone::{Choice, MarkTest, Mixing};

/// A step on the way of a request, in the order in which they are taken. It says itself, in a sentence, what happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names of fields are those of the vocabulary: what each is, the variant says")]
pub enum Step {
    /// The CPU's pages have a block at hand, on loan or freed last.
    AtHand { cpu: usize, pfn: Pfn, is_recent: bool },
    /// The CPU's pages have none, and ask the zones for a word of blocks, or for one.
    Empty { cpu: usize, has_batch: bool },
    /// The CPU has no pages, or the flags are for the zones alone.
    PastPages,
    /// A zone's watermark is tested.
    Test { zone: ZoneKind, mark: &'static str, test: MarkTest },
    /// The zone has no block that may serve the request.
    NoBlock { zone: ZoneKind, order: Order, largest: Option<Order>, mixing: bool },
    /// A zone serves the request.
    Chosen { zone: ZoneKind, mobility: Mobility, choice: Choice },
    /// A free block is split in two, of which the part that is not kept stays free.
    Split { order: Order, kept: Pfn, free: Pfn },
    /// No zone is left with more than its low mark, or none has such a block: the flags decide how far down it goes.
    Slowly,
    /// The allocated block that is to be freed.
    Frees { pfn: Pfn, order: Order, zone: ZoneKind },
    /// The block goes back to the loan that it was handed out of.
    ToBatch { cpu: usize },
    /// The block is taken off another CPU's loan.
    OffLoan { cpu: usize },
    /// Little is free in the pageblock: the CPU keeps the block, for its next request.
    Kept { cpu: usize },
    /// Two free blocks are one.
    Merge { order: Order, pfn: Pfn, buddy: Pfn },
    /// The buddy is not free as a whole, so the block stays as large as it is.
    NoMerge { order: Order, pfn: Pfn, buddy: Pfn },
    /// CPUs' pages hold so many frames: they are emptied, and the zones asked again.
    Emptied { cached: u64 },
    /// Shrinkers are asked for memory, and pageblocks given up that are kept for pressing requests.
    Reclaims,
    /// The last step: the request is given this block.
    Served { order: Order, pfn: Pfn },
    /// The last step: the request is refused; if not surely, unless the steps before helped.
    Refused { order: Order, surely: bool },
    /// The last step: the block that is freed is part of a free one.
    Free { pfn: Pfn, first: Pfn, order: Order },
    /// The last step: the pages of a CPU have the block that is freed.
    Held { cpu: usize, pfn: Pfn },
}

impl<C: Cpu> PageAllocator<'_, C> {
    /// Tells step by step what would become of a request, and does nothing of it. What it says holds until somebody allocates or
    /// frees. Returns the block that the request would be given, if it needs no more than what the zones and the CPU's pages have.
    ///
    /// # Errors
    /// Those of the flags, as [`allocate`](Self::allocate) has them.
    pub fn explain_allocate(
        &self,
        order: Order,
        gfp: Gfp,
        tell: &mut dyn FnMut(Step),
    ) -> Result<Option<Pfn>, AllocError> {
        let request = self.request(order, gfp - Gfp::ZERO)?;
        ZoneKind::ALL.iter().for_each(|kind| self.with(*kind, |zone| zone.settle_all()));
        let pfn = self.explain_pages(&request, tell).or_else(|| self.explain_zones(&request, tell));
        match pfn {
            Some(pfn) => tell(Step::Served { order, pfn }),
            None => self.explain_refusal(&request, tell),
        }
        Ok(pfn)
    }

    /// What is done before a request is refused, and that it is.
    fn explain_refusal(&self, request: &Request, tell: &mut dyn FnMut(Step)) {
        let (cached, may_reclaim) = (self.cached(), request.may_reclaim());
        if cached > 0 {
            tell(Step::Emptied { cached });
        }
        if may_reclaim {
            tell(Step::Reclaims);
        }
        tell(Step::Refused { order: request.order, surely: cached == 0 && !may_reclaim });
    }

    /// What the CPU's own pages would do, and the zones for them.
    fn explain_pages(&self, request: &Request, tell: &mut dyn FnMut(Step)) -> Option<Pfn> {
        let &Request { order, mobility, .. } = request;
        let cpu = C::current();
        if !FAST.contains(request.gfp) {
            tell(Step::PastPages);
            return None;
        }
        if order >= Order::PAGEBLOCK {
            return self.explain_whole(request, tell);
        }
        let Some(pages) = self.pages.get(cpu) else {
            tell(Step::PastPages);
            return None;
        };
        let has_batch = order.index() < BATCHED;
        let next = has_batch.then(|| pages.batch(order, mobility).held().next()).flatten();
        let last = || Some(pages.recent_of(order, mobility)?.last()?.0);
        if let Some((pfn, is_recent)) = next.map(|pfn| (pfn, false)).or_else(|| Some((last()?, true))) {
            tell(Step::AtHand { cpu, pfn, is_recent });
            return Some(pfn);
        }
        tell(Step::Empty { cpu, has_batch });
        let wanted = if has_batch { WORD_FRAMES.into() } else { order.frames() };
        for kind in ZoneKind::ALL.into_iter().rev() {
            let (test, choice) = self.with(kind, |zone| {
                let test = zone.test(wanted, zone.watermarks.low, zone.protection[ZoneKind::Normal.index()], false);
                (test, zone.choose(order, mobility, Mixing::Never, has_batch))
            });
            if self.explain_test(kind, "low", test, tell) {
                match self.explain_choice(kind, request, choice, Mixing::Never, tell) {
                    None if self.slow.unmixed_first => {}
                    chosen => return chosen,
                }
            }
        }
        None
    }

    fn explain_whole(&self, request: &Request, tell: &mut dyn FnMut(Step)) -> Option<Pfn> {
        let &Request { order, mobility, .. } = request;
        let kind = ZoneKind::Normal;
        let (test, choice) = self.with(kind, |zone| {
            let test = zone.test(order.frames(), zone.watermarks.low, zone.protection[kind.index()], false);
            (test, zone.choose(order, mobility, Mixing::Never, false).filter(|choice| choice.other.is_none()))
        });
        let is_passed = self.explain_test(kind, "low", test, tell);
        is_passed.then(|| self.explain_choice(kind, request, choice, Mixing::Never, tell)).flatten()
    }

    /// What the walk down the zones would do: quickly, then as far down as the flags allow.
    fn explain_zones(&self, request: &Request, tell: &mut dyn FnMut(Step)) -> Option<Pfn> {
        let unmixed_first = self.slow.unmixed_first && request.highest == ZoneKind::Normal;
        let passes = [(unmixed_first, Mixing::Never), (true, request.mixing())];
        for (_, mixing) in passes.into_iter().filter(|(is_made, _)| *is_made) {
            for kind in request.zonelist() {
                let (test, choice) = self.with(kind, |zone| {
                    let (low, reserve) = (zone.watermarks.low, zone.protection[request.highest.index()]);
                    let test = zone.test(request.order.frames(), low, reserve, false);
                    (test, zone.choose(request.order, request.mobility, mixing, false))
                });
                if !self.explain_test(kind, "low", test, tell) {
                    continue;
                }
                if let Some(pfn) = self.explain_choice(kind, request, choice, mixing, tell) {
                    return Some(pfn);
                }
            }
        }
        tell(Step::Slowly);
        if request.gfp.contains(Gfp::READILY) {
            return None;
        }
        request.zonelist().find_map(|kind| self.explain_at_need(kind, request, tell))
    }

    fn explain_at_need(&self, kind: ZoneKind, request: &Request, tell: &mut dyn FnMut(Step)) -> Option<Pfn> {
        let mixing = request.mixing();
        let (test, choice) = self.with(kind, |zone| {
            let (mark, reserve) = request.marks(zone);
            let test = zone.test(request.order.frames(), mark, reserve, request.may_use_reserves());
            let kept = request.is_highatomic().then(|| zone.choose_highatomic(request.order)).flatten();
            let any = kept.or_else(|| zone.choose(request.order, request.mobility, mixing, false));
            let cannot_wait = !request.gfp.contains(Gfp::WAIT);
            (test, any.or_else(|| cannot_wait.then(|| zone.choose_highatomic(request.order)).flatten()))
        });
        let is_free = request.gfp.contains(Gfp::MEMALLOC);
        (is_free || self.explain_test(kind, "min", test, tell))
            .then(|| self.explain_choice(kind, request, choice, mixing, tell))
            .flatten()
    }

    fn explain_test(&self, zone: ZoneKind, mark: &'static str, test: MarkTest, tell: &mut dyn FnMut(Step)) -> bool {
        if self.zone(zone).managed > 0 {
            tell(Step::Test { zone, mark, test });
        }
        test.is_passed()
    }

    /// The block that a zone has chosen, and the splits on the way to it.
    fn explain_choice(
        &self,
        zone: ZoneKind,
        request: &Request,
        choice: Option<Choice>,
        mixing: Mixing,
        tell: &mut dyn FnMut(Step),
    ) -> Option<Pfn> {
        let Some(choice) = choice else {
            let largest = self.with(zone, |zone| zone.largest());
            let mixing = mixing == Mixing::AtNeed;
            tell(Step::NoBlock { zone, order: request.order, largest, mixing });
            return None;
        };
        tell(Step::Chosen { zone, mobility: request.mobility, choice });
        let (mut pfn, from) = choice.from;
        for order in Order::all().rev().filter(|order| *order >= request.order && *order < from) {
            let upper = Pfn::new(pfn.number() ^ order.frames());
            let (kept, free) = if choice.pfn >= upper { (upper, pfn) } else { (pfn, upper) };
            tell(Step::Split { order, kept, free });
            pfn = kept;
        }
        Some(choice.pfn)
    }

    /// Tells step by step what would become of the allocated block that starts at `pfn` if it were freed, and does not free it.
    ///
    /// # Errors
    /// [`FreeError`], as [`free_raw`](Self::free_raw) would say it.
    pub fn explain_free(&self, pfn: Pfn, tell: &mut dyn FnMut(Step)) -> Result<(), FreeError> {
        let (kind, order) = (self.zone_of(pfn), self.order_of(pfn)?);
        self.with(kind, |zone| zone.settle_all());
        tell(Step::Frees { pfn, order, zone: kind });
        let (own, loan) = (C::current(), self.look_at(pfn).and_then(|info| info.holder));
        let lender = loan.filter(|(_, holding)| matches!(holding, Holding::HandedOut(_))).map(|(cpu, _)| cpu);
        let (nearly_full, mobility) =
            self.with(kind, |zone| zone.is_nearly_full(pfn)).unwrap_or((false, Mobility::Movable));
        let has_room =
            |pages: &PerCpuPages| pages.recent_of(order, mobility).is_some_and(|recent| recent.room().is_some());
        let is_kept = nearly_full && order < Order::PAGEBLOCK && self.pages.get(own).is_some_and(has_room);
        match lender {
            Some(cpu) if cpu == own => tell(Step::ToBatch { cpu }),
            None if is_kept => tell(Step::Kept { cpu: own }),
            lender => {
                lender.into_iter().for_each(|cpu| tell(Step::OffLoan { cpu }));
                let (first, order) = self.explain_merges(kind, (pfn, order), mobility, tell);
                tell(Step::Free { pfn, first, order });
                return Ok(());
            }
        }
        tell(Step::Held { cpu: own, pfn });
        Ok(())
    }

    fn explain_merges(
        &self,
        kind: ZoneKind,
        (mut pfn, order): (Pfn, Order),
        mobility: Mobility,
        tell: &mut dyn FnMut(Step),
    ) -> (Pfn, Order) {
        for order in Order::all().skip(order.index()).take_while(|order| *order < Order::MAX) {
            let buddy = Pfn::new(pfn.number() ^ order.frames());
            if !self.with(kind, |zone| zone.merges(buddy, order, mobility)) {
                tell(Step::NoMerge { order, pfn, buddy });
                return (pfn, order);
            }
            tell(Step::Merge { order, pfn, buddy });
            pfn = pfn.min(buddy);
        }
        (pfn, Order::MAX)
    }
}
