//! What would become of a request, told by the decisions that serve it, and nothing done.
//!
//! Each zone first looks at all that became free in it, as before a report. Then what a search would find is known, so the same
//! functions are asked as when memory is allocated or freed: they decide, and here nobody acts on it.

mod sentences;

use super::zonelist::Request;
use super::{AllocError, BlockState, Cpu, FAST, Holding, PageAllocator};
use crate::buddy::WORD_FRAMES;
use crate::error::FreeError;
use crate::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use crate::per_cpu::{BATCHED, NEARLY_FULL, PerCpuPages};
use crate::zone::Step;

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
        let serve_such = order < Order::PAGEBLOCK && FAST.contains(request.gfp);
        let Some(pages) = self.pages.get(cpu).filter(|_| serve_such) else {
            tell(Step::PastPages);
            return None;
        };
        let has_batch = order.index() < BATCHED;
        let loan = has_batch.then(|| pages.batch(order, mobility).loan()).flatten().filter(|(.., held)| *held != 0);
        let next = loan.map(|(base, _, held)| base.offset(held.trailing_zeros().into()));
        let last = || Some(pages.last(PerCpuPages::stack(order, mobility.index()))?.0);
        if let Some((pfn, is_recent)) = next.map(|pfn| (pfn, false)).or_else(|| Some((last()?, true))) {
            tell(Step::AtHand { cpu, pfn, is_recent });
            return Some(pfn);
        }
        tell(Step::Empty { cpu, has_batch });
        let wanted = if has_batch { WORD_FRAMES.into() } else { order.frames() };
        for kind in self.zonelist(request) {
            match self.explain_in(kind, request, ("low", wanted), false, has_batch, tell) {
                Err(Step::NoBlock { .. }) if !self.unmixed_first => return None,
                Err(_) => {}
                Ok(pfn) => return Some(pfn),
            }
        }
        None
    }

    /// What the walk down the zones would do: quickly, then as far down as the flags allow.
    fn explain_zones(&self, request: &Request, tell: &mut dyn FnMut(Step)) -> Option<Pfn> {
        let frames = request.order.frames();
        let unmixed_first = self.unmixed_first && request.highest == ZoneKind::Normal;
        let walks = [("low", false), ("low", request.may_mix()), ("min", request.may_mix())];
        for (mark, mixing) in walks.into_iter().skip(usize::from(!unmixed_first)) {
            if mark == "min" {
                tell(Step::Slowly);
            }
            for kind in self.zonelist(request) {
                if let Ok(pfn) = self.explain_in(kind, request, (mark, frames), mixing, false, tell) {
                    return Some(pfn);
                }
            }
        }
        None
    }

    /// What comes of a request in a zone, down to its mark of that name: the test of that, for so many frames, the choice of a block, and
    /// the splits on the way to it.
    ///
    /// # Errors
    /// The step that is in vain.
    fn explain_in(
        &self,
        kind: ZoneKind,
        request: &Request,
        (mark, frames): (&'static str, u64),
        mixing: bool,
        batch: bool,
        tell: &mut dyn FnMut(Step),
    ) -> Result<Pfn, Step> {
        let (&Request { order, mobility, gfp, .. }, at_need) = (request, mark == "min");
        let (test, choice) = self.with(kind, |zone| {
            let marks = if at_need { request.marks(zone) } else { request.low(zone) };
            let kept = |is_wanted: bool| is_wanted.then(|| zone.choose_highatomic(order, mobility)).flatten();
            let choice = kept(at_need && request.is_highatomic())
                .or_else(|| zone.choose(order, mobility, mixing, batch))
                .or_else(|| kept(at_need && !gfp.contains(Gfp::WAIT)));
            let test = zone.test(mark, frames, marks, at_need && request.may_use_reserves());
            (test, choice.unwrap_or_else(|| zone.no_block(order, mixing)))
        });
        if !(at_need && gfp.contains(Gfp::MEMALLOC)) {
            tell(test);
            if matches!(test, Step::Test { lacks: 1.., .. }) {
                return Err(test);
            }
        }
        tell(choice);
        let Step::Chosen { from: (mut first, from), pfn, .. } = choice else { return Err(choice) };
        for order in Order::all().rev().filter(|smaller| *smaller >= order && *smaller < from) {
            let upper = Pfn::new(first.number() ^ order.frames());
            let (kept, free) = if pfn >= upper { (upper, first) } else { (first, upper) };
            tell(Step::Split { order, kept, free });
            first = kept;
        }
        Ok(pfn)
    }

    /// Tells step by step what would become of the allocated block that starts at `pfn` if it were freed, and does not free it.
    ///
    /// # Errors
    /// [`FreeError`], as [`free_raw`](Self::free_raw) would say it.
    pub fn explain_free(&self, pfn: Pfn, tell: &mut dyn FnMut(Step)) -> Result<(), FreeError> {
        let zone = self.zone_of(pfn);
        self.with(zone, |zone| zone.settle_all());
        let info = self.look_at(pfn).ok_or(FreeError::NotManaged(pfn))?;
        let order = self.order_of(pfn)?;
        tell(Step::Frees { pfn, order, zone });
        let own = C::current();
        let has_room = || self.pages.get(own)?.room(PerCpuPages::stack(order, info.mobility.index()));
        let is_nearly_full = !info.is_whole && info.free < NEARLY_FULL;
        let lender = info.holder.filter(|(_, holding)| matches!(holding, Holding::HandedOut(_))).map(|(cpu, _)| cpu);
        match lender {
            Some(cpu) if cpu == own => tell(Step::ToBatch { cpu }),
            None if is_nearly_full && has_room().is_some() => tell(Step::Kept { cpu: own }),
            lender => {
                lender.into_iter().for_each(|cpu| tell(Step::OffLoan { cpu }));
                let (first, order) = self.explain_merges((pfn, order), info.mobility, tell);
                tell(Step::Free { pfn, first, order });
                return Ok(());
            }
        }
        tell(Step::Held { cpu: own, pfn });
        Ok(())
    }

    fn explain_merges(
        &self,
        (mut pfn, order): (Pfn, Order),
        mobility: Mobility,
        tell: &mut dyn FnMut(Step),
    ) -> (Pfn, Order) {
        for order in Order::all().skip(order.index()).take_while(|order| *order < Order::MAX) {
            let buddy = Pfn::new(pfn.number() ^ order.frames());
            let merges = self.look_at(buddy).is_some_and(|other| {
                let both = mobility == other.mobility || mobility.is_mergeable() && other.mobility.is_mergeable();
                let is_free =
                    (other.block.pfn, other.block.order, other.block.state) == (buddy, order, BlockState::Free);
                is_free && (order < Order::PAGEBLOCK || both)
            });
            if !merges {
                tell(Step::NoMerge { order, pfn, buddy });
                return (pfn, order);
            }
            tell(Step::Merge { order, pfn, buddy });
            pfn = pfn.min(buddy);
        }
        (pfn, Order::MAX)
    }
}
