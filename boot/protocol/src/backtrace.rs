//! Backtraces: the guest prints addresses, the host program adds function, file and line as it shows them.
//!
//! So the kernel needs no debug information, no decoder for it and no memory while it panics.

use core::fmt;

/// One line of a backtrace: `  #<number> 0x<16 hex digits>`, a line of its own on COM1.
///
/// Frame 0 is where the trace begins, and its address that of an instruction: the one that faulted, or one in the
/// function that prints the trace. The others are calls, and their addresses where the calls return to.
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
    /// An address inside the instruction that the frame stands at.
    ///
    /// A call's return address can belong to the next line, or to the next function if the call never returns.
    #[must_use]
    pub fn instruction(&self) -> u64 {
        if self.number == 0 { self.address } else { self.address.wrapping_sub(1) }
    }

    /// Reads a line back; `None` if it is any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Line> {
        let (number, digits) = text.trim_end().strip_prefix("  #")?.split_once(" 0x")?;
        if digits.len() != 16 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Line { number: number.parse().ok()?, address: u64::from_str_radix(digits, 16).ok()? })
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
    fn calls_are_looked_up_before_the_address_that_they_return_to() {
        assert_eq!(Line { number: 0, address: 16 }.instruction(), 16);
        assert_eq!(Line { number: 1, address: 16 }.instruction(), 15);
    }

    #[test]
    fn only_whole_lines_of_this_form_are_taken() {
        for text in ["", "#0 0x0000000000000001", "  #0 0x1", "  #x 0x0000000000000001", "  #0 0x00000000000000g1"] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
        assert_eq!(Line::parse("  #12 0x0000000000000001\r"), Some(Line { number: 12, address: 1 }));
        assert_eq!(Line::parse("  # 0x0000000000000001"), None);
    }
}
