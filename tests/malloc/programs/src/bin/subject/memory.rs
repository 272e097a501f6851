//! How much memory there really is behind it all.

use std::fs;
use std::io;
use std::iter;
use std::ptr;

use crate::contents::{Filled, Random};

const MIB: usize = 1 << 20;
/// What is allocated at most, in MiB.
const FULL: usize = 128;

/// Memory that the process has now, in MiB.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("the system says how much memory a process has");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second field is a number of pages") * 4096 / MIB
}

pub fn run() {
    what_is_freed_goes_back();
    large_vectors_grow_without_a_copy();
    untouched_memory_is_not_there();
    println!("memory is what it should be");
}

fn what_is_freed_goes_back() {
    let before = resident();
    let mut random = Random::new(1);
    for size in [200, 3000, 40_000, 1_000_000, 9_000_000] {
        // What the list of them takes is counted, too.
        let count = FULL * MIB / (size + size_of::<Filled>());
        let mut objects: Vec<_> =
            (0..count).map(|seed| Filled::new(size - random.below(size / 8), seed as u8)).collect();
        let full = resident();
        assert!(full >= before + FULL * 3 / 4, "{full} MiB with {FULL} MiB in use");
        assert!(full <= before + FULL * 5 / 4, "{full} MiB with {FULL} MiB of {size} bytes each in use");
        objects.truncate(count / 100);
        objects.shrink_to_fit();
        let empty = resident();
        assert!(
            empty <= before + FULL / 3,
            "{empty} MiB after {FULL} MiB of {size} bytes each were freed, {before} before"
        );
    }
}

fn large_vectors_grow_without_a_copy() {
    let before = resident();
    let mut vector: Vec<u64> = Vec::new();
    for number in 0..12 * MIB as u64 {
        vector.push(number);
    }
    let after = resident();
    assert!(vector.iter().copied().eq(0..12 * MIB as u64));
    assert!(after <= before + 140, "{after} MiB for a vector of 96 MiB, {before} before");
}

fn untouched_memory_is_not_there() {
    let before = resident();
    // SAFETY: the objects are ours, and freed once.
    unsafe {
        let objects = [libc::malloc(1 << 30), libc::calloc(1 << 20, 1 << 10), libc::calloc(3, MIB)];
        assert!(objects.iter().all(|object| !object.is_null()));
        let after = resident();
        assert!(after <= before + 4, "{after} MiB with 2 GiB that nobody touched, {before} before");
        objects.into_iter().for_each(|object| libc::free(object));
    }
}

/// A process that may not have much: what cannot be had is refused, and what was freed can be had again.
pub fn run_with_limit() {
    let limit = libc::rlimit { rlim_cur: 1 << 30, rlim_max: 1 << 30 };
    // SAFETY: the pointer is that of a limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0, "{}", io::Error::last_os_error());
    for size in [100, 5000, 200_000, 30 * MIB] {
        for _ in 0..2 {
            // The list of all lies in the objects, since it must not need memory of its own.
            let mut last = ptr::null_mut::<*mut libc::c_void>();
            let objects = iter::from_fn(|| {
                // SAFETY: any size may be asked for, and each has room for a pointer.
                unsafe {
                    let object = libc::malloc(size).cast::<*mut libc::c_void>();
                    if object.is_null() {
                        return None;
                    }
                    object.write(last.cast());
                    last = object;
                }
                Some(())
            });
            let had = objects.count() * size / MIB;
            let error = io::Error::last_os_error().raw_os_error();
            while !last.is_null() {
                // SAFETY: the object is ours, its first word is the one before, and it is freed once.
                unsafe {
                    let before = last.read();
                    libc::free(last.cast());
                    last = before.cast();
                }
            }
            assert_eq!(error, Some(libc::ENOMEM));
            assert!(had >= 200, "only {had} of 1024 MiB in objects of {size} bytes");
        }
    }
    println!("a process with a limit gets what there is");
}
