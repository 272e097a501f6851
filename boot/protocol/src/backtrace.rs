//! Backtraces: the guest prints addresses, the host program adds function, file and line as it shows them.
//!
//! So the kernel needs no debug information, no decoder for it and no memory while it panics.

use core::fmt;

/// One line of a backtrace: `  #<number> 0x<16 hex digits>`, a line of its own on COM1.
///
/// The address is the one the frame returns to, except for frame 0, which is where the trace begins (an exception's
/// instruction, say).
///
/// ```
/// # use protocol::backtrace::Line;
/// let line = Line { number: 3, address: 0xffff_8000_0000_1234 };
/// let text = "  #3 0xffff800000001234";
/// assert_eq!(line.to_string(), text);
/// assert_eq!(Line::parse(text), Some(line));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The frame's number, 0 for the innermost.
    pub number: usize,
    /// An address in the kernel's image as it was loaded.
    pub address: u64,
}

impl Line {
    /// Reads a line back; `None` if it is any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Line> {
        let (number, digits) = text.trim_end().strip_prefix("  #")?.split_once(" 0x")?;
        if digits.len() != 16 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Line {
            number: number.parse().ok()?,
            address: u64::from_str_radix(digits, 16).ok()?,
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  #{} {:#018x}", self.number, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_this_form_are_taken() {
        for text in [
            "",
            "#0 0x0000000000000001",
            "  #0 0x1",
            "  #x 0x0000000000000001",
            "  #0 0x00000000000000g1",
        ] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
        assert_eq!(
            Line::parse("  #12 0x0000000000000001\r"),
            Some(Line { number: 12, address: 1 })
        );
        assert_eq!(Line::parse("  # 0x0000000000000001"), None);
    }
}
