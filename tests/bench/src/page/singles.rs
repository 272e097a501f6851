//! `page-single-median`, `page-single-p99`, `page-worst`: single operations, each counted by itself, in a process of its own under
//! callgrind, which writes down what it has seen behind each of them.

use crate::callgrind;
use crate::case::is_named;
use crate::meter::counted_by_callgrind;
use crate::peers::{Acid, BuddyAlloc, BuddySlab};
use crate::results::{Figure, Suite};
use crate::thread::Thread;
use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use workloads::singles::{Count, RANKS, Singles, ranks};
use workloads::{Bifolio, Bitmap, BuddySystem, PageFrames};

/// Operations that are counted in one run, each of which leaves some kilobytes; and of a fast look.
const IN_ONE_RUN: usize = 20_000;
const QUICK: usize = 2_000;
/// Of bitmap-allocator, whose searches take so long that more would take minutes.
const SEARCHES: usize = 5_000;

/// An allocator whose single operations can be counted.
#[derive(Clone, Copy)]
struct Subject {
    allocator: &'static str,
    operations: usize,
    run: fn(usize, usize) -> Vec<bool>,
}

/// All of them. The worst of ours is looked for the longest.
fn subjects() -> [Subject; 6] {
    [
        subject::<Bifolio<Thread>>(5 * IN_ONE_RUN),
        subject::<BuddySystem<Thread>>(IN_ONE_RUN),
        subject::<Bitmap<Thread>>(SEARCHES),
        subject::<BuddySlab>(IN_ONE_RUN),
        subject::<BuddyAlloc>(IN_ONE_RUN),
        subject::<Acid>(IN_ONE_RUN),
    ]
}

fn subject<A: PageFrames>(operations: usize) -> Subject {
    Subject { allocator: A::NAME, operations, run: count::<A> }
}

/// Whoever counts is outside: here the work is only marked.
struct Marked;

impl Count for Marked {
    fn count(&mut self, work: impl FnOnce()) -> u64 {
        let mut work = Some(work);
        counted_by_callgrind(&mut || {
            if let Some(work) = work.take() {
                work();
            }
            0
        })
    }
}

/// What is not to be counted.
struct Unmarked;

impl Count for Unmarked {
    fn count(&mut self, work: impl FnOnce()) -> u64 {
        work();
        0
    }
}

/// Nothing, to know what the marks cost, and then so many operations, after those that an earlier run has counted: whether each
/// was granted.
fn count<A: PageFrames>(before: usize, operations: usize) -> Vec<bool> {
    let (frames, mut singles) = (A::new(), Singles::<A>::default());
    for _ in 0..before {
        singles.next(&frames, &mut Unmarked);
    }
    Marked.count(|| ());
    (0..operations).map(|_| singles.next(&frames, &mut Marked).is_some()).collect()
}

/// Counts those whose names are selected.
///
/// # Errors
/// Callgrind fails, or says something else than it should.
pub fn run(workloads: &[String], allocators: &[String], is_quick: bool, bar: &ProgressBar) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if !RANKS.iter().any(|workload| is_named(workload, workloads)) {
        return Ok(figures);
    }
    for subject in subjects().iter().filter(|subject| is_named(subject.allocator, allocators)) {
        bar.set_message(format!("single operations, instructions: {}", subject.allocator));
        let operations = if is_quick { QUICK } else { subject.operations };
        let (mut counts, mut refused) = (Vec::new(), 0);
        for before in (0..operations).step_by(IN_ONE_RUN) {
            let (more, others) = measure(subject.allocator, before, IN_ONE_RUN.min(operations - before))
                .with_context(|| format!("single operations with {}", subject.allocator))?;
            counts.extend(more);
            refused += others;
        }
        for (workload, value) in RANKS.into_iter().zip(ranks(&mut counts)) {
            figures.push(Figure::instructions(Suite::Host, workload, subject.allocator, value as f64, refused));
        }
    }
    Ok(figures)
}

/// What each operation of a run that was granted took, without the marks, and how many were not.
fn measure(allocator: &str, before: usize, operations: usize) -> Result<(Vec<u32>, u64)> {
    let (calls, granted) = callgrind::each_call(&["singles", allocator, &before.to_string(), &operations.to_string()])?;
    let (marks, calls) = calls.split_first().context("callgrind counted no call")?;
    let granted = granted.trim();
    ensure!(granted.len() == calls.len(), "{} operations were done, and {} counted", granted.len(), calls.len());
    let of_granted = calls.iter().zip(granted.bytes()).filter(|(_, granted)| *granted == b'1');
    let counts: Vec<u32> = of_granted.map(|(call, _)| call.saturating_sub(*marks) as u32).collect();
    let refused = (calls.len() - counts.len()) as u64;
    Ok((counts, refused))
}

/// The run that happens under callgrind: prints for each operation whether it was granted.
///
/// # Errors
/// There is no such allocator.
pub fn counted_run(allocator: &str, before: usize, operations: usize) -> Result<()> {
    let subjects = subjects();
    let subject = subjects.iter().find(|subject| subject.allocator == allocator);
    let granted = (subject.with_context(|| format!("there is no allocator {allocator}"))?.run)(before, operations);
    println!("{}", granted.into_iter().map(|granted| if granted { '1' } else { '0' }).collect::<String>());
    Ok(())
}
