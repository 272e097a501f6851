//! Device trees, as firmware leaves them in memory: written by what is chosen, and read as that; and with something in them that is
//! not as it was written.

use bifolio::kernel::{DeviceTree, Regions};
use bifolio::memory_map::{Region, RegionKind};
use kit::tree::Tree;
use model::choices::Choices;

/// The first byte says whether what comes is a tree, or what is to be written into one.
pub(crate) fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0..128, rest)) => read(rest),
        Some((_, rest)) => write(Choices::bytes(rest)),
        None => {}
    }
}

/// Reads a tree, twice: it says the same, and what is wrong adds nothing.
fn read(bytes: &[u8]) {
    let Ok(tree) = DeviceTree::new(bytes) else { return };
    let mut said = Vec::new();
    let read = tree.for_each(|region| said.push(region));
    let mut regions = Regions::<64>::new();
    assert_eq!(regions.extend_fdt(&tree), read);
    assert!(said.iter().all(|region| region.start <= region.end && region.kind != RegionKind::AcpiReclaimable));
    let mut expected = Regions::<64>::new();
    if read.is_ok() {
        expected.extend(said);
    }
    assert_eq!(format!("{regions:?}"), format!("{expected:?}"));
}

/// Writes a tree and reads it, first as it is, then with a word of it changed.
fn write(mut choices: Choices) {
    let (mut tree, mut expected) = (Tree::new(), Vec::new());
    for _ in 0..choices.below(3) {
        let (start, size) = (choices.below(u64::MAX), choices.below(1 << 32) + 1);
        tree.reserve(start, size);
        expected.push(region(start, size, RegionKind::Reserved));
    }
    tree.begin("");
    let cells = cells(&mut choices, &mut tree);
    for _ in 0..choices.below(6) {
        node(&mut choices, &mut tree, cells, &mut expected);
    }
    tree.end();
    let mut bytes = tree.finish();
    let mut said = Vec::new();
    DeviceTree::new(&bytes).and_then(|tree| tree.for_each(|region| said.push(region))).expect("it was written so");
    assert_eq!(said, expected);
    let at = choices.below(bytes.len() as u64 / 4) as usize * 4;
    bytes[at..][..4].copy_from_slice(&(choices.below(1 << 32) as u32).to_be_bytes());
    read(&bytes);
}

fn region(start: u64, size: u64, kind: RegionKind) -> Region {
    Region { start, end: start.saturating_add(size), kind }
}

/// How wide numbers are within the node that has begun; it may say nothing of that.
fn cells(choices: &mut Choices, tree: &mut Tree) -> (u32, u32) {
    if choices.per_mille(200) {
        return (2, 1);
    }
    let cells = (choices.below(2) as u32 + 1, choices.below(3) as u32);
    tree.cells(cells.0, cells.1);
    cells
}

/// A node within the root.
fn node(choices: &mut Choices, tree: &mut Tree, around: (u32, u32), expected: &mut Vec<Region>) {
    match choices.below(5) {
        0 | 1 => {
            tree.begin(choices.one_of(&["memory", "memory@0", "memory@80000000"])).nothing();
            ranges(choices, tree, around, RegionKind::Usable, expected);
        }
        2 | 3 => {
            tree.begin("reserved-memory");
            let inside = cells(choices, tree);
            for _ in 0..choices.below(3) {
                tree.begin(choices.one_of(&["a", "memory", "reserved-memory"]));
                ranges(choices, tree, inside, RegionKind::Reserved, expected);
                // What is deeper says nothing of memory.
                tree.begin("memory").reg(&[(0, 1 << 20)], (2, 2)).end().end();
            }
        }
        _ => {
            let name = choices.one_of(&["memory-controller", "memor", "chosen", "reserved-memory@1", ""]);
            tree.begin(name).reg(&[(0, 1 << 20)], (2, 1)).property("#address-cells", &[0, 0, 0, 9]);
        }
    }
    tree.end();
}

/// Where the innermost node is.
fn ranges(choices: &mut Choices, tree: &mut Tree, cells: (u32, u32), kind: RegionKind, expected: &mut Vec<Region>) {
    let cut = |number: u64, words: u32| number & u64::MAX.checked_shr(64 - 32 * words).unwrap_or(0);
    let mut ranges = Vec::new();
    for _ in 0..choices.below(4) {
        ranges.push((cut(choices.below(u64::MAX), cells.0), cut(choices.below(1 << 40), cells.1)));
    }
    tree.reg(&ranges, cells);
    expected.extend(ranges.iter().filter(|(_, size)| *size > 0).map(|(start, size)| region(*start, *size, kind)));
}
