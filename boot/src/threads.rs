//! What QEMU's threads get of this host.
//!
//! The first one answers questions and drives the machine's timers; the others are its CPUs, and what reads disks for them.

use rustix::param::clock_ticks_per_second;
use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;
use std::{fs, mem};

/// The threads of one process.
#[derive(Debug)]
pub struct Threads {
    process: u32,
    /// How often each but the first had run, when that was last looked at.
    runs: HashMap<OsString, u64>,
}

impl Threads {
    /// Those of the process with that number.
    #[must_use]
    pub fn of(process: u32) -> Threads {
        Threads { process, runs: HashMap::new() }
    }

    /// How long all but the first have computed, those that have ended too, if this host tells. What an answer costs the
    /// first is no work of the machine's.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let process = self.process;
        let all = ticks(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?, OWN)?;
        let first = ticks(&fs::read_to_string(format!("/proc/{process}/task/{process}/stat")).ok()?, OWN)?;
        Some(of_ticks(all.saturating_sub(first)))
    }

    /// Whether all but the first, which has just answered, have had their turn since this was last asked: what has not gone
    /// on since then did not for lack of a processor or a disk. False where this host does not tell.
    pub fn have_had_turns(&mut self) -> bool {
        let first = self.process.to_string();
        let Ok(tasks) = fs::read_dir(format!("/proc/{first}/task")) else { return false };
        let before = mem::take(&mut self.runs);
        let mut all = true;
        for task in tasks.filter_map(Result::ok).filter(|task| task.file_name() != *first) {
            // One that has ended meanwhile wants nothing.
            let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
            let Some((state, runs)) = state_and_runs(&status) else { return false };
            all &= has_had_turn(state, runs, before.get(&task.file_name()).copied());
            self.runs.insert(task.file_name(), runs);
        }
        all
    }
}

/// How long this process's children, and theirs, have computed by the time they ended, if this host tells.
#[must_use]
pub fn of_children() -> Option<Duration> {
    Some(of_ticks(ticks(&fs::read_to_string("/proc/self/stat").ok()?, CHILDREN)?))
}

/// Which field of a `stat` has user time, and the next one system time: of the process or thread itself, and of its children
/// that have ended.
const OWN: usize = 14;
const CHILDREN: usize = 16;

/// User and system time out of a `stat`, in the clock's ticks. The second field is a name in parentheses.
fn ticks(stat: &str, field: usize) -> Option<u64> {
    let times = stat.rsplit_once(')')?.1.split_whitespace().skip(field - 3).take(2);
    Some(times.map(|time| time.parse().unwrap_or(0)).sum())
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
}

/// What a thread does and how often it has begun to do something else, out of a `status`.
fn state_and_runs(status: &str) -> Option<(char, u64)> {
    let fields = || status.lines().filter_map(|line| line.split_once(":\t"));
    let state = fields().find(|(name, _)| *name == "State")?.1.chars().next()?;
    let switches = fields().filter(|(name, _)| name.ends_with("ctxt_switches"));
    Some((state, switches.map(|(_, count)| count.parse().unwrap_or(0)).sum()))
}

/// A thread that sleeps has done what there was to do; one that wants a processor may have had one since the last look, and
/// been woken again; one that waits for a disk goes on as soon as that answers.
fn has_had_turn(state: char, runs: u64, before: Option<u64>) -> bool {
    match state {
        'S' => true,
        'R' => before.is_some_and(|before| before != runs),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_thread_has_had_its_turn_if_it_sleeps_or_has_run() {
        assert!(has_had_turn('S', 5, None) && has_had_turn('S', 5, Some(5)) && has_had_turn('R', 6, Some(5)));
        assert!(!has_had_turn('R', 5, Some(5)) && !has_had_turn('R', 5, None));
        assert!(!has_had_turn('D', 6, Some(5)) && !has_had_turn('T', 6, Some(5)));
    }

    #[test]
    fn both_kinds_of_switches_are_runs() {
        let status =
            "Name:\tCPU 0/TCG\nState:\tR (running)\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n";
        assert_eq!(state_and_runs(status), Some(('R', 42)));
        assert_eq!(state_and_runs(""), None);
    }

    #[test]
    fn the_first_threads_time_does_not_count() {
        let stat = |user: u32, system: u32| format!("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 {user} {system} 0 0");
        assert_eq!((ticks(&stat(30, 12), OWN), ticks("7", OWN)), (Some(42), None));
        assert_eq!(ticks(&stat(30, 12).replace("0 0", "5 6"), CHILDREN), Some(11));
        // No process has this number: nothing is known of it.
        let mut none = Threads::of(u32::MAX);
        assert_eq!((none.cpu_time(), none.have_had_turns()), (None, false));
    }

    #[test]
    fn threads_of_a_process_are_found() {
        let mut own = Threads::of(std::process::id());
        assert!(own.cpu_time().is_some());
        thread::spawn(move || {
            own.have_had_turns();
            assert!(!own.runs.is_empty(), "at least this one is not the first");
        })
        .join()
        .unwrap();
    }
}
