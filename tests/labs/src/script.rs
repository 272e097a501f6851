//! A sequence as commands of the explorer's: what its machine does of it, so that it has in use what a picture shows.
//!
//! What the piece said is not among them: where that was wrong, the machine stays as it should be.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::Frame;
use crate::draw::{Row, Strip};

/// Blocks that are in use: where each begins, and its order.
type Blocks = BTreeSet<(Frame, u32)>;

/// The commands of each row; none where it left memory as it was.
pub(crate) fn scripts(strip: &Strip, rows: &[Row]) -> Vec<String> {
    let mut before = Blocks::new();
    let commands = |row: &Row| {
        let now = blocks(strip, &row.states);
        let freed = before.difference(&now).map(|(frame, order)| format!("free {frame:#x} {order}; drain"));
        let taken =
            now.difference(&before).map(|(frame, order)| format!("alloc_range {frame:#x} {} MOVABLE", 1_u64 << order));
        let commands: Vec<String> = freed.chain(taken).collect();
        before = now;
        commands.join("; ")
    };
    rows.iter().map(commands).collect()
}

/// What is in use of memory whose cells are so.
fn blocks(strip: &Strip, states: &str) -> Blocks {
    let frame = |cell: usize| strip.frame_of(strip.cells.start + cell as u64);
    match strip.taken_as {
        // The first frame of a block says its order.
        None => {
            let order = |state: u8| char::from(state).to_digit(16);
            (0..).zip(states.bytes()).filter_map(|(cell, state)| Some((frame(cell), order(state)?))).collect()
        }
        // What is drawn has been taken as a whole.
        Some(order) => {
            let cells = (strip.cells_per_frame() << order) as usize;
            let runs = (0..).step_by(cells).zip(states.as_bytes().chunks(cells));
            let taken = runs.filter(|(_, run)| run.iter().any(|state| *state != b' '));
            taken.map(|(cell, _)| (frame(cell), order)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(strip: &Strip, states: &[&str]) -> Vec<String> {
        let rows: Vec<Row> = states.iter().map(|states| Row { states: (*states).into(), ..Row::default() }).collect();
        scripts(strip, &rows)
    }

    #[test]
    fn blocks_are_taken_and_freed_as_their_digits_say() {
        let strip = Strip { cells: 0x1000..0x1010, bytes: None, taken_as: None };
        let states = ["1#|.|...|.......", "1#|.2###|.......", "1#|.2###|.......", "|...2###|......."];
        let scripts = of(&strip, &states);
        assert_eq!(
            scripts,
            ["alloc_range 0x1000 2 MOVABLE", "alloc_range 0x1004 4 MOVABLE", "", "free 0x1000 1; drain"]
        );
    }

    #[test]
    fn slabs_and_batches_are_taken_as_a_whole() {
        let slabs = Strip { cells: 0x10_0000..0x10_0200, bytes: Some(16), taken_as: Some(0) };
        let (none, one) = (" ".repeat(512), [" ".repeat(256), "A".into(), "#".repeat(255)].concat());
        assert_eq!(of(&slabs, &[&none, &one, &none]), ["", "alloc_range 0x1001 1 MOVABLE", "free 0x1001 0; drain"]);
        let batches = Strip { cells: 0x1000..0x1010, bytes: None, taken_as: Some(3) };
        assert_eq!(of(&batches, &["        .2......"]), ["alloc_range 0x1008 8 MOVABLE"]);
    }
}
