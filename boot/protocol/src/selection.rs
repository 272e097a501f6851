//! Which tests to run, in `cargo test`'s terms.
//!
//! The host knows no test's name before the guest runs, so the guest selects; what selecting means stands here, where
//! both sides and a host test can see it.

/// A selection of tests: a text of lines, each a sign and a name.
///
/// | line | meaning |
/// |---|---|
/// | `~part` | take tests whose name contains `part` |
/// | `=name` | take the test of exactly this name |
/// | `-part` | leave out tests whose name contains `part` |
/// | `!name` | leave out the test of exactly this name |
///
/// Without a line that takes, every test is taken. Leaving out wins.
///
/// ```
/// # use protocol::Selection;
/// let selection = Selection::parse("~frames\n-slow");
/// assert!(selection.takes("frames::split"));
/// assert!(!selection.takes("frames::slow_churn") && !selection.takes("heap::grow"));
/// assert!(Selection::parse("").takes("anything"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    lines: &'a str,
}

impl<'a> Selection<'a> {
    /// The selection that `lines` spells. Lines with another sign select nothing.
    #[must_use]
    pub const fn parse(lines: &'a str) -> Self {
        Selection { lines }
    }

    /// Whether the test of this name is to run.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let lines = || self.lines.lines().filter_map(|line| line.split_at_checked(1));
        let left_out = lines().any(|(sign, text)| match sign {
            "-" => name.contains(text),
            "!" => name == text,
            _ => false,
        });
        let mut takers = lines().filter(|&(sign, _)| sign == "~" || sign == "=").peekable();
        let taken = takers.peek().is_none()
            || takers.any(|(sign, text)| if sign == "=" { name == text } else { name.contains(text) });
        taken && !left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_names_do_not_take_longer_ones() {
        let selection = Selection::parse("=a::b\n=c");
        assert!(selection.takes("a::b") && selection.takes("c"));
        assert!(!selection.takes("a::bc") && !selection.takes("a"));
    }

    #[test]
    fn leaving_out_wins_over_taking() {
        let selection = Selection::parse("~a\n!ab\n-z");
        assert!(selection.takes("a") && selection.takes("abc"));
        assert!(!selection.takes("ab") && !selection.takes("az") && !selection.takes("b"));
        assert!(!Selection::parse("-b").takes("ab") && Selection::parse("-b").takes("a"));
    }
}
