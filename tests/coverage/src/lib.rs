//! Which lines, regions and branches of the crate `bifolio` are run by its tests on the host: what the compiler counts, and LLVM's
//! tools put together.
//!
//! No attribute excludes anything. What is not run is in a [`List`], each line with a reason, and the list must be true: a line that
//! is missing in it fails `make coverage`, and so does one that is run after all. That the lines are in the sources at all
//! is tested each time.

mod list;
mod measure;
mod segments;
mod sources;

pub use list::{Chance, Entry, List};
pub use measure::measure;
pub use segments::{Coverage, Tally};
pub use sources::Source;
