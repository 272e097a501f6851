//! A trace: what was done with page frames and heap, operation by operation, as bytes.
//!
//! The kernel writes one while it runs, by an [`Encoder`] that is the allocator's [`Recorder`](bifolio::allocator::Recorder). Whoever
//! has the file reads it from [`Place`] to place, and can do all of it again: the crate `replay` does.
//!
//! # The format
//!
//! A trace begins with [`MAGIC`], whose last byte is the version, and a header: the number of CPUs that have pages of their own, the number
//! of entries of the memory map, and for each entry its kind (a byte: 0 usable, 1 ACPI reclaimable, 2 reserved), its start and its
//! end in bytes. Numbers are varints: seven bits a byte, lowest first, the highest bit set in all but the last. Then come records
//! until the end of the file, each of which begins with a byte that says what it is:
//!
//! | byte | record | what follows |
//! |---|---|---|
//! | `00`-`78` | an allocation: `order * 11 + flags`, by their place in a table of common ones, 10 for others | others' bits; result |
//! | `80`-`8a` | a block of order 0 to 10 is freed | distance |
//! | `8b` | a free that was refused | order; distance |
//! | `90`-`9f` | another operation | its arguments; result |
//! | `a0` | an operation with others within it, which come next | the operation, without its result |
//! | `a1` | a shrinker is asked, within an operation | frames; result |
//! | `a2` | what follows is asked for from a site in the program, until another is said | its number, or 0 |
//! | `a3` | the operation behind the last `a0` that has not ended, ends | result |
//! | `a4` | an object is allocated | number of its cache, bytes; result |
//! | `a5` | an object is freed | address; one more than the number of its cache, or 0; result |
//! | `a6`-`ae` | another operation on the heap | its arguments; result |
//! | `af` | what the number of a site stands for | its number; how many return addresses, innermost first; each as a distance from the one before |
//! | `b2` | a site in words, found by a program that has debugging information of the traced one | its number; how many bytes; UTF-8 |
//! | `c0`-`ff` | what follows is of CPU 0 to 62; `ff`, of another | its number |
//! | `b0` | the hash of the whole state | 8 bytes, lowest first |
//! | `b1` | records were lost, and the trace can be followed no further | how many |
//!
//! A *distance* is from the frame that was spoken of last, as a number that counts 0, -1, 1, -2, 2; an address is such a distance from
//! the address that was spoken of last, in bytes. A *result* is 0 if the operation was
//! refused, and else one more than a distance, or than the number that was returned.
#![no_std]
#![forbid(unsafe_code)]
#![warn(unreachable_pub, missing_debug_implementations)]

extern crate alloc;

mod decode;
mod encode;
mod form;

pub use decode::{Broken, Defect, Header, Place, Record, Site};
pub use encode::{Encoder, Sink, write_header, write_site_name};
pub use form::{MAGIC, SITE_DEPTH};
