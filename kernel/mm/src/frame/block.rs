//! Blocks with an owner: what the allocator gives out, and takes back.
//!
//! Whoever has a [`Block`] is the only one that does. It cannot be copied, so it is freed once, as what it is, and by
//! nobody else:
//!
//! ```
//! #![forbid(unsafe_code)]
//! # use bifolio::allocator::{Cpu, PageAllocator};
//! # use bifolio::frame::{Block, Gfp, Order};
//! fn pass_through<C: Cpu>(frames: &PageAllocator<'_, C>) -> Result<(), Box<dyn core::error::Error>> {
//!     let block: Block = frames.allocate(Order::PAGEBLOCK, Gfp::KERNEL)?;
//!     for piece in frames.split(block, Order::ZERO)? {
//!         frames.free(piece)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A block is not freed twice,
//!
//! ```compile_fail,E0382
//! # use bifolio::allocator::{Cpu, PageAllocator};
//! # use bifolio::error::FreeError;
//! # use bifolio::frame::Block;
//! fn twice<C: Cpu>(frames: &PageAllocator<'_, C>, block: Block) -> Result<(), FreeError> {
//!     frames.free(block)?;
//!     frames.free(block)
//! }
//! ```
//!
//! nor used once it is free,
//!
//! ```compile_fail,E0382
//! # use bifolio::allocator::{Cpu, PageAllocator};
//! # use bifolio::error::FreeError;
//! # use bifolio::frame::{Block, PfnRange};
//! fn afterwards<C: Cpu>(frames: &PageAllocator<'_, C>, block: Block) -> Result<PfnRange, FreeError> {
//!     frames.free(block)?;
//!     Ok(block.range())
//! }
//! ```
//!
//! nor given to two,
//!
//! ```compile_fail,E0599
//! # use bifolio::frame::Block;
//! fn two_owners(block: Block) -> [Block; 2] {
//!     [block.clone(), block]
//! }
//! ```
//!
//! nor freed whole once it is in pieces,
//!
//! ```compile_fail,E0382
//! # use bifolio::allocator::{Cpu, PageAllocator};
//! # use bifolio::error::FreeError;
//! # use bifolio::frame::{Block, Order};
//! fn whole_and_pieces<C: Cpu>(frames: &PageAllocator<'_, C>, block: Block) -> Result<(), FreeError> {
//!     let pieces = frames.split(block, Order::ZERO);
//!     frames.free(block)
//! }
//! ```
//!
//! nor made of a number without a promise:
//!
//! ```compile_fail,E0133
//! # use bifolio::frame::{Block, Order, Pfn};
//! fn out_of_thin_air() -> Block {
//!     Block::from_raw(Pfn::new(0x1234), Order::ZERO)
//! }
//! ```
//!
//! None of that holds a single instruction: a block is its number and its order.

use super::{Order, Pfn, PfnRange};

/// An allocated block of `2^order` frames, which belongs to whoever has this.
///
/// It is freed by being given to [`free`](crate::allocator::PageAllocator::free). One that is dropped stays allocated for
/// ever: what is freed when it goes out of scope is [`OwnedFrames`](crate::allocator::OwnedFrames).
#[derive(PartialEq, Eq, Hash, Debug)]
#[must_use = "a block that is dropped stays allocated"]
pub struct Block {
    pfn: Pfn,
    order: Order,
}

impl Block {
    /// The block of `order` that starts at `pfn`.
    ///
    /// # Safety
    /// It is allocated as a block of that order, by the allocator that it will be given to, and nobody else has it: it is
    /// out of [`into_raw`](Self::into_raw) or its like, and was not made a block again since.
    pub const unsafe fn from_raw(pfn: Pfn, order: Order) -> Self {
        Self { pfn, order }
    }

    /// The block as numbers. It stays allocated until a block is [made of them](Self::from_raw) again, or they are
    /// [freed](crate::allocator::PageAllocator::free_raw).
    #[must_use = "the block stays allocated"]
    pub const fn into_raw(self) -> (Pfn, Order) {
        (self.pfn, self.order)
    }

    /// The block's first frame, aligned to the block's size.
    pub const fn pfn(&self) -> Pfn {
        self.pfn
    }

    /// The block's size.
    pub const fn order(&self) -> Order {
        self.order
    }

    /// The block's frames.
    pub const fn range(&self) -> PfnRange {
        PfnRange::of(self.pfn, self.order)
    }
}

/// Allocated frames in a row, as the [largest blocks](PfnRange::blocks) that make them up, which belong to whoever has
/// this.
///
/// They are freed together by being given to [`free_range`](crate::allocator::PageAllocator::free_range), or [block by
/// block](Self::into_blocks). What is dropped stays allocated for ever. [`Block`] says what cannot be done with it.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "frames that are dropped stay allocated"]
pub struct Blocks(PfnRange);

impl Blocks {
    /// The blocks that make up the range.
    ///
    /// # Safety
    /// As for [`Block::from_raw`], for each of them.
    pub const unsafe fn from_raw(range: PfnRange) -> Self {
        Self(range)
    }

    /// The frames as numbers. They stay allocated until [blocks are made of them](Self::from_raw) again, or they are
    /// [freed](crate::allocator::PageAllocator::free_range_raw).
    #[must_use = "the frames stay allocated"]
    pub const fn into_raw(self) -> PfnRange {
        self.0
    }

    /// The frames.
    pub const fn range(&self) -> PfnRange {
        self.0
    }

    /// The blocks, in ascending order, each to be freed by itself.
    pub fn into_blocks(self) -> impl Iterator<Item = Block> {
        self.0.blocks().map(|(pfn, order)| Block { pfn, order })
    }
}

impl From<Block> for Blocks {
    /// A block is the largest that makes up its own range.
    fn from(block: Block) -> Self {
        Self(block.range())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_costs_no_more_than_its_numbers() {
        assert_eq!(size_of::<Block>(), size_of::<(Pfn, Order)>());
        assert_eq!(size_of::<Option<Block>>(), size_of::<Block>());
        assert_eq!(size_of::<Blocks>(), size_of::<PfnRange>());
        assert!(!core::mem::needs_drop::<Block>() && !core::mem::needs_drop::<Blocks>());
    }

    #[test]
    fn a_block_is_the_only_one_of_its_range() {
        for order in Order::all() {
            let pfn = Pfn::new(order.frames() * 3);
            // SAFETY: no allocator hears of these.
            let block = unsafe { Block::from_raw(pfn, order) };
            let blocks = Blocks::from(block).into_blocks().map(Block::into_raw);
            assert!(blocks.eq([(pfn, order)]));
        }
    }
}
