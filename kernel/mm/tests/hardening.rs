//! Hardening: what is allocated or freed holds zeros where that is switched on, and nothing else is different; over memory of the host's
//! that stands for a machine's.

use std::alloc::Layout;
use std::ptr::NonNull;

use bifolio::allocator::{AllocError, PageAllocator};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange};
use bifolio::hardening::Hardening;
use bifolio::heap::{CacheOptions, Heap, HeapError, SizeClass, SlabDebug};
use bifolio::kernel::{Kernel, Regions};
use bifolio::memory_map::{Region, RegionKind};
use kit::machine::{allocator, usable};
use kit::{Raw, Turns};

const MIB: u64 = 1 << 20;
/// Where zone Normal begins.
const START: u64 = 4 << 30;
const END: u64 = START + 128 * MIB;
/// What is written where nobody is to find it.
const SECRET: u8 = 0xa5;
/// Of objects: of several classes, with and without bytes that were not asked for, and above all classes.
const SIZES: [usize; 9] = [1, 8, 57, 64, 1000, 4096, 8192, 100_000, 3 << 20];

/// A machine of two CPUs, of which nothing is ever taken down.
struct Machine {
    kernel: &'static Kernel<Turns, 2>,
    offset: u64,
}

impl Machine {
    fn new(hardening: Hardening) -> Self {
        Turns::switch_to(0);
        let layout = Layout::from_size_align((END - START) as usize, 4 << 20).unwrap();
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { std::alloc::alloc(layout) }).unwrap();
        // SAFETY: so long is it.
        unsafe { memory.write_bytes(SECRET, layout.size()) };
        let (kernel, offset) =
            (&*Box::leak(Box::new(Kernel::new())), (memory.as_ptr().expose_provenance() as u64).wrapping_sub(START));
        let mut regions = Regions::<1>::new();
        regions.extend([Region { start: START, end: END, kind: RegionKind::Usable }]);
        // SAFETY: the memory was allocated for this, and stays; the CPUs take turns on this thread.
        unsafe { kernel.init(regions, offset) }.unwrap();
        kernel.harden(hardening);
        Self { kernel, offset }
    }

    fn frames(&self) -> &'static PageAllocator<'static, Turns> {
        self.kernel.frames().allocator()
    }

    /// What frames hold.
    fn bytes(&self, range: PfnRange) -> &'static mut [u8] {
        let start = range.start.address().wrapping_add(self.offset) as usize;
        // SAFETY: the window shows them for good, and the tests look at no two at once.
        unsafe {
            let start = std::ptr::with_exposed_provenance_mut(start);
            std::slice::from_raw_parts_mut(start, (range.frames() * FRAME_SIZE) as usize)
        }
    }

    fn sound(&self) {
        self.frames().validate().unwrap();
        self.kernel.heap().validate().unwrap();
    }
}

/// Whether all of it is that. (The host's memory is long, and compared word by word.)
fn is_all(bytes: &[u8], byte: u8) -> bool {
    // SAFETY: any bits are valid words.
    let (first, words, last) = unsafe { bytes.align_to::<u64>() };
    let word = u64::from_ne_bytes([byte; 8]);
    first.iter().chain(last).all(|&each| each == byte) && words.iter().all(|&each| each == word)
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// The bytes of an object, all that it may use.
fn all_of<'a>(object: NonNull<u8>, size: usize) -> &'a mut [u8] {
    let usable = Heap::<bifolio::kernel::Window<Turns>, Turns>::usable_size(layout(size)).unwrap();
    // SAFETY: the object lies in memory that stays, and the tests look at no two at once.
    unsafe { std::slice::from_raw_parts_mut(object.as_ptr(), usable) }
}

/// Each way to frames, and how they are freed then.
fn ways(frames: &PageAllocator<'_, Turns>) -> Vec<PfnRange> {
    let mut taken = Vec::new();
    for gfp in [Gfp::KERNEL, Gfp::MOVABLE, Gfp::KERNEL | Gfp::ZERO] {
        taken.extend(Order::all().map(|order| PfnRange::of(frames.take(order, gfp).unwrap(), order)));
        taken.push(frames.take_exact(21, gfp).unwrap());
        taken.push(frames.take_contiguous(1500, gfp).unwrap());
        let mut slots = [None; 70];
        assert_eq!(frames.take_bulk(&mut slots, gfp), Ok(70));
        taken.extend(slots.into_iter().flatten().map(|pfn| PfnRange::of(pfn, Order::ZERO)));
    }
    let (start, short) = (Pfn::new((START + 100 * MIB) / FRAME_SIZE), Pfn::new((START + 100 * MIB) / FRAME_SIZE + 5));
    frames.take_range(PfnRange::new(start, short), Gfp::MOVABLE).unwrap();
    taken.push(frames.regrow(PfnRange::new(start, short), 77, Gfp::MOVABLE).unwrap());
    taken
}

fn give(frames: &PageAllocator<'_, Turns>, taken: &[PfnRange]) {
    taken.iter().for_each(|&range| frames.give_range(range).unwrap());
}

#[test]
fn frames_hold_zeros_when_they_are_allocated() {
    let machine = Machine::new(Hardening::INIT_ON_ALLOC);
    let frames = machine.frames();
    let before = frames.usage();
    // What one CPU frees goes to its own pages, to the other's, or to the zones, and comes again.
    for (cpu, freeing) in [(0, 0), (0, 1), (1, 0), (0, 0)] {
        Turns::switch_to(cpu);
        let taken = ways(frames);
        for &range in &taken {
            assert!(is_all(machine.bytes(range), 0), "{range:?} on CPU {cpu}");
            machine.bytes(range).fill(SECRET);
        }
        Turns::switch_to(freeing);
        give(frames, &taken);
        assert!(taken.iter().all(|&range| is_all(machine.bytes(range), SECRET)), "a free wrote to frames");
        machine.sound();
    }
    frames.drain();
    Turns::switch_to(0);
    frames.drain();
    assert_eq!(frames.usage(), before);
}

#[test]
fn frames_hold_zeros_once_they_are_freed() {
    let machine = Machine::new(Hardening::INIT_ON_FREE);
    let frames = machine.frames();
    let before = frames.usage();
    for (cpu, freeing) in [(0, 0), (0, 1), (1, 0), (0, 0)] {
        Turns::switch_to(cpu);
        let taken = ways(frames);
        taken.iter().for_each(|&range| machine.bytes(range).fill(SECRET));
        Turns::switch_to(freeing);
        for &range in &taken {
            frames.give_range(range).unwrap();
            assert!(is_all(machine.bytes(range), 0), "{range:?} of CPU {cpu}, freed by {freeing}");
        }
        machine.sound();
    }
    frames.drain();
    assert_eq!(frames.usage(), before);
}

#[test]
fn a_range_that_shrinks_is_cleared_where_it_was_and_nowhere_else() {
    let machine = Machine::new(Hardening::INIT_ON_FREE);
    let frames = machine.frames();
    let range = frames.take_exact(100, Gfp::KERNEL).unwrap();
    machine.bytes(range).fill(SECRET);
    let wrong = frames.regrow(PfnRange::new(range.start, range.start.offset(64)), 3, Gfp::KERNEL);
    assert_eq!(wrong.map(|_| ()), Ok(()), "its first block is one by itself");
    assert!(is_all(machine.bytes(PfnRange::new(range.start, range.start.offset(3))), SECRET));
    assert!(is_all(machine.bytes(PfnRange::new(range.start.offset(3), range.start.offset(64))), 0));
    assert!(is_all(machine.bytes(PfnRange::new(range.start.offset(64), range.end)), SECRET));
    let whole = frames.regrow(range, 1, Gfp::KERNEL);
    assert!(whole.is_err(), "it is not what it was");
    assert!(is_all(machine.bytes(PfnRange::new(range.start.offset(64), range.end)), SECRET));
    machine.sound();
}

#[test]
fn a_bad_free_clears_nothing() {
    let machine = Machine::new(Hardening::all());
    let frames = machine.frames();
    let order = |order| Order::new(order).unwrap();
    let pfn = frames.take(order(3), Gfp::KERNEL).unwrap();
    let block = PfnRange::of(pfn, order(3));
    machine.bytes(block).fill(SECRET);
    assert_eq!(frames.give(pfn, order(2)), Err(FreeError::WrongOrder { pfn, given: order(2), actual: order(3) }));
    assert!(frames.give(pfn.offset(4), order(2)).is_err());
    assert!(frames.give(pfn.offset(4), Order::ZERO).is_err());
    assert!(is_all(machine.bytes(block), SECRET));
    frames.give(pfn, order(3)).unwrap();
    // Somebody writes to what is free.
    machine.bytes(block).fill(7);
    assert!(frames.give(pfn, order(3)).is_err());
    assert!(is_all(machine.bytes(block), 7));
    machine.sound();
}

#[test]
fn cpus_have_their_own_pages_and_slabs_all_the_same() {
    let machine = Machine::new(Hardening::all());
    let (frames, heap) = (machine.frames(), machine.kernel.heap());
    for cpu in [0, 1] {
        Turns::switch_to(cpu);
        let taken: Vec<_> = (0..60).map(|_| frames.take(Order::ZERO, Gfp::KERNEL).unwrap()).collect();
        assert!(frames.cached() > 0, "a word is lent");
        taken.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
        let objects: Vec<_> = (0..64).map(|_| heap.allocate(layout(64)).unwrap()).collect();
        // SAFETY: they are ours, and used no more.
        objects.into_iter().for_each(|object| unsafe { heap.free(object, layout(64)) }.unwrap());
    }
    let slabs = |cpu| heap.arena_stats(Some(cpu)).map_or(0, |arena| arena.slabs);
    assert!(slabs(0) > 0 && slabs(1) > 0);
    machine.sound();
    // Another CPU can be emptied, and its arena given up.
    frames.drain();
    assert_eq!(frames.cached(), 0);
    heap.retire_cpu();
    assert_eq!(slabs(1), 0);
    machine.sound();
}

#[test]
fn objects_hold_zeros_when_they_are_allocated() {
    let machine = Machine::new(Hardening::INIT_ON_ALLOC);
    let heap = machine.kernel.heap();
    for (cpu, freeing) in [(0, 0), (0, 1), (1, 0), (0, 0)] {
        for size in SIZES {
            Turns::switch_to(cpu);
            let objects: Vec<_> = (0..3).map_while(|_| heap.allocate(layout(size))).collect();
            assert_eq!(objects.len(), 3, "{size} bytes");
            for &object in &objects {
                assert!(is_all(all_of(object, size), 0), "{size} bytes on CPU {cpu}");
                all_of(object, size).fill(SECRET);
            }
            Turns::switch_to(freeing);
            // SAFETY: they are ours, and used no more.
            objects.into_iter().for_each(|object| unsafe { heap.free(object, layout(size)) }.unwrap());
        }
        machine.sound();
    }
}

#[test]
fn objects_hold_zeros_once_they_are_freed() {
    let machine = Machine::new(Hardening::INIT_ON_FREE);
    let heap = machine.kernel.heap();
    for (cpu, freeing) in [(0, 0), (0, 1), (1, 0)] {
        for size in SIZES {
            Turns::switch_to(cpu);
            let objects: Vec<_> = (0..3).map_while(|_| heap.allocate(layout(size))).collect();
            objects.iter().for_each(|&object| all_of(object, size).fill(SECRET));
            Turns::switch_to(freeing);
            for (nth, object) in objects.into_iter().enumerate() {
                let is_sized = nth > 0;
                // SAFETY: it is ours, and nobody uses it as an object any more.
                unsafe { if is_sized { heap.free(object, layout(size)) } else { heap.free_unsized(object) } }.unwrap();
                assert!(is_all(all_of(object, size), 0), "{size} bytes of CPU {cpu}, freed by {freeing}");
            }
        }
        machine.sound();
    }
}

#[test]
fn a_bad_free_of_an_object_clears_nothing() {
    let machine = Machine::new(Hardening::all());
    let heap = machine.kernel.heap();
    // SAFETY: of these frees, those that are not wrong free an object that nobody uses; the others are refused.
    let free = |object: NonNull<u8>, size| unsafe { heap.free(object, layout(size)) };
    let (object, neighbour) = (heap.allocate(layout(64)).unwrap(), heap.allocate(layout(64)).unwrap());
    all_of(object, 64).fill(SECRET);
    assert!(matches!(free(object, 100), Err(HeapError::WrongLayout { .. })));
    assert!(matches!(free(object.map_addr(|a| a.saturating_add(8)), 64), Err(HeapError::Interior { .. })));
    assert!(is_all(all_of(object, 64), SECRET));
    for cpu in [0, 1] {
        Turns::switch_to(cpu);
        _ = free(object, 64);
        all_of(object, 64).fill(7);
        assert!(matches!(free(object, 64), Err(HeapError::DoubleFree { .. })));
        assert!(is_all(all_of(object, 64), 7), "on CPU {cpu}");
    }
    free(neighbour, 64).unwrap();
    machine.sound();
}

#[test]
fn what_a_large_object_grows_by_holds_zeros_and_what_it_shrinks_by() {
    let machine = Machine::new(Hardening::all());
    let heap = machine.kernel.heap();
    let object = heap.allocate(layout(40_000)).unwrap();
    all_of(object, 40_000).fill(SECRET);
    // SAFETY: it is ours, and we go on with what comes back.
    let grown = unsafe { heap.reallocate(object, layout(40_000), 60_000) }.unwrap().unwrap();
    let (kept, added) = all_of(grown, 60_000).split_at(40_000);
    assert!(is_all(kept, SECRET) && is_all(&added[4096..], 0));
    all_of(grown, 60_000).fill(SECRET);
    // SAFETY: it is ours, and we go on with what comes back.
    let shrunk = unsafe { heap.reallocate(grown, layout(60_000), 20_000) }.unwrap().unwrap();
    assert_eq!(shrunk, grown, "it stays where it is");
    assert!(is_all(&all_of(grown, 60_000)[..20_000], SECRET) && is_all(&all_of(grown, 60_000)[20_480..], 0));
    machine.sound();
}

/// Of a kernel's heap, page frames have done that already.
#[test]
fn a_heap_clears_large_objects_where_its_source_does_not() {
    let mut memory = vec![SECRET; 4 << 20];
    let region = Heap::in_region(&mut memory).unwrap();
    let heap = region.heap().slabs().unwrap();
    heap.harden(Hardening::all());
    // SAFETY: each object is so long, and in memory that stays until the end of the test.
    let bytes = |object: NonNull<u8>, size| unsafe { std::slice::from_raw_parts_mut(object.as_ptr(), size) };
    for _ in 0..2 {
        let object = heap.allocate(layout(40_960)).unwrap();
        assert!(is_all(bytes(object, 40_960), 0));
        bytes(object, 40_960).fill(SECRET);
        // SAFETY: it is ours, and we go on with what comes back.
        let grown = unsafe { heap.reallocate(object, layout(40_960), 61_440) }.unwrap().unwrap();
        assert_eq!(grown, object, "there is room behind it");
        assert!(is_all(bytes(grown, 40_960), SECRET) && is_all(&bytes(grown, 61_440)[40_960..], 0));
        bytes(grown, 61_440).fill(SECRET);
        // SAFETY: it is ours, and we go on with what comes back.
        let shrunk = unsafe { heap.reallocate(grown, layout(61_440), 20_480) }.unwrap().unwrap();
        assert_eq!(shrunk, grown, "it stays where it is");
        assert!(is_all(bytes(grown, 20_480), SECRET) && is_all(&bytes(grown, 61_440)[20_480..], 0));
        // SAFETY: it is ours, and used no more.
        unsafe { heap.free(shrunk, layout(20_480)) }.unwrap();
        assert!(is_all(bytes(shrunk, 20_480), 0));
    }
    heap.validate().unwrap();
}

/// As Linux leaves them alone.
#[test]
fn what_a_constructor_made_and_what_is_poisoned_stays_as_it_is() {
    let machine = Machine::new(Hardening::all());
    let heap = machine.kernel.heap();
    // SAFETY: a slot is as long.
    let made = |object: NonNull<[u8; 80]>| unsafe { object.cast::<u8>().write_bytes(0x33, 80) };
    let cache = heap.cache(CacheOptions::<[u8; 80]>::new("made").constructor(made)).unwrap();
    let plain = heap.cache(CacheOptions::<[u8; 80]>::new("plain")).unwrap();
    for _ in 0..3 {
        let (object, other) = (cache.allocate().unwrap(), plain.allocate().unwrap());
        let bytes = |object: NonNull<[u8; 80]>| all_of(object.cast(), 80);
        assert!(is_all(bytes(object), 0x33) && is_all(bytes(other), 0));
        bytes(other).fill(SECRET);
        // SAFETY: they are ours, and used no more.
        unsafe { (cache.free(object).unwrap(), plain.free(other).unwrap()) };
        assert!(is_all(bytes(object), 0x33) && is_all(bytes(other), 0));
    }
    let class = SizeClass::of(layout(96)).unwrap();
    for (flags, live, freed) in [(SlabDebug::POISON, 0x5a, 0x6b), (SlabDebug::RED_ZONE, 0, 0)] {
        assert!(heap.set_debug(class, flags));
        let object = heap.allocate(layout(96)).unwrap();
        assert!(is_all(all_of(object, 96), live));
        all_of(object, 96).fill(SECRET);
        // SAFETY: it is ours, and used no more.
        unsafe { heap.free(object, layout(96)) }.unwrap();
        assert!(is_all(&all_of(object, 96)[..95], freed));
    }
    heap.check_objects().unwrap();
    machine.sound();
}

#[test]
fn switched_off_nothing_is_written_to() {
    let machine = Machine::new(Hardening::all());
    let (frames, heap) = (machine.frames(), machine.kernel.heap());
    give(frames, &ways(frames));
    // SAFETY: it is ours, and used no more.
    unsafe { heap.free(heap.allocate(layout(64)).unwrap(), layout(64)) }.unwrap();
    machine.kernel.harden(Hardening::empty());
    assert_eq!((frames.hardening(), heap.hardening()), (Hardening::empty(), Hardening::empty()));
    for _ in 0..2 {
        let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
        let object = heap.allocate(layout(64)).unwrap();
        let block = PfnRange::of(pfn, Order::ZERO);
        machine.bytes(block).fill(SECRET);
        all_of(object, 64).fill(SECRET);
        frames.give(pfn, Order::ZERO).unwrap();
        // SAFETY: it is ours, and used no more.
        unsafe { heap.free(object, layout(64)) }.unwrap();
        assert!(is_all(machine.bytes(block), SECRET) && is_all(all_of(object, 64), SECRET));
    }
    let pfn = frames.take(Order::PAGEBLOCK, Gfp::KERNEL).unwrap();
    machine.bytes(PfnRange::of(pfn, Order::PAGEBLOCK)).fill(SECRET);
    frames.give(pfn, Order::PAGEBLOCK).unwrap();
    assert!(is_all(machine.bytes(PfnRange::of(pfn, Order::PAGEBLOCK)), SECRET));
    machine.sound();
}

#[test]
fn frames_that_are_seen_nowhere_cannot_be_hardened() {
    let frames = allocator(&[usable(1 << 20, (1 << 20) + 4096)]);
    assert_eq!(frames.harden(Hardening::INIT_ON_FREE), Err(AllocError::CannotZero));
    assert_eq!(frames.hardening(), Hardening::empty());
}
