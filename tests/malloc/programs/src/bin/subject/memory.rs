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

/// As many of these sizes, by turns, as there is memory for; how many bytes that is. They are not freed.
fn fill(sizes: impl Iterator<Item = usize>) -> usize {
    // An allocation that nobody looks at need not be made, to a compiler that knows `malloc`.
    // SAFETY: any size may be asked for.
    sizes.take_while(|size| !std::hint::black_box(unsafe { libc::malloc(*size) }).is_null()).sum()
}

/// A process that was started with an address space of 60 MB.
pub fn run_in_little() {
    // It has its buffer from the first use on; there is no memory for one afterwards.
    drop(io::stdout());
    let had = fill(iter::repeat(1000));
    assert!(had >= 20 * MIB, "only {} MiB of 58", had / MIB);
    println!("a small process gets what there is");
}

/// A process that was started with an address space of 1 GB.
pub fn run_in_some() {
    let mut random = Random::new(1);
    let had = fill(iter::repeat_with(|| 20_000 + random.below(280_000)));
    assert!(had >= 900 * MIB, "only {} MiB of 976", had / MIB);
    println!("large objects get what there is");
}

/// Large objects by turns, of which each is freed soon: their memory is used again, and what is kept of it goes back.
pub fn run_large() {
    let faults = || {
        // SAFETY: all zeros are a usage, and the pointer is that of one.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
            usage.ru_minflt as usize
        }
    };
    let (mut random, mut pages) = (Random::new(2), 0);
    let mut held: Vec<Option<Filled>> = (0..20).map(|_| None).collect();
    let mut before = 0;
    for turn in 0..220 {
        if turn == 20 {
            before = faults();
        }
        let place = random.below(held.len());
        held[place] = None;
        let size = 5 * MIB + random.below(MIB);
        pages += if turn < 20 { 0 } else { size / 4096 };
        held[place] = Some(Filled::new(size, turn as u8));
    }
    let after = faults() - before;
    assert!(after < pages / 4, "{after} page faults for {pages} pages that were used before");
    drop(held);
    let kept = resident();
    // SAFETY: the call takes no pointer.
    assert_eq!(unsafe { libc::malloc_trim(0) }, 1);
    assert!(resident() + 4 < kept, "{} MiB after a trim, {kept} before", resident());
    println!("large objects use memory again");
}
