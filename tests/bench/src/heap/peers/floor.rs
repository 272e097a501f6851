//! The floor: for each thread and power of two a stack of addresses, without a lock, that tracks nothing. No allocator
//! can be faster.
//!
//! A stack that is empty gets what has never been allocated; nothing is ever given back or used for another size.

use crate::peers::Memory;
use crate::thread::current_cpu;
use std::alloc::Layout;
use std::cell::UnsafeCell;
use std::ptr::{self, NonNull};
use workloads::heap::{Backing, Objects, aligned};

/// As many CPUs as any run has threads.
const CPUS: usize = 2;
/// The sizes up to 2^30.
const CLASSES: usize = 31;
/// How many addresses a stack has room for: more than any workload has live objects.
const DEPTH: usize = 1 << 20;

/// See the module.
pub struct HeapFloor {
    cpus: [Stacks; CPUS],
    /// Below what lies in it: it goes last.
    _memory: Memory,
    _stacks: Memory,
}

/// Apart from its neighbour by more than what processors fetch at once.
#[repr(align(128))]
struct Stacks(UnsafeCell<Inner>);

struct Inner {
    /// The topmost entry of each stack. The lowest one stays null.
    tops: [*mut *mut u8; CLASSES],
    /// What has never been allocated.
    fresh: NonNull<u8>,
    left: usize,
}

// SAFETY: a CPU's stacks are only touched by its thread, and what lies in them is nobody's.
unsafe impl Sync for Stacks {}
// SAFETY: as for `Sync`.
unsafe impl Send for Stacks {}

/// The power of two that holds this layout; a stack is found by it.
#[inline(always)]
fn class(layout: Layout) -> usize {
    ((layout.size().max(layout.align()) - 1) | 7).ilog2() as usize + 1
}

impl Inner {
    #[cold]
    #[inline(never)]
    fn carve(&mut self, class: usize) -> Option<NonNull<u8>> {
        let size = 1 << class;
        let skipped = self.fresh.addr().get().wrapping_neg() & (size - 1);
        self.left = self.left.checked_sub(size + skipped)?;
        // SAFETY: so much is left.
        unsafe {
            let block = self.fresh.byte_add(skipped);
            self.fresh = block.byte_add(size);
            Some(block)
        }
    }
}

impl HeapFloor {
    #[inline(always)]
    fn inner(&self) -> *mut Inner {
        self.cpus[current_cpu() % CPUS].0.get()
    }
}

impl Objects for HeapFloor {
    const NAME: &'static str = crate::case::FLOOR;

    fn new() -> Self {
        let (memory, stacks) = (<Memory as Backing>::new(), <Memory as Backing>::new());
        let half = Memory::SIZE / CPUS;
        const { assert!(CPUS * CLASSES * DEPTH * size_of::<*mut u8>() <= Memory::SIZE) };
        let cpus = std::array::from_fn(|cpu| {
            // SAFETY: the region has so many bytes.
            let fresh = unsafe { Backing::base(&memory).byte_add(cpu * half) };
            // SAFETY: so do these, as was asserted.
            let bottom = |class| unsafe { Backing::base(&stacks).cast().add((cpu * CLASSES + class) * DEPTH).as_ptr() };
            Stacks(UnsafeCell::new(Inner { tops: std::array::from_fn(bottom), fresh, left: half }))
        });
        Self { cpus, _memory: memory, _stacks: stacks }
    }

    #[inline(always)]
    fn allocate(&self, layout: Layout) -> Option<NonNull<u8>> {
        let class = class(layout);
        // SAFETY: this thread is the only one with this number, and the reference ends with this call. A layout is smaller
        // than the largest class, and below the stack's top there is its lowest entry.
        unsafe {
            let inner = &mut *self.inner();
            let top = inner.tops.get_unchecked_mut(class);
            match NonNull::new(**top) {
                None => inner.carve(class),
                object => {
                    *top = top.sub(1);
                    object
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn free(&self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: this thread is the only one with this number, the reference ends with this call, and no stack
        // ever has as many entries as there is room for.
        unsafe {
            let inner = &mut *self.inner();
            let top = inner.tops.get_unchecked_mut(class(layout));
            *top = top.add(1);
            **top = object.as_ptr();
        }
    }

    #[inline(always)]
    unsafe fn reallocate(&self, object: NonNull<u8>, layout: Layout, size: usize) -> Option<NonNull<u8>> {
        let wanted = aligned(size, layout.align());
        if class(wanted) == class(layout) {
            return Some(object);
        }
        let moved = self.allocate(wanted)?;
        // SAFETY: two objects, each of at least as many bytes; by this function's contract the old one may be freed.
        unsafe {
            ptr::copy_nonoverlapping(object.as_ptr(), moved.as_ptr(), size.min(layout.size()));
            self.free(object, layout);
        }
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_no_larger_than_it_must_be() {
        let classes = [(8, 8), (9, 8), (64, 8), (64, 64), (65, 8), (100, 4096)]
            .map(|(size, align)| 1 << class(aligned(size, align)));
        assert_eq!(classes, [8, 16, 64, 64, 128, 4096]);
    }
}
