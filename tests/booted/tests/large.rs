//! Large objects in a kernel: exact, grown and shrunk where they are, huge ones out of memory in pieces, of any alignment.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::alloc::{alloc, dealloc, realloc};
use alloc::vec::Vec;
use bifolio::frame::{FRAME_SIZE, Gfp};
use bifolio::heap::SizeClass;
use booted::{Hoard, Pieces, fault_at, frames_free, leaving_nothing, random};
use core::alloc::Layout;
use kernel::memory::heap::HEAP;
use kernel::memory::vmalloc;
use rand::RngExt;
use x86_64::VirtAddr;

framework::entry!(test_main);

const MIB: usize = 1 << 20;
const FRAME: usize = FRAME_SIZE as usize;

/// 64 MiB, or half of what there is on a machine that has less.
fn huge() -> usize {
    (64 * MIB).min(frames_free() as usize / 2 * FRAME)
}

fn is_mapped(vector: &[u64]) -> bool {
    vmalloc::contains(VirtAddr::from_ptr(vector.as_ptr()))
}

/// Fills a vector to its capacity with numbers that follow from their places.
fn fill(vector: &mut Vec<u64>) {
    let from = vector.len() as u64;
    vector.extend((from..vector.capacity() as u64).map(u64::reverse_bits));
}

#[track_caller]
fn check(vector: &[u64]) {
    let wrong = vector.iter().enumerate().find(|(index, number)| **number != (*index as u64).reverse_bits());
    assert_eq!(wrong, None);
}

#[test_case]
fn a_huge_vector_is_in_a_row() {
    leaving_nothing(|| {
        let size = huge();
        let mut vector: Vec<u64> = Vec::with_capacity(size / 8);
        assert!(is_mapped(&vector));
        fill(&mut vector);
        check(&vector);
        assert_eq!(HEAP.large_stats().longer, 1);
        assert_eq!(HEAP.frames().large as usize, size.div_ceil(FRAME));
    });
}

#[test_case]
fn a_huge_vector_is_there_although_memory_is_in_pieces() {
    let pieces = Pieces::new();
    leaving_nothing(|| {
        let size = huge();
        let mut vector: Vec<u64> = Vec::with_capacity(size / 8);
        fill(&mut vector);
        // And smaller ones, for which a block would do if there were any.
        let mut small: Vec<u64> = Vec::with_capacity(MIB / 8);
        fill(&mut small);
        assert!(is_mapped(&vector) && is_mapped(&small));
        check(&vector);
        check(&small);
    });
    pieces.give_back();
}

#[test_case]
fn several_huge_vectors_grow_by_pushing() {
    leaving_nothing(|| {
        let target = huge() / 4 / 8;
        let mut vectors: [Vec<u64>; 2] = Default::default();
        for number in 0..target as u64 {
            vectors.iter_mut().for_each(|vector| vector.push(number.reverse_bits()));
        }
        vectors.iter().for_each(|vector| check(vector));
        // Each is in one piece, a block that has grown or a mapping.
        assert_eq!(HEAP.large_stats().objects(), vectors.len());
    });
}

#[test_case]
fn a_mapped_vector_grows_where_it_is() {
    leaving_nothing(|| {
        let mut vector: Vec<u64> = Vec::with_capacity(5 * MIB / 8);
        let (start, before) = (vector.as_ptr(), HEAP.large_stats());
        for size in [6, 8, 9, 12] {
            fill(&mut vector);
            vector.try_reserve_exact(size * MIB / 8 - vector.len()).unwrap();
            assert_eq!((vector.as_ptr(), vector.capacity()), (start, size * MIB / 8));
        }
        fill(&mut vector);
        check(&vector);
        let after = HEAP.large_stats();
        assert_eq!((after.resized - before.resized, after.moved - before.moved), (4, 0));
        let free = frames_free();
        vector.truncate(MIB / 8 + 1);
        vector.shrink_to_fit();
        assert_eq!(vector.as_ptr(), start);
        // All but at most a page table came back: the cut may go through a large page.
        assert!(frames_free() - free >= (11 * MIB / FRAME) as u64 - 2, "{} frames", frames_free() - free);
        check(&vector);
    });
}

#[test_case]
fn a_block_grows_and_shrinks_where_it_is() {
    leaving_nothing(|| {
        // Where it is placed there is room.
        let mut vector: Vec<u64> = Vec::with_capacity(4 * MIB / 8);
        let start = vector.as_ptr();
        let before = HEAP.large_stats();
        for size in [33 << 10, 48 << 10, 300 << 10, 12 << 10, 2 * MIB, 4 * MIB] {
            vector.truncate(size / 8);
            vector.shrink_to(size / 8);
            vector.try_reserve_exact(size / 8 - vector.len()).unwrap();
            assert_eq!((vector.as_ptr(), vector.capacity()), (start, size / 8));
            assert_eq!(HEAP.frames().large as usize, size.div_ceil(FRAME), "{size} bytes");
            fill(&mut vector);
            check(&vector);
        }
        assert!(!is_mapped(&vector));
        assert_eq!(HEAP.large_stats().moved, before.moved);
    });
}

#[test_case]
fn behind_a_mapped_vector_lies_a_guard_page() {
    leaving_nothing(|| {
        let vector: Vec<u8> = Vec::with_capacity(5 * MIB);
        let start = VirtAddr::from_ptr(vector.as_ptr());
        for address in [start + vector.capacity() as u64, start - 1] {
            let report = fault_at(address);
            assert!(report.contains("a guard page, be"), "{report}");
        }
    });
}

#[test_case]
fn every_alignment_is_kept_at_every_size() {
    leaving_nothing(|| {
        // Those above the largest block's, too.
        for align in (0..=22).chain([23, 25]).map(|shift| 1_usize << shift) {
            for size in [1, 24, 100, 5000, 9000, 100_000, 3 * MIB, 4 * MIB + 1, 5 * MIB] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the size is not zero.
                let object = unsafe { alloc(layout) };
                assert!(!object.is_null() && object.addr().is_multiple_of(align), "{layout:?} at {object:?}");
                let larger = size + size / 2;
                // SAFETY: the object is live, as large as the layouts say, and used no more once it is resized or freed.
                unsafe {
                    let ends = [0, size - 1];
                    ends.into_iter().for_each(|index| object.add(index).write(0xa5));
                    let object = realloc(object, layout, larger);
                    assert!(!object.is_null() && object.addr().is_multiple_of(align), "{layout:?} at {object:?}");
                    assert!(ends.into_iter().all(|index| object.add(index).read() == 0xa5));
                    object.add(larger - 1).write(0x5a);
                    dealloc(object, Layout::from_size_align(larger, align).unwrap());
                }
            }
        }
    });
}

#[test_case]
fn an_object_takes_its_frames_and_no_more() {
    leaving_nothing(|| {
        for size in [SizeClass::MAX_SIZE + 1, 12 << 10, 33 << 10, 100_000, MIB + 1, 4 * MIB, 5 * MIB] {
            let before = HEAP.frames().large;
            let object: Vec<u8> = Vec::with_capacity(size);
            assert_eq!((HEAP.frames().large - before) as usize, object.capacity().div_ceil(FRAME));
        }
    });
}

#[test_case]
fn a_refusal_is_an_error_and_keeps_what_there_is() {
    leaving_nothing(|| {
        let all = frames_free() as usize * FRAME;
        for bytes in [all, all * 2, isize::MAX as usize] {
            assert!(Vec::<u8>::new().try_reserve_exact(bytes).is_err(), "{bytes} bytes of {all}");
        }
        let mut vector: Vec<u64> = Vec::with_capacity(5 * MIB / 8);
        fill(&mut vector);
        let mut hoard = Hoard::new();
        hoard.take(Gfp::KERNEL | Gfp::NOWARN);
        let held = HEAP.frames();
        assert!(vector.try_reserve_exact(16 * MIB / 8).is_err(), "there are no frames");
        assert_eq!(HEAP.frames(), held);
        // Less is always to be had.
        vector.truncate(9 * MIB / 2 / 8);
        vector.shrink_to_fit();
        assert_eq!(vector.capacity(), 9 * MIB / 2 / 8);
        hoard.give_back();
        vector.try_reserve_exact(16 * MIB / 8).unwrap();
        check(&vector);
    });
}

#[test_case]
fn large_objects_come_and_go_for_long() {
    leaving_nothing(|| {
        let mut random = random();
        let most = frames_free() as usize * FRAME / 2;
        let mut vectors: Vec<Vec<u64>> = Vec::with_capacity(64);
        for round in 0..600 {
            let held: usize = vectors.iter().map(|vector| vector.capacity() * 8).sum();
            let magnitude = random.random_range(14..=24);
            let words = random.random_range(SizeClass::MAX_SIZE / 8 + 1..1_usize << (magnitude - 3));
            match random.random_range(0..10) {
                0..5 if held + words * 8 < most && vectors.len() < vectors.capacity() => {
                    let mut vector = Vec::new();
                    if vector.try_reserve_exact(words).is_ok() {
                        vector.extend(core::iter::repeat_n(0, words));
                        vector[0] = words as u64;
                        vector[words - 1] = !(words as u64);
                        vectors.push(vector);
                    }
                }
                5..8 if !vectors.is_empty() && held + words * 8 < most => {
                    let nth = random.random_range(0..vectors.len());
                    let vector = &mut vectors[nth];
                    let old = vector.len();
                    assert_eq!((vector[0], vector[old - 1]), (old as u64, !(old as u64)), "round {round}");
                    vector[old - 1] = 0;
                    vector.truncate(words);
                    vector.shrink_to_fit();
                    if vector.try_reserve_exact(words - vector.len()).is_ok() {
                        vector.resize(words, 0);
                    }
                    let length = vector.len();
                    vector[0] = length as u64;
                    vector[length - 1] = !(length as u64);
                }
                _ if !vectors.is_empty() => {
                    let vector = vectors.swap_remove(random.random_range(0..vectors.len()));
                    let length = vector.len();
                    assert_eq!((vector[0], vector[length - 1]), (length as u64, !(length as u64)), "round {round}");
                }
                _ => {}
            }
            if round % 100 == 0 {
                HEAP.validate().unwrap();
            }
        }
        let stats = HEAP.large_stats();
        assert!(stats.resized > 0 && stats.moved > 0, "{stats:?}");
    });
}
