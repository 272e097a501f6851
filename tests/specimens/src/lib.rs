//! One test of every kind of ending: what the test framework is tested with.
//!
//! They are of no use by themselves, and most of them fail. A host test boots them and asserts that each is reported as
//! what it is: see `tests/specimens.rs` here for what that must be.
#![no_std]
