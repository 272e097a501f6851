//! Locks: they mask interrupts, and what might be a deadlock one day is reported, each kind of it, and nothing else.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order};
use booted::in_interrupt;
use core::hint::{self, black_box};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use kernel::cpu::{self, Trap, timer};
use kernel::memory::frames;
use kernel::memory::heap::HEAP;
use kernel::sync::Mutex;
use kernel::sync::lockdep::{self, Context, Kind};
use kit::Raw;
use x86_64::instructions::interrupts;

framework::entry!(test_main);

/// The reports that `provoke` leads to.
fn reports(provoke: impl FnOnce()) -> Vec<(Kind, String)> {
    assert_eq!(lockdep::unread(), 0, "all that was reported before has been looked at");
    provoke();
    lockdep::take().map(|report| (report.kind, report.to_string())).collect()
}

/// The only report that `provoke` leads to.
#[track_caller]
fn report(provoke: impl FnOnce()) -> (Kind, String) {
    let mut all = reports(provoke);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test_case]
fn a_lock_masks_interrupts_and_restores_them() {
    static OUTER: Mutex<u32> = Mutex::new("test outer", 1);
    static INNER: Mutex<u32> = Mutex::new("test inner", 2);
    assert!(interrupts::are_enabled());
    {
        let outer = OUTER.lock();
        assert!(!interrupts::are_enabled());
        let sum = *outer + *INNER.lock();
        assert!(sum == 3 && !interrupts::are_enabled(), "the outer lock is still held");
        assert!(OUTER.try_lock().is_none() && !interrupts::are_enabled());
    }
    assert!(interrupts::are_enabled());
    drop(OUTER.try_lock().expect("nobody has it"));
    assert!(interrupts::are_enabled());
    interrupts::without_interrupts(|| {
        drop(OUTER.lock());
        assert!(!interrupts::are_enabled());
    });
}

#[test_case]
fn one_cpu_at_a_time_has_a_lock_and_handlers_wait_for_none_of_their_own() {
    const ROUNDS: u64 = 2000;
    // Two steps, so that whoever comes between them is noticed.
    static PAIR: Mutex<(u64, u64)> = Mutex::new("test pair", (0, 0));
    fn count(_: &mut Trap) {
        let mut pair = PAIR.lock();
        assert_eq!(pair.0, pair.1);
        pair.0 += 1;
        hint::spin_loop();
        pair.1 += 1;
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    static HANDLED: AtomicU64 = AtomicU64::new(0);
    timer::set_hook(Some(count));
    cpu::on_cpus(cpu::count(), &|_| {
        timer::set_period(Duration::from_millis(1));
        for _ in 0..ROUNDS {
            let mut pair = PAIR.lock();
            assert_eq!(pair.0, pair.1);
            pair.0 += 1;
            hint::spin_loop();
            pair.1 += 1;
        }
        timer::set_period(Duration::ZERO);
    });
    timer::set_hook(None);
    let handled = HANDLED.load(Ordering::Relaxed);
    assert!(handled > 0, "the timers interrupt");
    let all = ROUNDS * cpu::count() as u64 + handled;
    assert_eq!(*PAIR.lock(), (all, all));
}

#[test_case]
fn locks_that_two_cpus_take_in_both_orders_are_reported() {
    static FIRST: Mutex<()> = Mutex::new("one CPU's first", ());
    static SECOND: Mutex<()> = Mutex::new("one CPU's second", ());
    let last = cpu::online().last().expect("this one runs");
    let found = reports(|| {
        cpu::on(last, &|_| {
            let _first = FIRST.lock();
            drop(SECOND.lock());
        });
    });
    assert_eq!(found, []);
    let (_, text) = report(|| {
        let _second = SECOND.lock();
        drop(FIRST.lock());
    });
    assert!(text.contains(&alloc::format!("on CPU {}\n", cpu::current())), "{text}");
}

#[test_case]
fn locks_taken_in_both_orders_are_reported_once() {
    static FIRST: Mutex<()> = Mutex::new("test first", ());
    static SECOND: Mutex<()> = Mutex::new("test second", ());
    let in_order = || {
        let _first = FIRST.lock();
        drop(SECOND.lock());
    };
    let inverted = || {
        let _second = SECOND.lock();
        drop(FIRST.lock());
    };
    assert_eq!(reports(in_order), []);
    let (kind, text) = report(inverted);
    let Kind::Inversion(held, taken) = kind else { panic!("{text}") };
    assert_eq!((held.name(), taken.name()), ("test second", "test first"));
    assert!(text.contains("\"test first\" is taken with \"test second\" held"), "{text}");
    assert!(text.contains("\"test second\" was taken with \"test first\" held:\n"), "{text}");
    assert!(text.lines().count() > 6, "the calls that led to both: {text}");
    assert_eq!(reports(inverted), []);
    assert_eq!(reports(in_order), []);
}

#[test_case]
fn an_inversion_by_way_of_others_is_reported() {
    static LOCKS: [Mutex<()>; 4] =
        [Mutex::new("ring 0", ()), Mutex::new("ring 1", ()), Mutex::new("ring 2", ()), Mutex::new("ring 3", ())];
    let take = |held: usize, taken: usize| {
        let _held = LOCKS[held].lock();
        drop(LOCKS[taken].lock());
    };
    assert_eq!(reports(|| [(0, 1), (1, 2), (0, 3), (2, 3)].into_iter().for_each(|(a, b)| take(a, b))), []);
    let (kind, text) = report(|| take(3, 0));
    assert!(matches!(kind, Kind::Inversion(..)), "{text}");
    // By the shortest of the ways, and with nothing that is not on it.
    assert!(text.contains("\"ring 3\" was taken with \"ring 0\" held:") && !text.contains("ring 1"), "{text}");
    let (_, text) = report(|| take(2, 1));
    assert!(text.contains("\"ring 2\" was taken with \"ring 1\" held:"), "{text}");
}

#[test_case]
fn a_lock_that_is_only_tried_is_taken_after_none() {
    static FIRST: Mutex<()> = Mutex::new("tried first", ());
    static SECOND: Mutex<()> = Mutex::new("tried second", ());
    let found = reports(|| {
        let first = FIRST.lock();
        drop(SECOND.lock());
        drop(first);
        let _second = SECOND.lock();
        drop(FIRST.try_lock().expect("nobody has it"));
    });
    assert_eq!(found, []);
}

#[test_case]
fn two_locks_of_one_class_at_once_are_reported_once() {
    static LOCKS: [Mutex<()>; 2] = [const { Mutex::new("test twins", ()) }; 2];
    let both = || {
        let _first = LOCKS[0].lock();
        drop(LOCKS[1].lock());
    };
    let (kind, text) = report(both);
    assert!(matches!(kind, Kind::Nesting(class) if class.name() == "test twins"), "{text}");
    assert_eq!(reports(both), []);
}

framework::should_panic! {
    fn waiting_for_a_lock_that_the_cpu_holds_panics() {
        static LOCK: Mutex<()> = Mutex::new("test itself", ());
        let _held = LOCK.lock();
        drop(LOCK.lock());
    }
}

#[test_case]
fn waiting_with_a_lock_held_is_reported_with_its_name() {
    static LOCK: Mutex<()> = Mutex::new("test held", ());
    let wait = || {
        let _held = LOCK.lock();
        lockdep::might_sleep("a test that waits");
    };
    // As often as the compiler does not know: three copies of the call would be three places.
    let (kind, text) = report(|| (0..black_box(3)).for_each(|_| wait()));
    let Kind::Sleep { what, context: Context::Holding(class) } = kind else { panic!("{text}") };
    assert_eq!((what, class.name()), ("a test that waits", "test held"));
    assert!(text.contains("a test that waits with \"test held\" held"), "{text}");
}

#[test_case]
fn a_request_that_may_wait_is_reported_where_nothing_may() {
    static LOCK: Mutex<()> = Mutex::new("test allocating", ());
    let allocate = |gfp| {
        let _held = LOCK.lock();
        let pfn = frames().take(Order::ZERO, gfp).expect("there is memory");
        frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
    };
    assert_eq!(reports(|| allocate(Gfp::ATOMIC)), []);
    assert_eq!(reports(|| allocate(Gfp::NOWAIT)), []);
    let (_, text) = report(|| allocate(Gfp::KERNEL));
    assert!(text.contains("a request for memory that may wait with \"test allocating\" held"), "{text}");
    // The heap sees for itself where it is.
    let found = reports(|| {
        let _held = LOCK.lock();
        (0..1000).for_each(|_| drop(black_box(Vec::<u8>::with_capacity(5000))));
        drop(black_box(Vec::<u8>::with_capacity(100_000)));
    });
    assert_eq!(found, []);
}

#[test_case]
fn waiting_with_interrupts_masked_is_reported() {
    let (kind, text) = report(|| interrupts::without_interrupts(|| lockdep::might_sleep("a test that waits")));
    assert_eq!(kind, Kind::Sleep { what: "a test that waits", context: Context::Masked }, "{text}");
    assert_eq!(reports(|| lockdep::might_sleep("a test that waits")), []);
}

#[test_case]
fn a_lock_of_handlers_that_is_held_with_interrupts_enabled_is_reported() {
    static HANDLERS: Mutex<()> = Mutex::new("test mixed", ());
    static OTHER: Mutex<()> = Mutex::new("test other", ());
    in_interrupt(|| drop(HANDLERS.lock()));
    let wrong = || {
        let other = OTHER.lock();
        let held = HANDLERS.lock();
        // Restores what it found, though another lock is held by now.
        drop(other);
        assert!(interrupts::are_enabled());
        drop(held);
    };
    let (kind, text) = report(wrong);
    assert!(matches!(kind, Kind::Mixed(class) if class.name() == "test mixed"), "{text}");
    assert!(text.contains("\"test mixed\" was taken in a handler:\n"), "{text}");
    assert!(text.contains("\"test mixed\" was held with interrupts enabled:\n"), "{text}");
    assert_eq!(reports(wrong), []);
}

#[test_case]
fn a_handler_that_takes_what_was_held_with_interrupts_enabled_is_reported() {
    static LOCK: Mutex<()> = Mutex::new("test mixed later", ());
    let held = LOCK.lock();
    interrupts::enable();
    in_interrupt(|| drop(LOCK.try_lock()));
    assert_eq!(lockdep::unread(), 0, "to try is harmless");
    drop(held);
    let (kind, text) = report(|| in_interrupt(|| drop(LOCK.lock())));
    assert!(matches!(kind, Kind::Mixed(class) if class.name() == "test mixed later"), "{text}");
}

#[test_case]
fn a_handler_that_may_wait_by_way_of_another_cpu_is_reported() {
    static HANDLERS: Mutex<()> = Mutex::new("hazard of handlers", ());
    static BEHIND: Mutex<()> = Mutex::new("hazard behind", ());
    static OTHER: Mutex<()> = Mutex::new("hazard other", ());
    in_interrupt(|| drop(HANDLERS.lock()));
    let enabled = || {
        let other = OTHER.lock();
        let behind = BEHIND.lock();
        drop(other);
        drop(behind);
    };
    assert_eq!(reports(enabled), []);
    let both = || {
        let _handlers = HANDLERS.lock();
        drop(BEHIND.lock());
    };
    let (kind, text) = report(both);
    let Kind::Hazard(first, second) = kind else { panic!("{text}") };
    assert_eq!((first.name(), second.name()), ("hazard of handlers", "hazard behind"));
    assert!(text.contains("\"hazard behind\" was taken with \"hazard of handlers\" held:\n"), "{text}");
    assert_eq!(reports(both), []);
}

#[test_case]
fn waiting_in_an_interrupt_handler_is_reported() {
    let (kind, text) = report(|| in_interrupt(|| lockdep::might_sleep("a test that waits")));
    assert_eq!(kind, Kind::Sleep { what: "a test that waits", context: Context::Interrupt }, "{text}");
    let (_, text) = report(|| {
        in_interrupt(|| {
            let pfn = frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory");
            frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
        });
    });
    assert!(text.contains("a request for memory that may wait in an interrupt handler"), "{text}");
}

#[test_case]
fn what_is_printed_may_wait_and_take_locks_while_it_is_made() {
    struct Waits;
    impl core::fmt::Display for Waits {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            lockdep::might_sleep("formatting for the console");
            f.write_str("printed")
        }
    }
    let found = reports(|| kernel::println!("{Waits}"));
    assert!(found.is_empty(), "{found:?}");
}

#[test_case]
fn what_the_kernel_does_by_itself_is_in_order() {
    let found = reports(|| {
        let mut objects: Vec<Box<[u8]>> = Vec::new();
        for size in [1, 100, 5000, 100_000, 5_000_000] {
            objects.push(alloc::vec![0; size].into());
        }
        let mut list: Vec<u64> = Vec::new();
        (0..100_000).for_each(|n| list.push(n));
        black_box((&objects, &list));
        drop((objects, list));
        HEAP.shrink();
        frames().drain();
        interrupts::without_interrupts(|| {
            let order = Order::new(3).expect("there is such an order");
            let pfn = frames().take(order, Gfp::ATOMIC).expect("there is memory");
            frames().give(pfn, order).expect("it was allocated a moment ago");
            drop(black_box(Box::new([0_u8; 64])));
        });
        frames().validate().and(HEAP.validate()).expect("all is sound");
    });
    assert_eq!(found, []);
}
