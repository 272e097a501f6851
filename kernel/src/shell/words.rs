//! A command's words, and what they must be.

use super::error::Error;
use bifolio::frame::Order;
use core::num::IntErrorKind;

/// Takes the words that a command has: those in `names` are required, then up to `optional` more.
///
/// # Errors
/// One is missing, or one is too many.
pub fn expect<'w, 'a>(
    words: &'w [&'a str],
    names: &[&'static str],
    optional: usize,
) -> Result<&'w [&'a str], Error<'a>> {
    match (names.get(words.len()), words.get(names.len() + optional)) {
        (Some(missing), _) => Err(Error::Missing(missing)),
        (None, Some(word)) => Err(Error::Unexpected(word)),
        (None, None) => Ok(words),
    }
}

/// A number, decimal or hexadecimal with `0x` in front.
///
/// # Errors
/// It is none, or too large.
pub fn number(word: &str) -> Result<u64, Error<'_>> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        // `from_str_radix` would take a sign here.
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
        _ => word.parse(),
    }
    .map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => Error::TooLarge(word),
        _ => Error::NotANumber(word),
    })
}

/// An order.
pub(super) fn order(word: &str) -> Result<Order, Error<'_>> {
    u8::try_from(number(word)?).ok().and_then(Order::new).ok_or(Error::NotAnOrder(word))
}
