//! How the suite gets on: what runs, what each job came to, and the sum.

use super::times::{Part, Time, table};
use crate::harness::Interrupted;
use crate::{terminal, threads};
use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Tests, or checks that count as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
}

/// What a job came to.
pub(super) struct Finished {
    pub(super) count: Count,
    /// What it wrote, to be shown if anything failed.
    pub(super) output: String,
    /// What took how long of it; what is missing is the job's own.
    pub(super) times: Vec<(String, Duration)>,
}

/// Shows how the suite gets on, and counts.
pub(super) struct Board {
    bars: MultiProgress,
    is_terminal: bool,
    jobs: usize,
    start: Instant,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    done: usize,
    expected: usize,
    count: Count,
    times: Vec<Time>,
}

impl Board {
    /// Of a suite that does so many jobs at a time.
    pub(super) fn new(jobs: usize) -> Board {
        let bars = MultiProgress::new();
        Board { bars, is_terminal: io::stderr().is_terminal(), jobs, start: Instant::now(), sum: Mutex::default() }
    }

    pub(super) fn jobs(&self) -> usize {
        self.jobs
    }

    pub(super) fn expect(&self, jobs: usize) {
        self.lock().expected = jobs;
    }

    /// Does something that is no test, and notes how long it takes.
    pub(super) fn time<T>(&self, part: Part, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let bar = self.bar(title);
        let start = Instant::now();
        let result = work();
        bar.finish_and_clear();
        self.lock().times.push(Time { part, title: title.into(), time: start.elapsed() });
        result
    }

    /// Runs one job, and shows and counts what it came to.
    pub(super) fn job(&self, part: Part, title: &str, work: impl FnOnce() -> Result<Finished>) -> Result<()> {
        if let Some(signal) = terminal::signals()?.received() {
            return Err(Interrupted(signal).into());
        }
        let bar = self.bar(title);
        let start = Instant::now();
        let result = work();
        let time = start.elapsed();
        bar.finish_and_clear();
        let finished = match result {
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => Finished {
                count: Count { passed: 0, failed: 1 },
                output: format!("error: {error:#}"),
                times: Vec::new(),
            },
            Ok(finished) => finished,
        };
        self.count(part, title, time, &finished);
        // What a test could not do here is not for nobody to know.
        let skipped = finished.output.lines().filter(|line| line.starts_with("skipped: "));
        skipped.for_each(|line| self.say(&format!("        {line}")));
        if finished.count.failed > 0 {
            self.say(finished.output.trim_end());
        }
        Ok(())
    }

    fn count(&self, part: Part, title: &str, time: Duration, finished: &Finished) {
        let Finished { count, times, .. } = finished;
        let mut sum = self.lock();
        sum.done += 1;
        sum.count.passed += count.passed;
        sum.count.failed += count.failed;
        let own = [(title.to_owned(), time)];
        let times = if times.is_empty() { &own[..] } else { times };
        sum.times.extend(times.iter().map(|(title, time)| Time { part, title: title.clone(), time: *time }));
        let verdict = if count.failed == 0 { "ok".to_owned() } else { format!("FAILED: {} failed", count.failed) };
        let (done, expected, passed, time) = (sum.done, sum.expected, count.passed, time.as_secs_f32());
        self.say(&format!("[{done:2}/{expected}] {title} ... {verdict}, {passed} passed ({time:.1} s)"));
    }

    /// Says where the time went and, last, what all of it came to.
    pub(super) fn conclude(&self) -> Count {
        let sum = self.lock();
        let wall = self.start.elapsed().as_secs_f32();
        // The same beside any load, as good as.
        let computed = threads::of_children().map(|time| format!(" and {:.0} s of processors", time.as_secs_f32()));
        let all = format!(
            "\nfinished in {wall:.0} s{}, {} jobs at a time, of which",
            computed.unwrap_or_default(),
            self.jobs
        );
        self.say(&format!("{all}\n{}", table(&sum.times)));
        println!("{} passed, {} failed", sum.count.passed, sum.count.failed);
        sum.count
    }

    fn lock(&self) -> MutexGuard<'_, Sum> {
        self.sum.lock().expect("no job panics while it counts")
    }

    /// A line that stays, above the bars that move.
    pub(super) fn say(&self, text: &str) {
        self.bars.suspend(|| println!("{text}"));
    }

    fn bar(&self, title: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}").expect("the template is valid");
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style).with_message(title.to_owned()));
        if self.is_terminal {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}
