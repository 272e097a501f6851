//! What a request does when the pageblocks of its own mobility have nothing left (Linux: `__rmqueue_fallback`).

use super::header::Header;
use super::{Zone, ZoneStats};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES};

/// Half a pageblock's order: a free block from here up is worth its whole pageblock.
const WORTH_CLAIMING: u8 = Order::PAGEBLOCK.get() / 2;

/// Half a pageblock's frames: with so many free, or of its own kind, a request takes the pageblock over.
const HALF: u32 = PAGEBLOCK_FRAMES as u32 / 2;

/// How a request was served from pageblocks of another mobility.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_enums, reason = "arrays have a place for each")]
pub enum Fallback {
    /// A free block of whole pageblocks changed its mobility.
    ClaimedWhole,
    /// A pageblock changed its mobility, and what is allocated in it keeps its own.
    ClaimedPageblock,
    /// The block was taken from a pageblock that keeps its mobility.
    Stolen,
}

impl Fallback {
    /// The ways, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::ClaimedWhole, Self::ClaimedPageblock, Self::Stolen];

    /// The way's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimedWhole => "claim_whole",
            Self::ClaimedPageblock => "claim_pageblock",
            Self::Stolen => "steal",
        }
    }
}

const KINDS: usize = Mobility::REQUESTED.len();

/// How often requests were served from pageblocks of another mobility: by the way, by the kind of the request, and by that of the
/// pageblock.
pub(super) type Fallbacks = [[[u64; KINDS]; KINDS]; Fallback::ALL.len()];

impl ZoneStats {
    /// How often requests of a kind were served in this way from pageblocks of another, which is among its
    /// [fallbacks](Mobility::fallbacks).
    pub fn fallbacks(&self, way: Fallback, from: Mobility, to: Mobility) -> u64 {
        let of_request = self.fallbacks[way as usize].get(to.index());
        of_request.and_then(|counts| counts.get(from.index())).copied().unwrap_or(0)
    }
}

/// A pageblock of another mobility than a request's: how it would serve it, its mobility, and its number.
type Foreign = (Fallback, Mobility, usize);

impl Zone<'_> {
    /// Finds a pageblock of another mobility to serve the request, and takes it over where that pays.
    ///
    /// The largest foreign block is claimed, with its pageblock: that one disturbance then serves many requests. If
    /// nothing is worth claiming, the smallest sufficient foreign block serves this request alone.
    #[cold]
    pub(super) fn fall_back(&mut self, order: Order, mobility: Mobility, mixing: bool) -> Option<usize> {
        let choice = self.choose_foreign(order, mobility, mixing)?;
        Some(self.take_over(order, mobility, choice))
    }

    /// Which pageblock of another mobility would serve the request, in which way, and what its mobility is. Without `mixing`, only
    /// one that is free as a whole, which is one of the request's then.
    pub(super) fn choose_foreign(&self, order: Order, mobility: Mobility, mixing: bool) -> Option<Foreign> {
        let least = if mixing { order } else { order.max(Order::PAGEBLOCK) };
        self.claimable(least, mobility).or_else(|| self.stealable(least, mobility))
    }

    /// Has the pageblock that was chosen serve a request: takes it over, or takes note of what it does not suit.
    fn take_over(&mut self, order: Order, mobility: Mobility, (way, foreign, number): Foreign) -> usize {
        self.stats.fallbacks[way as usize][mobility.index()][foreign.index()] += 1;
        match way {
            Fallback::Stolen => self.note_foreign(number, mobility, order.frames()),
            Fallback::ClaimedWhole | Fallback::ClaimedPageblock => {
                self.retype(number, |header| header.set_mobility(mobility));
            }
        }
        number
    }

    /// The pageblock of the largest foreign block of at least `order` that is worth taking over.
    fn claimable(&self, order: Order, mobility: Mobility) -> Option<Foreign> {
        let sticky = mobility != Mobility::Movable;
        for order in Order::all().rev().take_while(|candidate| *candidate >= order) {
            if order.get() < WORTH_CLAIMING && !sticky {
                return None;
            }
            let Some((foreign, number)) = self.foreign(order, mobility) else { continue };
            // A block that is free as a whole is retyped; in a part of one, what is allocated keeps its kind, so that
            // most of it must be free, or of a kind that suits.
            let whole = order >= Order::PAGEBLOCK;
            let header = self.blocks.peek(number);
            if whole || header.free() + compatible(header, mobility) >= HALF {
                let way = if whole { Fallback::ClaimedWhole } else { Fallback::ClaimedPageblock };
                return Some((way, foreign, number));
            }
        }
        None
    }

    /// The best of the other kinds that has a free block of exactly `order` as a pageblock's largest, and that pageblock.
    fn foreign(&self, order: Order, mobility: Mobility) -> Option<(Mobility, usize)> {
        mobility.fallbacks().iter().find_map(|kind| Some((*kind, self.lowest(order, *kind)?)))
    }

    /// The lowest pageblock of this mobility whose largest free block is of exactly `order`; from order 9 up, of at least that.
    pub(super) fn lowest(&self, order: Order, mobility: Mobility) -> Option<usize> {
        if order >= Order::PAGEBLOCK {
            return self.wholes.find(order, mobility);
        }
        let level = u32::from(order.get());
        (self.index.filled(mobility) >> level & 1 == 1).then(|| self.index.lowest(mobility, level))
    }

    /// The pageblock of the smallest sufficient foreign block.
    fn stealable(&self, order: Order, mobility: Mobility) -> Option<Foreign> {
        let (foreign, number) = Order::all().skip(order.index()).find_map(|order| self.foreign(order, mobility))?;
        Some((Fallback::Stolen, foreign, number))
    }

    /// Takes note that frames of a pageblock are allocated for contents of this mobility.
    fn note_foreign(&mut self, number: usize, mobility: Mobility, frames: u64) {
        let mut block = self.blocks.lock(number);
        if is_movable(block.header.mobility()) != is_movable(mobility) {
            let foreign = block.header.foreign();
            block.header.set_foreign(foreign + frames as u32);
        }
    }

    /// Changes what a pageblock is for: its free frames are counted as that, and found as that. One that is free as a whole takes its
    /// buddy along, if that is free too and may be of the same mobility.
    pub(super) fn retype(&mut self, number: usize, change: impl FnOnce(&mut Header)) {
        let mut block = self.blocks.lock(number);
        let before = block.header;
        change(&mut block.header);
        let after = block.header;
        let (from, to) = (before.mobility(), after.mobility());
        let is_free = self.wholes.is_free(number, from);
        let free = if is_free { PAGEBLOCK_FRAMES } else { before.counted().into() };
        self.count_taken(from, free);
        self.count_free(to, free);
        let kept = |header: Header| if header.own_mobility() == Mobility::HighAtomic { PAGEBLOCK_FRAMES } else { 0 };
        self.stats.reserved_highatomic = self.stats.reserved_highatomic + kept(after) - kept(before);
        if before.is_split() {
            if is_movable(before.own_mobility()) != is_movable(after.own_mobility()) {
                // What was at home is foreign now, and the reverse.
                block.header.set_foreign(PAGEBLOCK_FRAMES as u32 - before.free() - before.foreign());
            }
            self.remove(number, before);
            self.insert(number, after);
        } else if is_free {
            if let Some(buddy) = self.wholes.set_mobility(number, from, to) {
                self.blocks.set_mobility(buddy, to);
            }
        }
    }
}

/// Allocated frames of a pageblock that may well be of the request's kind. Between what is unmovable and what is
/// reclaimable there is no telling, so there they are none.
fn compatible(header: Header, mobility: Mobility) -> u32 {
    if is_movable(header.mobility()) == is_movable(mobility) { 0 } else { header.foreign() }
}

fn is_movable(mobility: Mobility) -> bool {
    mobility == Mobility::Movable
}

#[cfg(test)]
mod tests {
    use super::super::violations::zone;
    use super::super::{BlockState, Watermarks, Zone};
    use super::*;
    use crate::frame::{Pfn, ZoneKind};

    /// The fixture's zone with its pair of pageblocks free, and the first frame of that.
    fn with_free_pair() -> (Zone<'static>, Pfn) {
        let (mut zone, _) = zone();
        let pair = zone.blocks.start_of(2);
        assert_eq!(zone.free(pair, Order::MAX), Ok(()));
        (zone, pair)
    }

    #[test]
    fn a_free_pair_changes_its_mobility_as_one() {
        let (mut zone, _) = with_free_pair();
        zone.retype(3, |header| header.set_mobility(Mobility::Unmovable));
        assert_eq!(zone.wholes.block_of(3), Some((2, Order::MAX, BlockState::Free)));
        assert_eq!([2, 3].map(|number| zone.blocks.peek(number).mobility()), [Mobility::Unmovable; 2]);
        assert_eq!(zone.validate(), Ok(()));
    }

    #[test]
    fn a_pair_that_is_kept_is_given_up_as_one() {
        let (mut zone, _) = zone();
        let pair = zone.blocks.start_of(2);
        zone.stats.managed *= 1000;
        zone.reserve_highatomic(pair, Order::MAX);
        zone.stats.managed /= 1000;
        assert_eq!(zone.free(pair, Order::MAX), Ok(()));
        // The pageblock that the fixture keeps is the first to go.
        assert!((0..2).all(|_| zone.unreserve_highatomic(Mobility::Movable)));
        assert_eq!([2, 3].map(|number| zone.blocks.peek(number).mobility()), [Mobility::Movable; 2]);
        assert_eq!(zone.validate(), Ok(()));
    }

    #[test]
    fn a_pageblock_that_changes_its_mobility_takes_its_free_buddy_along() {
        let (mut zone, _) = zone();
        let pair = zone.blocks.start_of(2);
        assert_eq!(zone.split(pair, Order::MAX, Order::PAGEBLOCK), Ok(()));
        zone.stats.managed *= 1000;
        zone.reserve_highatomic(pair, Order::PAGEBLOCK);
        zone.stats.managed /= 1000;
        assert_eq!(zone.free(pair, Order::PAGEBLOCK), Ok(()));
        assert_eq!(zone.free(zone.blocks.start_of(3), Order::PAGEBLOCK), Ok(()));
        assert_eq!(zone.wholes.block_of(3), Some((3, Order::PAGEBLOCK, BlockState::Free)));
        while zone.unreserve_highatomic(Mobility::Unmovable) {}
        assert_eq!(zone.wholes.block_of(3), Some((2, Order::MAX, BlockState::Free)));
        assert_eq!([2, 3].map(|number| zone.blocks.peek(number).mobility()), [Mobility::Unmovable; 2]);
        assert_eq!(zone.validate(), Ok(()));
    }

    #[test]
    fn whole_pageblocks_are_given_down_to_the_low_mark_at_once() {
        let (mut zone, pair) = with_free_pair();
        zone.settle_all();
        let low = zone.stats.free - Order::MAX.frames();
        let marks = |low| Watermarks { min: 0, low, high: low };
        zone.set_marks(marks(low + 1), [0; ZoneKind::COUNT]);
        assert_eq!(zone.allocate_whole(Order::MAX, Mobility::Movable, false), None);
        zone.set_marks(marks(low), [0; ZoneKind::COUNT]);
        assert_eq!(zone.allocate_whole(Order::MAX, Mobility::Movable, false), Some(pair));
        assert_eq!(zone.validate(), Ok(()));
    }
}
