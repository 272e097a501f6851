//! Commands about small objects, of a piece that hands them out.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout as Size;
use core::ops::Range;

use kernel::println;
use kernel::shell::{Argument, Command, Error, Shell, counted, expect, number};
use kernel::sync::Mutex;
use kit::Random;
use labs::Frame;
use labs::lab::Lab;
use labs::objects::{Address, Frames, Objects, Slabs, states};

use crate::memory;
use crate::stress::size;

/// Objects that `churn` has at a time, at most.
const CHURNED: usize = 256;

/// The piece that the shell works on.
struct Bench {
    piece: Box<dyn Objects + Send>,
    frames: Range<Frame>,
    oracle: Slabs,
}

static BENCH: Mutex<Option<Bench>> = Mutex::new("lab", None);

/// Talks to a person or runs `CMD=`, with objects from a piece.
pub fn run<P: Objects + Send + 'static>(lab: &'static Lab) -> ! {
    let layout = memory::layout(lab);
    let source = layout.source(1);
    println!(
        "lab {}, {}: small objects are those of the piece, which has {} frames",
        lab.number,
        lab.title,
        layout.frames()
    );
    *BENCH.lock() = Some(Bench {
        piece: Box::new(P::new(Frames::new(source))),
        frames: layout.first()..layout.end(),
        oracle: Slabs::new(source),
    });
    super::talk(COMMANDS)
}

/// Commands about objects.
static COMMANDS: &[Command] = &[
    Command {
        usage: "kmalloc <bytes> [align]",
        help: "allocate an object from the piece",
        example: "kmalloc 100",
        arguments: &[],
        run: kmalloc,
    },
    Command {
        usage: "kfree <address>|all [bytes]",
        help: "free an object, right or wrong: what the piece makes of it is the lab",
        example: "kmalloc 100; kfree all",
        arguments: &[Argument::Other],
        run: kfree,
    },
    Command {
        usage: "blocks",
        help: "the objects that this shell holds",
        example: "kmalloc 100; blocks",
        arguments: &[],
        run: |_, words| with(words, Bench::objects),
    },
    Command {
        usage: "map",
        help: "a picture of the piece's slabs, 16 bytes in a column",
        example: "kmalloc 100; map",
        arguments: &[],
        run: |_, words| with(words, Bench::map),
    },
    Command {
        usage: "churn [operations] [seed]",
        help: "allocate and free at random, up to 256 objects at once",
        example: "churn 10000; validate; kfree all",
        arguments: &[],
        run: churn,
    },
    Command {
        usage: "validate",
        help: "whether the piece holds the frames that have an object, and no others",
        example: "kmalloc 100; validate",
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

fn layout<'a>(bytes: u64, align: u64) -> Result<Size, Error<'a>> {
    Size::from_size_align(bytes as usize, align as usize)
        .map_err(|_| Error::Said("there is no such size and alignment"))
}

fn kmalloc<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &["the number of bytes"], 1)?;
    let align = words.get(1).map_or(Ok(8), |word| number(word))?;
    let size = layout(number(words[0])?.max(1), align)?;
    on_bench(|bench| {
        let address = bench.allocate(size)?;
        println!("{} bytes: kfree {address:#x}", size.size());
        Ok(())
    })
}

fn kfree<'a>(_: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &["the address"], 1)?;
    if words == ["all"] {
        return on_bench(|bench| {
            let all: Vec<_> = bench.oracle.live().collect();
            all.iter().try_for_each(|(address, size)| bench.give_back(*address, *size))?;
            println!("freed {}", counted(all.len() as u64, "objects"));
            Ok(())
        });
    }
    let address = number(words[0])?;
    let bytes = words.get(1).map(|word| number(word)).transpose()?;
    on_bench(|bench| {
        let known = bench.oracle.live().find(|(start, _)| *start == address).map(|(_, size)| size);
        let size = match bytes {
            Some(bytes) => layout(bytes, 1)?,
            None => known.unwrap_or(Size::new::<u64>()),
        };
        bench.give_back(address, size)?;
        println!("freed {} bytes at {address:#x}", size.size());
        Ok(())
    })
}

fn churn<'a>(shell: &mut Shell, words: &[&'a str]) -> Done<'a> {
    let words = expect(words, &[], 2)?;
    let operations = words.first().map_or(Ok(10_000), |word| number(word))?;
    let seed = words.get(1).map_or(Ok(1), |word| number(word))?;
    on_bench(|bench| {
        let (mut random, mut refused) = (Random::new(seed), 0_u64);
        let mut held: Vec<(Address, Size)> = bench.oracle.live().collect();
        for _ in 0..operations {
            shell.go_on()?;
            if held.len() < CHURNED && random.per_mille(550) {
                let size = size(&mut random);
                match bench.piece.allocate(size) {
                    Ok(address) => {
                        bench.take(address, size)?;
                        held.push((address, size));
                    }
                    Err(_) => refused += 1,
                }
            } else if !held.is_empty() {
                let (address, size) = held.swap_remove(random.index(held.len()));
                bench.give_back(address, size)?;
            }
        }
        let (operations, held) = (counted(operations, "operations"), counted(held.len() as u64, "objects"));
        println!("{operations}: {refused} refused, {held} held");
        Ok(())
    })
}

impl Bench {
    fn allocate<'a>(&mut self, size: Size) -> Result<Address, Error<'a>> {
        let address = self.piece.allocate(size).map_err(|refused| Error::Said(refused.reason()))?;
        self.take(address, size)?;
        Ok(address)
    }

    /// Takes note of an object that the piece has handed out, if that is right.
    fn take<'a>(&mut self, address: Address, size: Size) -> Done<'a> {
        self.oracle.take(address, size).map_err(|(_, what)| {
            println!("the piece is wrong: {what}");
            Error::Said("nobody can go on with that object")
        })
    }

    /// Has the piece take back what it should take, or should not.
    fn give_back<'a>(&mut self, address: Address, size: Size) -> Done<'a> {
        let right = self.oracle.verdict(address, size);
        let answer = self.piece.free(address, size);
        if right.is_ok() && answer.is_ok() {
            self.oracle.remove(address);
        }
        super::complain(right, answer)
    }

    fn objects<'a>(&mut self) -> Done<'a> {
        self.oracle.live().for_each(|(address, size)| println!("{} bytes at {address:#x}", size.size()));
        println!("{}", counted(self.oracle.live().count() as u64, "objects"));
        Ok(())
    }

    fn map<'a>(&mut self) -> Done<'a> {
        super::map(&states(&self.oracle, self.frames.clone()), self.frames.start * 256, 16);
        println!(
            "a digit begins an object and is its class, | begins a free slot; a row like the one before is left out"
        );
        Ok(())
    }

    fn validate<'a>(&mut self) -> Done<'a> {
        self.oracle.check_frames().map_err(|(_, what)| {
            println!("the piece is wrong: {what}");
            Error::Said("the piece holds other frames than it must")
        })?;
        println!("the piece holds the frames that have an object, and no others");
        Ok(())
    }
}
