//! Threads as CPUs, and what a fork does to them.
//!
//! A thread has the number of a CPU from its first call on until it ends, when the number, and what the heap keeps for
//! it, are there for another. Threads beyond as many as have arenas, and those that are about to end, share what the heap
//! has for CPUs without one.
//!
//! # Forks
//!
//! The child of a fork has one thread, and the memory as it was at that moment. Were another thread in the middle of
//! the heap, the child would find locks that nobody opens. So every thread with a number has a [`Gate`], which it is inside of
//! for as long as a call takes; who forks closes all of them and waits until everybody is outside. That takes no locked
//! instruction of those who come and go: who forks makes all threads pass a barrier instead. Threads without a number, whose
//! own gates are always closed, are counted.
//!
//! Other libraries' fork handlers may run while the gates are closed, and allocate: the forking thread may pass. What is
//! left is a thread that waits at its gate and has one of the C library's own locks that a fork takes after the handlers,
//! the list of all open files. It takes that for no longer than to flush them all, and other allocators that are preloaded
//! have the same.

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use Ordering::{Relaxed, SeqCst};
use bifolio::cpu::{Cpu, Hooks};
use bifolio::sync::Gate;
use spin::{Mutex, MutexGuard};

use crate::{heap, report, system};

/// How many threads have a number at a time: as many as the heap has arenas for.
pub const CPUS: usize = 127;

/// The number of those that have none.
const NONE: usize = usize::MAX;

/// What a thread knows of itself.
struct Here {
    number: Cell<usize>,
    /// What it goes through for each call, once it has a number.
    gate: Gate,
    /// It was given a number, or found that there is none for it.
    seen: Cell<bool>,
    /// It forks, and so may pass.
    forks: Cell<bool>,
}

#[thread_local]
static HERE: Here =
    Here { number: Cell::new(NONE), gate: Gate::closed(), seen: Cell::new(false), forks: Cell::new(false) };

/// A fork is about to happen: threads without a number have to wait.
static FORKING: AtomicBool = AtomicBool::new(false);

/// How many threads without a number are in the middle of a call.
static OTHERS_INSIDE: AtomicUsize = AtomicUsize::new(0);

/// The gate of each number's thread; null for a number that no thread has. Changed, and used by others, under [`NUMBERS`].
static GATES: [AtomicPtr<Gate>; CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; CPUS];

/// Whoever gives or takes a number, or forks, has this.
static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { key: None, is_ready: false });

struct Numbers {
    /// Whose destructor tells of a thread's end; `None` if that cannot be told, and so nobody can be given a number.
    key: Option<libc::pthread_key_t>,
    is_ready: bool,
}

impl Numbers {
    fn lock() -> MutexGuard<'static, Self> {
        loop {
            if let Some(numbers) = NUMBERS.try_lock() {
                return numbers;
            }
            system::yield_now();
        }
    }

    /// Prepares for the first number.
    fn get_ready(&mut self) {
        self.is_ready = true;
        if !system::membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
            return;
        }
        let mut key = 0;
        // SAFETY: the pointer is that of a key to be written, and the destructor takes any value.
        if unsafe { libc::pthread_key_create(&raw mut key, Some(leave)) } == 0 {
            self.key = Some(key);
        }
    }
}

/// A thread as a CPU: nothing interrupts it.
pub struct Thread;

// SAFETY: a thread has a number that no other has until it gives it back, or none that there is an arena for; nothing
// interrupts it but signals, in which C's functions may not be called; the barrier is the system's.
unsafe impl Cpu for Thread {
    #[inline]
    fn current() -> usize {
        HERE.number.get()
    }

    fn synchronize() {
        if !system::membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            report::die(format_args!("the system call membarrier, announced before, is refused"));
        }
    }

    #[inline]
    fn mask_interrupts() -> bool {
        false
    }

    #[inline]
    fn restore_interrupts(_: bool) {}
}

impl Hooks for Thread {}

/// Does one call's work, in which no fork happens.
#[inline(always)]
pub fn inside<R>(work: impl FnOnce() -> R) -> R {
    match HERE.gate.enter() {
        Some(_inside) => work(),
        None => enter_slowly(work),
    }
}

#[cold]
#[inline(never)]
fn enter_slowly<R>(work: impl FnOnce() -> R) -> R {
    if !HERE.seen.get() {
        arrive();
    }
    while HERE.number.get() != NONE {
        if let Some(_inside) = HERE.gate.enter() {
            return work();
        }
        while HERE.gate.is_closed() {
            system::yield_now();
        }
    }
    pass_as_one_of_many();
    let result = work();
    OTHERS_INSIDE.fetch_sub(1, SeqCst);
    result
}

/// Waits until nobody forks, and is counted from then on.
fn pass_as_one_of_many() {
    loop {
        OTHERS_INSIDE.fetch_add(1, SeqCst);
        if !FORKING.load(SeqCst) || HERE.forks.get() {
            return;
        }
        OTHERS_INSIDE.fetch_sub(1, SeqCst);
        while FORKING.load(Relaxed) {
            system::yield_now();
        }
    }
}

/// Gives the calling thread the lowest number there is.
fn arrive() {
    HERE.seen.set(true);
    let key = {
        let mut numbers = Numbers::lock();
        if !numbers.is_ready {
            numbers.get_ready();
        }
        let Some(key) = numbers.key else { return };
        let Some(number) = GATES.iter().position(|gate| gate.load(Relaxed).is_null()) else { return };
        GATES[number].store((&raw const HERE.gate).cast_mut(), Relaxed);
        HERE.number.set(number);
        HERE.gate.open();
        key
    };
    // The first value of a late key may be allocated: by now, that can be.
    // SAFETY: the key is one, and any value will do that is not null.
    if unsafe { libc::pthread_setspecific(key, ptr::without_provenance(1)) } != 0 {
        leave(ptr::null_mut());
    }
}

/// Gives the calling thread's number back. What it still does, it does without one.
extern "C" fn leave(_: *mut c_void) {
    if HERE.number.get() == NONE {
        return;
    }
    inside(heap::retire_cpu);
    let _numbers = Numbers::lock();
    HERE.gate.close();
    GATES[HERE.number.replace(NONE)].store(ptr::null_mut(), Relaxed);
}

/// Lets this library hear of forks.
pub fn heed_forks() {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    if unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(begin_child)) } != 0 {
        report::die(format_args!("there is no room for another fork handler"));
    }
}

/// The gates of all threads with a number but the calling one.
///
/// # Safety
/// The calling thread has the lock of [`NUMBERS`] for as long as they are used.
unsafe fn gates_of_others() -> impl Iterator<Item = &'static Gate> {
    let own = &raw const HERE.gate;
    let others = GATES.iter().map(|gate| gate.load(Relaxed).cast_const()).filter(move |gate| *gate != own);
    // SAFETY: a number's thread takes its gate out of the table before it ends, and must have the lock for that.
    others.filter_map(|gate| unsafe { gate.as_ref() })
}

/// Closes the gates of all other threads, and waits until everybody is outside.
extern "C" fn before_fork() {
    core::mem::forget(Numbers::lock());
    HERE.forks.set(true);
    FORKING.store(true, SeqCst);
    // SAFETY: the lock was taken above.
    let gates = || unsafe { gates_of_others() };
    Gate::close_all::<Thread>(gates());
    for gate in gates() {
        while gate.is_busy() {
            system::yield_now();
        }
    }
    while OTHERS_INSIDE.load(SeqCst) != 0 {
        system::yield_now();
    }
}

/// Opens the gates again.
extern "C" fn after_fork() {
    // SAFETY: `before_fork` took the lock, in this thread or in what this thread is the copy of; in the child, nobody else is
    // in the table any more.
    unsafe { gates_of_others() }.for_each(Gate::open);
    FORKING.store(false, SeqCst);
    HERE.forks.set(false);
    // SAFETY: `before_fork` took the lock, in this thread or in what this thread is the copy of.
    unsafe { NUMBERS.force_unlock() };
}

/// Opens the gates in the child, in which there is this thread only.
extern "C" fn begin_child() {
    let own = HERE.number.get();
    for (number, gate) in GATES.iter().enumerate().filter(|(number, _)| *number != own) {
        if !gate.swap(ptr::null_mut(), Relaxed).is_null() {
            // Nobody is this CPU any more, so this thread may be for a moment, to leave in its place.
            HERE.number.set(number);
            heap::retire_cpu();
        }
    }
    HERE.number.set(own);
    after_fork();
}
