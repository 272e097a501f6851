//! Commands about frames that each CPU has a cache of, of a piece that keeps those. The shell may speak for any CPU, since nobody else
//! is at work.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use kernel::println;
use kernel::shell::{Argument, Command, Error, Shell, WordError, counted, expect, number};
use kernel::sync::Mutex;
use labs::Frame;
use labs::caches::{BATCH, Batches, CPUS, Caches, Known, states};
use labs::lab::Lab;

use crate::memory;
use crate::stress::caches::Real;

/// The piece that the shell works on.
struct Bench {
    piece: Box<dyn Caches + Send>,
    frames: Range<Frame>,
    oracle: Known,
}

static BENCH: Mutex<Option<Bench>> = Mutex::new("lab", None);

/// Talks to a person or runs `CMD=`, with frames from a piece.
pub fn run<P: Caches + Send + 'static>(lab: &'static Lab) -> ! {
    let layout = memory::layout(lab);
    let source = layout.source(BATCH);
    println!("lab {}, {}: page frames are those of the piece, in batches of {BATCH}", lab.number, lab.title);
    *BENCH.lock() = Some(Bench {
        piece: Box::new(P::new(Batches::new(source))),
        frames: layout.first()..layout.end(),
        oracle: Known::new(source),
    });
    super::talk(COMMANDS)
}

/// Commands about frames.
static COMMANDS: &[Command] = &[
    Command {
        usage: "alloc [cpu]",
        help: "allocate a frame from the piece, on CPU 0 or another one",
        example: "alloc; alloc 1; map",
        arguments: &[],
        run: alloc,
    },
    Command {
        usage: "free <pfn>|all [cpu]",
        help: "free a frame, right or wrong, on any CPU: what the piece makes of it is the lab",
        example: "alloc; free all 1",
        arguments: &[Argument::Other],
        run: free,
    },
    Command {
        usage: "drain [cpu]",
        help: "have a CPU give back the batches that it does not need",
        example: "alloc; free all; drain; map",
        arguments: &[],
        run: drain,
    },
    Command {
        usage: "blocks",
        help: "the frames that this shell holds",
        example: "alloc; blocks",
        arguments: &[],
        run: |_, words| {
            expect(words, &[], 0)?;
            on_bench(|bench| {
                bench.oracle.live().for_each(|frame| println!("frame {frame:#x}"));
                println!("{}", counted(bench.oracle.live().count() as u64, "frames"));
                Ok(())
            })
        },
    },
    Command {
        usage: "map",
        help: "a picture of the piece's batches, 64 frames in a row",
        example: "alloc; alloc 1; map",
        arguments: &[],
        run: |_, words| {
            expect(words, &[], 0)?;
            on_bench(|bench| {
                super::map(&states(&bench.oracle, bench.frames.clone()), bench.frames.start, 1);
                println!(
                    "a digit is a frame in use, and the CPU whose batch it is in; a row like the one before is left out"
                );
                Ok(())
            })
        },
    },
];

type Done<'a> = Result<(), Error<'a>>;

fn on_bench<'a>(work: impl FnOnce(&mut Bench) -> Done<'a>) -> Done<'a> {
    work(BENCH.lock().as_mut().expect("the shell runs behind its set-up"))
}

/// The CPU that is named, or the first.
fn cpu<'a>(word: Option<&&'a str>) -> Result<usize, Error<'a>> {
    let Some(word) = word else { return Ok(0) };
    usize::try_from(number(word)?).ok().filter(|cpu| *cpu < CPUS).ok_or(WordError::TooLarge(word).into())
}

fn alloc<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let cpu = cpu(expect(words, &[], 1)?.first())?;
    on_bench(|bench| {
        let frame = bench.piece.allocate(&Real::new(cpu)).map_err(|refused| Error::Said(refused.reason()))?;
        bench.oracle.take(cpu, frame).map_err(|what| {
            println!("the piece is wrong: {what}");
            Error::Said("nobody can go on with that frame")
        })?;
        println!("a frame of CPU {cpu}'s: free {frame:#x}");
        Ok(())
    })
}

fn free<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &["the pfn"], 1)?;
    let cpu = cpu(words.get(1))?;
    if words[0] == "all" {
        return on_bench(|bench| {
            let all: Vec<Frame> = bench.oracle.live().collect();
            all.iter().try_for_each(|frame| bench.give_back(cpu, *frame))?;
            println!("freed {} on CPU {cpu}", counted(all.len() as u64, "frames"));
            Ok(())
        });
    }
    let frame = number(words[0])?;
    on_bench(|bench| {
        bench.give_back(cpu, frame)?;
        println!("freed {frame:#x} on CPU {cpu}");
        Ok(())
    })
}

fn drain<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let cpu = cpu(expect(words, &[], 1)?.first())?;
    on_bench(|bench| {
        bench.piece.drain(&Real::new(cpu));
        println!("CPU {cpu} was drained");
        Ok(())
    })
}

impl Bench {
    /// Has the piece take back what it should take, or should not.
    fn give_back<'a>(&mut self, cpu: usize, frame: Frame) -> Done<'a> {
        let right = self.oracle.verdict(frame);
        let answer = self.piece.free(&Real::new(cpu), frame);
        if right.is_ok() && answer.is_ok() {
            self.oracle.remove(frame);
        }
        super::complain(right, answer)
    }
}
