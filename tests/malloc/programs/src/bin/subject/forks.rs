//! Forks in the middle of everything: the child has one thread, and the memory of all.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::contents::{Filled, Random};

const FORKS: usize = 50;
const THREADS: u64 = 3;

pub fn run() {
    let done = &AtomicBool::new(false);
    let mut random = Random::new(0);
    let mut kept: Vec<_> = (0..500).map(|seed| Filled::new(random.size(), seed as u8)).collect();
    thread::scope(|scope| {
        for seed in 0..THREADS {
            scope.spawn(move || churn(seed + 1, done));
        }
        // Threads come and go as well: a fork may meet one that begins or ends.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let thread = thread::spawn(|| drop(Filled::new(100, 1)));
                thread.join().expect("the thread ends well");
            }
        });
        for round in 0..FORKS {
            // SAFETY: the child does what a child of a program with threads may not always do, but must be able to with a
            // C library that has its own locks in order; it ends without running anything of the parent's.
            match unsafe { libc::fork() } {
                -1 => panic!("cannot fork: {}", std::io::Error::last_os_error()),
                0 => process::exit(child(&mut kept, round)),
                child => wait(child),
            }
            kept[round % 500].check();
        }
        done.store(true, Ordering::Relaxed);
    });
    drop(kept);
    println!("forks do what they should");
}

/// Allocates and frees all sizes, until told to end.
fn churn(seed: u64, done: &AtomicBool) {
    let mut random = Random::new(seed);
    let mut objects = Vec::new();
    while !done.load(Ordering::Relaxed) {
        if objects.len() < 200 {
            let size = if random.below(50) == 0 { 1 << 17 } else { random.size() };
            objects.push(Filled::new(size, seed as u8));
        } else {
            objects.swap_remove(random.below(200));
        }
    }
}

/// Uses the heap in every way, threads and another fork among them. The exit status.
fn child(kept: &mut Vec<Filled>, round: usize) -> i32 {
    crate::set_alarm();
    let mut random = Random::new(round as u64);
    kept.iter().for_each(Filled::check);
    kept.truncate(random.below(500));
    let own: Vec<_> = (0..200).map(|seed| Filled::new(random.size(), seed as u8)).collect();
    if round.is_multiple_of(8) {
        let other = thread::spawn(move || own.iter().for_each(Filled::check));
        // SAFETY: the child must be able to do all that it does here, and ends without running anything of the parent's.
        match unsafe { libc::fork() } {
            -1 => return 2,
            0 => {
                kept.iter_mut().for_each(|object| object.resize(random.size()));
                return 0;
            }
            child => wait(child),
        }
        if other.join().is_err() {
            return 3;
        }
    }
    0
}

fn wait(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the pointer is that of a status to be written.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "{}", std::io::Error::last_os_error());
    assert_eq!(status, 0, "a child ended with status {status:#x}");
}
