//! How much of a region its objects can be: live bytes when a request is refused for the first time.
//!
//! The programs are those of `make bench WORKLOAD=region`: sizes at random, their logarithm evenly; each step allocates, every
//! second one also frees an object at random. The median of twenty seeds counts.

use std::alloc::Layout;
use std::ptr::NonNull;

use bifolio::heap::{Heap, RegionHeap};

const KIB: usize = 1024;
const SEEDS: u64 = 20;
/// The smallest size is 8 bytes.
const LEAST_LOG: u32 = 3;

/// The generator of `make bench`, so that these are the operations there.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed);
        random.index(1);
        random
    }

    fn index(&mut self, length: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (((self.0 >> 32) * length as u64) >> 32) as usize
    }
}

/// A region of so many bytes, aligned as the largest block is.
fn with_region<R>(bytes: usize, story: impl FnOnce(RegionHeap<'_>) -> R) -> R {
    const ALIGN: usize = 4 << 20;
    let mut memory = vec![0x5a; bytes + ALIGN];
    let start = memory.as_ptr().addr().next_multiple_of(ALIGN) - memory.as_ptr().addr();
    story(Heap::in_region(&mut memory[start..start + bytes]).unwrap())
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

fn size_up_to(random: &mut Random, most: usize) -> usize {
    let power = 1 << (LEAST_LOG + random.index((most.ilog2() + 1 - LEAST_LOG) as usize) as u32);
    (power + random.index(power)).min(most)
}

/// Live bytes when a request is refused.
fn live_at_refusal(bytes: usize, most: usize, seed: u64) -> usize {
    with_region(bytes, |heap| {
        let (heap, mut random) = (heap.heap(), Random::new(seed));
        let (mut held, mut live): (Vec<(NonNull<u8>, usize)>, usize) = (Vec::new(), 0);
        for step in 0_u64.. {
            let size = size_up_to(&mut random, most);
            let Some(object) = heap.allocate(layout(size)) else { break };
            held.push((object, size));
            live += size;
            if step % 2 == 1 {
                let (object, size) = held.swap_remove(random.index(held.len()));
                live -= size;
                // SAFETY: it was allocated so, and is forgotten.
                unsafe { heap.free(object, layout(size)).unwrap() };
            }
        }
        heap.validate().unwrap();
        live
    })
}

#[test]
fn regions_of_all_sizes_are_mostly_objects_when_they_are_full() {
    // Kibibytes, the largest size that is asked for, and percent of the region.
    for (region, most, least) in [(64, 1000, 86), (256, 1000, 89), (2048, 74_000, 89), (8192, 74_000, 93)] {
        let bytes = region * KIB;
        let mut live: Vec<usize> = (1..=SEEDS).map(|seed| live_at_refusal(bytes, most, seed)).collect();
        live.sort_unstable();
        let median = live[live.len() / 2 - 1].midpoint(live[live.len() / 2]);
        println!("{region} KiB, to {most} bytes: {:.1} %", 100.0 * median as f64 / bytes as f64);
        assert!(median * 100 >= bytes * least, "{region} KiB: {median} bytes are live");
    }
}

/// A region of 64 MiB has room for as many objects of a size as there is memory for them, whatever blocks they would be.
#[test]
fn a_region_holds_what_it_can_of_any_size() {
    for (size, least) in
        [(9_000, 6_990), (17_000, 3_800), (33_000, 2_000), (135_000, 490), (300_000, 221), (2_200_000, 30)]
    {
        let count = with_region(64 << 20, |heap| {
            let count = std::iter::from_fn(|| heap.malloc(size).ok()).count();
            heap.heap().validate().unwrap();
            count
        });
        println!("64 MiB, of {size} bytes: {count}");
        assert!(count >= least, "{count} of {size} bytes");
    }
}

#[test]
fn a_page_is_a_heap() {
    with_region(4 * KIB, |heap| {
        for (size, least) in [(8, 76), (64, 75), (200, 70), (1000, 70)] {
            let objects: Vec<_> = std::iter::from_fn(|| heap.malloc(size).ok()).collect();
            println!("4 KiB, of {size} bytes: {}", objects.len());
            assert!(objects.len() * size * 100 >= 4096 * least, "{} of {size} bytes", objects.len());
            // SAFETY: each is ours, and not used afterwards.
            objects.into_iter().for_each(|object| unsafe { heap.free(object.as_ptr()).unwrap() });
        }
        assert_eq!(heap.heap().frames(), Default::default());
    });
}

#[test]
fn an_object_of_each_size_fits_into_64_kib() {
    with_region(64 * KIB, |heap| {
        for size in (8..=1024).step_by(24) {
            heap.malloc(size).unwrap();
        }
        heap.heap().validate().unwrap();
    });
}
