//! A refill goes from zone to zone, and lets other CPUs have their turn in between.

use std::cell::RefCell;
use std::collections::HashSet;

use bifolio::allocator::{PageAllocator, PerCpuPages};
use bifolio::frame::{Gfp, Order, Pfn, Profile, ZoneKind};
use bifolio::sync::Lock;
use kit::{Raw, Sound, Turns, Watch};

use super::{NORMAL, order};
use kit::machine::{allocator_with, usable};

thread_local! {
    static TURN: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// CPU 0, and whenever it lets a lock go, CPU 1 has a turn.
struct InBetween;

impl Watch for InBetween {
    fn release(_: &Lock) {
        if let Some(mut turn) = TURN.take() {
            Turns::switch_to(1);
            turn();
            Turns::switch_to(0);
            TURN.set(Some(turn));
        }
    }
}

/// What goes from a zone to an arena is in one or the other at every moment: nobody can free it who does not have it.
#[test]
fn a_frame_on_its_way_to_an_arena_of_another_zone_cannot_be_freed() {
    const FRAMES: u64 = 16_384;
    let arenas: &'static [PerCpuPages; 2] = Box::leak(Box::new([const { PerCpuPages::new() }; 2]));
    let memory = [usable(16_384, 16_384 + FRAMES), usable(NORMAL, NORMAL + FRAMES)];
    let frames: &'static PageAllocator<'static, Turns<InBetween>> =
        Box::leak(Box::new(allocator_with(&memory, arenas)));
    // Normal goes down to its low mark, and the run is of DMA32. Then Normal has memory again.
    let mut blocks = Vec::new();
    for size in [9, 4] {
        while let Ok(pfn) = frames.take(order(size), Gfp::KERNEL) {
            if Profile::X86_64.zone_of(pfn) != ZoneKind::Normal {
                break;
            }
            blocks.push((pfn, order(size)));
        }
    }
    let first = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    assert_eq!(Profile::X86_64.zone_of(first), ZoneKind::Dma32);
    for (pfn, order) in blocks.drain(..8) {
        frames.give(pfn, order).unwrap();
    }
    let in_use: &'static RefCell<HashSet<Pfn>> = Box::leak(Box::default());
    in_use.borrow_mut().extend(blocks.iter().flat_map(|(pfn, order)| (0..order.frames()).map(|n| pfn.offset(n))));
    TURN.set(Some(Box::new(|| {
        let free = (NORMAL..NORMAL + FRAMES).map(Pfn::new).filter(|pfn| !in_use.borrow().contains(pfn));
        for pfn in free {
            assert!(frames.give(pfn, Order::ZERO).is_err(), "{pfn} was freed, and nobody had it");
        }
    })));
    let mut normal = 0;
    for _ in 0..200 {
        let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
        normal += usize::from(Profile::X86_64.zone_of(pfn) == ZoneKind::Normal);
        assert!(in_use.borrow_mut().insert(pfn), "{pfn} has two owners");
    }
    TURN.take();
    assert!(normal > 0, "the arena went from zone to zone");
    frames.sound();
}

/// In the largest zone, in another, and behind a zone's first span of RAM.
#[test]
fn what_a_cpu_freed_last_is_its_next_block_wherever_that_lies() {
    let memory = [usable(16_384, 17_408), usable(32_768, 33_792), usable(NORMAL, NORMAL + 4096)];
    let frames = kit::machine::allocator_with_pages(&memory);
    let gfp = Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN;
    let blocks: Vec<Pfn> = std::iter::from_fn(|| frames.take(order(5), gfp).ok()).collect();
    let asked = || (frames.stats().drains, frames.refills(0));
    for start in [16_384, 32_768, NORMAL] {
        let of_it = |pfn: &&Pfn| (start..start + 1024).contains(&pfn.number());
        let block = *blocks.iter().find(of_it).expect("all of it is allocated");
        frames.give(block, order(5)).unwrap();
        assert_eq!(frames.cached(), 32, "little else is free of its pageblock");
        let before = asked();
        assert_eq!((frames.take(order(5), Gfp::KERNEL), asked()), (Ok(block), before), "no zone was asked");
    }
    frames.validate().unwrap();
}
