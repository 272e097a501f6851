//! The machines that questions are about, and words for what is on them.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan, Step};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region};
use kit::machine::usable;
use kit::{Raw, over_numbers};
use replay::{Replayed, take_turn_of};

pub type Frames = PageAllocator<'static, Replayed>;

/// The first frame of zone Normal.
pub const NORMAL: u64 = Profile::X86_64.range(ZoneKind::Normal).start.number();

/// Frames in the post's chunk of 256 KiB.
pub const CHUNK: u64 = 64;

/// Whatever the marks are, and of the kind that fresh memory is.
pub const ANY: Gfp = Gfp::MEMALLOC.union(Gfp::MOVABLE).union(Gfp::NOWARN);

/// An allocator for just this memory, with its metadata elsewhere, and so many CPUs.
pub fn machine(regions: &[Region], cpus: usize) -> Frames {
    let mut regions = regions.to_vec();
    let map = MemoryMap::sanitise(&mut regions).expect("the map is sound");
    let plan = Plan::apart(map);
    let metadata = Box::leak(vec![0; plan.metadata_words()].into_boxed_slice());
    let pages = Box::leak((0..cpus).map(|_| PerCpuPages::new()).collect::<Vec<_>>().into_boxed_slice());
    take_turn_of(0);
    over_numbers(&plan, metadata, pages).expect("the metadata has the planned size")
}

/// 256 KiB in one free block.
pub fn chunk() -> Frames {
    machine(&[usable(NORMAL, NORMAL + CHUNK)], 0)
}

pub fn order(order: u8) -> Order {
    Order::new(order).expect("the questions know the orders")
}

/// The free blocks of a zone, the smallest first, in the words of `name`.
pub fn free_blocks(frames: &Frames, kind: ZoneKind, name: impl Fn(Order) -> String) -> String {
    let free = frames.free_blocks(kind);
    let all = Order::all().flat_map(|order| (0..free.of(order)).map(move |_| order));
    list(all.map(name))
}

/// One after the other.
pub fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

/// Takes frames one by one, and so makes each a block of its own.
pub fn take_frames(frames: &Frames, all: impl Iterator<Item = u64>) {
    for pfn in all {
        let frame = PfnRange::of(Pfn::new(pfn), Order::ZERO);
        frames.take_range(frame, ANY).expect("the frame is free");
    }
}

/// Has a request told, and made. The steps that `is_told` wants are told.
pub fn allocate(
    frames: &Frames,
    order: Order,
    gfp: Gfp,
    narration: &mut Vec<String>,
    is_told: impl Fn(&Step) -> bool,
) -> Option<Pfn> {
    frames.explain_allocate(order, gfp, &mut |step| tell(narration, &is_told, step)).expect("the flags are sound");
    frames.take(order, gfp).ok()
}

/// Has a block's way told, and freed.
pub fn free(frames: &Frames, pfn: Pfn, narration: &mut Vec<String>, is_told: impl Fn(&Step) -> bool) {
    let order = frames.order_of(pfn).expect("the block is allocated");
    frames.explain_free(pfn, &mut |step| tell(narration, &is_told, step)).expect("the block is allocated");
    frames.give(pfn, order).expect("the block is allocated");
}

fn tell(narration: &mut Vec<String>, is_told: impl Fn(&Step) -> bool, step: Step) {
    if is_told(&step) {
        narration.push(step.to_string());
    }
}

/// The steps that are about blocks, and not about marks.
pub fn is_arithmetic(step: &Step) -> bool {
    matches!(step, Step::Split { .. } | Step::Merge { .. } | Step::NoMerge { .. })
}
