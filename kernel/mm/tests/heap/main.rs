//! The heap as a kernel uses it, over page sources that remember every block.

mod basics;
mod source;
