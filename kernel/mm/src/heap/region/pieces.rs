//! Memory in grains, with the bits that tell of them before it.

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::grains::{GRAIN, Grains, Piece, Word};

/// A piece of memory that pieces of it are taken from.
pub(super) struct Pieces<'r> {
    grains: Grains<'r>,
    /// The first grain.
    start: NonNull<u8>,
    /// All of it, from the first bit on.
    whole: (NonNull<u8>, usize),
    memory: PhantomData<&'r mut [u8]>,
}

// SAFETY: the pointers are to memory of no particular thread, which is this value's.
unsafe impl Send for Pieces<'_> {}

impl<'r> Pieces<'r> {
    /// Bytes that so many need for the bits: no fewer than for the grains that there will be.
    pub(super) const fn bits(bytes: usize) -> usize {
        Grains::words_for(bytes / GRAIN) * size_of::<Word>()
    }

    /// So many bytes from here on, all free but for the bits.
    ///
    /// # Safety
    /// The memory is ours for `'r`, aligned to a word, and has room for the bits.
    pub(super) unsafe fn new(start: NonNull<u8>, bytes: usize) -> Self {
        let bits = Self::bits(bytes);
        // SAFETY: the bits lie at the start of the memory, which is aligned, and ours; it holds bytes, of which any eight are a
        // number. The grains begin behind them.
        let (words, first) = unsafe {
            (core::slice::from_raw_parts_mut::<'r>(start.cast().as_ptr(), bits / size_of::<Word>()), start.add(bits))
        };
        let grains = Grains::new(words, (bytes - bits) / GRAIN, first.as_ptr().addr());
        Self { grains, start: first, whole: (start, bytes), memory: PhantomData }
    }

    /// Where it begins, bits and all, and its bytes.
    pub(super) fn whole(&self) -> (NonNull<u8>, usize) {
        self.whole
    }

    /// The grain at an address, if there is one.
    fn grain(&self, address: usize) -> Option<usize> {
        address.checked_sub(self.start.as_ptr().addr()).map(|offset| offset / GRAIN)
    }

    fn address(&self, grain: usize) -> usize {
        self.start.as_ptr().addr() + grain * GRAIN
    }

    /// Takes so many bytes.
    pub(super) fn take(&mut self, bytes: usize, align: usize, piece: Piece) -> Option<NonNull<u8>> {
        let first = self.grains.take(bytes.div_ceil(GRAIN), align.div_ceil(GRAIN), piece)?;
        // SAFETY: there are no other grains than those behind `start`.
        Some(unsafe { self.start.add(first * GRAIN) })
    }

    /// Gives them back. Whether there was such a piece.
    pub(super) fn give(&mut self, address: usize, bytes: usize, piece: Piece) -> bool {
        let first = self.grain(address);
        first.is_some_and(|first| self.grains.give(first..first + bytes.div_ceil(GRAIN), piece))
    }

    /// Makes an object as long where it is. `false`, and nothing changed, if there is none, or no room behind it.
    pub(super) fn resize(&mut self, address: usize, bytes: usize) -> bool {
        let object = self.grain(address).and_then(|grain| self.grains.around(grain));
        object.is_some_and(|(range, _)| self.grains.resize(range, bytes.div_ceil(GRAIN)))
    }

    /// The object that an address lies in: where it begins, and its bytes.
    pub(super) fn object_around(&self, address: usize) -> Option<(usize, usize)> {
        let (range, piece) = self.grains.around(self.grain(address)?)?;
        (piece == Piece::Object).then(|| (self.address(range.start), range.len() * GRAIN))
    }

    /// Bytes of what began at an address and was freed, as far as that is known.
    pub(super) fn freed_at(&self, address: usize) -> Option<usize> {
        let grain = self.grain(address).filter(|grain| self.address(*grain) == address)?;
        Some(self.grains.freed_at(grain)? * GRAIN)
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.grains.is_vacant()
    }

    /// Shows where each object begins, and its bytes.
    pub(super) fn for_each_object(&self, visit: &mut dyn FnMut(usize, usize)) {
        self.grains.for_each_object(|range| visit(self.address(range.start), range.len() * GRAIN));
    }
}
