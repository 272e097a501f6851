//! What device trees say of memory, good ones and broken ones.

use bifolio::kernel::{DeviceTree, DeviceTreeError, Regions};
use bifolio::memory_map::RegionKind::{self, Reserved, Usable};
use kit::tree::Tree;

const MIB: u64 = 1 << 20;

/// Start, end and kind of all that a tree speaks of.
fn said(bytes: &[u8]) -> Result<Vec<(u64, u64, RegionKind)>, DeviceTreeError> {
    let mut said = Vec::new();
    DeviceTree::new(bytes)?.for_each(|region| said.push((region.start, region.end, region.kind)))?;
    Ok(said)
}

/// A machine as QEMU has it, with more around what is about memory.
fn machine() -> Tree {
    let mut tree = Tree::new();
    tree.reserve(0x8000_0000, 0x20_0000).nothing().begin("").property("compatible", b"riscv-virtio\0").cells(2, 2);
    tree.begin("chosen").property("bootargs", b"quiet\0").begin("memory@1").reg(&[(1, 2)], (2, 2)).end().end();
    tree.begin("memory@80000000").property("device_type", b"memory\0");
    tree.reg(&[(0x8000_0000, 128 * MIB), (0x1_0000_0000, 4096 * MIB)], (2, 2)).end();
    tree.begin("reserved-memory").cells(1, 1).property("ranges", &[]);
    tree.begin("firmware@80000000").reg(&[(0x8000_0000, 0x4_0000)], (1, 1)).property("no-map", &[]).nothing().end();
    tree.begin("pool").property("size", &[0, 0, 1, 0]).end().end();
    tree.begin("memory-controller@0").reg(&[(0, 4096)], (2, 2)).end().end();
    tree
}

#[test]
fn a_tree_says_what_is_ram_and_what_of_it_is_reserved() {
    let expected = vec![
        (0x8000_0000, 0x8020_0000, Reserved),
        (0x8000_0000, 0x8800_0000, Usable),
        (0x1_0000_0000, 0x2_0000_0000, Usable),
        (0x8000_0000, 0x8004_0000, Reserved),
    ];
    assert_eq!(said(&machine().finish()), Ok(expected));
}

#[test]
fn numbers_are_as_wide_as_the_node_around_says_or_the_specification() {
    let of = |cells: Option<(u32, u32)>, words, start, size| {
        let mut tree = Tree::new();
        tree.begin("");
        cells.iter().for_each(|(address, size)| _ = tree.cells(*address, *size));
        tree.begin("memory").reg(&[(start, size)], words).end().end();
        said(&tree.finish())
    };
    let all = [(MIB, 3 * MIB, Usable)];
    assert_eq!(of(None, (2, 1), MIB, 2 * MIB), Ok(all.to_vec()));
    for words in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        assert_eq!(of(Some(words), words, MIB, 2 * MIB), Ok(all.to_vec()));
    }
    assert_eq!(of(Some((2, 2)), (2, 2), u64::MAX - 1, 9), Ok(vec![(u64::MAX - 1, u64::MAX, Usable)]));
    assert_eq!(of(Some((2, 2)), (2, 2), MIB, 0), Ok(vec![]));
    assert!(matches!(of(Some((3, 2)), (2, 2), 0, 1), Err(DeviceTreeError::TooWide(_))));
    assert!(matches!(of(Some((1, u32::MAX)), (2, 2), 0, 1), Err(DeviceTreeError::TooWide(_))));
    assert_eq!(of(Some((0, 0)), (2, 2), 0, 1), Ok(vec![]));
    // Half a number.
    assert!(matches!(of(Some((2, 2)), (2, 1), 0, 1), Err(DeviceTreeError::Broken(_))));
}

/// As in Linux: what is disabled, or has failed, is not there, neither as RAM nor as what is reserved of it.
#[test]
fn what_is_not_available_is_not_there() {
    let of = |status: &[u8], is_first: bool| {
        let node = |tree: &mut Tree, name| {
            tree.begin(name);
            if is_first {
                tree.property("status", status).reg(&[(MIB, MIB)], (2, 2)).end();
            } else {
                tree.reg(&[(MIB, MIB)], (2, 2)).property("status", status).end();
            }
        };
        let mut tree = Tree::new();
        node(tree.begin("").cells(2, 2), "memory@100000");
        node(tree.begin("reserved-memory").cells(2, 2), "pool@100000");
        tree.end().end();
        said(&tree.finish())
    };
    for is_first in [false, true] {
        for available in [b"okay\0".as_slice(), b"ok\0"] {
            assert_eq!(of(available, is_first), Ok(vec![(MIB, 2 * MIB, Usable), (MIB, 2 * MIB, Reserved)]));
        }
        for not in [b"disabled\0".as_slice(), b"reserved\0", b"fail\0", b"fail-sss\0", b"okay", b""] {
            assert_eq!(of(not, is_first), Ok(vec![]), "{not:?}");
        }
    }
}

#[test]
fn what_is_no_tree_or_not_all_of_one_is_named() {
    let bytes = machine().finish();
    assert_eq!(said(&[]), Err(DeviceTreeError::NotATree));
    assert_eq!(said(&bytes[1..]), Err(DeviceTreeError::NotATree));
    let given = bytes.len() - 1;
    let cut = DeviceTreeError::Cut { bytes: bytes.len(), given };
    assert_eq!(said(&bytes[..given]), Err(cut));
    assert_eq!(cut.to_string(), format!("the device tree has {} bytes, and {given} of them are there", bytes.len()));
    // What lies behind it is not of it.
    let longer = [&bytes[..], &[0xff; 9]].concat();
    assert_eq!(said(&longer), said(&bytes));
    assert_eq!(DeviceTree::new(&longer).unwrap().bytes(), bytes);
    // SAFETY: all of the tree is there.
    assert_eq!(unsafe { DeviceTree::at(longer.as_ptr()) }.unwrap().bytes(), bytes);
    // SAFETY: so many bytes are there.
    assert_eq!(unsafe { DeviceTree::at([0; 8].as_ptr()) }.err(), Some(DeviceTreeError::NotATree));
}

#[test]
fn a_tree_that_is_broken_anywhere_is_an_error_or_another_tree_and_adds_all_or_nothing() {
    let whole = machine().finish();
    for offset in 0..whole.len() / 4 {
        for word in [0, 1, 2, 3, 4, 9, 0x7fff_fffc, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[4 * offset..][..4].copy_from_slice(&word.to_be_bytes());
            let Ok(tree) = DeviceTree::new(&bytes) else { continue };
            let mut regions = Regions::<4>::new();
            let before = format!("{regions:?}");
            match regions.extend_fdt(&tree) {
                Ok(()) => assert_eq!(said(&bytes).unwrap().is_empty(), format!("{regions:?}") == before),
                Err(error) => {
                    assert_eq!(said(&bytes), Err(error));
                    assert_eq!(format!("{regions:?}"), before, "{error}");
                }
            }
        }
    }
    // Ten thousand nodes within one another are no deeper than the stack.
    let mut deep = Tree::new();
    (0..10_000).for_each(|_| _ = deep.begin("n"));
    assert!(matches!(said(&deep.finish()), Err(DeviceTreeError::Broken(_))));
    (0..10_000).for_each(|_| _ = deep.end());
    assert_eq!(said(&deep.finish()), Ok(vec![]));
}
