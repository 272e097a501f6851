//! Tests as `cargo test` shows them, so that people and programs who know it know this.

use crate::harness::{Progress, Tested, Tests};
use console::Style;
use std::io::Write;

/// Writes the tests of one kernel to `out` as they run.
pub struct Report<W> {
    out: W,
    good: Style,
    bad: Style,
    shows_text: bool,
    planned: bool,
}

impl<W: Write> Report<W> {
    /// A report in colours if `out` understands them, that shows what tests print as they do if `shows_text`.
    pub fn new(out: W, in_colours: bool, shows_text: bool) -> Report<W> {
        let style = || Style::new().force_styling(in_colours);
        Report { out, good: style().green(), bad: style().red(), shows_text, planned: false }
    }

    /// Writes why tests failed, and the result.
    pub fn conclude(&mut self, tests: &Tests) -> &W {
        let failed: Vec<&Tested> = tests.tests.iter().filter(|test| !test.verdict.is_pass()).collect();
        if !failed.is_empty() {
            self.line("\nfailures:");
            for test in &failed {
                self.line(&format!("\n---- {} ----", test.name));
                self.line(test.console.trim_matches('\n'));
                self.line(&format!("{}: {}", test.name, test.verdict));
            }
            self.line("\nfailures:");
            failed.iter().for_each(|test| self.line(&format!("    {}", test.name)));
        }
        if let Some(fault) = &tests.fault {
            self.line(&format!("\nerror: {fault}"));
        }
        let verdict = if tests.failed() == 0 { self.good.apply_to("ok") } else { self.bad.apply_to("FAILED") };
        let text = format!(
            "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            tests.passed(),
            tests.failed(),
            tests.filtered_out,
            tests.time.as_secs_f32()
        );
        self.line(&text);
        &self.out
    }

    fn line(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// A report that nobody reads any more, as through a closed pipe, is no reason to stop testing.
    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Progress for Report<W> {
    fn planned(&mut self, selected: u32) {
        // Later boots continue the same list.
        if !std::mem::replace(&mut self.planned, true) {
            self.line(&format!("\nrunning {selected} test{}", if selected == 1 { "" } else { "s" }));
        }
    }

    fn started(&mut self, name: &str, should_panic: bool) {
        let expectation = if should_panic { " - should panic" } else { "" };
        let end = if self.shows_text { "\n" } else { "" };
        self.write(&format!("test {name}{expectation} ... {end}"));
    }

    fn text(&mut self, text: &[u8]) {
        if self.shows_text && self.planned {
            self.write(&String::from_utf8_lossy(text));
        }
    }

    fn finished(&mut self, test: &Tested) {
        let verdict = if test.verdict.is_pass() { self.good.apply_to("ok") } else { self.bad.apply_to("FAILED") };
        let count = test.instructions.map(|count| format!(" ({} instructions)", grouped(count))).unwrap_or_default();
        let name = if self.shows_text { format!("test {} ... ", test.name) } else { String::new() };
        self.line(&format!("{name}{verdict}{count}"));
    }
}

/// A number with an underscore between groups of three digits, as Rust has them.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).expect("digits")).collect();
    groups.join("_")
}

/// Passed and failed tests, added up over every `test result:` line in `text`, which may be coloured.
#[must_use]
pub fn sum_results(text: &str) -> (usize, usize) {
    let count = |line: &str, what: &str| -> usize {
        let parts = line.split([';', '.']).map(str::trim);
        parts.filter_map(|part| part.strip_suffix(what)).find_map(|number| number.trim().parse().ok()).unwrap_or(0)
    };
    let plain = console::strip_ansi_codes(text);
    let lines = plain.lines().filter(|line| line.starts_with("test result: "));
    lines.fold((0, 0), |(passed, failed), line| (passed + count(line, "passed"), failed + count(line, "failed")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::Verdict;
    use crate::run::Ending;
    use std::time::Duration;

    fn tested(name: &str, verdict: Verdict, instructions: Option<u64>) -> Tested {
        Tested { name: name.into(), should_panic: false, verdict, instructions, console: "some text\n".into() }
    }

    #[test]
    fn it_reads_like_cargo_test() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false, false);
        let tests = Tests {
            tests: vec![
                tested("a::good", Verdict::Passed, Some(1_234_567)),
                tested("a::hangs", Verdict::Died(Ending::TripleFault, "it reset".into()), None),
            ],
            filtered_out: 3,
            fault: None,
            time: Duration::from_millis(1500),
        };
        report.planned(2);
        for test in &tests.tests {
            report.started(&test.name, false);
            report.text(b"not shown");
            report.finished(test);
        }
        report.conclude(&tests);
        let expected = "\nrunning 2 tests\n\
            test a::good ... ok (1_234_567 instructions)\n\
            test a::hangs ... FAILED\n\
            \nfailures:\n\
            \n---- a::hangs ----\nsome text\na::hangs: it reset\n\
            \nfailures:\n    a::hangs\n\
            \ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.50s\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_fault_fails_the_whole() {
        let mut out = Vec::new();
        let tests = Tests { fault: Some("the kernel died".into()), ..Tests::default() };
        Report::new(&mut out, true, false).conclude(&tests);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("error: the kernel died") && text.contains("\x1b[31mFAILED"), "{text}");
        assert_eq!(sum_results(&text), (0, 1));
    }

    #[test]
    fn results_add_up_over_all_lines() {
        let text = "test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                    something else: 9 passed\n\
                    test result: \x1b[31mFAILED\x1b[0m. 12 passed; 3 failed; 0 ignored; finished in 10.00s\n";
        assert_eq!(sum_results(text), (19, 3));
        assert_eq!(sum_results("error: could not compile"), (0, 0));
    }

    #[test]
    fn numbers_are_grouped_from_the_right() {
        assert_eq!([0, 999, 1000, 12_345_678].map(grouped), ["0", "999", "1_000", "12_345_678"]);
    }
}
