//! Machines of every kind: so few that any two choices meet on one of them (pairwise testing), each with a boot, a second of
//! stress and a look at every invariant.

use crate::hardware::{Board, Hardware, Layout};
use crate::machine::{Firmware, Machine, Memory};
use crate::qemu::Setup;
use crate::run::{self, Ending, Limits, Outcome, Watcher};
use anyhow::{Context, Result};
use protocol::input;
use std::collections::BTreeSet;
use std::io::{self, Sink, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// In MiB; 0 is the least that boots.
const MEMORY: [u64; 8] = [0, 64, 1 << 10, 3 << 10, 6 << 10, 64 << 10, 1 << 20, 4 << 20];
const PROCESSORS: [u32; 4] = [1, 2, 8, 64];
const FIRMWARE: [Firmware; 2] = [Firmware::Bios, Firmware::Uefi];
const BOARDS: [Board; 2] = [Board::Pc, Board::Q35];
/// From AMD's first of 2003, and Intel's of 2006, to all that QEMU emulates.
const MODELS: [&str; 6] = ["Opteron_G1", "Conroe", "Nehalem", "Haswell", "EPYC", "max"];
const LAYOUTS: [Layout; 4] = [Layout::Usual, Layout::LowGigabyte, Layout::Numa, Layout::Hotplug];

/// How many choices there are for each part of a machine.
const CHOICES: [usize; 6] = [MEMORY.len(), MODELS.len(), PROCESSORS.len(), LAYOUTS.len(), FIRMWARE.len(), BOARDS.len()];

/// A choice for each part.
type Row = [usize; CHOICES.len()];
/// Two parts, and the choice for each.
type Pair = [(usize, usize); 2];

/// What every machine is to do.
const COMMANDS: &str = "stress 1; validate";

/// The machine of a row.
fn machine(row: Row) -> (Machine, Hardware) {
    let [memory, model, processors, layout, firmware, board] = row;
    let firmware = FIRMWARE[firmware];
    let memory = match MEMORY[memory] {
        0 => firmware.least_memory(),
        mib => Memory::from_mib(mib),
    };
    let hardware = Hardware { board: BOARDS[board], processor: MODELS[model], layout: LAYOUTS[layout] };
    (Machine::new(firmware, memory, PROCESSORS[processors]), hardware)
}

/// Whether firmware can boot it. OVMF needs memory of its own for each CPU, and maps all addresses that there can be: with a TiB of
/// memory and without pages of 1 GiB it takes more than twenty minutes of the machine's time for that.
fn is_possible(row: Row) -> bool {
    let (Machine { firmware, memory, processors, .. }, Hardware { processor, .. }) = machine(row);
    let has_room = memory >= Memory::from_mib(1 << 10) || processors <= 2;
    let has_large_pages = ["EPYC", "max"].contains(&processor);
    firmware == Firmware::Bios || has_room && (has_large_pages || memory < Memory::from_mib(1 << 20))
}

fn pairs(row: Row) -> impl Iterator<Item = Pair> {
    let choices: Vec<(usize, usize)> = row.into_iter().enumerate().collect();
    (0..row.len()).flat_map(move |one| {
        let choices = choices.clone();
        (one + 1..choices.len()).map(move |other| [choices[one], choices[other]])
    })
}

fn every_row() -> impl Iterator<Item = Row> {
    (0..CHOICES.iter().product::<usize>()).map(|mut number| {
        CHOICES.map(|choices| {
            let choice = number % choices;
            number /= choices;
            choice
        })
    })
}

/// Rows in which all pairs are that can be: each the one with most pairs that no earlier one has.
fn rows() -> Vec<Row> {
    let possible: Vec<Row> = every_row().filter(|row| is_possible(*row)).collect();
    let mut left: BTreeSet<Pair> = possible.iter().flat_map(|row| pairs(*row)).collect();
    let mut rows = Vec::new();
    while !left.is_empty() {
        let gain = |row: &&Row| pairs(**row).filter(|pair| left.contains(pair)).count();
        let best = *possible.iter().max_by_key(gain).expect("there are possible machines");
        pairs(best).for_each(|pair| _ = left.remove(&pair));
        rows.push(best);
    }
    rows
}

/// Boots every machine, two at a time, and writes a line for each as it is done. Whether all did what they were to.
///
/// # Errors
/// A machine could not be started, or somebody interrupted.
pub fn run(kernel: &Path, qemu_args: &[String]) -> Result<bool> {
    let start = Instant::now();
    let rows = rows();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (interrupted, output) = (AtomicBool::new(false), Mutex::new(io::stdout()));
    println!("| machine | firmware | board | processor | memory | CPUs | layout | result | s |");
    println!("|---:|---|---|---|---:|---:|---|---|---:|");
    let work = || -> Result<()> {
        while let Some(row) =
            rows.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !interrupted.load(Ordering::Relaxed))
        {
            let (begin, (machine, hardware)) = (Instant::now(), machine(*row));
            let outcome = boot(kernel, machine, hardware, qemu_args, &mut Unheard(io::sink()))?;
            interrupted.fetch_or(matches!(outcome.ending, Ending::Interrupted(_)), Ordering::Relaxed);
            failed.fetch_add(usize::from(!outcome.is_success()), Ordering::Relaxed);
            let explanation = outcome.explain();
            let result = if outcome.is_success() { "ok" } else { explanation.lines().next().unwrap_or_default() };
            let number = rows.iter().position(|other| other == row).unwrap_or_default() + 1;
            let Machine { firmware, memory, processors, .. } = machine;
            let Hardware { board, processor, layout } = hardware;
            let seconds = begin.elapsed().as_secs();
            let line = format!(
                "| {number} | {firmware} | {board} | {processor} | {memory} | {processors} | {layout} | {result} | {seconds} |"
            );
            writeln!(output.lock().unwrap_or_else(|error| error.into_inner()), "{line}")?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        work().and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let (failed, seconds) = (failed.into_inner(), start.elapsed().as_secs());
    println!("\n{} machines, {failed} failed, in {} min {} s", rows.len(), seconds / 60, seconds % 60);
    Ok(failed == 0 && !interrupted.into_inner())
}

/// Boots the machine with this number, and shows what it says.
///
/// # Errors
/// There is no such machine, or it could not be started.
pub fn run_one(kernel: &Path, number: usize, qemu_args: &[String], watcher: &mut dyn Watcher) -> Result<Outcome> {
    let rows = rows();
    let row = number.checked_sub(1).and_then(|index| rows.get(index));
    let (machine, hardware) = machine(*row.with_context(|| format!("machines have numbers from 1 to {}", rows.len()))?);
    boot(kernel, machine, hardware, qemu_args, watcher)
}

/// What a machine says is of interest only where it fails, and then in its outcome.
struct Unheard(Sink);

impl Watcher for Unheard {
    fn console(&mut self) -> &mut dyn Write {
        &mut self.0
    }

    fn report(&mut self, _: &crate::events::Report) {}
}

fn boot(
    kernel: &Path,
    machine: Machine,
    hardware: Hardware,
    qemu_args: &[String],
    watcher: &mut dyn Watcher,
) -> Result<Outcome> {
    let inputs = vec![(input::COMMANDS, COMMANDS.to_owned())];
    let setup = Setup { inputs, hardware, qemu_args, ..Setup::new(kernel, machine) };
    run::run(&setup, Limits::at_work(Limits::COMMANDS), None, watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_that_can_be_are_in_at_most_sixty_rows() {
        let rows = rows();
        assert!(rows.len() <= 60, "{}", rows.len());
        let covered: BTreeSet<Pair> = rows.iter().flat_map(|row| pairs(*row)).collect();
        for row in every_row().filter(|row| is_possible(*row)) {
            assert!(pairs(row).all(|pair| covered.contains(&pair)), "{row:?}");
        }
        // What firmware cannot boot is of three choices, so that each two of them can be.
        let all: usize = (0..6).flat_map(|one| (one + 1..6).map(move |other| CHOICES[one] * CHOICES[other])).sum();
        assert_eq!(covered.len(), all);
    }
}
