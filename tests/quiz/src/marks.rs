//! Lesson 3: whether a request is served.

use alloc::format;
use alloc::vec::Vec;

use bifolio::frame::{Gfp, Pfn, PfnRange, ZoneKind};
use kit::machine::usable;
use kit::{Random, Raw};

use crate::Question;
use crate::machine::{ANY, allocate, machine, order};

/// The frames of zone DMA, and the first that can be of zone DMA32.
const DMA: (u64, u64) = (0x100, 0x1000);

pub fn ask(random: &mut Random) -> Question {
    let above = 4096 * random.between(2, 64);
    let frames = machine(&[usable(DMA.0, DMA.1 + above)], 0);
    let stats = frames.zone(ZoneKind::Dma);
    let flags = random.one_of(&[("DMA", Gfp::DMA), ("DMA|ATOMIC", Gfp::DMA | Gfp::ATOMIC), ("MOVABLE", Gfp::MOVABLE)]);
    let gfp = if flags.1.contains(Gfp::HIGH) { flags.1 } else { flags.1 | Gfp::KERNEL };
    let reserve = if gfp.contains(Gfp::DMA) { 0 } else { stats.protection[ZoneKind::Normal.index()] };
    let order = order(random.below(4) as u8);
    // Near to where it turns.
    let marks = stats.watermarks;
    let free = reserve + order.frames() + random.between(marks.min / 4, marks.high);
    let taken = |start: u64, end: u64| {
        frames.take_range(PfnRange::new(Pfn::new(start), Pfn::new(end)), ANY).expect("all is free");
    };
    taken(DMA.0, DMA.1 - free);
    taken(DMA.1, DMA.1 + above);
    let mut narration = Vec::new();
    let served = allocate(&frames, order, gfp | Gfp::NOWARN, &mut narration, |_| true);
    Question {
        text: format!(
            "Of zone DMA, {free} frames are free: {:#x}..{:#x}. Of zone DMA32 none is. The marks of zone DMA are min {}, low {}, \
             high {}, and it keeps {} frames from requests that could use zone DMA32 or Normal. Nothing can be reclaimed. Is a request of order \
             {order} with the flags {} served, and with which frame?",
            DMA.1 - free,
            DMA.1,
            marks.min,
            marks.low,
            marks.high,
            stats.protection[ZoneKind::Normal.index()],
            flags.0
        ),
        answer: served.map_or_else(|| "it is refused".into(), |pfn| format!("it is served, with frame {pfn}")),
        narration,
    }
}
