//! Commands about page frames, of a piece that hands them out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use bifolio::frame::{Order, Pfn, ZoneKind};
use kernel::console::Console;
use kernel::println;
use kernel::shell::{Argument, Command, Error, Shell, WordError, counted, expect, number};
use kernel::sync::Mutex;
use kit::Random;
use kit::oracle::Oracle;
use labs::exam::{check_served, free_blocks};
use labs::lab::Lab;
use labs::layout::Layout;
use labs::{Frame, Frames, MAX_ORDER, draw};

use crate::memory;

/// Blocks that `churn` has at a time, at most.
const CHURNED: usize = 256;

/// The piece that the shell works on.
struct Bench {
    piece: Box<dyn Frames + Send>,
    lab: &'static Lab,
    layout: Layout,
    oracle: Oracle,
    /// What the shell holds.
    held: Vec<(Frame, u8)>,
}

static BENCH: Mutex<Option<Bench>> = Mutex::new("lab", None);

/// Talks to a person or runs `CMD=`, with page frames from a piece.
pub fn run<P: Frames + Send + 'static>(lab: &'static Lab) -> ! {
    let layout = memory::layout(lab);
    let (piece, oracle) = (Box::new(P::new(layout.memory())), layout.oracle());
    println!("lab {}, {}: page frames are those of the piece, {} of them", lab.number, lab.title, layout.frames());
    *BENCH.lock() = Some(Bench { piece, lab, layout, oracle, held: Vec::new() });
    super::talk(COMMANDS)
}

/// Commands about page frames.
static COMMANDS: &[Command] = &[
    Command {
        usage: "map",
        help: "a picture of the piece's memory, 64 frames in a row",
        example: "alloc 5; map",
        arguments: &[],
        run: |_, words| with(words, |bench| bench.map()),
    },
    Command {
        usage: "blocks",
        help: "what this shell holds",
        example: "alloc 0; blocks",
        arguments: &[],
        run: |_, words| with(words, |bench| bench.blocks()),
    },
    Command {
        usage: "meminfo",
        help: "the piece's memory in kB, and how much of that it counts as free",
        example: "meminfo; alloc 0; meminfo",
        arguments: &[],
        run: |_, words| with(words, |bench| bench.meminfo()),
    },
    Command {
        usage: "buddyinfo",
        help: "free blocks of order 0, 1, ... 10, as the piece counts them",
        example: "buddyinfo; alloc 0; buddyinfo",
        arguments: &[],
        run: |_, words| with(words, |bench| bench.buddyinfo()),
    },
    Command {
        usage: "alloc <order>",
        help: "allocate a block of 2^order frames from the piece",
        example: "alloc 0",
        arguments: &[Argument::Order],
        run: alloc,
    },
    Command {
        usage: "free <pfn>|all [order]",
        help: "free a block, right or wrong: what the piece makes of it is the lab",
        example: "alloc 0; free all",
        arguments: &[Argument::Other, Argument::Order],
        run: free,
    },
    Command {
        usage: "fill [order]",
        help: "take everything, in blocks of one order",
        example: "fill 0; buddyinfo; free all",
        arguments: &[Argument::Order],
        run: fill,
    },
    Command {
        usage: "churn [operations] [seed]",
        help: "allocate and free at random, up to 256 blocks at once",
        example: "churn 10000; validate; free all",
        arguments: &[],
        run: churn,
    },
    Command {
        usage: "validate",
        help: "whether the piece counts as many free blocks as there are",
        example: "alloc 0; validate",
        arguments: &[],
        run: |_, words| with(words, Bench::validate),
    },
];

type Done<'a> = Result<(), Error<'a>>;

/// Has a command without arguments work on the bench.
fn with<'a>(words: &[&'a str], work: impl FnOnce(&mut Bench) -> Done<'a>) -> Done<'a> {
    expect(words, &[], 0)?;
    on_bench(work)
}

fn on_bench<'a>(work: impl FnOnce(&mut Bench) -> Done<'a>) -> Done<'a> {
    work(BENCH.lock().as_mut().expect("the shell runs behind its set-up"))
}

/// How many blocks these are, and how many frames.
fn held(blocks: &[(Frame, u8)]) -> impl fmt::Display {
    let frames = blocks.iter().map(|(_, order)| 1_u64 << order).sum();
    let (blocks, frames) = (counted(blocks.len() as u64, "blocks"), counted(frames, "frames"));
    fmt::from_fn(move |f| write!(f, "{blocks}, {frames}"))
}

/// Any order at all: what is too large is for the piece to refuse.
fn order(word: &str) -> Result<u8, Error<'_>> {
    u8::try_from(number(word)?).map_err(|_| WordError::TooLarge(word).into())
}

fn alloc<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let order = order(expect(words, &["the order"], 0)?[0])?;
    on_bench(|bench| {
        let frame = bench.allocate(order)?;
        println!("order {order}, {} kB: free {frame:#x} {order}", 4_u64 << order);
        Ok(())
    })
}

fn free<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &["the pfn"], 1)?;
    if words == ["all"] {
        return on_bench(|bench| {
            let blocks = core::mem::take(&mut bench.held);
            blocks.iter().try_for_each(|(frame, order)| bench.give_back(*frame, *order))?;
            println!("freed {}", held(&blocks));
            Ok(())
        });
    }
    let frame = number(words[0])?;
    let given = words.get(1).map(|word| order(word)).transpose()?;
    on_bench(|bench| {
        let place = bench.held.iter().position(|(held, _)| *held == frame);
        let order = given.or(place.map(|place| bench.held[place].1)).unwrap_or(0);
        bench.give_back(frame, order)?;
        println!("freed order {order} at {frame:#x}");
        Ok(())
    })
}

fn fill<'a>(shell: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &[], 1)?;
    let order = words.first().map(|word| order(word)).transpose()?;
    on_bench(|bench| {
        let (order, before) = (order.unwrap_or(bench.lab.largest), bench.held.len());
        // What is refused in the end is what this is about.
        while let Ok(frame) = bench.piece.allocate(bench.layout.request(order)) {
            bench.take(frame, order)?;
            shell.go_on()?;
        }
        println!("{} of order {order}", counted((bench.held.len() - before) as u64, "blocks"));
        Ok(())
    })
}

fn churn<'a>(shell: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &[], 2)?;
    let operations = words.first().map_or(Ok(10_000), |word| number(word))?;
    let seed = words.get(1).map_or(Ok(1), |word| number(word))?;
    on_bench(|bench| {
        let (mut random, mut refused) = (Random::new(seed), 0_u64);
        for _ in 0..operations {
            shell.go_on()?;
            if bench.held.len() < CHURNED && random.per_mille(550) {
                let order = (random.below(4) as u8).min(bench.lab.largest);
                match bench.piece.allocate(bench.layout.request(order)) {
                    Ok(frame) => bench.take(frame, order)?,
                    Err(_) => refused += 1,
                }
            } else if !bench.held.is_empty() {
                let (frame, order) = bench.held[random.index(bench.held.len())];
                bench.give_back(frame, order)?;
            }
        }
        let (operations, held) = (counted(operations, "operations"), counted(bench.held.len() as u64, "blocks"));
        println!("{operations}: {refused} refused, {held} held");
        Ok(())
    })
}

impl Bench {
    fn allocate<'a>(&mut self, order: u8) -> Result<Frame, Error<'a>> {
        let frame = self.piece.allocate(self.layout.request(order)).map_err(|refused| Error::Said(refused.reason()))?;
        self.take(frame, order)?;
        Ok(frame)
    }

    /// Takes note of a block that the piece has handed out, if that is right.
    fn take<'a>(&mut self, frame: Frame, order: u8) -> Done<'a> {
        if let Err(what) = check_served(&self.oracle, frame, order, self.lab.largest) {
            println!("the piece is wrong: {what}");
            return Err(Error::Said("nobody can go on with that block"));
        }
        let valid =
            Order::new(order).filter(|order| self.oracle.allocate(Pfn::new(frame), *order, ZoneKind::Normal).is_ok());
        self.held.extend(valid.map(|_| (frame, order)));
        Ok(())
    }

    /// Has the piece take back what it should take, or should not.
    fn give_back<'a>(&mut self, frame: Frame, order: u8) -> Done<'a> {
        let right = labs::exam::verdict(&self.oracle, frame, order);
        let answer = self.piece.free(frame, order);
        if right.is_ok() && answer.is_ok() {
            self.held.retain(|(held, _)| *held != frame);
            Order::new(order).into_iter().for_each(|order| self.oracle.free(Pfn::new(frame), order));
        }
        super::complain(right, answer)
    }

    fn blocks<'a>(&mut self) -> Done<'a> {
        self.held.sort_unstable();
        self.held.iter().for_each(|(frame, order)| println!("order {order} at {frame:#x}"));
        println!("{}", held(&self.held));
        Ok(())
    }

    fn meminfo<'a>(&mut self) -> Done<'a> {
        let free: u64 = (0..=MAX_ORDER).map(|order| self.piece.free_blocks(order) << order).sum();
        for (name, frames) in [("MemTotal:", self.layout.frames()), ("MemFree:", free)] {
            println!("{name:<15} {:8} kB", frames * 4);
        }
        Ok(())
    }

    fn buddyinfo<'a>(&mut self) -> Done<'a> {
        // The console takes everything.
        let _ = write!(Console, "Node 0, zone      lab");
        for order in 0..=MAX_ORDER {
            let _ = write!(Console, " {:6}", self.piece.free_blocks(order));
        }
        println!();
        Ok(())
    }

    fn validate<'a>(&mut self) -> Done<'a> {
        for (order, right) in (0..).zip(free_blocks(&self.oracle, self.lab.largest)) {
            let counted = self.piece.free_blocks(order);
            if counted != right {
                println!("free_blocks({order}) says {counted}, and there are {right}");
                return Err(Error::Said("the piece counts wrongly"));
            }
        }
        println!("the piece counts as many free blocks as there are");
        Ok(())
    }

    /// Rows of frames as they should be; of rows that are alike one is drawn.
    fn map<'a>(&mut self) -> Done<'a> {
        super::map(&draw::states(&self.oracle, &self.layout, self.lab.largest), self.layout.first(), 1);
        println!(
            "a digit begins an allocated block and is its order, | begins a free one; a row like the one before is left out"
        );
        Ok(())
    }
}
