//! The heap and C's `malloc`, on so little memory that it runs out.

use std::cell::RefCell;

use model::choices::Choices;
use model::heap::pages::Memory;
use model::heap::run_small;

/// Half as much as the largest block: large objects are of all sizes but those, and refused soon.
const BYTES: usize = 2 << 20;

thread_local! {
    /// The same for every input: to have it anew would take longer than most of them.
    static MEMORY: RefCell<Memory> = RefCell::new(Memory::new(BYTES));
}

pub(crate) fn run(bytes: &[u8]) {
    MEMORY.with_borrow_mut(|memory| run_small(memory, Choices::bytes(bytes)));
}
