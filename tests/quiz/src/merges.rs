//! Lesson 1: how far a freed block merges.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use bifolio::frame::{Gfp, Pfn, PfnRange};
use kit::machine::usable;
use kit::{Random, Raw};

use crate::Question;
use crate::machine::{is_arithmetic, list, machine, order};

/// The block of 4 MiB that the question is about.
const FIRST: u64 = 0x400;

pub fn ask(random: &mut Random) -> Question {
    let frames = machine(&[usable(FIRST, FIRST + 1024)], 0);
    let gfp = Gfp::DMA | Gfp::MEMALLOC;
    let wanted = random.between(4, 7);
    let mut blocks: Vec<Pfn> =
        (0..wanted).map(|_| frames.take(order(random.below(6) as u8), gfp).expect("there is room for a few")).collect();
    let gone = random.index(blocks.len());
    let gone = blocks.swap_remove(gone);
    frames.give(gone, frames.order_of(gone).expect("it is allocated")).expect("it is allocated");
    blocks.sort_unstable();
    let freed = blocks[random.index(blocks.len())];
    let of = frames.order_of(freed).expect("it is allocated");
    let in_use =
        list(blocks.iter().map(|pfn| PfnRange::of(*pfn, frames.order_of(*pfn).expect("it is allocated")).to_string()));
    let mut narration = Vec::new();
    crate::machine::free(&frames, freed, &mut narration, is_arithmetic);
    let block = frames.look_at(freed).expect("it is RAM").block;
    Question {
        text: format!(
            "Of the frames {FIRST:#x}..{:#x}, these blocks are in use, and all others are free: {in_use}. Now {freed}, of order {of}, is \
             freed. In which free block does that frame lie then: where does the block begin, and what is its order?",
            FIRST + 1024
        ),
        answer: format!("at {}, of order {}", block.pfn, block.order),
        narration,
    }
}
