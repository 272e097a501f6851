//! The heap as a kernel uses it, over page sources that remember every block.

mod bad_frees;
mod bulk;
mod caches;
mod collections;
mod debug;
mod faults;
mod frames;
mod history;
mod large;
mod layouts;
mod mapped;
mod model;
mod objects;
mod races;
mod region;
mod reports;
mod runs;
mod shortage;
mod small;
mod source;
mod threads;
