//! What the CPUs of `bifolio` do to each other, under tools that look for orders of events in which it goes wrong.
//!
//! Mistakes between CPUs show in one run of a million, and never where one looks. Three tools look where nobody would:
//!
//! - **shuttle** runs whole allocators and whole heaps, lets one CPU at a time go on, and decides at every step which;
//! - **loom** knows, beside that, what a processor may reorder, and tries every order there is: of little;
//! - **ThreadSanitizer** watches real threads, and finds what nothing keeps from happening at once even if it did not.
//!
//! Shuttle and ThreadSanitizer run the same tests, [`frames`](../../tests/frames.rs) and [`heap`](../../tests/heap.rs). Who
//! says that they would have found something must show it: `make concurrency` plants mistakes in a copy of the crate, and
//! each must be found.

pub mod cpus;
pub mod memory;
#[cfg(gcc_tsan)]
mod tsan;
