//! The heap, as collections use it: on every size, until there is no more, and back to nothing.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BinaryHeap, VecDeque};
use alloc::format;
use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use bifolio::frame::Gfp;
use booted::{Hoard, frames_free, leaving_nothing, random};
use core::alloc::Layout;
use core::fmt::Write;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use framework::Snapshot;
use kernel::memory::heap::HEAP;
use rand::RngExt;

framework::entry!(test_main);

#[test_case]
fn a_box_holds_its_value() {
    leaving_nothing(|| {
        let boxes: Vec<Box<u64>> = (0..10_000).map(Box::new).collect();
        assert!(boxes.iter().map(|value| **value).eq(0..10_000));
    });
}

#[test_case]
fn a_vec_grows_and_shrinks_with_its_contents() {
    leaving_nothing(|| {
        let mut numbers = Vec::new();
        for number in 0..300_000_u32 {
            numbers.push(number);
        }
        assert!(numbers.iter().copied().eq(0..300_000));
        numbers.truncate(1000);
        numbers.shrink_to_fit();
        assert!(numbers.capacity() < 2000 && numbers.iter().copied().eq(0..1000));
    });
}

#[test_case]
fn a_string_grows_by_formatting() {
    leaving_nothing(|| {
        let mut text = String::new();
        for number in 0..5000 {
            write!(text, "{number};").unwrap();
        }
        let numbers = text.split_terminator(';').map(|number| number.parse::<u32>().unwrap());
        assert!(numbers.eq(0..5000));
    });
}

#[test_case]
fn a_map_keeps_its_order_through_changes() {
    leaving_nothing(|| {
        let mut random = random();
        let mut map = BTreeMap::new();
        let mut inserted = 0;
        for _ in 0..8000 {
            let key = random.random_range(0..5000_u32);
            if random.random_bool(0.6) {
                inserted += usize::from(map.insert(key, key.to_string()).is_none());
            } else {
                inserted -= usize::from(map.remove(&key).is_some());
            }
        }
        assert_eq!(map.len(), inserted);
        assert!(map.keys().is_sorted() && map.iter().all(|(key, text)| key.to_string() == *text));
    });
}

#[test_case]
fn an_arc_is_dropped_once_with_its_last_owner() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Counted(#[expect(dead_code, reason = "something to hold")] [u64; 20]);
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    leaving_nothing(|| {
        let first = Arc::new(Counted([7; 20]));
        let owners = vec![first.clone(); 1000];
        assert_eq!(Arc::strong_count(&first), 1001);
        drop(first);
        assert_eq!(DROPS.load(Ordering::Relaxed), 0);
        drop(owners);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    });
}

#[test_case]
fn an_rc_frees_a_list_of_any_length_and_a_graph_with_weak_ends() {
    struct Node {
        number: u32,
        next: Option<Rc<Node>>,
        first: Weak<Node>,
    }
    leaving_nothing(|| {
        let first = Rc::new(Node { number: 0, next: None, first: Weak::new() });
        let mut list = first.clone();
        for number in 1..5000 {
            list = Rc::new(Node { number, next: Some(list), first: Rc::downgrade(&first) });
        }
        assert_eq!((Rc::strong_count(&first), Rc::weak_count(&first)), (2, 4999));
        let mut expected = 5000;
        let mut node = Some(list);
        while let Some(this) = node {
            expected -= 1;
            assert_eq!(this.number, expected);
            assert!(this.number == 0 || this.first.upgrade().is_some_and(|first| first.number == 0));
            // Taken apart one by one, since the stack of a kernel is not for recursion.
            node = Rc::into_inner(this).and_then(|this| this.next);
        }
    });
}

#[test_case]
fn a_binary_heap_sorts_and_a_deque_turns() {
    leaving_nothing(|| {
        let mut random = random();
        let numbers: Vec<u64> = (0..20_000).map(|_| random.random()).collect();
        let mut heap: BinaryHeap<u64> = numbers.iter().copied().collect();
        let mut deque = VecDeque::new();
        while let Some(largest) = heap.pop() {
            deque.push_front(largest);
            if deque.len() % 3 == 0 {
                let back = deque.pop_back().unwrap();
                deque.push_back(back);
            }
        }
        let mut sorted = numbers;
        sorted.sort_unstable();
        assert!(deque.iter().eq(&sorted));
        deque.rotate_left(7777);
        deque.make_contiguous().sort_unstable();
        assert!(deque.iter().eq(&sorted));
    });
}

/// A document store: names to contents of all sizes, edited for long, with every byte known.
#[test_case]
fn a_long_life_of_changes_keeps_every_byte() {
    const ROUNDS: u32 = 40_000;
    fn byte(name: u32, version: u32, index: usize) -> u8 {
        (name.wrapping_mul(31) ^ version.wrapping_mul(7) ^ index as u32) as u8
    }
    struct Document {
        version: u32,
        text: Vec<u8>,
    }
    leaving_nothing(|| {
        let mut random = random();
        let mut documents: BTreeMap<String, Document> = BTreeMap::new();
        let mut history: VecDeque<Arc<str>> = VecDeque::new();
        for round in 0..ROUNDS {
            let name = random.random_range(0..600_u32);
            let key = format!("document {name}");
            match random.random_range(0..10) {
                0..5 => {
                    // Sizes spread evenly over their logarithms.
                    let magnitude = random.random_range(0..15);
                    let size = random.random_range(0..2_usize << magnitude);
                    let mut text = Vec::new();
                    if text.try_reserve_exact(size).is_ok() {
                        text.extend((0..size.min(64)).map(|index| byte(name, round, index)));
                        text.resize(size, name as u8);
                        documents.insert(key.clone(), Document { version: round, text });
                    }
                }
                5..7 => {
                    if let Some(document) = documents.get_mut(&key) {
                        let length = document.text.len();
                        document.text.truncate(length - length / 3);
                        document.text.shrink_to_fit();
                    }
                }
                7 => {
                    if let Some(document) = documents.get_mut(&key) {
                        let length = document.text.len();
                        if document.text.try_reserve(length).is_ok() {
                            document.text.resize(length.max(64) + length, name as u8);
                            let start = length.min(64);
                            (start..64).for_each(|index| document.text[index] = byte(name, document.version, index));
                        }
                    }
                }
                _ => {
                    if let Some(document) = documents.remove(&key) {
                        let expected =
                            |index| if index < 64 { byte(name, document.version, index) } else { name as u8 };
                        let wrong = document.text.iter().enumerate().find(|(index, found)| **found != expected(*index));
                        assert_eq!(wrong, None, "{key}, version {}, {} bytes", document.version, document.text.len());
                    }
                }
            }
            history.push_back(key.into());
            if history.len() > 500 {
                history.pop_front();
            }
            if round % 10_000 == 0 {
                HEAP.validate().unwrap();
                HEAP.shrink();
            }
        }
    });
}

#[test_case]
fn objects_of_every_size_keep_to_themselves() {
    leaving_nothing(|| {
        let mut random = random();
        let mut objects: VecDeque<(u8, Vec<u8>)> = VecDeque::with_capacity(1024);
        for round in 0..12_000_u32 {
            if objects.len() == objects.capacity() || random.random_bool(0.4) && !objects.is_empty() {
                let place = random.random_range(0..objects.len());
                let (fill, object) = objects.swap_remove_back(place).unwrap();
                assert!(object.iter().all(|byte| *byte == fill), "someone wrote into {} bytes", object.len());
            } else {
                // Sizes spread evenly over their logarithms, up to beyond the largest size class.
                let magnitude = random.random_range(0..14);
                let size = random.random_range(0..2_usize << magnitude);
                let fill = round as u8;
                let mut object = Vec::new();
                // A machine with little memory may refuse, which is no defect.
                if object.try_reserve_exact(size).is_ok() {
                    object.resize(size, fill);
                    objects.push_back((fill, object));
                }
            }
            if round % 3000 == 0 {
                HEAP.validate().unwrap();
            }
        }
    });
}

#[test_case]
fn without_frames_an_allocation_is_an_error_and_afterwards_not() {
    let mut hoard = Hoard::new();
    let before = Snapshot::take();
    hoard.take(Gfp::MEMALLOC);
    let mut object: Vec<u8> = Vec::new();
    for size in [2 << 20, 64 << 10, 4096, 2048] {
        assert!(object.try_reserve_exact(size).is_err(), "{size} bytes out of no frames");
    }
    // Asked directly: a call of `alloc` whose result is only compared may be left out by the compiler.
    assert_eq!(HEAP.allocate(Layout::new::<[u64; 512]>()), None);
    HEAP.validate().unwrap();
    hoard.give_back();
    object.try_reserve_exact(64 << 10).unwrap();
    drop(object);
    HEAP.shrink();
    // The hoard's own list is the only object: it was there before.
    assert_eq!(Snapshot::take(), before);
}

#[test_case]
fn the_heap_takes_all_memory_in_large_and_small_and_gives_it_back() {
    leaving_nothing(|| {
        let start = frames_free();
        let mut held: Vec<Vec<u8>> = Vec::with_capacity(32 * 1024);
        for size in [4 << 20, 1 << 20, 64 << 10, 8 << 10, 1 << 10] {
            while held.len() < held.capacity() {
                let mut object = Vec::new();
                if object.try_reserve_exact(size).is_err() {
                    break;
                }
                held.push(object);
            }
        }
        // What is left is what the watermarks keep for others.
        assert!(frames_free() < start / 4, "{} of {start} frames left", frames_free());
        HEAP.validate().unwrap();
    });
}

framework::should_panic! {
    fn what_cannot_return_an_error_panics_with_the_size() {
        black_box(Vec::<u8>::with_capacity(1 << 40));
    }
}
