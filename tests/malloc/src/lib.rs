//! C's `malloc` and its family on Bifolio's heap: the heap under programs that know nothing of it.
//!
//! Tests and benchmarks only ever ask what their authors thought of. A compiler, an interpreter or a database asks for
//! what it needs, from many threads, across forks, and notices every byte that is not as it left it. So this library is
//! preloaded into such programs (`LD_PRELOAD`), which must then do what they do with the system's allocator.
//!
//! It is the heap as a kernel has it, with a process as the machine: page frames are pages of address space that is
//! [reserved](region) and made usable as the heap grows, and [threads](thread) are CPUs.
//!
//! Nothing here may allocate by any other way than the heap, so there is no standard library, and the only thing that is
//! asked of the C library is what does not allocate.
//!
//! Build it with `cargo rustc -p malloc --profile preloaded -- -Ztls-model=initial-exec`: the thread's number is read in
//! every call, and the general way to find a thread's variables calls a function that may allocate. By itself, since in
//! company cargo would give it the standard library that others ask its dependencies for.
#![no_std]
#![feature(thread_local)]

mod family;
mod heap;
mod mapped;
mod region;
mod report;
mod system;
mod thread;

/// Called by the loader before the program starts.
#[used]
#[unsafe(link_section = ".init_array")]
static INITIALISE: extern "C" fn() = {
    extern "C" fn initialise() {
        thread::heed_forks();
        heap::HEAP.set_error_hook(report::heap_error);
    }
    initialise
};
