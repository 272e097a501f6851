//! Heaps in regions of every size and alignment: all of it inside, little of it wasted, and given up to the last byte.

use std::alloc::Layout;
use std::ptr::NonNull;

use bifolio::frame::Order;
use bifolio::heap::{
    Heap, HeapError, InRegion, Malloc, MallocError, RegionError, RegionHeap, RegionPages, SingleCpu, SizeClass,
    SlabDebug, SlotPart,
};
use kit::{Sound, scale};

const KIB: usize = 1024;

const LARGEST_BLOCK: usize = 4096 << 10;

/// Memory of which regions are cut.
struct Memory(Vec<u8>);

/// Bytes of a pageblock.
const PAGEBLOCK: usize = 2048 * KIB;

impl Memory {
    fn new(bytes: usize) -> Self {
        Self(vec![0xff; bytes + PAGEBLOCK + 4096])
    }

    /// So many bytes, from so far behind a pageblock's border on: how many pageblocks it lies in decides what its metadata takes.
    fn region(&mut self, offset: usize, bytes: usize) -> &mut [u8] {
        let first = self.0.as_ptr().addr().next_multiple_of(PAGEBLOCK) - self.0.as_ptr().addr();
        &mut self.0[first + offset..first + offset + bytes]
    }
}

/// A heap with slabs, however small the region is.
fn with_slabs(region: &mut [u8]) -> RegionHeap<'_> {
    Malloc::new(InRegion::Slabs(Heap::with_slabs_in(region).unwrap()))
}

/// The heap of a region that has slabs.
fn slabs<'r>(heap: RegionHeap<'r>) -> &'r Heap<RegionPages<'r, SingleCpu>, SingleCpu, 1> {
    heap.heap().slabs().unwrap()
}

/// Nothing is wrong with the heap.
fn sound(heap: RegionHeap<'_>) {
    match heap.heap() {
        InRegion::Small(heap) => assert_eq!(heap.validate(), Ok(())),
        InRegion::Slabs(heap) => heap.sound(),
        _ => unreachable!(),
    }
}

/// No object is left, and nothing else.
fn empty(heap: RegionHeap<'_>) {
    match heap.heap() {
        InRegion::Small(heap) => assert_eq!((heap.stats().objects, heap.stats().used), (0, 0)),
        InRegion::Slabs(heap) => {
            heap.shrink();
            assert_eq!(heap.frames(), Default::default());
        }
        _ => unreachable!(),
    }
}

/// The bytes of as many objects as there is room for. Every one is inside the region, and they do not overlap.
fn fill(heap: RegionHeap<'_>, size: usize, region: std::ops::Range<usize>) -> usize {
    let mut objects: Vec<NonNull<u8>> = std::iter::from_fn(|| heap.malloc(size).ok()).collect();
    sound(heap);
    objects.sort();
    for (index, object) in objects.iter().enumerate() {
        let start = object.as_ptr().addr();
        assert!(start >= region.start && start + size <= region.end, "an object lies outside of the region");
        assert!(objects.get(index + 1).is_none_or(|next| start + size <= next.as_ptr().addr()));
        // SAFETY: the object is ours, and this long.
        unsafe { object.write_bytes(index as u8, size) };
    }
    for (index, object) in objects.iter().enumerate() {
        // SAFETY: the object is ours, was filled, and is not used afterwards.
        unsafe {
            assert_eq!((object.read(), object.add(size - 1).read()), (index as u8, index as u8));
            assert_eq!(heap.free(object.as_ptr()), Ok(()));
        }
    }
    empty(heap);
    objects.len() * size
}

#[test]
fn small_regions_are_mostly_objects() {
    // Percent of the region that objects take, at least: where there are slabs, the heap itself is 16 KiB, and as much again to find
    // them.
    for (bytes, least) in scale::some([(64 * KIB, 75), (256 * KIB, 93), (1024 * KIB, 93), (16 * 1024 * KIB, 93)]) {
        // From a boundary of the largest block on, and across one, where the page allocator has twice as many pageblocks.
        for before in [0, bytes / 2] {
            let mut memory = Memory::new(bytes + 2 * LARGEST_BLOCK);
            let page = memory.region(0, bytes).as_ptr().addr();
            let region = memory.region((page + before).next_multiple_of(LARGEST_BLOCK) - before - page, bytes);
            let range = region.as_ptr_range();
            let heap = Heap::in_region(region).unwrap();
            for size in [8, 64, 1000, 4096, 16 * KIB] {
                let taken = fill(heap, size, range.start.addr()..range.end.addr());
                assert!(taken * 100 >= bytes * least, "{size}: {taken} of {bytes} bytes");
            }
        }
    }
}

#[test]
fn any_alignment_will_do() {
    let mut memory = Memory::new(PAGEBLOCK + 520 * KIB);
    let across = PAGEBLOCK - 256 * KIB;
    for offset in [0, 1, 7, 8, 100, 2047, 3000, 4000, 4095, across, across + 1, across + 4095] {
        // The metadata of two pageblocks takes up to two frames more than that of one.
        let most = if offset < across { 456 } else { 448 };
        let small = [64 * KIB, 64 * KIB + 1, 67 * KIB + 5, 68 * KIB - 1].map(|bytes| (bytes, 60 * KIB));
        let larger = [512 * KIB, 512 * KIB + 1, 515 * KIB + 5].map(|bytes| (bytes, most * KIB));
        for (bytes, least) in scale::some(small).chain(scale::some(larger)) {
            let region = memory.region(offset, bytes);
            let range = region.as_ptr_range();
            let heap = if bytes < 512 * KIB { Heap::in_region(region).unwrap() } else { with_slabs(region) };
            let taken = fill(heap, 4096, range.start.addr()..range.end.addr());
            assert!(taken >= least, "{taken} of {bytes} bytes at {offset}");
        }
    }
}

#[test]
fn a_region_that_is_too_small_is_told_how_large_it_must_be() {
    let mut memory = Memory::new(4 * KIB);
    for offset in [0, 1, 5, 1000, 4000, 4088, 4089, 4095] {
        let mut bytes = 0;
        let least = loop {
            match Heap::in_region(memory.region(offset, bytes)) {
                Ok(_) => break bytes,
                Err(RegionError::TooSmall { bytes: given, needed }) => {
                    assert!(given == bytes && needed > bytes);
                    bytes = needed;
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert!(least < 512, "{least}");
        let heap = Heap::in_region(memory.region(offset, least)).unwrap();
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { heap.free(heap.malloc(256).unwrap().as_ptr()).unwrap() };
        for bytes in 0..least {
            let error = Heap::in_region(memory.region(offset, bytes)).err().unwrap();
            assert_eq!(error, RegionError::TooSmall { bytes, needed: least }, "at {offset}");
        }
    }
    let mut memory = Memory::new(64 * KIB);
    for offset in [0, 1, 1000, 4095] {
        let is_needed = |bytes: usize, memory: &mut Memory| {
            let error = Heap::<_, SingleCpu, 1>::with_slabs_in(memory.region(offset, bytes)).err();
            error.map(|error| match error {
                RegionError::TooSmall { bytes: given, needed } if given == bytes && needed > bytes => needed,
                error => panic!("{error}"),
            })
        };
        // What is needed may be less where a gap at the end has room for the metadata; never more.
        let mut least = 0;
        while let Some(needed) = is_needed(least, &mut memory) {
            least = needed;
        }
        assert!(least < 48 * KIB && is_needed(least - 4096, &mut memory).is_some(), "{least}");
        let heap = with_slabs(memory.region(offset, least));
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { heap.free(heap.malloc(1).unwrap().as_ptr()).unwrap() };
    }
    let error = Heap::in_region(&mut []).err().unwrap();
    assert!(error.to_string().starts_with("a region of 0 bytes is too small for a heap: here it needs "), "{error}");
}

#[test]
fn what_c_asks_for_is_there_and_what_it_gets_wrong_is_named() {
    let mut memory = Memory::new(257 * KIB);
    ask_for_all_of_c(Heap::in_region(memory.region(40, 256 * KIB)).unwrap(), "small-heap", 104);
    ask_for_all_of_c(with_slabs(memory.region(40, 256 * KIB)), "kmalloc-112", 112);
}

/// An object of 100 bytes is in this cache, and takes `actual` bytes.
fn ask_for_all_of_c(heap: RegionHeap<'_>, cache: &'static str, actual: usize) {
    // SAFETY: every object is ours, and not used once it was freed; what is freed wrongly is nobody's.
    unsafe {
        let nothing = heap.malloc(0).unwrap();
        assert_eq!(heap.free_sized(nothing.as_ptr(), 0), Ok(()));
        for size in 1..200 {
            let object = heap.malloc(size).unwrap();
            assert!(object.as_ptr().addr() % (if size < 16 { 8 } else { 16 }) == 0, "{size}");
            assert!(heap.object_size(object).unwrap() >= size);
            object.write_bytes(0xff, size);
            assert_eq!(heap.free_sized(object.as_ptr(), size), Ok(()));
        }
        let zeros = heap.calloc(25, 8).unwrap();
        assert!(std::slice::from_raw_parts(zeros.as_ptr(), 200).iter().all(|byte| *byte == 0));
        assert_eq!(heap.free_sized(zeros.as_ptr(), 200), Ok(()));
        let (count, size) = (usize::MAX / 2, 3);
        assert_eq!(heap.calloc(count, size), Err(MallocError::TooMany { count, size }));

        for (align, size) in [(1, 3), (64, 64), (64, 100), (4096, 1), (16 * KIB, 20 * KIB)] {
            let object = heap.aligned_alloc(align, size).unwrap();
            assert!(object.as_ptr().addr() % align == 0);
            assert_eq!(heap.free_aligned_sized(object.as_ptr(), align, size), Ok(()));
        }
        for align in [0, 3, 24, usize::MAX] {
            assert_eq!(heap.aligned_alloc(align, 8), Err(MallocError::InvalidAlignment { align, size: 8 }));
        }
        let wanted = Layout::from_size_align(1 << 20, 16).unwrap();
        assert_eq!(heap.malloc(1 << 20), Err(MallocError::OutOfMemory(wanted)));

        assert_eq!(heap.free(std::ptr::null_mut()), Ok(()));
        assert_eq!(heap.free_sized(std::ptr::null_mut(), 7), Ok(()));
        let object = heap.malloc(100).unwrap();
        let address = object.as_ptr().addr();
        let wrong = HeapError::WrongLayout { address, cache, slot: 0, given: 200, actual };
        assert_eq!(heap.free_sized(object.as_ptr(), 200), Err(MallocError::NoObject(wrong)));
        let inside = HeapError::Interior { address: address + 8, cache, slot: 0, offset: 8 };
        assert_eq!(heap.free(object.as_ptr().add(8)), Err(inside));
        assert_eq!(heap.realloc(object.as_ptr().add(8), 10), Err(MallocError::NoObject(inside)));
        assert_eq!(heap.free(object.as_ptr()), Ok(()));
        let twice = HeapError::DoubleFree { address, cache, slot: 0 };
        assert_eq!(heap.free(object.as_ptr()), Err(twice));
        let foreign = (&raw const wrong).cast_mut().cast::<u8>();
        assert_eq!(heap.free(foreign), Err(HeapError::Foreign { address: foreign.addr() }));
    }
    sound(heap);
    empty(heap);
}

#[test]
fn resizing_keeps_what_there_is_and_stays_where_it_can() {
    let mut memory = Memory::new(256 * KIB);
    resize_in(Heap::in_region(memory.region(0, 256 * KIB)).unwrap());
    resize_in(with_slabs(memory.region(0, 256 * KIB)));
}

fn resize_in(heap: RegionHeap<'_>) {
    // SAFETY: the object is ours, and we go on with what comes back.
    unsafe {
        let mut object = heap.realloc(std::ptr::null_mut(), 1).unwrap();
        object.write(0x5c);
        let mut last = 1usize;
        for size in [2, 8, 9, 16, 17, 30, 100, 5000, 9000, 40_000, 39_000, 8000, 24, 20, 8, 0, 300] {
            let before = (object, heap.object_size(object).unwrap());
            object = heap.realloc(object.as_ptr(), size).unwrap();
            if heap.object_size(object) == Ok(before.1) {
                assert_eq!(object, before.0, "{last} to {size} bytes");
            }
            assert!(size < 16 || object.as_ptr().addr() % 16 == 0, "{size}");
            for index in 0..last.min(size) {
                assert_eq!(object.add(index).read(), index as u8 ^ 0x5c, "byte {index} of {last} to {size}");
            }
            for index in 0..size {
                object.add(index).write(index as u8 ^ 0x5c);
            }
            last = size;
        }
        let bytes = 1 << 20;
        let wanted = Layout::from_size_align(bytes, 16).unwrap();
        assert_eq!(heap.realloc(object.as_ptr(), bytes), Err(MallocError::OutOfMemory(wanted)));
        assert_eq!(object.add(299).read(), 299u16 as u8 ^ 0x5c, "who is refused keeps what it had");
        heap.free(object.as_ptr()).unwrap();
    }
    empty(heap);
}

#[test]
fn the_page_allocator_in_the_region_gives_its_last_frame() {
    let mut memory = Memory::new(512 * KIB);
    let heap = slabs(with_slabs(memory.region(0, 512 * KIB)));
    let frames = heap.source().frames();
    let layout = Layout::from_size_align(4096, 4096).unwrap();
    let objects: Vec<_> = std::iter::from_fn(|| heap.allocate(layout)).collect();
    let granules = frames.stats().zones.iter().map(|zone| zone.free).sum::<u64>();
    // At each end there is less than a page.
    assert!(granules * (heap.source().granule() as u64) < 2 * 4096, "a page is kept from the program");
    assert!(frames.look_at(heap.source().first()).is_some(), "the region begins with a frame of the allocator's");
    for object in objects {
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { heap.free(object, layout).unwrap() };
    }
    heap.shrink();
    assert!(frames.stats().zones.iter().all(|zone| zone.free == zone.managed));
    // Blocks are as aligned in memory as they are by number.
    for order in Order::all().take(6) {
        let layout = Layout::from_size_align(order.bytes() as usize, order.bytes() as usize).unwrap();
        let object = heap.allocate(layout).unwrap();
        assert!(object.as_ptr().addr().is_multiple_of(layout.align()));
        // SAFETY: likewise.
        unsafe { heap.free(object, layout).unwrap() };
    }
}

/// A heap in a region of 16 MiB from a boundary of the largest block on.
fn in_sixteen_mib(memory: &mut Memory) -> RegionHeap<'_> {
    let page = memory.region(0, 0).as_ptr().addr();
    let start = page.next_multiple_of(LARGEST_BLOCK) - page;
    Heap::in_region(memory.region(start, 16 << 20)).unwrap()
}

#[test]
fn what_grows_by_pages_moves_once_if_at_all() {
    let mut memory = Memory::new(20 << 20);
    let heap = in_sixteen_mib(&mut memory);
    // SAFETY: the object is ours, and we go on with what comes back.
    unsafe {
        let most = scale::size(2048, 70);
        let mut object = heap.malloc(2 * 4096 + 1).unwrap();
        let start = object;
        for pages in 3..most {
            object.add(pages * 4096 - 1).write(pages as u8);
            object = heap.realloc(object.as_ptr(), (pages + 1) * 4096).unwrap();
            assert_eq!((object, object.add(pages * 4096 - 1).read()), (start, pages as u8), "{pages} pages");
        }
        slabs(heap).sound();
        for pages in (3..most).rev() {
            assert_eq!(heap.realloc(object.as_ptr(), pages * 4096), Ok(start));
        }
        let stats = slabs(heap).large_stats();
        assert_eq!((stats.resized, stats.moved, stats.bytes), (2 * (most as u64 - 3), 0, 3 * 4096));
        heap.free(object.as_ptr()).unwrap();
    }
}

#[test]
fn what_takes_most_of_a_region_shrinks() {
    let mut memory = Memory::new(20 << 20);
    let heap = in_sixteen_mib(&mut memory);
    let (large, smaller) = (9 << 20, 8 << 20);
    let object = heap.malloc(large).unwrap();
    // SAFETY: the object is ours, and we go on with what comes back.
    unsafe {
        object.add(smaller - 1).write(7);
        assert_eq!(heap.realloc(object.as_ptr(), smaller), Ok(object));
        assert_eq!(object.add(smaller - 1).read(), 7);
        heap.free_sized(object.as_ptr(), smaller).unwrap();
    }
}

#[test]
fn what_is_debugged_moves_whichever_way_it_is_resized() {
    let mut memory = Memory::new(256 * KIB);
    let heap = with_slabs(memory.region(0, 256 * KIB));
    let class = SizeClass::of(Layout::from_size_align(64, 16).unwrap()).unwrap();
    assert!(slabs(heap).set_debug(class, SlabDebug::RED_ZONE));
    let object = heap.malloc(64).unwrap();
    // SAFETY: the object is ours, and we go on with what comes back; the byte behind its end is in its redzone.
    unsafe {
        object.write(9);
        let moved = heap.realloc(object.as_ptr(), 60).unwrap();
        assert_ne!(moved, object);
        assert_eq!((moved.read(), heap.object_size(moved)), (9, Ok(60)));
        moved.add(60).write(1);
        let error = heap.free(moved.as_ptr()).unwrap_err();
        assert!(matches!(error, HeapError::Overwritten { part: SlotPart::RightRedZone, offset: 60, .. }), "{error}");
    }
}

#[test]
fn a_page_of_its_own_is_not_taken_for_a_slot() {
    let mut memory = Memory::new(256 * KIB);
    let heap = with_slabs(memory.region(0, 256 * KIB));
    let object = heap.aligned_alloc(16 * KIB, 1).unwrap();
    assert_eq!((heap.object_size(object), slabs(heap).large_stats().objects()), (Ok(4096), 1));
    // SAFETY: the object is ours, and we go on with what comes back.
    unsafe {
        let slot = heap.realloc(object.as_ptr(), 4096).unwrap();
        assert_eq!(slabs(heap).large_stats().objects(), 0);
        assert_eq!(heap.free_sized(slot.as_ptr(), 4096), Ok(()));
    }
}

/// A region of 64 MiB has room for as many objects of a size as there is memory for them, whatever blocks they would be.
#[test]
#[cfg_attr(miri, ignore = "takes all of 64 MiB, six times")]
fn a_region_holds_what_it_can_of_any_size() {
    let mut memory = Memory::new(64 << 20);
    for (size, least) in
        [(9_000, 6_900), (17_000, 3_800), (33_000, 2_000), (135_000, 490), (300_000, 221), (2_200_000, 30)]
    {
        let heap = Heap::in_region(memory.region(0, 64 << 20)).unwrap();
        let count = std::iter::from_fn(|| heap.malloc(size).ok()).count();
        slabs(heap).sound();
        assert!(count >= least, "{count} of {size} bytes");
    }
}

/// Memory far larger than the host gives, of which little is touched: so far behind its start an address is aligned to `align`.
fn untouched(bytes: usize, align: usize) -> (Vec<u8>, usize) {
    let memory = vec![0; bytes];
    let start = memory.as_ptr().addr();
    (memory, start.next_multiple_of(align) - start)
}

#[test]
fn large_objects_of_any_alignment_are_found_wherever_they_fit() {
    const MIB: usize = 1 << 20;
    for (first, align, size) in [(4096, 8192, 5 * MIB), (4096, 65_536, 20 * MIB), (1, 4 * MIB, 40 * MIB)] {
        let (mut memory, start) = untouched(128 * MIB, 64 * MIB);
        let heap = Heap::in_region(&mut memory[start..start + 64 * MIB]).unwrap();
        heap.malloc(first).unwrap();
        let object = heap.aligned_alloc(align, size).unwrap();
        assert!(object.as_ptr().addr().is_multiple_of(align));
        slabs(heap).sound();
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { heap.free_aligned_sized(object.as_ptr(), align, size).unwrap() };
    }
    for align in [8 * MIB, 1 << 30] {
        let (mut memory, start) = untouched(2 * align + 64 * MIB, align);
        let before = (start + align).saturating_sub(32 * MIB);
        let heap = Heap::in_region(&mut memory[before..before + 64 * MIB]).unwrap();
        let object = heap.aligned_alloc(align, 3 * MIB).unwrap();
        assert!(object.as_ptr().addr().is_multiple_of(align));
        if align > 32 * MIB {
            assert_eq!(
                heap.aligned_alloc(align, 1),
                Err(MallocError::OutOfMemory(Layout::from_size_align(1, align).unwrap())),
                "the region has one such address"
            );
        }
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { heap.free(object.as_ptr()).unwrap() };
    }
}

/// Large objects do not end with pages, so one can begin in the page that another ends in.
#[test]
fn what_is_wrong_with_a_free_is_named_in_a_page_of_two_objects() {
    let mut memory = Memory::new(256 * KIB);
    let heap = with_slabs(memory.region(0, 256 * KIB));
    let objects: Vec<usize> = (0..4).map(|_| heap.malloc(9000).unwrap().as_ptr().addr()).collect();
    assert!(objects.iter().any(|start| !start.is_multiple_of(4096)));
    for start in &objects {
        for offset in [1, 4095, 4096, 8192, 9000, 9215] {
            let object = std::ptr::without_provenance_mut(start + offset);
            let expected = HeapError::Interior { address: start + offset, cache: "kmalloc-large", slot: 0, offset };
            // SAFETY: nobody's object starts here.
            assert_eq!(unsafe { heap.free(object) }, Err(expected));
        }
    }
    slabs(heap).sound();
}
