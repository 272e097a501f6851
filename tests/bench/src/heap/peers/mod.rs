//! The peers of the heap: allocators from the registry, as they are, behind [`Objects`](workloads::heap::Objects): those
//! that run on the host only.
//!
//! Those over a region that are not thread-safe stand behind a spin lock. Those of the whole process get their memory from
//! the system, and bring what they need for threads.

use crate::case::Repeat;
use workloads::heap::{LinkedList, RegionHeap};

mod buddy;
mod floor;
mod good_memory;
mod nothing;
mod process;
mod rlsf;
mod slab;

pub use buddy::Buddies;
pub use floor::HeapFloor;
pub use good_memory::GoodMemory;
pub use nothing::NoHeap;
#[cfg(feature = "snmalloc")]
pub use process::SnMalloc;
pub use process::{Glibc, MiMalloc};
pub use rlsf::Rlsf;
pub use slab::Slabs;

/// Whether an allocator's instructions can be counted. snmalloc does not start under valgrind, which does not have all the
/// addresses that it reserves.
pub fn is_countable(allocator: &str, workload: &str) -> bool {
    // It looks for a block's buddy in a list: with thousands of free ones, a trace takes a quarter of an hour to count.
    let is_slow = allocator == Buddies::NAME && workload.starts_with("heap-trace");
    allocator != "snmalloc-rs" && !is_slow
}

/// Whether an allocator can do a workload, and in bearable time.
pub fn can(allocator: &str, workload: &str, repeat: Repeat) -> bool {
    // With holes all over, each of its searches goes through tens of thousands of them.
    let is_long = repeat == Repeat::Once || workload == "heap-big" || workload.starts_with("heap-trace");
    let is_slow = allocator == LinkedList::NAME && is_long;
    // Each of its frees goes through all free blocks of a size for the buddy: the frees of 200,000 objects take minutes.
    let is_quadratic = allocator == Buddies::NAME && workload == "heap-big";
    // It takes all of its memory at the start, whatever is asked for.
    let is_fixed = allocator == Slabs::NAME && repeat == Repeat::Once;
    !is_slow && !is_quadratic && !is_fixed
}
