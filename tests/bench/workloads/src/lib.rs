//! What is measured on the host and in the booted kernel alike: the loops, and the allocators that run in both.
//!
//! [`PageFrames`] is what every allocator of page frames is asked to do, and [`page`] has the loops over it; [`heap`] has
//! both for objects. Both sides call the same code: what differs between their figures is the machine.
#![no_std]

extern crate alloc;

mod bifolio;
mod bitmap;
mod buddy_system;
pub mod heap;
pub mod page;
mod random;
pub mod singles;

pub use bifolio::Bifolio;
pub use bitmap::Bitmap;
pub use buddy_system::BuddySystem;
pub use page::{FRAMES, PageFrames};
pub use random::{Random, scale};

use ::bifolio::allocator::Cpu;
use core::marker::PhantomData;
use spin::Mutex;

/// A spin lock that no interrupt handler can wait for in vain: what a kernel puts around an allocator that has none.
pub struct Locked<T, C>(Mutex<T>, PhantomData<fn() -> C>);

impl<T, C: Cpu> Locked<T, C> {
    /// Not locked.
    pub const fn new(inner: T) -> Self {
        Self(Mutex::new(inner), PhantomData)
    }

    /// Runs `critical` with interrupts masked and the lock held.
    #[inline(always)]
    pub fn with<R>(&self, critical: impl FnOnce(&mut T) -> R) -> R {
        C::without_interrupts(|| critical(&mut self.0.lock()))
    }
}
