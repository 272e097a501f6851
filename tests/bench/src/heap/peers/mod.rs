//! The peers of the heap: allocators from the registry, as they are, behind [`Objects`](workloads::heap::Objects): those
//! that run on the host only.
//!
//! Those over a region that are not thread-safe stand behind a spin lock. Those of the whole process get their memory from
//! the system, and bring what they need for threads.

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
pub use process::{Glibc, MiMalloc, SnMalloc};
pub use rlsf::Rlsf;
pub use slab::Slabs;
