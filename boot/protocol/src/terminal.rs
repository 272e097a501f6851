//! The terminal that a person sees the guest's console on.

use core::fmt;

/// What a terminal can show. As text: its columns and rows, then words for what else it can do.
///
/// ```
/// use protocol::Terminal;
///
/// let terminal = Terminal { columns: 80, rows: 24, unicode: true, colour: false };
/// assert_eq!(terminal.to_string(), "80 24 unicode");
/// assert_eq!(Terminal::parse("80 24 unicode"), Some(terminal));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terminal {
    /// Characters in a row.
    pub columns: u16,
    /// Rows of characters.
    pub rows: u16,
    /// It shows characters beyond ASCII, as UTF-8.
    pub unicode: bool,
    /// It obeys sequences that set colours, and somebody wants to see them.
    pub colour: bool,
}

impl Terminal {
    const UNICODE: &str = "unicode";
    const COLOUR: &str = "colour";

    /// Reads what `Display` writes. Words that it does not know are a newer host program's, and say nothing here.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse().ok();
        let (columns, rows) = (number()?, number()?);
        let has = |name| words.clone().any(|word| word == name);
        Some(Self { columns, rows, unicode: has(Self::UNICODE), colour: has(Self::COLOUR) })
    }
}

impl fmt::Display for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.columns, self.rows)?;
        let words = [(self.unicode, Self::UNICODE), (self.colour, Self::COLOUR)];
        words.iter().filter(|(has, _)| *has).try_for_each(|(_, word)| write!(f, " {word}"))
    }
}
