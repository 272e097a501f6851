//! What is allocated belongs to somebody, and what is refused is given back.

use bifolio::error::{FreeError, RangeError, Refused, ResizeError, SplitError};
use bifolio::frame::{Block, Blocks, Gfp, Order, PfnRange, Profile, ZoneKind};
use kit::{Raw, Sound};

use super::{NORMAL, order, pfn};
use kit::machine::{allocator_with_pages as allocator, usable};
use kit::oracle::blocks;

#[test]
fn a_block_knows_what_it_is() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096), usable(1 << 16, 1 << 17)]);
    for (gfp, zone) in [(Gfp::KERNEL, ZoneKind::Normal), (Gfp::KERNEL | Gfp::DMA32, ZoneKind::Dma32)] {
        for order in Order::all() {
            let block = frames.allocate(order, gfp).unwrap();
            assert_eq!((block.order(), Profile::X86_64.zone_of(block.pfn())), (order, zone));
            assert_eq!(block.range(), PfnRange::new(block.pfn(), block.pfn().offset(order.frames())));
            assert_eq!(frames.order_of(block.pfn()), Ok(order));
            frames.free(block).unwrap();
        }
    }
}

#[test]
fn a_block_that_is_dropped_stays_allocated() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let pfn = frames.allocate(order(5), Gfp::KERNEL).unwrap().pfn();
    assert_eq!(frames.order_of(pfn), Ok(order(5)));
}

#[test]
fn the_pieces_of_a_block_are_all_of_it_in_order() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    for (whole, into) in Order::all().flat_map(|whole| Order::all().map(move |into| (whole, into))) {
        let block = frames.allocate(whole, Gfp::KERNEL).unwrap();
        let range = block.range();
        if into > whole {
            let Refused { given, error } = frames.split(block, into).map(drop).unwrap_err();
            assert_eq!((given.range(), error), (range, SplitError::Larger { order: whole, into }));
            frames.free(given).unwrap();
            continue;
        }
        let pieces: Vec<Block> = frames.split(block, into).unwrap().collect();
        assert_eq!(pieces.len() as u64, range.frames() / into.frames());
        assert!(pieces.iter().all(|piece| piece.order() == into));
        assert!(pieces.iter().map(|piece| piece.pfn()).eq(
            (range.start.number()..range.end.number()).step_by(into.frames() as usize).map(bifolio::frame::Pfn::new)
        ));
        pieces.into_iter().for_each(|piece| frames.free(piece).unwrap());
    }
    frames.drain();
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn frames_in_a_row_are_freed_together_or_block_by_block() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let exact = frames.allocate_exact(21, Gfp::KERNEL).unwrap();
    let numbers: Vec<_> = exact.range().blocks().collect();
    assert!(
        exact
            .into_blocks()
            .inspect(|block| assert!(numbers.contains(&(block.pfn(), block.order()))))
            .all(|block| frames.free(block).is_ok())
    );
    let contiguous = frames.allocate_contiguous(1500, Gfp::KERNEL).unwrap();
    assert_eq!(frames.free_range(contiguous), Ok(()));
    let just_these = frames.allocate_range(PfnRange::new(pfn(100), pfn(300)), Gfp::KERNEL).unwrap();
    assert_eq!(just_these.range(), PfnRange::new(pfn(100), pfn(300)));
    assert_eq!(frames.free_range(just_these), Ok(()));
    let block = Blocks::from(frames.allocate(order(6), Gfp::KERNEL).unwrap());
    assert_eq!(frames.free_range(block), Ok(()));
    frames.drain();
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn what_cannot_be_resized_is_given_back() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let first = frames.allocate_range(PfnRange::new(pfn(0), pfn(10)), Gfp::MOVABLE).unwrap();
    let in_the_way = frames.allocate_range(PfnRange::new(pfn(12), pfn(13)), Gfp::MOVABLE).unwrap();
    let Refused { given, error } = frames.resize(first, 20, Gfp::MOVABLE).unwrap_err();
    assert_eq!(error, ResizeError::NoRoom(RangeError::Busy(pfn(12))));
    let longer = frames.resize(given, 12, Gfp::MOVABLE).unwrap();
    assert_eq!(longer.range(), PfnRange::new(pfn(0), pfn(12)));
    let shorter = frames.resize(longer, 3, Gfp::MOVABLE).unwrap();
    frames.free_range(shorter).unwrap();
    frames.free_range(in_the_way).unwrap();
    frames.drain();
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn blocks_of_any_order_are_freed_in_bulk_each_once() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let mut slots: Vec<Option<Block>> = (0..40).map(|_| None).collect();
    for (nth, slot) in slots.iter_mut().enumerate() {
        // Orders 0 to 3 and 9 side by side, and a gap now and then.
        let order = [0, 0, 0, 1, 0, 2, 3, 9, 0][nth % 9];
        *slot = (nth % 11 != 10).then(|| frames.allocate(super::order(order), Gfp::KERNEL).unwrap());
    }
    let stolen = slots[30].as_ref().map(Block::pfn).unwrap();
    frames.give(stolen, slots[30].as_ref().map(Block::order).unwrap()).unwrap();
    assert_eq!(frames.free_bulk(&mut slots), Err(FreeError::AlreadyFree(stolen)));
    assert!(slots[..30].iter().all(Option::is_none), "those in front are free");
    assert_eq!(slots[30].as_ref().map(Block::pfn), Some(stolen));
    slots[30] = None;
    assert_eq!(frames.free_bulk(&mut slots), Ok(()));
    assert!(slots.iter().all(Option::is_none));
    frames.drain();
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn a_flag_that_the_fast_path_does_not_know_is_looked_at_by_the_zones() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let refills = || frames.refills(0);
    let known = Gfp::WAIT | Gfp::HIGH | Gfp::NOWARN | Gfp::MEMALLOC | Gfp::MOVABLE;
    // The CPU's own pages serve this, by a refill, and hold the rest of a word.
    let mut taken = vec![frames.allocate(Order::ZERO, known).unwrap()];
    let (held, served) = (frames.cached(), refills());
    assert!(held > 0 && served == 1);
    let all = Gfp::all() | Gfp::from_bits_retain(0x4000_0000);
    let others = (0..u32::BITS).map(|bit| Gfp::from_bits_retain(1 << bit));
    for flag in others.filter(|flag| !all.intersects(*flag)) {
        taken.push(frames.allocate(Order::ZERO, known | flag).unwrap());
        assert_eq!((frames.cached(), refills()), (held, served), "{flag}");
    }
    assert_eq!(taken.len(), 1 + 32 - 11, "every bit that is no flag");
    taken.push(frames.allocate(Order::ZERO, known).unwrap());
    assert_eq!(frames.cached(), held - 1);
    taken.into_iter().for_each(|block| frames.free(block).unwrap());
}

/// Single frames that stand together are freed together only where a pageblock's words speak.
#[test]
fn of_many_frames_those_are_refused_that_are_no_blocks() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let whole = frames.take(Order::PAGEBLOCK, Gfp::KERNEL).unwrap();
    let interior = FreeError::Interior { pfn: whole.offset(3), head: whole, order: Order::PAGEBLOCK };
    let mut slots = [Some(whole.offset(3)), None];
    assert_eq!(frames.give_bulk(&mut slots), Err(interior));
    frames.give(whole, Order::PAGEBLOCK).unwrap();
    let mut slots = [Some(whole.offset(3)), None];
    assert_eq!(frames.give_bulk(&mut slots), Err(FreeError::AlreadyFree(whole.offset(3))));
    frames.sound();
}

#[test]
fn what_lies_inside_a_block_that_a_cpu_holds_is_free() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let taken = frames.take(order(1), Gfp::KERNEL).unwrap();
    let held =
        frames.explain_allocate(order(1), Gfp::KERNEL, &mut |_| ()).unwrap().expect("the CPU has more of the word");
    let inside = held.offset(1);
    assert_eq!(frames.give(inside, Order::ZERO), Err(FreeError::AlreadyFree(inside)));
    let interior = FreeError::Interior { pfn: taken.offset(1), head: taken, order: order(1) };
    assert_eq!(frames.give(taken.offset(1), Order::ZERO), Err(interior));
    frames.give(taken, order(1)).unwrap();
    frames.sound();
}

/// Pageblocks are planned in pairs, so there is one behind the last that has RAM.
#[test]
fn what_was_never_ram_is_no_block() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 3 * 512)]);
    let behind = pfn(3 * 512 + 7);
    assert_eq!(frames.order_of(behind), Err(FreeError::Reserved(behind)));
    assert_eq!(frames.give(behind, Order::ZERO), Err(FreeError::Reserved(behind)));
    assert_eq!(frames.order_of(pfn(5000)), Err(FreeError::NotManaged(pfn(5000))));
    frames.sound();
}
