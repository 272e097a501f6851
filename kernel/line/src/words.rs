//! What a line says: commands, each of words.

use core::fmt;
use core::num::IntErrorKind;

/// What is wrong with a command's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WordError<'a> {
    /// A word is missing: what it would say.
    Missing(&'static str),
    /// One word more than the command takes.
    Unexpected(&'a str),
    /// The word is not a number.
    NotANumber(&'a str),
    /// The word is a number, but more than any can be.
    TooLarge(&'a str),
}

impl fmt::Display for WordError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "{what} is missing"),
            Self::Unexpected(word) => write!(f, "unexpected argument '{word}'"),
            Self::NotANumber(word) => write!(f, "'{word}' is not a number (decimal, or hexadecimal with 0x in front)"),
            Self::TooLarge(word) => write!(f, "'{word}' is too large"),
        }
    }
}

impl core::error::Error for WordError<'_> {}

/// The commands of a line, which `;` separates and a `#` at the beginning of a word ends: none is empty.
pub fn commands(line: &str) -> impl Iterator<Item = &str> {
    without_comment(line).split(';').map(str::trim).filter(|command| !command.is_empty())
}

/// A line up to the `#` that begins a word.
fn without_comment(line: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| line[..*at].ends_with([' ', '\t', ';']) || *at == 0;
    line.match_indices('#').find(is_comment).map_or(line, |(at, _)| &line[..at])
}

/// Takes the words that a command has: those in `names` are required, then up to `optional` more.
///
/// # Errors
/// One is missing, or one is too many.
pub fn expect<'w, 'a>(
    words: &'w [&'a str],
    names: &[&'static str],
    optional: usize,
) -> Result<&'w [&'a str], WordError<'a>> {
    match (names.get(words.len()), words.get(names.len() + optional)) {
        (Some(missing), _) => Err(WordError::Missing(missing)),
        (None, Some(word)) => Err(WordError::Unexpected(word)),
        (None, None) => Ok(words),
    }
}

/// So many of what is called by its plural: `1 frame`, `2 frames`, `1 block of order 3`.
pub fn counted(count: u64, plural: &str) -> impl fmt::Display {
    let (name, rest) = plural.split_at(plural.find(" of ").unwrap_or(plural.len()));
    let (stem, end) = match (count, name.strip_suffix("ies")) {
        (1, Some(stem)) => (stem, "y"),
        (1, None) => (name.trim_end_matches('s'), ""),
        _ => (name, ""),
    };
    fmt::from_fn(move |f| write!(f, "{count} {stem}{end}{rest}"))
}

/// A number, decimal or hexadecimal with `0x` in front.
///
/// # Errors
/// It is none, or too large.
pub fn number(word: &str) -> Result<u64, WordError<'_>> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (word.strip_prefix('+').unwrap_or(word), 10),
    };
    // Of what is no number `from_str_radix` may say that it is too large, if the digits before what is none are.
    if !digits.chars().all(|letter| letter.is_digit(radix)) {
        return Err(WordError::NotANumber(word));
    }
    u64::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => WordError::TooLarge(word),
        _ => WordError::NotANumber(word),
    })
}
