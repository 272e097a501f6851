//! Lesson 4: what is free, and of what use it is.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bifolio::frame::{Order, ZoneKind};
use bifolio::report;
use kit::Random;

use crate::Question;
use crate::machine::{CHUNK, NORMAL, chunk, list, order, take_frames};

/// Frames in a line of the drawing.
const LINE: u64 = 16;

pub fn ask(random: &mut Random) -> Question {
    let frames = chunk();
    let taken = random.between(4, 10);
    let mut in_use: Vec<u64> = (0..CHUNK).collect();
    let in_use: Vec<u64> = (0..taken).map(|_| in_use.swap_remove(random.index(in_use.len()))).collect();
    take_frames(&frames, in_use.iter().map(|frame| NORMAL + frame));
    let cell = |frame: u64| if in_use.contains(&frame) { '#' } else { '.' };
    let drawing: String = (0..CHUNK)
        .map(|frame| if frame % LINE == 0 { format!("\n  {}", cell(frame)) } else { cell(frame).to_string() })
        .collect();
    let wanted = order(random.between(2, 5) as u8);
    let free = frames.free_blocks(ZoneKind::Normal);
    let counts = list(Order::all().take(7).map(|order| free.of(order).to_string()));
    let largest = Order::all().rfind(|order| free.of(*order) > 0);
    let mut narration = vec![format!("free blocks of order 0 to 6: {counts}")];
    let mut text = String::new();
    report::unusable_index(&frames, &mut text).expect("a string takes everything");
    narration.push(format!("unusable: {}", line_of(&text)));
    text.clear();
    report::extfrag_index(&frames, &mut text).expect("a string takes everything");
    narration.push(format!("extfrag: {}", line_of(&text)));
    Question {
        text: format!(
            "The first of these 64 frames has a number that is a multiple of 64, and a # is in use:{drawing}\nWhat are the numbers of \
             free blocks of order 0 to 6, what is the largest order that can be had, and how many of a hundred free frames, rounded \
             down, are of no use to requests of order {wanted}?"
        ),
        answer: format!(
            "{counts}; order {}; {} of a hundred",
            largest.map_or_else(|| "none".into(), |order| order.to_string()),
            free.unusable_percent(wanted)
        ),
        narration,
    }
}

/// Of a report, what it says of the only zone with memory.
fn line_of(report: &str) -> &str {
    report.lines().find(|line| line.contains("Normal")).unwrap_or_default().trim_end()
}
