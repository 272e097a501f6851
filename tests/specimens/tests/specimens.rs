//! One test of every kind of ending. Each says what the host program must report. Those that a backtrace must show are never
//! inlined, however the code is cut up.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "the framework's own names are enough")]

extern crate alloc;

use alloc::vec::Vec;
use bifolio::frame::{Gfp, Order, ZoneKind};
use core::fmt;
use core::hint::{black_box, spin_loop};
use kernel::memory::frames;
use kernel::{host, print, println};
use protocol::ExitCode;
use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;
use x86_64::{VirtAddr, instructions};

framework::entry!(test_main);

/// Passed.
#[test_case]
fn passes() {}

/// Passed.
#[test_case]
fn returns_ok() -> Result<(), &'static str> {
    Ok(())
}

/// Failed, and the next test runs in the same kernel.
#[test_case]
fn returns_an_error() -> Result<(), &'static str> {
    Err("this specimen returns an error")
}

/// Panicked, with this message and this file's name.
#[test_case]
#[inline(never)]
fn panics() {
    assert_eq!(black_box(1) + 1, 3, "this specimen panics");
}

/// Panicked: a page fault is reported like a panic.
#[test_case]
fn reads_from_nowhere() {
    let nowhere = black_box(0x10_0000_0000_u64) as *const u8;
    // SAFETY: nothing is mapped in the lower half of the kernel's address space, so that this raises a page fault.
    println!("{}", unsafe { nowhere.read_volatile() });
}

/// Panicked, with whatever can still be said: the message of the first panic panics itself.
#[test_case]
fn panics_in_a_panic() {
    struct Bomb;
    impl fmt::Display for Bomb {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("this specimen panics while it panics");
        }
    }
    panic!("{Bomb}");
}

/// Panicked: inside the allocator, which holds a zone's lock.
#[test_case]
#[inline(never)]
fn panics_with_a_zone_locked() {
    for kind in ZoneKind::ALL {
        frames().for_each_block(kind, |block| panic!("this specimen panics at {}", block.pfn));
    }
}

/// Panicked: memory is all gone, to the last reserve, and something is allocated that cannot be refused.
#[test_case]
#[inline(never)]
fn panics_without_memory() {
    for order in Order::all().rev() {
        while let Ok(block) = frames().allocate(order, Gfp::MEMALLOC | Gfp::NOWARN) {
            let _ = block.into_raw();
        }
    }
    black_box((0..4096).map(|_| Vec::<u64>::with_capacity(512)).collect::<Vec<_>>());
}

/// Hangs, as far as anybody can see: in the allocator, nearly all of the time. Something from outside is to interrupt it.
#[test_case]
fn allocates_for_ever() {
    println!("allocating");
    loop {
        let block = frames().allocate(Order::new(4).expect("an order"), Gfp::KERNEL).expect("there is memory");
        frames().free(block).expect("it was allocated");
    }
}

/// Hangs: cut off by the host program's time limit, even with interrupts masked.
#[test_case]
#[inline(never)]
fn hangs() {
    instructions::interrupts::disable();
    loop {
        spin_loop();
    }
}

/// Sleeps, with interrupts masked: there is nothing that the host program need wait for.
#[test_case]
#[inline(never)]
fn sleeps_for_ever() {
    instructions::interrupts::disable();
    loop {
        instructions::hlt();
    }
}

/// Died: it ends the machine, with success, as soon as the host program leaves unread what it prints. All of it is printed.
#[test_case]
fn exits_with_something_unread() {
    /// More than the host's pipes hold.
    const MUCH: usize = 100_000;
    // Time for the host to stop reading.
    for _ in 0..5_000_000 {
        spin_loop();
    }
    let (mut com1, mut status) = (PortWriteOnly::<u8>::new(0x3f8), PortReadOnly::<u8>::new(0x3fd));
    // SAFETY: that port tells how COM1 gets on, and reading it takes away nothing that anybody here looks for.
    let mut is_sent = || unsafe { status.read() } & 1 << 6 != 0;
    for _ in (0..MUCH).take_while(|_| is_sent()) {
        // SAFETY: the kernel has set COM1 up, and nothing else runs that prints.
        unsafe { com1.write(b'.') };
    }
    print!("!");
    host::exit(ExitCode::Success);
}

/// The machine resets: a triple fault.
#[test_case]
#[inline(never)]
fn triple_faults() {
    let nothing = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
    // SAFETY: not sound, and not meant to be: without an exception table the next exception is a triple fault.
    unsafe { lidt(&nothing) };
    instructions::interrupts::int3();
}

framework::should_panic! {
    /// Passed: it panics, as it should.
    fn panics_as_it_should() {
        panic!("as it should");
    }
}

framework::should_panic! {
    /// Failed: it returns although it should panic.
    fn returns_although_it_should_panic() {
        black_box(());
    }
}

/// Passed: the last one is reached, through all those boots.
#[test_case]
fn passes_at_the_end() {}
