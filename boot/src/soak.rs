//! A kernel at work for as long as somebody wants: `make soak-kernel`. Four CPUs do everything that there is with page frames and
//! objects, at random, with every word checked; one boot after another, each with other operations.

use crate::events::Report;
use crate::machine::{Firmware, Machine, Memory};
use crate::qemu::Setup;
use crate::run::{self, Ending, Limits, Watcher};
use anyhow::Result;
use protocol::input;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const MACHINE: Machine = Machine::new(Firmware::Bios, Memory::from_mib(512), 4);
/// Runs of the operations in one boot, and how long each takes, in seconds of the machine's time.
const RUNS: u64 = 8;
const SECONDS: u64 = 30;

/// What the machine says, to be read when it has ended.
#[derive(Default)]
struct Said(Vec<u8>);

impl Watcher for Said {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &Report) {}
}

/// The shell's commands for a boot: memory is looked at behind the first run, which leaves what is set up once, and at the end.
fn commands(boot: u64) -> String {
    let look = "drain; shrink; meminfo";
    let stress = |run: u64| format!("stress {SECONDS} {} {}", MACHINE.processors, boot * RUNS + run);
    let rest: Vec<String> = (1..RUNS).map(stress).collect();
    format!("{}; {look}; {}; {look}; validate; lockdep", stress(0), rest.join("; "))
}

/// The numbers behind a word in the text, one a line that begins with it.
fn numbers<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = u64> + 'a {
    text.lines().filter_map(move |line| line.strip_prefix(word)?.split_whitespace().next()?.parse().ok())
}

/// What memory has come to, by what a boot said: `Err` with the difference if some is lost, or held that was not.
fn compare(text: &str) -> Result<(), String> {
    for word in ["MemTotal:", "MemFree:"] {
        let figures: Vec<u64> = numbers(text, word).collect();
        match figures[..] {
            [before, after] if before == after => {}
            [before, after] => return Err(format!("{word} {before} kB, and {after} kB in the end")),
            _ => return Err(format!("{word} is not there twice")),
        }
    }
    Ok(())
}

/// Boots and works until the time is over. Whether all was well.
///
/// # Errors
/// The machine could not be started.
pub fn run(kernel: &Path, minutes: u64, qemu_args: &[String]) -> Result<bool> {
    let start = Instant::now();
    let (mut boots, mut operations, mut longest) = (0, 0, 0);
    while boots == 0 || start.elapsed() < Duration::from_secs(60 * minutes) {
        let inputs = vec![(input::COMMANDS, commands(boots))];
        let setup = Setup { inputs, qemu_args, ..Setup::new(kernel, MACHINE) };
        let mut said = Said::default();
        let outcome = run::run(&setup, Limits::at_work(Limits::COMMANDS), None, &mut said)?;
        let text = String::from_utf8_lossy(&said.0);
        if let Ending::Interrupted(_) = outcome.ending {
            return Ok(false);
        }
        let compared = if outcome.is_success() { compare(&text) } else { Err(outcome.explain()) };
        if let Err(reason) = compared {
            io::stdout().write_all(text.as_bytes())?;
            println!("\nafter {boots} boots, in that with seeds from {}: {reason}", boots * RUNS);
            return Ok(false);
        }
        boots += 1;
        operations += numbers(&text, "all").sum::<u64>();
        longest = longest.max(numbers(&text, "longest call:").max().unwrap_or(0));
        println!(
            "{boots} boots in {} min: {operations} operations, nothing lost, nothing grown; longest call: {longest} instructions",
            start.elapsed().as_secs() / 60
        );
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_or_held_is_found() {
        let meminfo = |total: u64, free: u64| format!("MemTotal: {total} kB\nMemFree:   {free} kB\n");
        compare(&(meminfo(100, 90) + &meminfo(100, 90))).unwrap();
        assert_eq!(
            compare(&(meminfo(100, 90) + &meminfo(100, 86))).unwrap_err(),
            "MemFree: 90 kB, and 86 kB in the end"
        );
        assert!(compare(&(meminfo(100, 90) + &meminfo(96, 90))).unwrap_err().starts_with("MemTotal:"));
        assert!(compare(&meminfo(100, 90)).unwrap_err().contains("not there twice"));
    }

    #[test]
    fn each_boot_has_seeds_of_its_own() {
        let [first, second] = [0, 1].map(commands);
        assert!(first.starts_with("stress 30 4 0; drain; shrink; meminfo; stress 30 4 1;"), "{first}");
        assert!(second.starts_with("stress 30 4 8;") && second.ends_with("meminfo; validate; lockdep"), "{second}");
    }
}
