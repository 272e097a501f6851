//! The floor: a stack of frame numbers for each CPU, without a lock, that tracks nothing. No allocator can be faster.
//!
//! It serves single frames only.

use crate::thread::current_cpu;
use bifolio::frame::{Gfp, Order};
use std::cell::UnsafeCell;
use workloads::{FRAMES, PageFrames};

/// As many CPUs as any run has threads.
const CPUS: usize = 2;

/// See the module.
pub struct Floor([Stack; CPUS]);

/// Apart from its neighbour by more than what processors fetch at once.
#[repr(align(128))]
struct Stack(UnsafeCell<Inner>);

struct Inner {
    frames: Box<[u32]>,
    used: usize,
}

// SAFETY: a stack is only touched by the thread of its CPU.
unsafe impl Sync for Stack {}

impl Floor {
    #[inline]
    fn stack(&self) -> *mut Inner {
        self.0[current_cpu() % CPUS].0.get()
    }
}

impl PageFrames for Floor {
    const NAME: &'static str = "floor";
    type Block = u32;

    fn new() -> Self {
        // Alone, a thread takes all frames from its stack; of two, each takes no more than half of them.
        Self(std::array::from_fn(|_| {
            let frames = (0..FRAMES as u32).rev().collect();
            Stack(UnsafeCell::new(Inner { frames, used: FRAMES }))
        }))
    }

    #[inline(always)]
    fn allocate(&self, _: Order, _: Gfp) -> Option<u32> {
        // SAFETY: this thread is the only one with this number, and the reference ends with this call.
        let stack = unsafe { &mut *self.stack() };
        stack.used = stack.used.checked_sub(1)?;
        // SAFETY: the harness frees only what it allocated, so that never more are in use than there are.
        Some(unsafe { *stack.frames.get_unchecked(stack.used) })
    }

    #[inline(always)]
    fn free(&self, block: u32, _: Order) {
        // SAFETY: this thread is the only one with this number, and the reference ends with this call.
        let stack = unsafe { &mut *self.stack() };
        // SAFETY: the harness frees only what it allocated, so that there is room.
        unsafe { *stack.frames.get_unchecked_mut(stack.used) = block };
        stack.used += 1;
    }

    fn number(&self, block: u32) -> usize {
        block as usize
    }

    fn bytes_per_frame(&self) -> f64 {
        size_of::<u32>() as f64
    }
}
