//! What the heap tells of itself.

use bifolio::heap::{HeapFrames, SizeClass};

use crate::objects::{Object, TestHeap, assert_empties, layout};
use crate::source::Blocks;

#[test]
fn slabinfo_has_the_format_of_linux() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    let objects: Vec<_> = (0..600).map(|seed| Object::new(&heap, layout(60, 8), seed as u8)).collect();
    let mut text = String::new();
    heap.write_slabinfo(&mut text).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "slabinfo - version: 2.1");
    assert_eq!(
        lines[1],
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> \
         : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
    );
    assert_eq!(lines.len(), 2 + SizeClass::COUNT);
    assert_eq!(
        lines[2 + 7],
        "kmalloc-64           600   1024     64  512    8 : tunables    0    0    0 : slabdata      2      2      0"
    );
    assert_eq!(
        lines[2],
        "kmalloc-8              0      0      8  512    1 : tunables    0    0    0 : slabdata      0      0      0"
    );
    objects.into_iter().for_each(|object| object.free(&heap));
    assert_empties(&heap);
}

#[test]
fn frames_are_accounted_for_by_use() {
    let heap = TestHeap::new(Blocks::new(1 << 12));
    assert_eq!(heap.frames(), HeapFrames::default());
    let small = Object::new(&heap, layout(64, 8), 1);
    let large = Object::new(&heap, layout(60_000, 8), 2);
    let frames = heap.frames();
    assert_eq!((frames.slabs, frames.large), (8, 16));
    assert_eq!(frames.slabs + frames.large + frames.metadata, heap.source().frames());
    assert_eq!(heap.large_objects(bifolio::frame::Order::new(4).unwrap()), 1);
    small.free(&heap);
    large.free(&heap);
    assert_empties(&heap);
}
