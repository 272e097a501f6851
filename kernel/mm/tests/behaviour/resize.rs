//! Ranges that become longer and shorter where they are.

use bifolio::allocator::{AllocError, Cpu, PageAllocator};
use bifolio::error::{FreeError, RangeError, ResizeError};
use bifolio::frame::{Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use kit::{Raw, Sound, Turns};

use super::machine::Machine;
use super::{NORMAL, exhaust, order, pageblocks, pfn, range};
use kit::machine::{allocator, allocator_with, allocator_with_pages, usable};
use kit::oracle::blocks;

/// Asserts that a range is allocated as its largest blocks, and that exactly so many frames are not free.
#[track_caller]
fn holds<C: Cpu>(frames: &PageAllocator<'_, C>, range: PfnRange) {
    for (pfn, order) in range.blocks() {
        assert_eq!(frames.order_of(pfn), Ok(order), "{pfn} in {range}");
    }
    let zone = frames.zone(ZoneKind::Normal);
    assert_eq!(zone.managed - zone.free, range.frames());
    frames.sound();
}

#[test]
fn every_length_becomes_every_other_in_place() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 8192)]);
    let fresh = blocks(&frames);
    // Pageblocks are movable at first, and ranges are taken from whatever pageblock is asked for.
    let gfp = Gfp::MOVABLE;
    let lengths = [1, 2, 3, 7, 8, 9, 63, 64, 65, 100, 128, 511, 512, 513, 900, 1023, 1024, 1025, 1536, 2048, 3001];
    // At starts of every alignment a block can have.
    for start in [4096, 4097, 4098, 4100, 4096 + 64, 4096 + 96, 4096 + 256, 4096 + 512, 4096 + 1023] {
        for from in lengths {
            for to in lengths {
                let (old, new) = (range(start, start + from), range(start, start + to));
                frames.take_range(old, gfp).unwrap();
                assert_eq!(frames.regrow(old, to, gfp), Ok(new), "{old} to {to}");
                holds(&frames, new);
                assert_eq!(frames.give_range(new), Ok(()));
            }
        }
    }
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn a_block_grows_into_its_free_buddy_and_back() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let start = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    let of = |order: Order| PfnRange::new(start, start.offset(order.frames()));
    for (small, large) in Order::all().zip(Order::all().skip(1)) {
        assert_eq!(frames.regrow(of(small), large.frames(), Gfp::KERNEL), Ok(of(large)));
        assert_eq!(frames.order_of(start), Ok(large));
    }
    for (small, large) in Order::all().zip(Order::all().skip(1)).rev() {
        assert_eq!(frames.regrow(of(large), small.frames(), Gfp::KERNEL), Ok(of(small)));
        assert_eq!(frames.order_of(start), Ok(small));
    }
    frames.give(start, Order::ZERO).unwrap();
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn what_is_in_the_way_is_named_and_nothing_changes() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 2048), usable(NORMAL + 4096, NORMAL + 8192)]);
    let taken = frames.take_exact(5, Gfp::KERNEL).unwrap();
    let end = taken.end;
    for (way, length) in [(end, 6), (end.offset(1), 7), (end.offset(200), 500), (end.offset(1024), 1500)] {
        frames.take_range(PfnRange::new(way, way.offset(1)), Gfp::KERNEL).unwrap();
        let before = blocks(&frames);
        let error = ResizeError::NoRoom(RangeError::Busy(way));
        assert_eq!(frames.regrow(taken, length, Gfp::KERNEL), Err(error));
        assert_eq!(blocks(&frames), before);
        frames.give(way, Order::ZERO).unwrap();
    }
    for length in [1 << 60, u64::MAX] {
        let beyond = PfnRange::new(taken.start, Pfn::new(taken.start.number().saturating_add(length)));
        let error = ResizeError::NoRoom(RangeError::CrossesZones(beyond));
        assert_eq!(frames.regrow(taken, length, Gfp::MEMALLOC), Err(error));
    }
    // The allocator's own metadata, and a hole in RAM.
    let metadata = frames.metadata();
    let last = PfnRange::new(Pfn::new(metadata.start.number() - 2), metadata.start);
    frames.take_range(last, Gfp::MOVABLE).unwrap();
    let error = ResizeError::NoRoom(RangeError::Reserved(metadata.start));
    assert_eq!(frames.regrow(last, 3, Gfp::MOVABLE), Err(error));
    let hole = range(2000, 2048);
    frames.take_range(hole, Gfp::MOVABLE).unwrap();
    let error = frames.regrow(hole, 1000, Gfp::MOVABLE);
    assert_eq!(error, Err(ResizeError::NoRoom(RangeError::Reserved(pfn(2048)))));
    frames.isolate(range(1024, 1025)).unwrap();
    let error = ResizeError::NoRoom(RangeError::Isolated(pfn(1024)));
    assert_eq!(
        frames.regrow(range(taken.start.number() - NORMAL, end.number() - NORMAL), 1024 + 700, Gfp::KERNEL),
        Err(error)
    );
    frames.sound();
}

#[test]
fn what_is_not_allocated_so_is_not_resized() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let taken = frames.take_exact(21, Gfp::KERNEL).unwrap();
    let at = |from: u64, to: u64| PfnRange::new(taken.start.offset(from), taken.start.offset(to));
    let before = blocks(&frames);
    for (wrong, error) in [
        (at(0, 0), FreeError::NoFrames),
        (at(0, 22), FreeError::WrongOrder { pfn: taken.start.offset(20), given: order(1), actual: order(0) }),
        (at(0, 24), FreeError::WrongOrder { pfn: taken.start.offset(16), given: order(3), actual: order(2) }),
        (at(0, 8), FreeError::WrongOrder { pfn: taken.start, given: order(3), actual: order(4) }),
        (at(1, 21), FreeError::Interior { pfn: taken.start.offset(1), head: taken.start, order: order(4) }),
        (at(21, 22), FreeError::AlreadyFree(taken.start.offset(21))),
    ] {
        for length in [1, wrong.frames(), 64] {
            assert_eq!(frames.regrow(wrong, length, Gfp::KERNEL), Err(ResizeError::NoBlock(error)), "{wrong}");
        }
    }
    let crossing = PfnRange::new(Pfn::new(NORMAL - 1), pfn(1));
    let crosses = ResizeError::NoRoom(RangeError::CrossesZones(crossing));
    assert_eq!(frames.regrow(crossing, 1, Gfp::KERNEL), Err(crosses));
    let gfp = Gfp::MOVABLE | Gfp::RECLAIMABLE;
    assert_eq!(frames.regrow(taken, 22, gfp), Err(ResizeError::NoRoom(RangeError::ContradictoryFlags(gfp))));
    assert_eq!(frames.regrow(taken, 22, Gfp::DMA), Err(ResizeError::NoRoom(RangeError::ContradictoryFlags(Gfp::DMA))));
    assert_eq!(frames.regrow(taken, 0, Gfp::KERNEL), Err(ResizeError::NoBlock(FreeError::NoFrames)));
    assert_eq!(blocks(&frames), before);
}

#[test]
fn growing_respects_what_is_kept_for_others() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let last = range(4000, 4010);
    frames.take_range(last, Gfp::KERNEL).unwrap();
    exhaust(&frames, Gfp::KERNEL);
    let free = frames.zone(ZoneKind::Normal).free;
    assert!(free > 0);
    // What is left may lie anywhere: make room behind the range.
    frames.give_range(last).unwrap();
    frames.take_range(range(4000, 4001), Gfp::KERNEL).unwrap();
    let short = ResizeError::OutOfMemory { frames: 10, gfp: Gfp::KERNEL };
    assert_eq!(frames.regrow(range(4000, 4001), 11, Gfp::KERNEL), Err(short));
    let grown = frames.regrow(range(4000, 4001), 9, Gfp::MEMALLOC | Gfp::KERNEL);
    assert_eq!(grown, Ok(range(4000, 4009)));
    frames.sound();
}

#[test]
fn growing_mixes_no_mobilities() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 8192)]);
    let gfp = Gfp::KERNEL;
    // A pair of pageblocks becomes unmovable with the first of them.
    let own = frames.take(Order::PAGEBLOCK, gfp).unwrap();
    assert_eq!(pageblocks(&frames)[Mobility::Unmovable.index()], 2);
    assert!(frames.regrow(PfnRange::new(own, own.offset(512)), 1024, gfp).is_ok());
    // All others are movable still.
    let stray = range(3000, 3010);
    frames.take_range(stray, gfp).unwrap();
    let error = ResizeError::NoRoom(RangeError::OtherMobility(pfn(3010)));
    assert_eq!(frames.regrow(stray, 11, gfp), Err(error));
    assert_eq!(frames.regrow(stray, 11, gfp | Gfp::MOVABLE), Ok(range(3000, 3011)));
    // A free pageblock that is taken is of the request's mobility.
    let unmovable = pageblocks(&frames)[Mobility::Unmovable.index()];
    frames.take_range(range(3500, 3584), gfp).unwrap();
    assert_eq!(frames.regrow(range(3500, 3584), 100, gfp), Ok(range(3500, 3600)));
    assert_eq!(pageblocks(&frames)[Mobility::Unmovable.index()], unmovable + 1);
    frames.sound();
}

/// An arena that knew a block as what it was would take it back as that.
#[test]
fn an_arena_forgets_what_it_gave_when_that_is_resized() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    let held: Vec<Pfn> = (0..20).map(|_| frames.take(order(3), Gfp::KERNEL).unwrap()).collect();
    let block = held[5];
    let whole = PfnRange::new(block, block.offset(8));
    let small = frames.regrow(whole, 3, Gfp::KERNEL).unwrap();
    let wrong = FreeError::WrongOrder { pfn: block, given: order(3), actual: order(1) };
    assert_eq!(frames.give(block, order(3)), Err(wrong));
    assert_eq!(frames.give(block.offset(3), Order::ZERO), Err(FreeError::AlreadyFree(block.offset(3))));
    // The block is on loan no more, so what is free of it can be had again; what follows it is lent.
    let busy = ResizeError::NoRoom(RangeError::Busy(block.offset(8)));
    assert_eq!(frames.regrow(small, 9, Gfp::KERNEL), Err(busy));
    let small = frames.regrow(small, 4, Gfp::KERNEL).unwrap();
    // A block that a CPU's pages hold is no block to resize.
    frames.give(held[6], order(3)).unwrap();
    let freed = PfnRange::new(held[6], held[6].offset(8));
    let gone = ResizeError::NoBlock(FreeError::AlreadyFree(held[6]));
    assert_eq!(frames.regrow(freed, 1, Gfp::KERNEL), Err(gone));
    frames.give_range(small).unwrap();
    held.into_iter()
        .enumerate()
        .filter(|(nth, _)| ![5, 6].contains(nth))
        .for_each(|(_, pfn)| frames.give(pfn, order(3)).unwrap());
    frames.drain();
    frames.sound();
    assert_eq!(frames.late_double_frees(), 0);
    assert_eq!(frames.zone(ZoneKind::Normal).free, frames.zone(ZoneKind::Normal).managed);
}

#[test]
fn what_is_added_is_zeroed_if_that_is_asked_for() {
    let frames = allocator_with::<Machine>(&[usable(NORMAL, NORMAL + 4096)], &[]);
    let taken = frames.take_exact(3, Gfp::KERNEL).unwrap();
    assert_eq!(Turns::zeroed(), []);
    let grown = frames.regrow(taken, 20, Gfp::KERNEL | Gfp::ZERO).unwrap();
    assert_eq!(Turns::zeroed(), [PfnRange::new(taken.end, grown.end)]);
    frames.regrow(grown, 2, Gfp::KERNEL | Gfp::ZERO).unwrap();
    assert_eq!(Turns::zeroed(), []);

    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let taken = frames.take_exact(3, Gfp::KERNEL).unwrap();
    let before = blocks(&frames);
    let error = ResizeError::NoRoom(RangeError::CannotZero);
    assert_eq!(frames.regrow(taken, 20, Gfp::KERNEL | Gfp::ZERO), Err(error));
    assert_eq!(blocks(&frames), before);
}

#[test]
fn an_exact_count_is_aligned_as_is_asked() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    for align in Order::all() {
        for count in [1, 3, 8, 100, 1000, 1024] {
            let range = frames.take_exact_aligned(count, align, Gfp::KERNEL).unwrap();
            assert!(range.start.is_aligned(align) && range.frames() == count);
            holds(&frames, range);
            frames.give_range(range).unwrap();
        }
    }
    assert_eq!(frames.take_exact_aligned(0, Order::MAX, Gfp::KERNEL), Err(AllocError::NoFrames));
    assert_eq!(blocks(&frames), fresh);
}
