//! Lesson 2: what can be believed of a map.

use alloc::format;
use alloc::string::String;

use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::Random;

use crate::{Question, counted};

const MIB: u64 = 1 << 20;
/// Half a frame: entries begin and end at the half or the whole of one.
const HALF: u64 = 2048;

pub fn ask(random: &mut Random) -> Question {
    // Two that meet, perhaps within a frame, and one of another kind that overlaps one of them.
    let start = 2 * MIB + random.below(8) * HALF;
    let middle = start + random.between(100, 200) * HALF;
    let end = middle + random.between(100, 200) * HALF;
    let kinds = [RegionKind::Reserved, RegionKind::AcpiReclaimable];
    let from = start + random.between(20, 60) * HALF;
    let over = Region { start: from, end: from + random.between(1, 20) * HALF, kind: random.one_of(&kinds) };
    let usable = |start, end| Region { start, end, kind: RegionKind::Usable };
    let mut entries = [usable(middle, end), over, usable(start, middle)];
    let given: String =
        entries.iter().map(|entry| format!("\n  {:#x} up to {:#x}, {}", entry.start, entry.end, entry.kind)).collect();
    let map = MemoryMap::sanitise(&mut entries).expect("most of it is usable");
    let ranges = map.ranges(RegionKind::Usable).count();
    Question {
        text: format!(
            "A firmware reports these entries, and no others:{given}\nHow many whole frames of 4 KiB can an allocator hand out, and in \
             how many ranges do they lie?"
        ),
        answer: format!("{} frames, in {}", map.frames(RegionKind::Usable), counted(ranges as u64, "ranges")),
        narration: map
            .iter()
            .map(|(range, kind)| format!("frames {range}: {kind}, {} of them", range.frames()))
            .collect(),
    }
}
