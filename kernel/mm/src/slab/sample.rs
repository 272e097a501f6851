//! What has memory for single objects that are watched.

use core::ptr::NonNull;

use super::error::HeapError;

/// A live object that a [`Sampler`] has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a sampler makes them")]
pub struct Sample {
    /// The name of the cache that it would be of.
    pub cache: &'static str,
    /// The number of that cache.
    pub number: u16,
    /// The size that was asked for, in bytes.
    pub size: usize,
}

/// Has memory for a few objects, and watches them. A kernel gives each a page of its own, beside pages that are not mapped.
///
/// # Safety
/// What [`allocate`](Self::allocate) returns is a live object of its caller's alone, as large and aligned as it was asked for, until it is
/// freed, and lies in none of the heap's own memory.
pub unsafe trait Sampler: Sync {
    /// Memory for this object, aligned to so many bytes; `None` if there is none left. With any contents.
    fn allocate(&self, sample: Sample, align: usize) -> Option<NonNull<u8>>;

    /// The live object that starts here, or what is there instead; `None` if the address is not the sampler's.
    fn look(&self, object: NonNull<u8>) -> Option<Result<Sample, HeapError>>;

    /// Frees the live object that starts here.
    ///
    /// # Errors
    /// There is none, or what is around it was overwritten.
    ///
    /// # Safety
    /// If the object is live, it is the caller's, and nobody uses it any more.
    unsafe fn free(&self, object: NonNull<u8>) -> Result<(), HeapError>;
}
