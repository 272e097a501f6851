//! What a piece's choices leave of large blocks: half of memory is free in the end, and how much of that is in large blocks?

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bifolio::frame::{Pfn, ZoneKind};
use kit::Random;

use crate::exam::{free_blocks, order_of, verdict};
use crate::layout::{Layout, ONE_ZONE};
use crate::{Frames, MAX_ORDER, Memory, Request};

const LAYOUT: Layout = Layout { ranges: &[0x1000..0x2000], zones: ONE_ZONE };
const OPERATIONS: u64 = 20_000;
/// Blocks of this order and above are large.
const LARGE: usize = 5;

/// Said of a piece that does something wrong on the way.
pub const NOT_MEASURED: &str = "it does something wrong before that can be measured";

/// Said of a piece that has so much left in large blocks, and should have more.
pub fn complaint(large: u64, least: u64) -> String {
    format!("of 1000 free frames, {large} are in blocks of order {LARGE} or more: {least} can be")
}

/// Of a thousand free frames, those in large blocks, after many small requests have come and gone; nothing of a piece that does
/// something wrong on the way.
pub fn measure(new: fn(Memory) -> Box<dyn Frames>, seed: u64) -> Option<u64> {
    let (mut piece, mut oracle) = (new(LAYOUT.memory()), LAYOUT.oracle());
    let (mut random, mut live) = (Random::new(seed), Vec::new());
    for _ in 0..OPERATIONS {
        let used = LAYOUT.frames() - oracle.all_free();
        // Around half full, and never quite full: each choice is one between several blocks.
        if live.is_empty() || random.below(LAYOUT.frames()) >= used {
            let order = random.below(4) as u8;
            let Ok(frame) = piece.allocate(Request::of(order)) else {
                if oracle.could_serve(order_of(order), ZoneKind::Normal) {
                    return None;
                }
                continue;
            };
            oracle.allocate(Pfn::new(frame), order_of(order), ZoneKind::Normal).ok()?;
            live.push((frame, order));
        } else {
            let (frame, order) = live.swap_remove(random.index(live.len()));
            piece.free(frame, order).ok()?;
            verdict(&oracle, frame, order).ok()?;
            oracle.free(Pfn::new(frame), order_of(order));
        }
    }
    let counts = free_blocks(&oracle, MAX_ORDER);
    let large: u64 = (LARGE..).zip(&counts[LARGE..]).map(|(order, count)| count << order).sum();
    Some(large * 1000 / oracle.all_free())
}
