//! Lesson 8: what is said to a free.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use kit::machine::usable;
use kit::{Random, Raw};

use crate::Question;
use crate::machine::{list, machine, order};

/// The pair of pageblocks that the question is about. What is behind is reserved, or not there at all.
const FIRST: u64 = 0x400;

pub fn ask(random: &mut Random) -> Question {
    let frames = machine(&[usable(FIRST, FIRST + 1000)], 0);
    let gfp = Gfp::DMA | Gfp::MEMALLOC;
    let blocks: Vec<(Pfn, Order)> = (0..4)
        .map(|_| {
            let order = order(random.below(5) as u8);
            (frames.take(order, gfp).expect("there is room"), order)
        })
        .collect();
    let freed = blocks[random.index(blocks.len())];
    frames.give(freed.0, freed.1).expect("it is allocated");
    let kept: Vec<&(Pfn, Order)> = blocks.iter().filter(|block| **block != freed).collect();
    let &(pfn, right) = kept[random.index(kept.len())];
    let inside = pfn.offset(random.below(right.frames()));
    let (pfn, given) = match random.below(5) {
        0 => freed,
        1 => (inside, Order::ZERO),
        2 => (pfn, order(random.below(5) as u8)),
        3 => (Pfn::new(FIRST + 1000 + random.below(100)), Order::ZERO),
        _ => (pfn, right),
    };
    let in_use = list(kept.iter().map(|(pfn, order)| PfnRange::of(*pfn, *order).to_string()));
    let mut narration = Vec::new();
    let info = frames.look_at(pfn);
    narration.push(match info.map(|info| info.block) {
        Some(block) => {
            let state = format!("{:?}", block.state).to_lowercase();
            format!("{pfn} lies in a block of order {} at {}, which is {state}", block.order, block.pfn)
        }
        None => format!("{pfn} is not memory that the allocator knows of"),
    });
    if frames.order_of(pfn) == Ok(given) {
        frames.explain_free(pfn, &mut |step| narration.push(step.to_string())).expect("it is allocated");
    }
    let said = frames.give(pfn, given);
    Question {
        text: format!(
            "Of the frames {FIRST:#x}..{:#x} of a machine that has no others, these blocks are in use: {in_use}. All else is free, {} \
             since a moment ago. Somebody now frees frame {pfn} as a block of order {given}. What is the answer?",
            FIRST + 1000,
            PfnRange::of(freed.0, freed.1)
        ),
        answer: said.map_or_else(|error| error.to_string(), |()| "it is freed".into()),
        narration,
    }
}
