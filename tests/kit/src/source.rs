//! Memory of the host's for heaps.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[cfg(feature = "std")]
use std::alloc::System;

use bifolio::error::FreeError;
use bifolio::frame::Order;
use bifolio::heap::PageSource;

/// The program's allocator, where there is no system.
#[cfg(not(feature = "std"))]
struct System;

// SAFETY: the program's allocator keeps the promises, and is handed what came with the call.
#[cfg(not(feature = "std"))]
unsafe impl GlobalAlloc for System {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { alloc::alloc::alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { alloc::alloc::dealloc(block, layout) }
    }
}

/// Blocks of the system's memory, whatever the program's allocator is, and how many frames are out.
#[derive(Debug, Default)]
pub struct SystemPages(AtomicU64);

impl SystemPages {
    /// A source that has given out nothing.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// How many frames are out.
    pub fn frames(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A block of this order, aligned to its size.
///
/// # Panics
/// Never: every order is a layout.
pub const fn layout(order: Order) -> Layout {
    match Layout::from_size_align(order.bytes() as usize, order.bytes() as usize) {
        Ok(layout) => layout,
        Err(_) => panic!("every order is a layout"),
    }
}

// SAFETY: blocks come from the system with the layout asked for, and go back to it when released.
unsafe impl PageSource for SystemPages {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        self.0.fetch_add(order.frames(), Relaxed);
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { System.alloc(layout(order)) })
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        self.0.fetch_sub(order.frames(), Relaxed);
        // SAFETY: the block came from `allocate` with this order, and nobody uses it any more.
        unsafe { System.dealloc(block.as_ptr(), layout(order)) };
        Ok(())
    }
}
