//! Lesson 6: objects in slots of slabs.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;

use bifolio::heap::{Heap, SizeClass};
use kit::Random;
use kit::source::SystemPages;
use replay::{Replayed, take_turn_of};

use crate::{Question, counted};

pub fn ask(random: &mut Random) -> Question {
    take_turn_of(0);
    let heap: Heap<SystemPages, Replayed, 1> = Heap::new(SystemPages::new());
    let size = random.between(9, 2000) as usize;
    let layout = Layout::from_size_align(size, 8).expect("the size is small");
    let class = SizeClass::of(layout).expect("the size is small");
    let shape = heap.cache_stats(class);
    let count = random.between(1, 3 * shape.objects_per_slab as u64 + 1) as usize;
    let objects: Vec<_> = (0..count).map(|_| heap.allocate(layout).expect("the system has memory")).collect();
    let stats = heap.cache_stats(class);
    let slabs = counted(stats.slabs as u64, "slabs");
    let wasted = stats.frames as usize * 4096 - count * size;
    for object in objects {
        // SAFETY: the object is of this heap and layout, and nobody uses it.
        unsafe { heap.free(object, layout) }.expect("the object is live");
    }
    heap.shrink();
    Question {
        text: format!(
            "On a fresh heap, one CPU allocates {} of {size} bytes. How many bytes has the slot of each, how many slabs are there, \
             and how many of their bytes are not asked for by anybody? (A slab of that class has {} frames.)",
            counted(count as u64, "objects"),
            shape.frames_per_slab
        ),
        answer: format!("slots of {} bytes; {slabs}; {wasted} bytes", shape.object_size),
        narration: vec![
            format!("{size} bytes are of the class {}, with slots of {} bytes", shape.name, shape.object_size),
            format!("a slab of {} frames has {} of them", shape.frames_per_slab, shape.objects_per_slab),
            format!("{} take {slabs}, {} bytes in all", counted(count as u64, "objects"), stats.frames * 4096),
            format!("{} - {count} * {size} = {wasted}", stats.frames * 4096),
        ],
    }
}
