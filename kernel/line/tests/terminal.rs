//! What somebody at a terminal sees: the editor's output goes to the model of one, and its screen is looked at.
#![allow(missing_docs, reason = "a test's name says what it tests")]

use line::{CAPACITY, Complete, Editor, Event};

const PROMPT: &str = "> ";
const COLUMNS: u16 = 40;

/// Commands, and the flags of one of them.
struct Words;

impl Complete for Words {
    fn candidates(&self, line: &str, each: &mut dyn FnMut(&str)) -> usize {
        let start = line.rfind(' ').map_or(0, |blank| blank + 1);
        let all: &[&str] = if start == 0 { &["alloc", "alloc_exact", "buddyinfo"] } else { &["DMA", "DMA32", "ZERO"] };
        all.iter().filter(|word| word.starts_with(&line[start..])).for_each(|word| each(word));
        start
    }
}

/// A terminal with the editor behind it.
struct Terminal {
    editor: Editor,
    screen: vt100::Parser,
    /// Lines that were entered.
    entered: Vec<String>,
    last: Option<Event>,
}

impl Terminal {
    fn new() -> Terminal {
        let mut terminal = Terminal {
            editor: Editor::new(PROMPT, COLUMNS.into()),
            screen: vt100::Parser::new(10, COLUMNS, 0),
            entered: Vec::new(),
            last: None,
        };
        terminal.prompt();
        terminal
    }

    fn prompt(&mut self) {
        let mut text = String::new();
        self.editor.prompt(&mut text).unwrap();
        self.show(&text);
    }

    fn show(&mut self, text: &str) {
        // As the console has it.
        self.screen.process(text.replace('\n', "\r\n").as_bytes());
    }

    /// Presses keys, after which the row of the cursor must be this, with the cursor where the bar is.
    #[track_caller]
    fn press(&mut self, keys: impl AsRef<[u8]>, row: &str) {
        self.keys(keys);
        let (at, column) = self.screen.screen().cursor_position();
        let rows: Vec<String> = self.screen.screen().rows(0, COLUMNS).collect();
        let shown = &rows[usize::from(at)];
        let before: String = shown.chars().chain(core::iter::repeat(' ')).take(column.into()).collect();
        let behind: String = shown.chars().skip(column.into()).collect();
        assert_eq!(format!("{before}|{behind}"), row, "{rows:?}");
    }

    fn keys(&mut self, keys: impl AsRef<[u8]>) {
        for byte in keys.as_ref() {
            let mut text = String::new();
            let event = self.editor.push(*byte, &Words, &mut text).unwrap();
            self.show(&text);
            if let Some(event) = event {
                self.last = Some(event);
                if event == Event::Entered {
                    self.entered.push(self.editor.line().to_owned());
                }
                self.prompt();
            }
        }
    }
}

#[test]
fn what_is_typed_is_shown_and_entered() {
    let mut terminal = Terminal::new();
    terminal.press("alloc 5", "> alloc 5|");
    terminal.press("\r", "> |");
    terminal.press("free 0x1\r\nhelp\n", "> |");
    assert_eq!(terminal.entered, ["alloc 5", "free 0x1", "help"]);
    terminal.press("ü\u{9b}2J\u{80}ml\u{fffd}äut", "> ü2Jmläut|");
    terminal.press("\x15ümläut", "> ümläut|");
    terminal.press("\x1b[D\x1b[D\x7f", "> üml|ut");
}

#[test]
fn the_cursor_goes_where_fingers_send_it() {
    let mut terminal = Terminal::new();
    terminal.press("alloc 5 DMA|ZERO", "> alloc 5 DMA|ZERO|");
    for (keys, row) in [
        ("\x01", "> |alloc 5 DMA|ZERO"),
        ("\x05", "> alloc 5 DMA|ZERO|"),
        ("\x1b[H", "> |alloc 5 DMA|ZERO"),
        ("\x1b[F", "> alloc 5 DMA|ZERO|"),
        ("\x1b[1~", "> |alloc 5 DMA|ZERO"),
        ("\x1b[4~", "> alloc 5 DMA|ZERO|"),
        ("\x1bOH", "> |alloc 5 DMA|ZERO"),
        ("\x1bOF", "> alloc 5 DMA|ZERO|"),
        ("\x1bb", "> alloc 5 DMA||ZERO"),
        ("\x1b[1;5D", "> alloc 5 |DMA|ZERO"),
        ("\x1b[1;3D", "> alloc |5 DMA|ZERO"),
        ("\x1bf", "> alloc 5| DMA|ZERO"),
        ("\x1b[1;5C", "> alloc 5 DMA||ZERO"),
        ("\x02\x02", "> alloc 5 D|MA|ZERO"),
        ("\x06", "> alloc 5 DM|A|ZERO"),
        ("\x1b[D", "> alloc 5 D|MA|ZERO"),
        ("\x1b[C\x1b[C", "> alloc 5 DMA||ZERO"),
    ] {
        terminal.press(keys, row);
    }
    terminal.press("32", "> alloc 5 DMA32||ZERO");
    terminal.keys("\r");
    assert_eq!(terminal.entered, ["alloc 5 DMA32|ZERO"]);
}

#[test]
fn what_is_deleted_goes_and_comes_back() {
    let mut terminal = Terminal::new();
    terminal.press("free 0x18a0 5", "> free 0x18a0 5|");
    for (keys, row) in [
        ("\x17", "> free 0x18a0 |"),
        ("\x17", "> free |"),
        ("\x19", "> free 0x18a0 |"),
        ("\x08\x7f", "> free 0x18a|"),
        ("\x1b[D\x1b[D\x1b[3~", "> free 0x1|a"),
        ("\x04", "> free 0x1|"),
        ("\x01\x0b", "> |"),
        ("\x19\x1bb", "> free |0x1"),
        ("\x15", "> |0x1"),
        ("\x1bd", "> |"),
    ] {
        terminal.press(keys, row);
    }
    assert_eq!(terminal.last, None, "Ctrl-D deletes as long as there is something");
    terminal.press("\x04", "> > |");
    assert_eq!(terminal.last, Some(Event::End));
}

#[test]
fn sequences_that_are_not_known_type_nothing() {
    let mut terminal = Terminal::new();
    for keys in [
        "\x1b[5~",
        "\x1b[15~",
        "\x1b[[A",
        "\x1bOP",
        "\x1b[200~",
        "\x1b[?1;2c",
        "\x1b[1;2P",
        "\x1b]0;title\x07",
        "\x1bz",
        "\x1bP1$r\x1b\\",
        "\x00",
        "\x1d",
        "\x1b[999999999999;5;5;5~",
        "\x1b[<0;1;1M",
        "\x1b(B",
    ] {
        terminal.press(keys, "> |");
    }
    terminal.press(b"a\xff\xc3b", "> ab|");
}

#[test]
fn the_history_is_gone_through_and_searched() {
    let mut terminal = Terminal::new();
    terminal.keys("alloc 5\rbuddyinfo\rbuddyinfo\r \rfree 0x1\r");
    terminal.press("dra", "> dra|");
    for (keys, row) in [
        ("\x1b[A", "> free 0x1|"),
        ("\x1bOA", "> buddyinfo|"),
        ("\x10", "> alloc 5|"),
        ("\x10", "> alloc 5|"),
        ("\x1b[B\x0e", "> free 0x1|"),
        ("\x1b[B", "> dra|"),
        ("\x1b[B", "> dra|"),
        ("\x15\x12", "(reverse-i-search)'': |"),
        ("o", "(reverse-i-search)'o': buddyinfo|"),
        ("\x12", "(reverse-i-search)'o': alloc 5|"),
        ("\x12", "(failed reverse-i-search)'o': alloc 5|"),
        ("\x7f", "(reverse-i-search)'': free 0x1|"),
        ("dd", "(reverse-i-search)'dd': buddyinfo|"),
        ("\x01", "> |buddyinfo"),
        ("\x12all\x07", "> |"),
    ] {
        terminal.press(keys, row);
    }
    terminal.keys("\x12all\r");
    assert_eq!(terminal.entered.last().map(String::as_str), Some("alloc 5"));
}

#[test]
fn tab_completes_and_a_second_one_lists() {
    let mut terminal = Terminal::new();
    terminal.press("b\t", "> buddyinfo |");
    terminal.press("\x15a\t", "> alloc|");
    terminal.press("\t", "> alloc|");
    let rows = |terminal: &Terminal| terminal.screen.screen().rows(0, COLUMNS).collect::<Vec<_>>();
    assert_eq!(rows(&terminal)[1], "", "one Tab lists nothing");
    terminal.press("\t", "> alloc|");
    assert_eq!(rows(&terminal)[..3], ["> alloc", "alloc        alloc_exact", "> alloc"]);
    terminal.press(" Z\t", "> alloc ZERO |");
    terminal.press("x\t\t", "> alloc ZERO x|");
}

#[test]
fn control_c_drops_the_line() {
    let mut terminal = Terminal::new();
    terminal.press("poweroff\x03", "> |");
    terminal.press("help\r", "> |");
    assert_eq!(terminal.entered, ["help"]);
    assert_eq!(terminal.screen.screen().rows(0, COLUMNS).next().unwrap(), "> poweroff^C");
}

#[test]
fn a_line_that_is_too_long_is_refused_whole() {
    let mut terminal = Terminal::new();
    let longest = "x".repeat(CAPACITY);
    terminal.keys(format!("{longest}\r"));
    assert_eq!(terminal.entered.join(" "), longest);
    terminal.keys(format!("{longest}y\x7f\x7f\r"));
    assert_eq!((terminal.entered.len(), terminal.last), (1, Some(Event::TooLong)));
    terminal.keys(format!("{longest}y\x15help\r"));
    assert_eq!(terminal.entered[1], "help", "a line that was cleared is another one");
}

#[test]
fn a_line_longer_than_the_row_is_shown_around_the_cursor() {
    let mut terminal = Terminal::new();
    let line: String = ('a'..='z').chain('A'..='Z').collect();
    terminal.press(&line, "> pqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ|");
    terminal.press("\x01", "> |abcdefghijklmnopqrstuvwxyzABCDEFGHIJK");
    terminal.press("_", "> _|abcdefghijklmnopqrstuvwxyzABCDEFGHIJ");
    terminal.keys("\r");
    assert_eq!(terminal.entered, [format!("_{line}")]);
}
