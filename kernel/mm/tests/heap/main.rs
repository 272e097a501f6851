//! The heap as a kernel uses it, over page sources that remember every block.

mod bad_frees;
mod frames;
mod layouts;
mod model;
mod objects;
mod region;
mod reports;
mod shortage;
mod source;
mod threads;
