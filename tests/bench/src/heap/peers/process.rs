//! Allocators of a whole process: mimalloc, snmalloc (with the feature of that name) and glibc's. There is one of each, from the start of the program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::NonNull;
use workloads::heap::Objects;

/// mimalloc, the C library.
pub struct MiMalloc;

/// snmalloc, the C++ library.
#[cfg(feature = "snmalloc")]
pub struct SnMalloc;

/// What the C library of the machine has.
pub struct Glibc;

macro_rules! objects {
    ($name:ty, $package:literal, $inner:expr) => {
        impl Objects for $name {
            const NAME: &'static str = $package;

            fn new() -> Self {
                Self
            }

            #[inline(always)]
            fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
                // SAFETY: no layout of a workload has size 0.
                NonNull::new(unsafe { $inner.alloc(layout) })
            }

            #[inline(always)]
            fn allocate_zeroed(&self, layout: Layout) -> Option<NonNull<u8>> {
                // SAFETY: no layout of a workload has size 0.
                NonNull::new(unsafe { $inner.alloc_zeroed(layout) })
            }

            #[inline(always)]
            unsafe fn free(&self, object: NonNull<u8>, layout: Layout) {
                // SAFETY: the caller keeps the same contract.
                unsafe { $inner.dealloc(object.as_ptr(), layout) };
            }

            #[inline(always)]
            unsafe fn reallocate(&self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
                // SAFETY: the caller keeps the same contract, and no size of a workload is 0.
                NonNull::new(unsafe { $inner.realloc(object.as_ptr(), layout, size) })
            }
        }
    };
}

objects!(MiMalloc, "mimalloc", mimalloc::MiMalloc);
#[cfg(feature = "snmalloc")]
objects!(SnMalloc, "snmalloc-rs", snmalloc_rs::SnMalloc);
objects!(Glibc, "glibc", System);
