//! Page frames of a real machine: all of them taken and given back, and not one bit different afterwards.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bifolio::allocator::AllocError;
use bifolio::frame::{Gfp, Order, Pfn, Profile};
use booted::{Hoard, first_word, frames_free, random};
use framework::Snapshot;
use kernel::memory::{MEMORY, frames, map};
use kit::Raw;
use rand::RngExt;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator};

framework::entry!(test_main);

/// A list of frames that may be longer than the largest object of the heap.
struct Pfns {
    chunks: Vec<Vec<u32>>,
}

impl Pfns {
    const CHUNK: usize = 1 << 20;

    fn with_capacity(count: usize) -> Self {
        let chunks = count.div_ceil(Self::CHUNK);
        Self { chunks: (0..chunks).map(|_| Vec::with_capacity(Self::CHUNK.min(count))).collect() }
    }

    fn push(&mut self, pfn: Pfn) {
        let chunk = self.chunks.iter_mut().find(|chunk| chunk.len() < chunk.capacity()).expect("room for every frame");
        chunk.push(pfn.number().try_into().expect("less than 16 TiB"));
    }

    fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    fn at(&mut self, index: usize) -> &mut u32 {
        let chunk = self.chunks[0].capacity();
        &mut self.chunks[index / chunk][index % chunk]
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (old_a, old_b) = (*self.at(a), *self.at(b));
        (*self.at(a), *self.at(b)) = (old_b, old_a);
    }
}

#[test_case]
fn all_frames_freed_in_random_order_restore_the_first_state_exactly() {
    let mut pfns = Pfns::with_capacity(frames_free() as usize);
    let mut seen = vec![0_u64; map::end_of_ram().number() as usize / 64 + 1];
    let before = Snapshot::take();

    while let Ok(pfn) = frames().take(Order::ZERO, Gfp::MEMALLOC) {
        let (word, bit) = (pfn.number() as usize / 64, 1 << (pfn.number() % 64));
        assert_eq!(seen[word] & bit, 0, "frame {pfn} was given out twice");
        seen[word] |= bit;
        pfns.push(pfn);
    }
    assert_eq!((pfns.len() as u64, frames_free()), (before.free(), 0));
    frames().validate().unwrap();

    let mut random = random();
    for last in (1..pfns.len()).rev() {
        pfns.swap(last, random.random_range(0..=last));
    }
    for index in 0..pfns.len() {
        frames().give(Pfn::new((*pfns.at(index)).into()), Order::ZERO).unwrap();
    }
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn all_memory_comes_in_blocks_of_every_order_and_back() {
    for order in Order::all().rev() {
        let count = frames_free() / order.frames();
        // All frames as blocks of order 0 are the subject above; here some of them will do.
        let mut blocks: Vec<Pfn> = Vec::with_capacity(count.min(16 * 1024) as usize);
        let before = Snapshot::take();
        while blocks.len() < blocks.capacity() {
            let Ok(pfn) = frames().take(order, Gfp::MEMALLOC) else {
                break;
            };
            assert!(pfn.is_aligned(order), "{pfn} at order {order}");
            assert_eq!(frames().order_of(pfn), Ok(order));
            blocks.push(pfn);
        }
        assert!(order == Order::MAX || !blocks.is_empty(), "no block of order {order}");
        assert_eq!(before.free() - frames_free(), blocks.len() as u64 * order.frames());
        blocks.drain(..).for_each(|pfn| frames().give(pfn, order).unwrap());
        assert_eq!(Snapshot::take(), before, "order {order}");
    }
}

#[test_case]
fn a_long_mix_of_requests_restores_the_first_state_exactly() {
    let mut random = random();
    let mut blocks: Vec<(Pfn, Order)> = Vec::with_capacity(2048);
    let before = Snapshot::take();
    for _ in 0..20_000 {
        if blocks.len() < blocks.capacity() && random.random_bool(0.52) {
            // Small orders are the rule, large ones the exception.
            let order = Order::new(random.random_range(0..=10_u8).min(random.random_range(0..=10))).unwrap();
            let zone = [Gfp::empty(), Gfp::DMA32, Gfp::DMA][random.random_range(0..3)];
            let mobility = [Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE][random.random_range(0..3)];
            let gfp = zone | mobility | Gfp::KERNEL;
            let Ok(pfn) = frames().take(order, gfp) else {
                continue;
            };
            assert!(pfn.is_aligned(order));
            assert!(Profile::X86_64.zone_of(pfn) <= gfp.highest_zone().unwrap(), "{pfn} for {gfp:?}");
            blocks.push((pfn, order));
        } else if !blocks.is_empty() {
            let (pfn, order) = blocks.swap_remove(random.random_range(0..blocks.len()));
            assert_eq!(frames().order_of(pfn), Ok(order));
            frames().give(pfn, order).unwrap();
        }
    }
    frames().validate().unwrap();
    blocks.drain(..).for_each(|(pfn, order)| frames().give(pfn, order).unwrap());
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn blocks_hold_what_is_written_to_them() {
    let mut random = random();
    let mut blocks: Vec<(Pfn, Order)> = Vec::with_capacity(512);
    let before = Snapshot::take();
    let frames_of = |(pfn, order): (Pfn, Order)| (0..order.frames()).map(move |frame| pfn.offset(frame));
    while blocks.len() < blocks.capacity() {
        let order = Order::new(random.random_range(0..=5)).unwrap();
        let Ok(pfn) = frames().take(order, Gfp::KERNEL) else {
            break;
        };
        for frame in frames_of((pfn, order)) {
            // SAFETY: the window shows the frame, and the allocator just gave it to this test.
            unsafe { first_word(frame).write_volatile(!frame.number()) };
        }
        blocks.push((pfn, order));
    }
    for frame in blocks.iter().copied().flat_map(frames_of) {
        // SAFETY: the window shows the frame, which the allocator gave to this test.
        let word = unsafe { first_word(frame).read_volatile() };
        assert_eq!(word, !frame.number(), "frame {frame}");
    }
    blocks.drain(..).for_each(|(pfn, order)| frames().give(pfn, order).unwrap());
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn reserves_are_for_those_who_may_take_them() {
    let mut hoard = Hoard::new();
    let before = Snapshot::take();
    let mut left = [0; 3];
    for (left, gfp) in left.iter_mut().zip([Gfp::KERNEL, Gfp::ATOMIC, Gfp::MEMALLOC]) {
        hoard.take(gfp);
        *left = frames_free();
        let refused = frames().take(Order::ZERO, gfp);
        assert_eq!(refused, Err(AllocError::OutOfMemory { order: Order::ZERO, gfp }));
    }
    assert!(left[0] > left[1] && left[1] > left[2] && left[2] == 0, "{left:?} frames left");
    assert_eq!(hoard.frames(), before.free());
    hoard.give_back();
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn the_heap_gives_back_what_it_does_not_use_before_a_request_is_refused() {
    let mut hoard = Hoard::new();
    // What is freed leaves an empty slab behind.
    drop(core::hint::black_box(Box::new([0u8; 3000])));
    // By the request itself, or by a CPU that idles and is faster.
    let reclaimed = || frames().stats().reclaimed + frames().stats().background_reclaimed;
    let before = reclaimed();
    hoard.take(Gfp::KERNEL);
    assert!(reclaimed() > before, "{before} frames were reclaimed before, and no more since");
    hoard.give_back();
}

#[test_case]
fn contradictory_flags_are_refused() {
    let before = Snapshot::take();
    for gfp in [Gfp::DMA | Gfp::DMA32, Gfp::MOVABLE | Gfp::RECLAIMABLE] {
        assert_eq!(frames().allocate(Order::ZERO, gfp), Err(AllocError::ContradictoryFlags(gfp)));
    }
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn frames_of_the_x86_64_crate_come_in_both_sizes_and_go_back() {
    let before = Snapshot::take();
    let small = MEMORY.frames().allocate_frame().unwrap();
    let large = MEMORY.frames().large().allocate_frame().unwrap();
    assert_eq!(frames().order_of(Pfn::containing(small.start_address().as_u64())), Ok(Order::ZERO));
    assert_eq!(frames().order_of(Pfn::containing(large.start_address().as_u64())), Ok(Order::PAGEBLOCK));
    // SAFETY: nothing uses the frames.
    unsafe {
        MEMORY.frames().deallocate_frame(small);
        MEMORY.frames().large().deallocate_frame(large);
    }
    assert_eq!(Snapshot::take(), before);
}
