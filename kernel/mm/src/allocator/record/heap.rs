//! What a heap asks of the recording that it shares with the page frames below it.

use super::{At, Call, HeapCall, Recording, Withhold};
use crate::cpu::Cpu;

impl Recording<'_> {
    /// The operations of a heap are recorded from now on.
    pub(crate) fn add_heap(&self, heap: &'static dyn Withhold) {
        self.heap.call_once(|| heap);
    }

    /// Whether an operation of the heap that is now here is to be recorded, and is no part of one that is.
    #[cold]
    pub(crate) fn is_due_for_heap<C: Cpu>(&self) -> bool {
        !self.is_at_work::<C>() || self.is_at(At::Others)
    }

    /// Whether what is here is part of an operation of the heap that is recorded.
    pub(crate) fn is_in_heap<C: Cpu>(&self) -> bool {
        self.is_at_work::<C>() && self.is_at(At::Heap)
    }

    /// Waits until no operation is at work, unless this is part of one, and does something that is not to be recorded.
    #[cold]
    pub(crate) fn undisturbed<C: Cpu, R>(&self, what: impl FnOnce() -> R) -> R {
        C::without_interrupts(|| {
            if self.is_at_work::<C>() {
                return what();
            }
            self.begin_turn::<C>();
            let result = what();
            self.end_turn::<C>();
            result
        })
    }

    /// Does an operation of the heap, or what one asks for, and records it. (It is called by a pointer, so that whoever waits here
    /// and begins anew is no recursion to the compiler, which would inline less.)
    #[cold]
    #[inline(never)]
    pub(crate) fn take_turn_for_heap<C: Cpu>(&self, call: HeapCall, operation: &mut dyn FnMut(usize) -> Option<u64>) {
        self.take_turn::<C>(Call::Heap(call), At::Heap, operation);
    }
}
