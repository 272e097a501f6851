//! The peers: allocators from the registry, as they are, behind [`PageFrames`](workloads::PageFrames): those that run
//! on the host only.
//!
//! None of them is thread-safe, so each stands behind a spin lock, which is what a kernel would do. Each gets the order of
//! calls, the alignment and the memory that its documentation asks for, and block 0 is as aligned as it can be: none loses
//! anything to how it is called.

/// Who should take part and cannot.
pub const ABSENT: &str = if cfg!(feature = "snmalloc") {
    "LLFree does not take part, since it is in no registry; its workloads are here.\nosdk-frame-allocator \
     0.19 and osdk-heap-allocator 0.19 do not take part: ostd, which they stand on, is a kernel and does not compile for a \
     host."
} else {
    "LLFree does not take part, since it is in no registry; its workloads are here.\nosdk-frame-allocator \
     0.19 and osdk-heap-allocator 0.19 do not take part: ostd, which they stand on, is a kernel and does not compile for a \
     host.\nsnmalloc-rs does not either: this program was built without its feature `snmalloc`, which takes \
     a C++ compiler."
};

mod acid;
mod buddy_alloc;
mod buddy_slab;
mod floor;
mod memory;
mod nothing;

pub use acid::Acid;
pub use buddy_alloc::BuddyAlloc;
pub use buddy_slab::BuddySlab;
pub use floor::Floor;
pub use memory::Memory;
pub use nothing::Nothing;
