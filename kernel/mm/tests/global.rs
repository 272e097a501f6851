//! The heap as the global allocator of a whole program: this one, test harness, threads and all.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use bifolio::cpu::{Cpu, Hooks};
use bifolio::error::FreeError;
use bifolio::frame::Order;
use bifolio::heap::{Heap, PageSource};

#[global_allocator]
static HEAP: Heap<SystemPages, Thread> = Heap::new(SystemPages);

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// A thread as a CPU: nothing interrupts it.
struct Thread;

// SAFETY: threads that share an allocator have different numbers; nothing interrupts them.
unsafe impl Cpu for Thread {
    fn current() -> usize {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        NUMBER.get().unwrap_or_else(|| {
            let number = THREADS.fetch_add(1, Ordering::Relaxed);
            NUMBER.set(Some(number));
            number
        })
    }

    fn synchronize() {
        static REGISTER: Once = Once::new();
        // SAFETY: the calls take no pointers.
        let barrier = |command: libc::c_int| unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
        REGISTER.call_once(|| assert_eq!(barrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED), 0));
        assert_eq!(barrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED), 0);
    }

    fn without_interrupts<R>(critical: impl FnOnce() -> R) -> R {
        critical()
    }
}

impl Hooks for Thread {}

/// Blocks of pages from the host's allocator.
struct SystemPages;

fn layout(order: Order) -> Layout {
    Layout::from_size_align(order.bytes() as usize, order.bytes() as usize).unwrap()
}

// SAFETY: the host's allocator gives out exclusive memory of the layout asked for.
unsafe impl PageSource for SystemPages {
    fn allocate(&self, order: Order) -> Option<NonNull<u8>> {
        // SAFETY: the layout is not empty.
        NonNull::new(unsafe { System.alloc(layout(order)) })
    }

    unsafe fn release(&self, block: NonNull<u8>, order: Order) -> Result<(), FreeError> {
        // SAFETY: the block came from `allocate` with this order, and nobody uses it any more.
        unsafe { System.dealloc(block.as_ptr(), layout(order)) };
        Ok(())
    }
}

/// A global allocator must not unwind.
fn abort_on_errors() {
    HEAP.set_error_hook(|error| {
        eprintln!("{error}");
        std::process::abort();
    });
}

#[test]
fn collections_hold_what_was_put_into_them() {
    abort_on_errors();
    let mut map = BTreeMap::new();
    let mut table = HashMap::new();
    let mut queue = VecDeque::new();
    for number in 0..20_000u64 {
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
    HEAP.validate().unwrap();
}

#[test]
fn a_vector_grows_up_to_the_largest_block_and_is_then_refused() {
    abort_on_errors();
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
    HEAP.validate().unwrap();
}

#[test]
fn threads_share_what_they_allocate() {
    abort_on_errors();
    for round in 0..20 {
        let shared: Arc<Vec<String>> = Arc::new((0..500).map(|number| format!("{round}/{number}")).collect());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.iter().rev().cloned().collect::<Vec<_>>())
            })
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().iter().eq(shared.iter().rev()));
        }
    }
    HEAP.shrink();
    HEAP.validate().unwrap();
}
