//! What an operation has split or merged, level by level: derived from what was before and what is now, and the buddy computed as ever,
//! by exclusive or.

use core::fmt;

use bifolio::allocator::{BlockState, Call};
use bifolio::frame::{Order, Pfn};

use crate::app::App;
use crate::cells::Cells;
use crate::palette::{Code, meaning};

/// A block was split down to a smaller one, or that merged up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// It was split.
    pub is_split: bool,
    /// The smaller block, and its order.
    pfn: u64,
    small: Order,
    /// The order of the larger one.
    large: Order,
}

/// One level of it: two buddies that were, or are now, one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level {
    /// The half that the change is about.
    pub half: u64,
    /// The other one.
    pub buddy: u64,
    /// Their order.
    pub order: Order,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} ^ (1 << {}) = {:#x}", self.half, self.order, self.buddy)
    }
}

/// The free block that an allocated one was split from, by what was before.
pub fn split(cells: &Cells, pfn: u64, order: Order) -> Option<Change> {
    larger(cells.code_before(pfn), order).map(|large| Change { is_split: true, pfn, small: order, large })
}

/// The free block that a freed one has become part of, by what is now.
pub fn merge(cells: &Cells, pfn: u64, order: Order) -> Option<Change> {
    larger(cells.code(pfn), order).map(|large| Change { is_split: false, pfn, small: order, large })
}

fn larger(code: Code, order: Order) -> Option<Order> {
    match meaning(code) {
        Some((BlockState::Free, _, large)) if large > order => Some(large),
        _ => None,
    }
}

/// What the last operation has split or merged, if the moment before it was seen.
pub fn last(app: &App) -> Option<Change> {
    let last = app.world().last().filter(|_| app.is_step)?;
    match (last.call, last.returned) {
        (Call::Allocate { order, .. }, Some(pfn)) => split(app.cells(), pfn, order),
        (Call::AllocateRange { range, .. }, Some(_)) => {
            let mut blocks = range.blocks();
            let (pfn, order) = blocks.next().filter(|_| blocks.next().is_none())?;
            split(app.cells(), pfn.number(), order)
        }
        (Call::Free { pfn, order }, Some(_)) => merge(app.cells(), pfn.number(), order),
        _ => None,
    }
}

impl Change {
    /// The larger block.
    pub fn whole(&self) -> (Pfn, Order) {
        (Cells::head(self.pfn, self.large), self.large)
    }

    /// Its levels, in the order in which they come about.
    pub fn levels(&self) -> impl Iterator<Item = Level> {
        let Self { is_split, pfn, small, large } = *self;
        let count = large.get() - small.get();
        (0..count).filter_map(move |nth| {
            let order = Order::new(if is_split { large.get() - 1 - nth } else { small.get() + nth })?;
            let half = Cells::head(pfn, order).number();
            Some(Level { half, buddy: half ^ order.frames(), order })
        })
    }
}
