//! A study on a host, where frames are numbers: how much of a machine's free memory can still be had in large blocks when memory that
//! moves and memory that does not are asked for in turn, with two mobilities and with one.
//!
//! `cargo run --release --example fragmentation`

use std::error::Error;

use bifolio::allocator::{Cpu, Hooks, PageAllocator, Plan};
use bifolio::frame::{Gfp, Order, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};

/// The one thread, which has nothing of its own: zones serve it.
struct Thread;
// SAFETY: it is the only one, and nothing interrupts it.
unsafe impl Cpu for Thread {
    fn current() -> usize {
        usize::MAX
    }

    fn synchronize() {}

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}
impl Hooks for Thread {}

/// How many percent of what is free cannot be had in blocks of 2 MiB, once every second frame was given back.
fn unusable(moving: Gfp, staying: Gfp) -> Result<u64, Box<dyn Error>> {
    const GIB: u64 = 1 << 30;
    let mut ram = [Region { start: 4 * GIB, end: 5 * GIB, kind: RegionKind::Usable }];
    let plan = Plan::new(MemoryMap::sanitise(&mut ram)?)?;
    let mut metadata = vec![0; plan.metadata_words()];
    // SAFETY: the frames are numbers, and nobody's memory.
    let frames = unsafe { PageAllocator::<Thread>::new(&plan, &mut metadata, &[]) }?;
    let mut moved = Vec::new();
    let mut kept = Vec::new();
    while let (Ok(first), Ok(second)) = (frames.allocate(Order::ZERO, moving), frames.allocate(Order::ZERO, staying)) {
        moved.push(first);
        kept.push(second);
    }
    for block in moved {
        frames.free(block)?;
    }
    let order = Order::new(9).ok_or("no such order")?;
    Ok(frames.free_blocks(ZoneKind::Normal).unusable_percent(order))
}

fn main() -> Result<(), Box<dyn Error>> {
    let quiet = Gfp::KERNEL | Gfp::NOWARN;
    let mixed = unusable(quiet, quiet)?;
    let apart = unusable(quiet | Gfp::MOVABLE, quiet)?;
    println!("not to be had in blocks of 2 MiB: {mixed} % if all is alike, {apart} % if what moves is said to");
    assert!(apart < mixed / 2, "what moves is kept apart");
    Ok(())
}
