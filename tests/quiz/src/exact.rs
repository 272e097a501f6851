//! Lesson 7: exactly so many frames, and as many more in place.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use bifolio::frame::{Order, ZoneKind};
use kit::{Random, Raw};

use crate::Question;
use crate::machine::{ANY, chunk, free_blocks};

pub fn ask(random: &mut Random) -> Question {
    let frames = chunk();
    let count = random.between(3, 14);
    let wanted = random.between(count + 1, 28);
    let range = frames.take_exact(count, ANY).expect("there is room");
    let blocks = || free_blocks(&frames, ZoneKind::Normal, |order| order.to_string());
    let mut narration = vec![format!("{count} frames at {range}: free are blocks of order {}", blocks())];
    let between = random.per_mille(500);
    if between {
        let other = frames.take(Order::ZERO, ANY).expect("there is room");
        narration.push(format!("one frame at {other}: free are blocks of order {}", blocks()));
    }
    let before = blocks();
    let grown = frames.regrow(range, wanted, ANY);
    narration.push(match &grown {
        Ok(range) => format!("{wanted} frames at {range}: free are blocks of order {}", blocks()),
        Err(error) => format!("{wanted} frames: {error}"),
    });
    Question {
        text: format!(
            "Memory is one block of 64 frames. Exactly {count} frames are allocated, as 'alloc_exact' does it{}. Which orders have the \
             free blocks then? And can the {count} frames grow to {wanted} where they are?",
            if between { ", and then a single one" } else { "" }
        ),
        answer: format!("orders {before}; {}", if grown.is_ok() { "yes" } else { "no" }),
        narration,
    }
}
