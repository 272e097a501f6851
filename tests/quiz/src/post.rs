//! Lesson 0: chunks out of 256 KiB.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bifolio::frame::{FRAME_SIZE, Order, ZoneKind};
use kit::Random;

use crate::Question;
use crate::machine::{ANY, Frames, allocate, chunk, free, free_blocks, is_arithmetic};

const KIB: u64 = 1024;

pub fn ask(random: &mut Random) -> Question {
    let frames = chunk();
    let mut narration = Vec::new();
    // Together at most 16 + 32 + 64 KiB, so that none is refused.
    let sizes = [random.between(5, 17), random.between(17, 33), random.between(33, 65)];
    let sizes = if random.per_mille(500) { sizes } else { [sizes[1], sizes[0], sizes[2]] };
    let chunks = sizes.map(|size| {
        let order = Order::covering((size * KIB).div_ceil(FRAME_SIZE)).expect("the size is small");
        narration.push(format!("{size} KiB are asked for, and {} KiB given:", order.bytes() / KIB));
        let told = narration.len();
        let chunk = allocate(&frames, order, ANY, &mut narration, is_arithmetic).expect("there is room");
        if narration.len() == told {
            narration.push("a chunk of just that size is free".into());
        }
        (chunk, order.bytes() / KIB - size)
    });
    let freed = random.index(2);
    narration.push(format!("the {} KiB are freed:", sizes[freed]));
    free(&frames, chunks[freed].0, &mut narration, is_arithmetic);
    let wasted: u64 = chunks.iter().enumerate().filter(|(nth, _)| *nth != freed).map(|(_, (_, waste))| waste).sum();
    let [first, second, third] = sizes;
    Question {
        text: format!(
            "Memory is one chunk of 256 KiB, cut in halves as the first post of lesson 0 has it; no chunk is smaller than 4 KiB. A program \
             asks for {first} KiB, then for {second} KiB, then for {third} KiB, and then frees the {} KiB. Which chunks are free now, \
             and how much of what the program still has is wasted?",
            sizes[freed]
        ),
        answer: format!("free are chunks of {} KiB; {wasted} KiB are wasted", in_kib(&frames)),
        narration,
    }
}

/// The free chunks.
pub fn in_kib(frames: &Frames) -> String {
    free_blocks(frames, ZoneKind::Normal, |order| (order.bytes() / KIB).to_string())
}
