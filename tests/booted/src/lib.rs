//! What the booted tests of several subjects share.
//!
//! The subjects are in `tests/`: each file is a kernel of its own. All of them run on every firmware and with every
//! amount of memory, so none may count on a size.
#![no_std]

extern crate alloc;

use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use kernel::memory::heap::HEAP;
use kernel::memory::{frames, paging};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use x86_64::structures::paging::Translate;
use x86_64::{PhysAddr, VirtAddr};

/// Random numbers, the same in every run.
pub fn random() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(0xb1f0_1105)
}

/// The frame that a virtual address is mapped to.
///
/// # Panics
/// If it is not mapped.
pub fn frame_of(address: VirtAddr) -> Pfn {
    let physical = paging::table().translate_addr(address);
    Pfn::containing(physical.expect("the address is mapped").as_u64())
}

/// The first word of a frame, in the window onto physical memory.
pub fn first_word(pfn: Pfn) -> *mut u64 {
    paging::to_virtual(PhysAddr::new(pfn.address())).as_mut_ptr()
}

/// All the memory that requests with some flags can get, held in blocks as large as they come.
#[derive(Debug)]
pub struct Hoard {
    blocks: Vec<(Pfn, Order)>,
}

impl Hoard {
    /// An empty hoard, with room to note what it will hold. The heap gives back what it does not use, which it would do
    /// when memory is short, and no sum would fit.
    pub fn new() -> Self {
        // Two blocks of the largest order for each frame of the list's own that holds notes, and small ones at the edges.
        let largest = frames_free() / Order::MAX.frames();
        let hoard = Self { blocks: Vec::with_capacity(largest as usize + 16 * 1024) };
        HEAP.shrink();
        hoard
    }

    /// Takes everything that these flags get, largest blocks first.
    ///
    /// # Panics
    /// If there are more pieces than there is room to note.
    pub fn take(&mut self, gfp: Gfp) {
        for order in Order::all().rev() {
            while let Ok(pfn) = frames().allocate(order, gfp) {
                assert!(self.blocks.len() < self.blocks.capacity(), "memory is in more pieces than expected");
                self.blocks.push((pfn, order));
            }
        }
    }

    /// Frames in the hoard.
    pub fn frames(&self) -> u64 {
        self.blocks.iter().map(|(_, order)| order.frames()).sum()
    }

    /// Gives everything back.
    ///
    /// # Panics
    /// If the allocator does not take a block.
    pub fn give_back(&mut self) {
        for (pfn, order) in self.blocks.drain(..) {
            frames().free(pfn, order).expect("the block was allocated with this order");
        }
    }
}

impl Default for Hoard {
    fn default() -> Self {
        Self::new()
    }
}

/// Free frames: those in all zones and those that the processors' arenas hold.
pub fn frames_free() -> u64 {
    let in_zones: u64 = ZoneKind::ALL.map(|kind| frames().zone(kind).free).iter().sum();
    in_zones + frames().cached()
}
