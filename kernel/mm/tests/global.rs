//! The heap as the global allocator of a whole program: this one, test harness, threads and all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::thread;

use bifolio::frame::Order;
use bifolio::heap::Heap;
use kit::source::SystemPages;
use kit::{Sound, Thread, scale};

#[global_allocator]
static HEAP: Heap<SystemPages, Thread> = Heap::new(SystemPages::new());

/// Makes the calling thread a CPU. A global allocator must not unwind.
fn set_up() {
    Thread::become_next();
    HEAP.set_error_hook(|error| {
        eprintln!("{error}");
        std::process::abort();
    });
}

#[test]
fn collections_hold_what_was_put_into_them() {
    set_up();
    let mut map = BTreeMap::new();
    let mut table = HashMap::new();
    let mut queue = VecDeque::new();
    for number in 0..scale::rounds(20_000) as u64 {
        let text = format!("{number:0width$}", width = 1 + number as usize % 300);
        map.insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), text.clone());
        queue.push_back(Box::new([number; 9]));
        table.insert(text, number);
        if number % 3 == 0 {
            map.pop_first();
            assert_eq!(*queue.pop_front().unwrap(), [number / 3; 9]);
        }
    }
    assert!(table.iter().all(|(text, &number)| text.parse() == Ok(number)));
    assert!(map.iter().all(|(&key, text)| text.parse::<u64>().unwrap().wrapping_mul(0x9e37_79b9_7f4a_7c15) == key));
    HEAP.sound();
}

#[test]
#[cfg_attr(miri, ignore = "pushes a million numbers")]
fn a_vector_grows_up_to_the_largest_block_and_is_then_refused() {
    set_up();
    let mut vector = Vec::new();
    let most = Order::MAX.bytes() as usize / size_of::<u32>();
    for number in 0..most as u32 {
        vector.push(number);
    }
    assert!(vector.iter().copied().eq(0..most as u32));
    assert!(vector.try_reserve_exact(1).is_err());
    vector.truncate(10);
    vector.shrink_to_fit();
    assert_eq!(vector, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    HEAP.sound();
}

#[test]
fn threads_share_what_they_allocate() {
    set_up();
    for round in 0..scale::rounds(20) {
        let shared: Arc<Vec<String>> =
            Arc::new((0..scale::size(500, 20)).map(|number| format!("{round}/{number}")).collect());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    set_up();
                    shared.iter().rev().cloned().collect::<Vec<_>>()
                })
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().iter().eq(shared.iter().rev()));
        }
    }
    HEAP.shrink();
    HEAP.sound();
}
