//! What the CPUs of a kernel do at once: allocate, free what others have allocated, and empty each other's pages and arenas.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::Write;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use bifolio::cpu::Cpu;
use bifolio::frame::{Block, Gfp, Order};
use bifolio::kernel::Kernel;

use crate::State;

/// What one CPU leaves for another to free.
struct Given {
    block: Block,
    /// As many numbers as each of them says.
    numbers: Vec<usize>,
}

/// Where CPUs leave it.
static SHELF: [AtomicPtr<Given>; 64] = [const { AtomicPtr::new(ptr::null_mut()) }; 64];
/// How many CPUs have come so far.
static READY: AtomicUsize = AtomicUsize::new(0);
static BEGUN: AtomicUsize = AtomicUsize::new(0);
static DONE: AtomicUsize = AtomicUsize::new(0);
/// How many rounds each CPU works.
const ROUNDS: u64 = 10_000;
/// After how many rounds a CPU empties the pages of all.
const DRAIN: u64 = 2_000;

/// Waits until all CPUs have come here.
fn meet<C: Cpu>(count: &AtomicUsize, all: usize) {
    count.fetch_add(1, Ordering::AcqRel);
    while count.load(Ordering::Acquire) < all {
        C::relax();
    }
}

/// The work of one CPU. Each calls this, once; the one that has a console looks whether all is as it was before, and says so there.
///
/// # Panics
/// If anything is not as it should be.
pub fn work<C: Cpu, const CPUS: usize>(memory: &'static Kernel<C, CPUS>, console: Option<&mut impl Write>) {
    // The CPU has its arena of the heap from here on.
    drop(Box::new(C::current()));
    meet::<C>(&READY, CPUS);
    let before = console.is_some().then(|| State::of(memory));
    meet::<C>(&BEGUN, CPUS);
    let mut random = 0x9e37_79b9_7f4a_7c15 ^ C::current() as u64;
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        exchange(memory, random);
        if round % DRAIN == 0 {
            memory.frames().drain();
        }
        // That takes hundreds of barriers: once will do.
        if round == ROUNDS / 2 && console.is_some() {
            memory.heap().shrink();
        }
    }
    meet::<C>(&DONE, CPUS);
    if let (Some(before), Some(console)) = (before, console) {
        SHELF.iter().for_each(|place| free(memory, place.swap(ptr::null_mut(), Ordering::AcqRel)));
        memory.heap().validate().expect("the heap is sound");
        assert_eq!(State::of(memory), before, "all is given back");
        memory.frames().validate().expect("the page allocator is sound");
        writeln!(console, "{CPUS} CPUs have worked at once and all is whole again").expect("the console works");
    }
}

/// Leaves something on the shelf, and frees what was there.
fn exchange<C: Cpu, const CPUS: usize>(memory: &'static Kernel<C, CPUS>, random: u64) {
    let order = Order::new((random % 4) as u8).expect("there are so many");
    let Ok(block) = memory.frames().allocate(order, Gfp::ATOMIC | Gfp::NOWARN) else { return };
    let length = (random >> 8) as usize % 100;
    let given = Box::new(Given { block, numbers: alloc::vec![length; length] });
    let place = &SHELF[(random >> 32) as usize % SHELF.len()];
    free(memory, place.swap(Box::into_raw(given), Ordering::AcqRel));
}

/// Frees what was on the shelf.
fn free<C: Cpu, const CPUS: usize>(memory: &'static Kernel<C, CPUS>, given: *mut Given) {
    if given.is_null() {
        return;
    }
    // SAFETY: it comes from `Box::into_raw` in `exchange`, and was taken off the shelf once.
    let given = unsafe { Box::from_raw(given) };
    let Given { block, numbers } = *given;
    assert!(numbers.iter().all(|number| *number == numbers.len()), "nobody else has written there");
    memory.frames().free(block).expect("it was allocated");
}
