//! Real programs on the heap: what is run, how, and how it is compared.
//!
//! A program that is not installed is skipped, and that is said: nothing here may fail for want of a program, and nothing
//! may pass by not having run.

pub mod inputs;
pub mod preload;
pub mod program;
pub mod run;
