//! What objects hold: every byte follows from the object's number, so a byte that somebody else wrote shows.

use std::ptr::NonNull;

const WORD: usize = size_of::<u64>();

/// The eight bytes at `index` words into object `number`.
fn word(number: u64, index: usize) -> u64 {
    (number + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 40
}

fn byte(number: u64, offset: usize) -> u8 {
    word(number, offset / WORD).to_le_bytes()[offset % WORD]
}

/// Fills the object's bytes from `from` up to `size`, the last one too.
///
/// # Safety
/// The object is the caller's, and this long.
pub unsafe fn fill(object: NonNull<u8>, number: u64, from: usize, size: usize) {
    let words = from.div_ceil(WORD)..size / WORD;
    let (head, tail) = (from..size.min(words.start * WORD), size.max(from) / WORD * WORD..size);
    for index in words {
        // SAFETY: the word lies inside the object.
        unsafe { object.add(index * WORD).cast::<u64>().write_unaligned(word(number, index).to_le()) };
    }
    for offset in head.chain(tail).filter(|offset| *offset >= from) {
        // SAFETY: the byte lies inside the object.
        unsafe { object.add(offset).write(byte(number, offset)) };
    }
}

/// Checks that the object's first `size` bytes hold what was filled in.
///
/// # Panics
/// At the first byte that was overwritten.
///
/// # Safety
/// The object is the caller's, this long, and filled as far.
pub unsafe fn check(object: NonNull<u8>, number: u64, size: usize) {
    for index in 0..size / WORD {
        // SAFETY: the word lies inside the object.
        let found = unsafe { object.add(index * WORD).cast::<u64>().read_unaligned() };
        if found != word(number, index).to_le() {
            let differs = |at: &usize| found.to_ne_bytes()[*at] != byte(number, index * WORD + at);
            let at = (0..WORD).find(differs).expect("one of the bytes differs");
            panic!("byte {} of the object of {size} bytes at {object:p} was overwritten", index * WORD + at);
        }
    }
    for offset in size / WORD * WORD..size {
        // SAFETY: the byte lies inside the object.
        let found = unsafe { object.add(offset).read() };
        assert_eq!(found, byte(number, offset), "byte {offset} of the object of {size} bytes at {object:p}");
    }
}

/// Whether all bytes are `value`.
///
/// # Safety
/// The object is the caller's, this long, and initialised.
pub unsafe fn is_all(object: NonNull<u8>, value: u8, size: usize) -> bool {
    // SAFETY: the object is the caller's, this long, and initialised: this function's own condition.
    unsafe { std::slice::from_raw_parts(object.as_ptr(), size) }.iter().all(|byte| *byte == value)
}
