//! The page-frame allocator against an oracle: millions of random operations, each answer checked.
//!
//! The [`oracle`](kit::oracle) is a second allocator in other words, a byte a frame, that shares nothing with the first but the
//! vocabulary. A [`soak`] round makes a random [`machine`], does random operations on both, [`check`]s that they agree,
//! frees everything, and wants the first state back. `make soak` does that a hundred million times; the tests of this
//! package do it less often, and beside it visit every state of small zones and count the steps of single operations.
//!
//! CPUs are simulated: one thread says before each operation which CPU it is. Operations of several CPUs interleave that
//! way in every order but within one another, and a run can be repeated by its seed.
//!
//! [`states`] leaves nothing to chance: it visits every state of machines so small that they can be counted.

pub mod bad_frees;
pub mod check;
pub mod choices;
pub mod heap;
mod injected;
pub mod machine;
mod oddities;
mod refusals;
mod resize;
pub mod soak;
pub mod states;
pub mod tally;
