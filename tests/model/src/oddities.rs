//! The entry points beside allocate and free.

use bifolio::allocator::{AllocError, OwnedFrames};
use bifolio::cpu::Hooks;
use bifolio::error::{AddError, FreeError, RangeError, SplitError};
use bifolio::frame::{Gfp, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, Profile, ZoneKind};
use kit::Raw;

use crate::machine::Turns;
use crate::soak::{Round, group};
use kit::oracle::Seen;
use kit::oracle::range_blocks;

impl Round<'_> {
    /// Calls one of the entry points that are called now and then.
    pub(crate) fn do_something_odd(&mut self) {
        match self.random.below(1000) {
            0..100 => self.split(),
            100..200 => self.resize(),
            200..350 => self.allocate_exact(),
            350..500 => self.allocate_and_free_bulk(),
            500..600 => self.own(),
            600..700 => self.put_into_cache(),
            700..800 => self.ask_for_order(),
            800..850 => self.allocate_range(),
            850..880 => self.allocate_contiguous(),
            880..920 => self.isolate(),
            920..960 => self.drain(),
            960..970 => self.add(),
            970..975 => self.unisolate_all(),
            975..985 => self.fail_to_zero(),
            985..993 => self.be_refused(),
            993..995 => self.be_refused_in_a_bulk(),
            _ => self.watch_reports(),
        }
    }

    fn split(&mut self) {
        let Some((pfn, order)) = self.in_a_block() else {
            return;
        };
        let into = self.order();
        let (pfn, given) = if self.random.per_mille(100) { (self.any_frame(), into.max(order)) } else { (pfn, order) };
        let expected = match self.oracle.verdict(pfn, given) {
            _ if into > given => Err(SplitError::Larger { order: given, into }),
            verdict => verdict.map_err(SplitError::NoBlock),
        };
        if expected.is_ok() && self.oracle.is_hidden(pfn) {
            return;
        }
        self.tally.count(group::OPERATIONS, if expected.is_ok() { "split" } else { "split, of what is no such block" });
        assert_eq!(self.machine.frames.cut(pfn, given, into), expected, "{pfn} of order {given} into {into}");
        if expected.is_ok() {
            self.oracle.split(pfn, given, into);
        }
    }

    fn allocate_exact(&mut self) {
        self.tally.count(group::OPERATIONS, "allocate_exact");
        let gfp = self.gfp();
        let limit = self.random.one_of(&[5, 70, 600, 1100]);
        let frames = self.random.below(limit);
        let result = self.machine.frames.take_exact(frames, gfp);
        self.take_note_of_shrinking(gfp);
        match (result, Order::covering(frames)) {
            (Ok(range), Some(_)) => {
                assert_eq!(range.frames(), frames);
                self.took_range(range, gfp);
                self.check_zeroed(gfp, &[range]);
            }
            (Err(AllocError::NoFrames), _) => assert_eq!(frames, 0),
            (Err(AllocError::TooManyFrames(number)), None) => assert_eq!(number, frames),
            (Err(AllocError::OutOfMemory { order, gfp }), Some(covering)) => {
                assert_eq!(order, covering);
                self.refused("allocate_exact", order, gfp);
            }
            (other, _) => panic!("{frames} frames with {gfp}: {other:?}"),
        }
    }

    fn took_range(&mut self, range: PfnRange, gfp: Gfp) {
        let highest = gfp.highest_zone().expect("the flags are in order");
        range_blocks(range).into_iter().for_each(|(pfn, order)| self.took(pfn, order, highest));
    }

    fn allocate_and_free_bulk(&mut self) {
        self.tally.count(group::OPERATIONS, "allocate_bulk");
        let gfp = self.gfp() - Gfp::NOFRAGMENT - Gfp::ZERO;
        let number = self.random.one_of(&[0, 1, 7, 40, 200]);
        // Slots that are not empty stay as they are.
        let kept = Pfn::new(u64::MAX);
        let mut slots: Vec<Option<Pfn>> = (0..number).map(|_| self.random.per_mille(100).then_some(kept)).collect();
        let empty = slots.iter().filter(|slot| slot.is_none()).count();
        let result = self.machine.frames.take_bulk(&mut slots, gfp);
        self.take_note_of_shrinking(gfp);
        let mut filled: Vec<Pfn> = slots.iter().flatten().copied().filter(|pfn| *pfn != kept).collect();
        let highest = gfp.highest_zone().expect("phases have flags that are in order");
        filled.iter().for_each(|pfn| self.took(*pfn, Order::ZERO, highest));
        match result {
            Ok(count) => {
                assert_eq!(count, filled.len());
                assert!(count == empty || self.is_low(highest), "{count} of {empty} frames, and memory is not short");
            }
            Err(AllocError::NoFrames) => assert_eq!(number, 0),
            Err(error) => {
                assert_eq!((error, filled.len()), (AllocError::OutOfMemory { order: Order::ZERO, gfp }, 0));
                self.refused("allocate_bulk", Order::ZERO, gfp);
            }
        }
        if self.random.per_mille(500) {
            self.tally.count(group::OPERATIONS, "free_bulk");
            let mut slots: Vec<Option<Pfn>> = filled.iter().copied().map(Some).collect();
            let bad = self.any_frame();
            if self.oracle.verdict(bad, Order::ZERO).is_err()
                && self.oracle.order_of(bad) != Err(FreeError::AlreadyFree(bad))
            {
                slots.push(Some(bad));
                assert_eq!(self.machine.frames.give_bulk(&mut slots), self.oracle.verdict(bad, Order::ZERO));
                assert_eq!(slots.pop(), Some(Some(bad)));
            } else {
                assert_eq!(self.machine.frames.give_bulk(&mut slots), Ok(()));
            }
            assert!(slots.iter().all(Option::is_none));
            filled.drain(..).for_each(|pfn| self.gave(pfn, Order::ZERO));
        }
    }

    /// Whether no zone up to `highest` has a frame above its `low` mark, or all of those are isolated.
    fn is_low(&self, highest: ZoneKind) -> bool {
        ZoneKind::ALL.into_iter().filter(|zone| *zone <= highest).all(|zone| {
            let ([_, low, _], reserve) = self.oracle.marks(zone);
            let stats = self.machine.frames.zone(zone);
            stats.free - stats.free_highatomic <= low + reserve[highest.index()]
        })
    }

    /// Handles: dropped, made raw and taken up again, freed behind their backs.
    fn own(&mut self) {
        self.tally.count(group::OPERATIONS, "allocate_owned");
        let frames = self.machine.frames;
        let (order, gfp) = (self.order(), self.gfp() - Gfp::ZERO - Gfp::NOFRAGMENT);
        let handle = frames.allocate_owned(order, gfp);
        self.take_note_of_shrinking(gfp);
        let Ok(handle) = handle else {
            return self.refused("allocate_owned", order, gfp);
        };
        let pfn = handle.pfn();
        self.took(pfn, order, gfp.highest_zone().expect("the flags are in order"));
        match self.random.below(4) {
            0 => drop(handle),
            1 => assert_eq!(handle.free(), Ok(())),
            2 => {
                assert_eq!(frames.give(pfn, order), Ok(()));
                drop(handle);
                self.dropped += 1;
            }
            _ => {
                let block = OwnedFrames::from_block(frames, handle.into_block()).into_block();
                assert_eq!(block.into_raw(), (pfn, order));
                return;
            }
        }
        self.gave(pfn, order);
    }

    fn put_into_cache(&mut self) {
        if let Some((pfn, order)) = self.in_a_block().filter(|_| self.machine.cache.count() < 200) {
            self.tally.count(group::OPERATIONS, "put into the cache");
            self.oracle.hide(pfn);
            self.machine.cache.put(pfn, order);
        }
    }

    /// Takes everything out of the cache, to be freed like all else.
    pub(crate) fn empty_cache(&mut self) {
        while let Some((pfn, _)) = self.machine.cache.take() {
            self.oracle.show(pfn);
        }
    }

    fn ask_for_order(&mut self) {
        self.tally.count(group::OPERATIONS, "order_of");
        let pfn = if self.random.per_mille(500) { self.any_frame() } else { self.recent[0].0 };
        assert_eq!(self.machine.frames.order_of(pfn), self.oracle.order_of(pfn));
    }

    /// A range somewhere in RAM, or across its end.
    pub(crate) fn any_range(&mut self) -> PfnRange {
        let limit = self.random.one_of(&[3, 40, 700, 3000]);
        let start = self.any_frame();
        PfnRange::new(start, start.offset(self.random.below(limit)))
    }

    fn allocate_range(&mut self) {
        let (range, gfp) = (self.any_range(), self.gfp() - Gfp::ZERO);
        let result = self.machine.frames.take_range(range, gfp);
        self.take_note_of_shrinking(gfp);
        match result {
            Ok(()) => {
                self.tally.count(group::OPERATIONS, "allocate_range");
                self.took_range(range, gfp);
            }
            Err(error) => {
                self.tally.count(group::REFUSALS, "allocate_range");
                let says_true = match error {
                    RangeError::NoFrames => range.is_empty(),
                    RangeError::ContradictoryFlags(_) => {
                        gfp.highest_zone() < Some(Profile::X86_64.zone_of(range.start))
                    }
                    RangeError::Reserved(pfn) => {
                        range.contains(pfn) && self.oracle.order_of(pfn) == Err(FreeError::Reserved(pfn))
                    }
                    RangeError::Busy(pfn) => {
                        let there = self.oracle.order_of(pfn);
                        range.contains(pfn) && matches!(there, Ok(_) | Err(FreeError::Interior { .. }))
                    }
                    other => self.cannot_isolate(range, other),
                };
                assert!(says_true, "{range} with {gfp}: {error}");
            }
        }
    }

    /// Whether a reason that a range cannot be isolated is true.
    fn cannot_isolate(&self, range: PfnRange, error: RangeError) -> bool {
        let last = Pfn::new(range.end.number() - 1);
        match error {
            RangeError::CrossesZones(of) => {
                of == range && Profile::X86_64.zone_of(range.start) != Profile::X86_64.zone_of(last)
            }
            RangeError::NotManaged(pfn) => {
                let first = range.start.number() / PAGEBLOCK_FRAMES * PAGEBLOCK_FRAMES;
                pfn.number() >= first && range.end > pfn && self.oracle.order_of(pfn) == Err(FreeError::NotManaged(pfn))
            }
            RangeError::Isolated(pfn) => {
                self.oracle.in_isolation(pfn) && self.oracle.isolable(range) == Err("isolated")
            }
            _ => false,
        }
    }

    fn allocate_contiguous(&mut self) {
        let gfp = self.gfp() - Gfp::NOFRAGMENT;
        let limit = self.random.one_of(&[3, 100, 1200, 5000]);
        let frames = self.random.below(limit);
        let result = self.machine.frames.take_contiguous(frames, gfp);
        self.take_note_of_shrinking(gfp);
        match result {
            Ok(range) => {
                self.tally.count(group::OPERATIONS, "allocate_contiguous");
                assert_eq!(range.frames(), frames);
                assert!(!frames.is_power_of_two() || range.start.number().is_multiple_of(frames), "{range}");
                self.took_range(range, gfp);
                self.check_zeroed(gfp, &[range]);
            }
            Err(error) => {
                self.tally.count(group::REFUSALS, "allocate_contiguous");
                match error {
                    AllocError::NoFrames => assert_eq!(frames, 0),
                    AllocError::NoFreeRun { frames: number, .. } => {
                        assert_eq!(number, frames);
                        assert!(!self.has_run(frames, gfp), "{frames} frames in a row with {gfp} were refused");
                    }
                    other => panic!("{frames} frames in a row with {gfp}: {other}"),
                }
            }
        }
    }

    /// Whether a zone that the request may use has so many free frames in a row, in pageblocks of any mobility that
    /// requests have.
    fn has_run(&self, frames: u64, gfp: Gfp) -> bool {
        let highest = gfp.highest_zone().expect("the flags are in order");
        ZoneKind::ALL.into_iter().filter(|zone| *zone <= highest).any(|zone| {
            let alignment = if frames.is_power_of_two() { frames } else { 1 };
            let (mut start, mut end) = (0, 0);
            // What is kept for requests that cannot wait looks to the oracle like any other.
            let kept = self.machine.frames.zone(zone).reserved_highatomic > 0;
            let mut fits = false;
            let here = |block: &Seen| Profile::X86_64.zone_of(Pfn::new(block.0)) == zone;
            for (pfn, order, state) in self.oracle.blocks().into_iter().filter(here) {
                let free = state == bifolio::allocator::BlockState::Free && !self.oracle.in_isolation(Pfn::new(pfn));
                if !free || pfn != end {
                    start = pfn;
                }
                end = if free { pfn + (1 << order) } else { pfn };
                fits |= end.saturating_sub(u64::next_multiple_of(start, alignment)) >= frames;
            }
            fits && !kept && self.oracle.admits(zone, highest, frames, gfp)
        })
    }

    fn isolate(&mut self) {
        let range = self.any_range();
        match self.machine.frames.isolate(range) {
            Ok(()) => {
                self.tally.count(group::OPERATIONS, "isolate");
                assert_eq!(self.oracle.isolable(range), Ok(()), "{range}");
                self.oracle.set_isolated(range, true);
                self.isolated.push(range);
                self.isolated_at = self.drains();
            }
            Err(RangeError::NoFrames) => assert!(range.is_empty()),
            Err(error) => {
                self.tally.count(group::REFUSALS, "isolate");
                assert!(self.cannot_isolate(range, error), "{range}: {error}");
            }
        }
        if self.random.per_mille(700) {
            self.unisolate_all();
        }
    }

    /// Ends all isolation.
    pub(crate) fn unisolate_all(&mut self) {
        while let Some(range) = self.isolated.pop() {
            self.machine.frames.unisolate(range).expect("it was isolated");
            self.oracle.set_isolated(range, false);
        }
    }

    /// Adds what can be reclaimed, piece by piece, and tries in vain to add something twice, or that is not to be had.
    fn add(&mut self) {
        let again = self.any_frame();
        let taken = self.oracle.order_of(again) != Err(FreeError::Reserved(again));
        if taken || !self.machine.reclaimable.iter().any(|range| range.contains(again)) {
            let (frames, range) = (self.machine.frames, PfnRange::new(again, again.offset(1)));
            match frames.give_more(range) {
                Err(AddError::Overlaps(pfn)) => assert!(pfn == again && (taken || frames.metadata().contains(again))),
                Err(AddError::NotReclaimable(pfn)) => assert!(pfn == again && !taken),
                error => assert!(error == Err(AddError::NotPlanned(range)) && !taken, "{range}: {error:?}"),
            }
        }
        if let Some(range) = self.machine.reclaimable.get(self.added).copied() {
            self.tally.count(group::OPERATIONS, "add");
            assert_eq!(self.machine.frames.give_more(range), Ok(()));
            self.oracle.add(range);
            self.added += 1;
        }
    }

    /// Checks that frames were zeroed if that was asked for, and no others.
    pub(crate) fn check_zeroed(&mut self, gfp: Gfp, frames: &[PfnRange]) {
        let zeroed = Turns::zeroed();
        if gfp.contains(Gfp::ZERO) {
            self.tally.count(group::OPERATIONS, "zero");
            assert_eq!(zeroed, frames);
        } else {
            assert_eq!(zeroed, [], "with {gfp}");
        }
    }

    /// Asks for zeroed frames where frames cannot be zeroed: refused, and nothing is lost.
    fn fail_to_zero(&mut self) {
        let (order, gfp) = (self.order(), self.gfp() | Gfp::ZERO);
        Turns::set_can_zero(false);
        let result = self.machine.frames.take(order, gfp - Gfp::NOFRAGMENT);
        Turns::set_can_zero(true);
        self.take_note_of_shrinking(gfp);
        if result == Err(AllocError::CannotZero) {
            self.tally.count(group::REFUSALS, "allocate, where frames cannot be zeroed");
        } else {
            assert!(matches!(result, Err(AllocError::OutOfMemory { .. })), "{result:?}");
            self.refused("allocate", order, gfp - Gfp::ZERO - Gfp::NOFRAGMENT);
        }
    }

    /// Reads the reports of refusals: one in ten seconds, in Linux's words.
    fn watch_reports(&mut self) {
        let (reports, now) = (Turns::reports(), <Turns>::uptime());
        let due = 2 + (now - self.watched).as_secs() / 10;
        assert!(reports.len() as u64 <= due, "{} reports", reports.len());
        self.watched = now;
        for report in reports {
            self.tally.count(group::CHECKS, "report of a refusal");
            // Before that, how many were not reported.
            let own = report.strip_prefix("warn_alloc: ").and_then(|rest| rest.split_once(" callbacks suppressed\n"));
            let own = own.map_or(&*report, |(_, own)| own);
            assert!(own.starts_with("page allocation failure: order:"), "{report}");
        }
    }
}
