//! Bad frees: each must be named exactly, and change nothing.

use bifolio::error::FreeError;
use bifolio::frame::{Order, Pfn, PfnRange};
use kit::Raw;
use kit::oracle::range_blocks;

use crate::soak::{RECENT, Round, group};

impl Round<'_> {
    /// Frees what is not to be freed, or not so.
    pub(crate) fn free_badly(&mut self) {
        let order = self.any_order();
        let (pfn, given) = match self.random.below(8) {
            // What was freed lately, with the same order or not.
            0 | 1 => {
                let (pfn, freed) = self.recent[self.random.below(RECENT as u64) as usize];
                (pfn, if self.random.per_mille(800) { freed } else { order })
            }
            // Any frame that there is metadata for.
            2 => (self.any_frame(), order),
            // What is allocated, by its head or inside.
            3 | 4 => self.in_a_block().map_or((self.any_frame(), order), |(head, size)| {
                let inside = if self.random.per_mille(500) { 0 } else { self.random.below(size.frames()) };
                (head.offset(inside), order)
            }),
            // The allocator's own frames, and what nobody may have.
            5 => {
                let own = self.machine.frames.metadata();
                (own.start.offset(self.random.below(own.frames())), order)
            }
            6 => (Pfn::new(self.random.below(256)), order),
            // Beyond all memory, near or far.
            _ => {
                let end = self.machine.ram.last().map_or(0, |range| range.end.number());
                let far = [end + 1024, end + 40_000, 1 << 19, 1 << 36, 1 << 52, u64::MAX - 1100];
                (Pfn::new(self.random.one_of(&far) + self.random.below(1100)), order)
            }
        };
        if self.random.per_mille(100) {
            self.free_range_badly(pfn, given);
        } else {
            self.free_badly_at(pfn, given);
        }
    }

    fn any_order(&mut self) -> Order {
        let order = if self.random.per_mille(500) { self.random.below(4) } else { self.random.below(11) };
        Order::new(order as u8).expect("it is below 11")
    }

    pub(crate) fn any_frame(&mut self) -> Pfn {
        self.oracle.frame(self.random.below(1 << 24))
    }

    pub(crate) fn in_a_block(&mut self) -> Option<(Pfn, Order)> {
        let count = self.oracle.count() as u64;
        (count > 0).then(|| self.oracle.nth(self.random.below(count) as usize))
    }

    fn free_badly_at(&mut self, pfn: Pfn, given: Order) {
        let Err(expected) = self.oracle.verdict(pfn, given) else {
            return;
        };
        self.tally.count(group::BAD_FREES, kind(expected));
        let result = self.machine.frames.give(pfn, given);
        assert_eq!(result, Err(expected), "freeing {pfn} at order {given} on CPU {}", self.cpu);
    }

    /// Frees a range of which a part is bad, perhaps; if none is, the range is freed.
    fn free_range_badly(&mut self, pfn: Pfn, order: Order) {
        let frames = self.random.below(order.frames() + 1);
        if pfn.number() > 1 << 53 {
            return; // Where ranges would wrap around.
        }
        let range = PfnRange::new(pfn, pfn.offset(frames));
        let verdict = self.verdict_on(range);
        if verdict.is_ok() && range_blocks(range).iter().any(|(pfn, _)| self.oracle.is_hidden(*pfn)) {
            return;
        }
        match verdict {
            Err(error) => self.tally.count(group::BAD_FREES, kind(error)),
            Ok(()) => self.tally.count(group::OPERATIONS, "free_range"),
        }
        assert_eq!(self.machine.frames.give_range(range), verdict, "freeing {range}");
        if verdict.is_ok() {
            range_blocks(range).into_iter().for_each(|(pfn, order)| self.gave(pfn, order));
        }
    }

    /// What freeing a range must say.
    fn verdict_on(&self, range: PfnRange) -> Result<(), FreeError> {
        if range.is_empty() {
            return Err(FreeError::NoFrames);
        }
        range_blocks(range).into_iter().try_for_each(|(pfn, order)| self.oracle.verdict(pfn, order))
    }
}

fn kind(error: FreeError) -> &'static str {
    match error {
        FreeError::NoFrames => "empty range",
        FreeError::NotManaged(_) => "out of range",
        FreeError::Reserved(_) => "reserved",
        FreeError::AlreadyFree(_) => "double",
        FreeError::Interior { .. } => "interior",
        FreeError::WrongOrder { .. } => "wrong order",
        _ => unreachable!("an error that the model does not know: {error}"),
    }
}
