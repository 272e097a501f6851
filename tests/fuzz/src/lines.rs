//! The kernel's shell, as far as it has no machine: keys go into the line editor, whose output a terminal shows, and lines that are
//! entered are taken apart.

use line::{CAPACITY, Complete, Editor, Event, WordError, commands, expect, number};

const PROMPT: &str = "> ";
/// Ctrl-X, which ends whatever sequence has begun, and Ctrl-E, which ends a search, goes to the end of the line and draws it anew.
const TO_THE_END: [u8; 2] = [0x18, 5];

/// Candidates, of which some begin alike, one is empty, and one is longer than any line.
struct Words;

impl Complete for Words {
    fn candidates(&self, line: &str, each: &mut dyn FnMut(&str)) -> usize {
        const LONG: &str = match str::from_utf8(&[b'x'; CAPACITY + 1]) {
            Ok(long) => long,
            Err(_) => "",
        };
        let start = line.rfind([' ', ';']).map_or(0, |blank| blank + 1);
        let all = ["alloc", "alloc_exact", "buddyinfo", "ümlaut", "ümläut", "", LONG];
        all.iter().filter(|word| word.starts_with(&line[start..])).for_each(|word| each(word));
        start
    }
}

/// The first byte says how wide the terminal is, the others are keys.
pub(crate) fn run(bytes: &[u8]) {
    let Some((width, keys)) = bytes.split_first() else { return };
    let columns = u16::from(*width % 64) + 1;
    let mut editor = Editor::new(PROMPT, columns.into());
    // It takes as many as that anyhow.
    let columns = columns.max(PROMPT.len() as u16 + 20);
    let mut screen = vt100::Parser::new(3, columns, 0);
    let mut show = |text: &str| screen.process(text.replace('\n', "\r\n").as_bytes());
    let mut text = PROMPT.to_owned();
    for key in keys.iter().chain(&TO_THE_END) {
        let event = editor.push(*key, &Words, &mut text).expect("a string takes everything");
        let line = editor.line();
        assert!(line.len() <= CAPACITY && !line.contains(char::is_control), "{line:?}");
        if event.is_some() {
            assert!(event != Some(Event::TooLong) || line.is_empty());
            check_words(line);
            editor.prompt(&mut text).expect("a string takes everything");
        }
        show(&text);
        text.clear();
    }
    let line = editor.line();
    let is_narrow = |letter: char| (' '..='~').contains(&letter);
    if line.chars().all(is_narrow) {
        let room = usize::from(columns) - PROMPT.len() - 1;
        let shown = &line[line.len().saturating_sub(room)..];
        let (row, column) = screen.screen().cursor_position();
        let row = screen.screen().rows(0, columns).nth(row.into()).unwrap_or_default();
        assert_eq!(
            (row.trim_end(), usize::from(column)),
            (format!("{PROMPT}{shown}").trim_end(), PROMPT.len() + shown.len())
        );
    }
}

/// Every command has words, and each word is a number or is not, as digits one by one have it.
fn check_words(line: &str) {
    for command in commands(line) {
        assert!(!command.is_empty() && !command.contains(';') && command.trim() == command, "{command:?} of {line:?}");
        assert!(!command.starts_with('#') && !command.contains(" #"), "{command:?} of {line:?}");
        let words: Vec<&str> = command.split_whitespace().collect();
        let expected = match words.len() {
            0 => unreachable!("a command is not empty"),
            1 => Err(WordError::Missing("b")),
            2 | 3 => Ok(&words[..]),
            _ => Err(WordError::Unexpected(words[3])),
        };
        assert_eq!(expect(&words, &["a", "b"], 1), expected);
        words.iter().for_each(|word| assert_eq!(number(word), value(word), "{word:?}"));
    }
}

/// The number that a word is.
fn value(word: &str) -> Result<u64, WordError<'_>> {
    let lower = word.to_ascii_lowercase();
    let (digits, base) = match lower.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (lower.strip_prefix('+').unwrap_or(&lower), 10),
    };
    let digit = |letter: char| letter.to_digit(base).ok_or(WordError::NotANumber(word));
    if digits.is_empty() {
        return Err(WordError::NotANumber(word));
    }
    digits.chars().try_for_each(|letter| digit(letter).map(drop))?;
    let digits = digits.chars().filter_map(|letter| letter.to_digit(base)).map(u128::from);
    let value = digits.fold(0_u128, |value, digit| (value * u128::from(base) + digit).min(1 << 64));
    u64::try_from(value).map_err(|_| WordError::TooLarge(word))
}
