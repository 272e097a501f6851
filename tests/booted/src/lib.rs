//! What the booted tests of several subjects share.
//!
//! The subjects are in `tests/`: each file is a kernel of its own. All of them run on every firmware and with every
//! amount of memory, so none may count on a size.
#![no_std]

use bifolio::frame::Pfn;
use kernel::memory::paging;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use x86_64::VirtAddr;
use x86_64::structures::paging::Translate;

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
