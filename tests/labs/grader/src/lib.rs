//! What `make lab`, `make handout` and `make grade` do.
//!
//! | module | its part |
//! |---|---|
//! | [`screen`] | what a learner's file may not have in it, by name |
//! | [`build`] | the file, compiled for the host and for the kernel |
//! | [`sandbox`] | a program that is kept from the host |
//! | [`trial`] | the file, tried on the host and in QEMU |
//! | [`score`] | points, as a table or as a line of CSV |
//! | [`page`] | the first mistake as a page |
//! | [`class`] | many files, graded |
//! | [`handout`] | the tree that a class is given |

pub mod build;
pub mod class;
pub mod handout;
pub mod page;
pub mod sandbox;
pub mod score;
pub mod screen;
pub mod trial;

use std::path::{Path, PathBuf};

/// The checkout that this program was built in.
pub fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."))
}

/// The file that a learner of a lab fills in.
pub fn piece(lab: u8) -> PathBuf {
    checkout().join(format!("tests/labs/pieces/lab{lab}.rs"))
}
