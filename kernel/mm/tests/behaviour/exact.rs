//! Many frames with one call, counts that are no power of two, blocks in pieces, zeroed blocks.

use bifolio::allocator::{AllocError, BlockInfo, BlockState, PageAllocator, PerCpuPages};
use bifolio::error::{FreeError, SplitError};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use kit::{Raw, Sound, Turns, scale};

use super::machine::Machine;
use super::{NORMAL, exhaust, free_each, order, pfn, range};
use kit::machine::{allocator, allocator_with, allocator_with_pages, usable};
use kit::oracle::blocks;

#[test]
fn bulk_fills_empty_slots_and_no_others() {
    for frames in [allocator(&[usable(NORMAL, NORMAL + 4096)]), allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)])]
    {
        let mine = Pfn::new(7);
        let mut slots = [None; 200];
        (slots[0], slots[77], slots[199]) = (Some(mine), Some(mine), Some(mine));
        assert_eq!(frames.take_bulk(&mut slots, Gfp::KERNEL), Ok(197));
        assert_eq!((slots[0], slots[77], slots[199]), (Some(mine), Some(mine), Some(mine)));
        let mut filled: Vec<Pfn> = slots.iter().flatten().copied().filter(|pfn| *pfn != mine).collect();
        filled.sort_unstable();
        filled.dedup();
        assert_eq!(filled.len(), 197);
        assert!(filled.iter().all(|pfn| frames.order_of(*pfn) == Ok(Order::ZERO)));
        assert_eq!(frames.take_bulk(&mut slots, Gfp::KERNEL), Ok(0));
        slots.iter_mut().filter(|slot| **slot == Some(mine)).for_each(|slot| *slot = None);
        assert_eq!(frames.give_bulk(&mut slots), Ok(()));
        assert_eq!(slots, [None; 200]);
        frames.drain();
        assert_eq!(frames.zone(ZoneKind::Normal).free, frames.zone(ZoneKind::Normal).managed);
    }
}

/// Only the first frame is worth the reserves: the others end at the `low` mark.
#[test]
fn bulk_may_return_fewer() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let zone = || frames.zone(ZoneKind::Normal);
    let mut slots = vec![None; 5000];
    let filled = frames.take_bulk(&mut slots, Gfp::KERNEL).unwrap();
    assert_eq!(zone().free, zone().watermarks.low);
    assert_eq!(filled as u64, zone().managed - zone().watermarks.low);
    assert_eq!(frames.take_bulk(&mut slots, Gfp::KERNEL), Ok(1));
    exhaust(&frames, Gfp::KERNEL);
    let error = AllocError::OutOfMemory { order: Order::ZERO, gfp: Gfp::KERNEL };
    assert_eq!(frames.take_bulk(&mut slots, Gfp::KERNEL), Err(error));
}

#[test]
fn bulk_of_nothing_and_of_nonsense_are_errors() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    assert_eq!(frames.take_bulk(&mut [], Gfp::KERNEL), Err(AllocError::NoFrames));
    let gfp = Gfp::DMA | Gfp::DMA32;
    assert_eq!(frames.take_bulk(&mut [None], gfp), Err(AllocError::ContradictoryFlags(gfp)));
}

#[test]
fn bulk_frees_up_to_the_first_error() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let mut slots = [None; 3];
    frames.take_bulk(&mut slots, Gfp::KERNEL).unwrap();
    let [_, Some(second), third] = slots else { unreachable!() };
    frames.give(second, Order::ZERO).unwrap();
    assert_eq!(frames.give_bulk(&mut slots), Err(FreeError::AlreadyFree(second)));
    assert_eq!(slots, [None, Some(second), third]);
}

#[test]
fn every_exact_count_is_allocated_exactly_and_its_tail_is_free() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let free = || frames.zone(ZoneKind::Normal).free;
    let before = free();
    for count in scale::some(1..=1024) {
        let range = frames.take_exact(count, Gfp::KERNEL).unwrap();
        assert_eq!((range.frames(), before - free()), (count, count));
        assert!(range.start.is_aligned(Order::covering(count).unwrap()));
        for (pfn, order) in range.blocks() {
            assert_eq!(frames.order_of(pfn), Ok(order));
        }
        if count % 37 == 0 {
            frames.sound();
        }
        assert_eq!(frames.give_range(range), Ok(()));
        assert_eq!(free(), before);
    }
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn exact_counts_of_none_and_of_too_many_are_errors() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    assert_eq!(frames.take_exact(0, Gfp::KERNEL), Err(AllocError::NoFrames));
    assert_eq!(frames.take_exact(1025, Gfp::KERNEL), Err(AllocError::TooManyFrames(1025)));
    assert_eq!(frames.take_exact(u64::MAX, Gfp::KERNEL), Err(AllocError::TooManyFrames(u64::MAX)));
}

/// An arena that knew a block as a whole would take it back as a whole, whatever became of its parts.
#[test]
fn the_pieces_of_an_exact_count_are_freed_only_as_what_they_are() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    let held: Vec<Pfn> = (0..20).map(|_| frames.take(order(2), Gfp::KERNEL).unwrap()).collect();
    let range = frames.take_exact(3, Gfp::KERNEL).unwrap();
    let wrong = FreeError::WrongOrder { pfn: range.start, given: order(2), actual: order(1) };
    assert_eq!(frames.give(range.start, order(2)), Err(wrong));
    assert_eq!(frames.give(range.start.offset(3), Order::ZERO), Err(FreeError::AlreadyFree(range.start.offset(3))));
    assert_eq!(frames.give(range.start, order(1)), Ok(()));
    assert_eq!(frames.give(range.start.offset(2), Order::ZERO), Ok(()));
    held.into_iter().for_each(|pfn| frames.give(pfn, order(2)).unwrap());
    frames.drain();
    assert_eq!(frames.zone(ZoneKind::Normal).free, frames.zone(ZoneKind::Normal).managed);
}

#[test]
fn a_range_is_freed_as_a_whole_or_not_at_all() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let taken = frames.take_exact(21, Gfp::KERNEL).unwrap();
    let pieces: Vec<(u64, u8)> =
        taken.blocks().map(|(pfn, o)| (pfn.number() - taken.start.number(), o.get())).collect();
    assert_eq!(pieces, [(0, 4), (16, 2), (20, 0)]);
    let last = taken.start.offset(20);
    frames.give(last, Order::ZERO).unwrap();
    let before = blocks(&frames);
    assert_eq!(frames.give_range(taken), Err(FreeError::AlreadyFree(last)));
    assert_eq!(blocks(&frames), before);
    assert_eq!(frames.give_range(PfnRange::new(last, last)), Err(FreeError::NoFrames));
    assert_eq!(frames.give_range(PfnRange::new(last, taken.start)), Err(FreeError::NoFrames));
    let wrong = FreeError::WrongOrder { pfn: taken.start, given: order(3), actual: order(4) };
    assert_eq!(frames.give_range(PfnRange::new(taken.start, taken.start.offset(8))), Err(wrong));
    let later = FreeError::WrongOrder { pfn: taken.start.offset(16), given: Order::ZERO, actual: order(2) };
    assert_eq!(frames.give_range(PfnRange::new(taken.start, taken.start.offset(17))), Err(later));
    assert_eq!(blocks(&frames), before);
    assert_eq!(frames.give_range(PfnRange::new(taken.start, last)), Ok(()));
}

#[test]
fn a_block_of_each_order_splits_into_blocks_of_each_smaller_one() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    for whole in Order::all() {
        for into in Order::all().take(whole.index() + 1) {
            // A neighbour in the same word, which must stay as it is.
            let other = frames.take(whole, Gfp::KERNEL).unwrap();
            let pfn = frames.take(whole, Gfp::KERNEL).unwrap();
            assert_eq!(frames.cut(pfn, whole, into), Ok(()));
            let mut pieces = Vec::new();
            frames.for_each_block(ZoneKind::Normal, |block: BlockInfo| {
                if block.state == BlockState::Allocated && block.pfn >= pfn && block.pfn < pfn.offset(whole.frames()) {
                    pieces.push((block.pfn, block.order));
                }
            });
            let count = whole.frames() / into.frames();
            let expected: Vec<_> = (0..count).map(|nth| (pfn.offset(nth * into.frames()), into)).collect();
            assert_eq!(pieces, expected, "order {whole} into {into}");
            assert_eq!(frames.order_of(other), Ok(whole));
            frames.sound();
            pieces.into_iter().rev().for_each(|(pfn, order)| frames.give(pfn, order).unwrap());
            frames.give(other, whole).unwrap();
            assert_eq!(blocks(&frames), fresh);
        }
    }
}

#[test]
fn what_cannot_be_split_is_named_and_stays() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let block = frames.take(order(4), Gfp::KERNEL).unwrap();
    let before = blocks(&frames);
    let larger = SplitError::Larger { order: order(4), into: order(5) };
    assert_eq!(frames.cut(block, order(4), order(5)), Err(larger));
    let wrong = FreeError::WrongOrder { pfn: block, given: order(5), actual: order(4) };
    assert_eq!(frames.cut(block, order(5), order(0)), Err(wrong.into()));
    let inside = block.offset(1);
    let interior = FreeError::Interior { pfn: inside, head: block, order: order(4) };
    assert_eq!(frames.cut(inside, order(0), order(0)), Err(interior.into()));
    let free = block.offset(16);
    assert_eq!(frames.cut(free, order(0), order(0)), Err(FreeError::AlreadyFree(free).into()));
    assert_eq!(blocks(&frames), before);
}

/// The arena that gave the block would otherwise take it back whole and hand it out, with a part still in use.
#[test]
fn a_block_from_an_arena_is_not_freed_whole_once_it_is_split() {
    let frames = allocator_with_pages(&[usable(NORMAL, NORMAL + 4096)]);
    for taken in 1..40 {
        let held: Vec<Pfn> = (0..taken).map(|_| frames.take(order(3), Gfp::KERNEL).unwrap()).collect();
        let pfn = held[0];
        // Known to the arena as lent, or as one of its returns' word.
        if let [_, second, ..] = held[..] {
            frames.give(second, order(3)).unwrap();
        }
        frames.cut(pfn, order(3), order(1)).unwrap();
        let wrong = FreeError::WrongOrder { pfn, given: order(3), actual: order(1) };
        assert_eq!(frames.give(pfn, order(3)), Err(wrong));
        (0..4).for_each(|nth| frames.give(pfn.offset(2 * nth), order(1)).unwrap());
        held.into_iter().skip(2).for_each(|pfn| frames.give(pfn, order(3)).unwrap());
        frames.drain();
        assert_eq!(frames.zone(ZoneKind::Normal).free, frames.zone(ZoneKind::Normal).managed);
    }
    frames.sound();
}

#[test]
fn zeroed_frames_are_exactly_those_that_were_asked_for() {
    let arenas: &'static [PerCpuPages; 1] = Box::leak(Box::new([PerCpuPages::new()]));
    let frames: PageAllocator<'static, Machine> = allocator_with(&[usable(NORMAL, NORMAL + 4096)], arenas);
    let gfp = Gfp::KERNEL | Gfp::ZERO;
    for o in Order::all() {
        let pfn = frames.take(o, gfp).unwrap();
        assert_eq!(Turns::zeroed(), [PfnRange::new(pfn, pfn.offset(o.frames()))]);
        frames.give(pfn, o).unwrap();
    }
    let exact = frames.take_exact(5, gfp).unwrap();
    assert_eq!(Turns::zeroed(), [exact]);
    let run = frames.take_contiguous(1500, gfp).unwrap();
    assert_eq!(Turns::zeroed(), [run]);
    frames.give_range(run).unwrap();
    frames.take_range(range(3000, 3003), gfp).unwrap();
    assert_eq!(Turns::zeroed(), [range(3000, 3003)]);
    let mut slots = [None; 2];
    frames.take_bulk(&mut slots, gfp).unwrap();
    let each = slots.map(|slot| PfnRange::new(slot.unwrap(), slot.unwrap().offset(1)));
    assert_eq!(Turns::zeroed(), each);
    frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    assert_eq!(Turns::zeroed(), []);
}

#[test]
fn a_machine_that_cannot_zero_frames_says_so_and_loses_none() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let gfp = Gfp::KERNEL | Gfp::ZERO;
    assert_eq!(frames.take(order(3), gfp), Err(AllocError::CannotZero));
    assert_eq!(frames.take_exact(5, gfp), Err(AllocError::CannotZero));
    assert_eq!(frames.take_contiguous(1500, gfp), Err(AllocError::CannotZero));
    assert_eq!(frames.take_bulk(&mut [None], gfp), Err(AllocError::CannotZero));
    assert_eq!(frames.take_range(range(0, 3), gfp), Err(bifolio::error::RangeError::CannotZero));
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn no_frames_are_lost_to_what_is_freed_around_them() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let taken = frames.take(order(6), Gfp::KERNEL).unwrap();
    let first = taken.number() - NORMAL;
    frames.cut(taken, order(6), order(0)).unwrap();
    free_each(&frames, (first..first + 64).filter(|frame| frame % 3 != 0));
    free_each(&frames, (first..first + 64).filter(|frame| frame % 3 == 0));
    assert_eq!(frames.give(pfn(first), Order::ZERO), Err(FreeError::AlreadyFree(pfn(first))));
    assert_eq!(frames.zone(ZoneKind::Normal).free, frames.zone(ZoneKind::Normal).managed);
    frames.sound();
}
