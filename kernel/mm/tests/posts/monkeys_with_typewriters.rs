//! "How hard can it be to write a memory allocator to manage a preallocated region?"

use bifolio::allocator::{PageAllocator, Plan};
use bifolio::error::{FreeError, Refused};
use bifolio::frame::{Block, Blocks, Gfp, Order, Profile, ZoneKind};
use bifolio::heap::{Heap, Malloc, SingleCpu};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::machine::metadata;
use kit::{Raw, Sound, over_numbers};

const KIB: u64 = 1024;

/// The whole memory block of the post: 256 KiB.
const WHOLE: Order = Order::new(6).unwrap();
/// The programmer's request: a memory chunk of 16 KiB.
const CHUNK: Order = Order::new(2).unwrap();

/// Runs `story` on an allocator that has 256 KiB in one block, and nothing else.
fn with_one_block(story: impl FnOnce(&PageAllocator<'_, SingleCpu>)) {
    let start = Profile::X86_64.range(ZoneKind::Normal).start.address();
    let mut map = [Region { start, end: start + 256 * KIB, kind: RegionKind::Usable }];
    let plan = Plan::apart(MemoryMap::sanitise(&mut map).unwrap());
    let metadata = metadata(plan.metadata_words());
    let frames = over_numbers(&plan, metadata, &[]).unwrap();
    assert_eq!(chunks(&frames), [256]);
    story(&frames);
    frames.sound();
}

/// The free chunks, the smallest first, in KiB.
fn chunks(frames: &PageAllocator<'_, SingleCpu>) -> Vec<u64> {
    let free = frames.free_blocks(ZoneKind::Normal);
    Order::all().flat_map(|order| vec![order.bytes() / KIB; free.of(order) as usize]).collect()
}

/// The halves of a chunk.
fn halves(frames: &PageAllocator<'_, SingleCpu>, chunk: Block, half: Order) -> [Block; 2] {
    frames.split(chunk, half).unwrap().collect::<Vec<_>>().try_into().unwrap()
}

/// Every frame is the program's to have, and all chunks are of one kind: that of fresh memory.
const ALL: Gfp = Gfp::MEMALLOC.union(Gfp::MOVABLE);

#[test]
fn sixteen_out_of_256_step_by_step() {
    with_one_block(|frames| {
        let mut chunk = frames.allocate(WHOLE, ALL).unwrap();
        // 1. to 4.: the requested size is smaller than the current chunk size: it is split in two, and the upper half is free.
        let steps: [&[u64]; 4] = [&[128], &[64, 128], &[32, 64, 128], &[16, 32, 64, 128]];
        for free in steps {
            assert!(CHUNK < chunk.order());
            let half = Order::new(chunk.order().get() - 1).unwrap();
            let [lower, buddy] = halves(frames, chunk, half);
            frames.free(buddy).unwrap();
            chunk = lower;
            assert_eq!(chunks(frames), free);
        }
        // 5. The requested size equals the chunk size: return it to the user.
        assert_eq!((chunk.order(), frames.order_of(chunk.pfn())), (CHUNK, Ok(CHUNK)));

        // And that is what the allocator does by itself.
        let range = chunk.range();
        frames.free(chunk).unwrap();
        let chunk = frames.allocate(CHUNK, ALL).unwrap();
        assert_eq!(chunk.range(), range);
        assert_eq!(chunks(frames), [16, 32, 64, 128]);
        let next = frames.allocate(CHUNK, ALL).unwrap();
        assert_eq!(chunks(frames), [32, 64, 128], "the next request splits nothing");
        [chunk, next].into_iter().for_each(|chunk| frames.free(chunk).unwrap());
    });
}

#[test]
fn and_back_to_one_block() {
    with_one_block(|frames| {
        let chunk = frames.allocate(CHUNK, ALL).unwrap();
        assert_eq!(chunks(frames), [16, 32, 64, 128]);
        // Its buddy is unused, and so is the buddy of what they become: only a contiguous 256 KiB chunk is left.
        frames.free(chunk).unwrap();
        assert_eq!(chunks(frames), [256]);

        // With a buddy in use it ends there.
        let [first, second] = [0, 1].map(|_| frames.allocate(CHUNK, ALL).unwrap());
        assert_eq!(second.pfn(), first.range().end, "buddies");
        frames.free(first).unwrap();
        assert_eq!(chunks(frames), [16, 32, 64, 128]);
        frames.free(second).unwrap();
        assert_eq!(chunks(frames), [256]);
    });
}

#[test]
fn what_the_post_leaves_out_cannot_be_written_and_by_number_is_named() {
    // `frames.free(chunk)` takes the chunk away from whoever frees it, and knows its size. Without that, as in C:
    with_one_block(|frames| {
        let chunk = frames.take(CHUNK, ALL).unwrap();
        let (given, inside) = (Order::new(3).unwrap(), chunk.offset(1));
        let wrong = FreeError::WrongOrder { pfn: chunk, given, actual: CHUNK };
        assert_eq!(frames.give(chunk, given), Err(wrong), "freed as something else");
        let interior = FreeError::Interior { pfn: inside, head: chunk, order: CHUNK };
        assert_eq!(frames.give(inside, Order::ZERO), Err(interior), "freed from the middle");
        assert_eq!(chunks(frames), [16, 32, 64, 128]);
        frames.give(chunk, CHUNK).unwrap();
        assert_eq!(frames.give(chunk, CHUNK), Err(FreeError::AlreadyFree(chunk)), "freed twice");
    });
}

#[test]
fn resize_is_the_readers_exercise() {
    with_one_block(|frames| {
        let mut chunk = Blocks::from(frames.allocate(CHUNK, ALL).unwrap());
        let start = chunk.range().start;
        // Up: each time the buddy is free, and taken. The chunk stays where it is.
        for (size, free) in [(32, &[32, 64, 128][..]), (64, &[64, 128]), (128, &[128]), (256, &[])] {
            chunk = frames.resize(chunk, size / 4, ALL).unwrap();
            let range = chunk.range();
            assert_eq!((range.start, range.frames() * 4, chunks(frames)), (start, size, free.to_vec()));
        }
        let Refused { given: mut chunk, .. } = frames.resize(chunk, 256 / 4 + 1, ALL).expect_err("there is no more");
        // Down: what is not needed any more is free at once.
        for (size, free) in [(128, &[128][..]), (64, &[64, 128]), (32, &[32, 64, 128]), (16, &[16, 32, 64, 128])] {
            chunk = frames.resize(chunk, size / 4, ALL).unwrap();
            let range = chunk.range();
            assert_eq!((range.start, range.frames() * 4, chunks(frames)), (start, size, free.to_vec()));
        }
        // Into a buddy that is in use it cannot grow, and is left as it was.
        let buddy = frames.allocate(CHUNK, ALL).unwrap();
        let Refused { given: chunk, .. } = frames.resize(chunk, 32 / 4, ALL).expect_err("the buddy is in use");
        assert_eq!(frames.order_of(start), Ok(CHUNK));
        frames.free(buddy).unwrap();
        frames.free_range(chunk).unwrap();
        assert_eq!(chunks(frames), [256]);
    });
}

#[test]
fn the_unused_memory_of_a_chunk_is_wasted_or_given_back() {
    with_one_block(|frames| {
        // Internal fragmentation: three frames, 12 KiB, are asked for, and 16 KiB are taken.
        let chunk = frames.allocate(Order::covering(3).unwrap(), ALL).unwrap();
        assert_eq!(chunks(frames).iter().sum::<u64>(), 256 - 16);
        frames.free(chunk).unwrap();
        // Unless the request says so exactly.
        let range = frames.allocate_exact(3, ALL).unwrap();
        assert_eq!(chunks(frames), [4, 16, 32, 64, 128]);
        frames.free_range(range).unwrap();
    });
    with_one_block(|frames| {
        // External fragmentation: half of all memory is free, and no two chunks of it lie side by side.
        let mut all: Vec<Block> = (0..16).map(|_| frames.allocate(CHUNK, ALL).unwrap()).collect();
        let every_second = all.extract_if(.., |chunk| (chunk.pfn().number() / CHUNK.frames()).is_multiple_of(2));
        every_second.for_each(|chunk| frames.free(chunk).unwrap());
        assert_eq!(chunks(frames), [16; 8]);
        assert!(frames.allocate(Order::new(3).unwrap(), ALL).is_err());
        all.into_iter().for_each(|chunk| frames.free(chunk).unwrap());
        assert_eq!(chunks(frames), [256]);
    });
}

#[test]
fn preallocate_a_piece_of_memory_and_use_it_as_the_heap() {
    let mut preallocated = vec![0; 512 * KIB as usize];
    let range = preallocated.as_ptr_range();
    let slabs = Heap::<_, SingleCpu, 1>::with_slabs_in(&mut preallocated).unwrap();
    let heap = Malloc::new(slabs);
    let free = || slabs.source().frames().stats().zones.map(|zone| zone.free);
    let at_first = free();
    // SAFETY: every object is ours, and not used once it was freed.
    unsafe {
        // "The C standard library provides malloc/free/resize."
        let chunk = heap.malloc(16 * KIB as usize).unwrap();
        assert!(range.contains(&chunk.as_ptr().cast_const()));
        chunk.write_bytes(0x16, 16 * KIB as usize);
        let larger = heap.realloc(chunk.as_ptr(), 128 * KIB as usize).unwrap();
        assert!((0..16 * KIB as usize).all(|index| larger.add(index).read() == 0x16));
        let smaller = heap.realloc(larger.as_ptr(), 16 * KIB as usize).unwrap();
        assert!((0..16 * KIB as usize).all(|index| smaller.add(index).read() == 0x16));
        heap.free(smaller.as_ptr()).unwrap();
        let zeros = heap.calloc(16, KIB as usize).unwrap();
        assert!((0..16 * KIB as usize).all(|index| zeros.add(index).read() == 0));
        // "C11 introduced aligned_alloc, and C23 free_sized and free_aligned_sized."
        let aligned = heap.aligned_alloc(16 * KIB as usize, 16 * KIB as usize).unwrap();
        assert!(aligned.as_ptr().addr().is_multiple_of(16 * KIB as usize));
        heap.free_aligned_sized(aligned.as_ptr(), 16 * KIB as usize, 16 * KIB as usize).unwrap();
        heap.free_sized(zeros.as_ptr(), 16 * KIB as usize).unwrap();
    }
    // "When big allocations happen", small ones do not waste them: 512 bytes are a slot among others.
    let [first, second] = [0, 1].map(|_| heap.malloc(512).unwrap());
    assert_eq!(second.as_ptr().addr() - first.as_ptr().addr(), 512);
    for small in [first, second] {
        // SAFETY: likewise.
        unsafe { heap.free_sized(small.as_ptr(), 512).unwrap() };
    }
    slabs.shrink();
    assert_eq!(free(), at_first, "all is free, as at first");
}
