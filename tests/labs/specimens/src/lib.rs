//! The labs' solutions, and each of them with a typical mistake.
#![no_std]
#![forbid(unsafe_code)]

pub mod mistakes;

use labs::Frames;

/// Somebody who does something with a piece, whatever its type is.
pub trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<P: Frames + Send>(self) -> Self::Output;
}

#[allow(missing_docs, dead_code, unused, reason = "a mistake leaves something behind that is not used any more")]
mod planted {
    use super::Visitor;
    include!(concat!(env!("OUT_DIR"), "/specimens.rs"));
}

pub use planted::with;
