//! How badly free memory is in pieces. The formulas are Linux's.

use crate::frame::{Mobility, Order};

/// What a zone's free memory is in pieces of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct FreeBlocks {
    /// Free blocks, by mobility and order.
    pub blocks: [[u64; Order::COUNT]; Mobility::COUNT],
    /// Pageblocks that hold managed frames, by mobility.
    pub pageblocks: [u64; Mobility::COUNT],
}

/// The sum of numbers that may be any at all: a caller can make a [`FreeBlocks`] up.
fn saturating_sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

impl FreeBlocks {
    /// Free blocks of this order, of any mobility.
    pub fn of(&self, order: Order) -> u64 {
        saturating_sum(self.blocks.iter().map(|blocks| blocks[order.index()]))
    }

    /// Free frames, in blocks of all orders.
    pub fn frames(&self) -> u64 {
        self.suitable(Order::ZERO)
    }

    /// How many blocks of `order` the free memory can serve (Linux: `free_blocks_suitable`).
    pub fn suitable(&self, order: Order) -> u64 {
        let in_each = |larger: Order| self.of(larger).saturating_mul(larger.frames() / order.frames());
        saturating_sum(Order::all().skip(order.index()).map(in_each))
    }

    /// Why a request of `order` would fail, in thousandths: towards 0 for lack of memory, towards 1000 because memory is in
    /// too small pieces; -1000 if it would not fail (Linux: `extfrag_index`).
    pub fn fragmentation_index(&self, order: Order) -> i64 {
        let blocks = saturating_sum(Order::all().map(|order| self.of(order)));
        if blocks == 0 {
            return 0;
        }
        if self.suitable(order) > 0 {
            return -1000;
        }
        let requests = u128::from(self.frames()) * 1000 / u128::from(order.frames());
        1000 - ((1000 + requests) / u128::from(blocks)) as i64
    }

    /// The part of the free memory that a request of `order` cannot use, in thousandths; all of none (Linux:
    /// `unusable_index`).
    pub fn unusable_index(&self, order: Order) -> u64 {
        match self.frames() {
            0 => 1000,
            free => self.unusable(order, 1000, free),
        }
    }

    /// The part of the free memory that a request of `order` cannot use, in percent; none of none (Linux:
    /// `extfrag_for_order`).
    pub fn unusable_percent(&self, order: Order) -> u64 {
        self.unusable(order, 100, self.frames().max(1))
    }

    /// The free frames that a request of `order` cannot use, as so many parts of `free`.
    fn unusable(&self, order: Order, parts: u64, free: u64) -> u64 {
        let usable = self.suitable(order).saturating_mul(order.frames());
        (u128::from(self.frames().saturating_sub(usable)) * u128::from(parts) / u128::from(free)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(count: impl IntoIterator<Item = (u8, u64)>) -> FreeBlocks {
        let mut blocks = FreeBlocks::default();
        for (order, number) in count {
            blocks.blocks[Mobility::Movable.index()][usize::from(order)] = number;
        }
        blocks
    }

    fn order(order: u8) -> Order {
        Order::new(order).unwrap()
    }

    #[test]
    fn the_fragmentation_index_is_linuxs() {
        assert_eq!(blocks([(0, 512)]).fragmentation_index(order(9)), 997);
        assert_eq!(blocks([(0, 1024)]).fragmentation_index(order(3)), 875);
        assert_eq!(blocks([(0, 1024), (3, 1)]).fragmentation_index(order(3)), -1000);
        assert_eq!(blocks([(0, 1024), (10, 1)]).fragmentation_index(order(3)), -1000);
        assert_eq!(blocks([(0, 1)]).fragmentation_index(order(10)), 0);
        assert_eq!(blocks([]).fragmentation_index(order(0)), 0);
    }

    #[test]
    fn the_unusable_index_and_percentage_are_linuxs() {
        let some = blocks([(0, 100), (1, 50), (4, 3)]);
        assert_eq!((some.frames(), some.suitable(order(1)), some.suitable(order(4))), (248, 74, 3));
        let indices = [0, 1, 2, 4, 5].map(|o| (some.unusable_index(order(o)), some.unusable_percent(order(o))));
        assert_eq!(indices, [(0, 0), (403, 40), (806, 80), (806, 80), (1000, 100)]);
        assert_eq!((blocks([]).unusable_index(order(0)), blocks([]).unusable_percent(order(0))), (1000, 0));
    }
}
