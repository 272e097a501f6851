//! The owner's path through an arena takes no lock and no atomic read-modify-write: shown by a count.
//!
//! Every instruction of an operation is looked at before it is executed. A locked one has a `lock` prefix, or is an exchange
//! with memory, which locks without being told to. Taking a spin lock is one of them at least, so their number is an upper
//! bound of the number of locks; that is counted beside it, by the processor's hook for it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod stepper;

use std::alloc::Layout;
use std::cell::Cell;
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use bifolio::allocator::{Cpu, PageAllocator};
use bifolio::frame::{Block, Gfp, Order, Pfn, PfnRange};
use bifolio::heap::{Heap, SizeClass};
use bifolio::sync::{Acquire, Lock};
use kit::{Raw, Watch};
use model::heap::pages::{Memory, Pages};
use model::machine::{Turns, allocator_apart};
use stepper::{Count, Shared};

/// The first frame of zone Normal, where the memory lies.
const FIRST: u64 = 1 << 20;
/// Frames of it.
const FRAMES: u64 = 1 << 15;
/// Where the metadata lies, far away.
const METADATA: Pfn = Pfn::new(1 << 36);
/// Blocks that are allocated before the first is freed, where they are to stay in one run of an arena.
const BATCH: usize = 16;
/// Pairs, and batches of them, of one size.
const PAIRS: usize = 20;
const BATCHES: usize = 3;
/// Frames of a bulk operation.
const BULK: usize = 512;
/// The most locked instructions of a bulk operation, one for so many frames.
const PER_LOCKED: u32 = 32;

/// Whether the instruction that starts here locks the bus, or would have in its day.
///
/// # Safety
/// It is an instruction, all of it readable.
unsafe fn is_locked(instruction: *const u8) -> bool {
    // SAFETY: an instruction has its opcode behind its prefixes, and one that takes a memory operand a byte that says so.
    let byte = |place: usize| unsafe { instruction.add(place).read() };
    let mut at = 0;
    loop {
        match byte(at) {
            0xf0 => return true,
            // Segments, sizes, repetitions, and the one for 64 bits, which comes last.
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf2 | 0xf3 | 0x40..=0x4f => at += 1,
            // An exchange is with memory unless it names two registers.
            0x86 | 0x87 => return byte(at + 1) >> 6 != 3,
            _ => return false,
        }
    }
}

/// Does `prepare` and then the operations of `body`; what each came to, by its number. Locked instructions are picked.
fn count<const N: usize>(prepare: impl FnOnce(), body: impl FnOnce(&Shared)) -> [Count; N] {
    // SAFETY: `trace` asks of what the processor executes next: a whole instruction, in memory that it can read.
    let counts = stepper::trace(prepare, body, |instruction| unsafe { is_locked(instruction) });
    std::array::from_fn(|number| counts[number])
}

fn frames<C: Cpu>() -> PageAllocator<'static, C> {
    let memory = PfnRange::new(Pfn::new(FIRST), Pfn::new(FIRST + FRAMES));
    allocator_apart(&[memory], METADATA, 2)
}

/// Nothing is there unless the count sees what it is to see.
#[test]
fn locked_instructions_are_seen() {
    let word = AtomicU64::new(0);
    let [plain, locked] = count(
        || {},
        |shared| {
            let word = black_box(&word);
            shared.operation(0, || {
                word.store(1, Relaxed);
                black_box(word.load(SeqCst));
            });
            shared.operation(1, || {
                word.fetch_add(1, Relaxed);
                black_box(word.swap(1, Relaxed));
                black_box(word.compare_exchange(1, 2, Relaxed, Relaxed).is_ok());
                word.store(3, SeqCst);
            });
        },
    );
    assert_eq!((plain.picked, locked.picked), (0, 4));
}

#[test]
fn pairs_in_an_arena_lock_nothing() {
    for (order, mobility) in
        (0..4).flat_map(|order| [(order, Gfp::KERNEL), (order, Gfp::MOVABLE | Gfp::WAIT), (order, Gfp::ATOMIC)])
    {
        let (frames, order) = (frames::<Turns>(), Order::new(order).unwrap());
        // One of a word's blocks is in use throughout, and the others are for the batch.
        let batch = BATCH.min(32 >> order.get());
        let [pairs, batches] = count(
            || {
                frames.take(order, mobility).ok();
            },
            |shared| {
                shared.operation(0, || {
                    for _ in 0..PAIRS {
                        let pfn = frames.take(order, mobility).ok();
                        pfn.map(|pfn| frames.give(black_box(pfn), order));
                    }
                });
                let mut held = [None; BATCH];
                shared.operation(1, || {
                    for _ in 0..BATCHES {
                        held[..batch].fill_with(|| frames.take(order, mobility).ok());
                        held.iter_mut().for_each(|slot| _ = slot.take().map(|pfn| frames.give(pfn, order)));
                    }
                });
            },
        );
        println!("order {order}, {mobility:?}: {PAIRS} pairs {pairs:?}, {} in batches {batches:?}", batch * BATCHES);
        assert!(pairs.steps > 100 && batches.steps > 100, "something was done");
        assert_eq!((pairs.picked, batches.picked), (0, 0), "order {order}, {mobility:?}");
    }
}

#[test]
fn pairs_of_objects_lock_nothing() {
    Memory::new(8 << 20).with_pages(1, |pages| count_pairs_of_objects(&Box::new(Heap::new(pages))));
}

fn count_pairs_of_objects(heap: &Heap<Pages<'_>, Turns>) {
    for class in SizeClass::all() {
        let layout = Layout::from_size_align(class.size(), 8).unwrap();
        // The first has a slab come, in which there is room for a few more of the largest size.
        let batch = (16384 / class.size()).clamp(3, BATCH);
        let [pairs, unsized_pairs, batches] = count(
            || {
                heap.allocate(layout);
            },
            |shared| {
                shared.operation(0, || {
                    for _ in 0..PAIRS {
                        if let Some(object) = heap.allocate(layout) {
                            // SAFETY: it was allocated so, and nobody uses it.
                            unsafe { heap.free(black_box(object), layout) }.ok();
                        }
                    }
                });
                shared.operation(1, || {
                    for _ in 0..PAIRS {
                        if let Some(object) = heap.allocate(layout) {
                            // SAFETY: as before.
                            unsafe { heap.free_unsized(black_box(object)) }.ok();
                        }
                    }
                });
                shared.operation(2, || {
                    for _ in 0..BATCHES {
                        let mut held: [Option<NonNull<u8>>; BATCH] = [None; BATCH];
                        held[..batch].fill_with(|| heap.allocate(layout));
                        for object in held.into_iter().flatten() {
                            // SAFETY: as before.
                            unsafe { heap.free(object, layout) }.ok();
                        }
                    }
                });
            },
        );
        println!(
            "{}: {PAIRS} pairs {pairs:?}, {unsized_pairs:?}, {} in batches {batches:?}",
            class.name(),
            batch * BATCHES
        );
        assert!(pairs.steps > 100 && unsized_pairs.steps > 100 && batches.steps > 100, "something was done");
        assert_eq!((pairs.picked, unsized_pairs.picked, batches.picked), (0, 0, 0), "{}", class.name());
    }
}

/// What comes from the zones and goes back to them takes their locks, once for many frames.
#[test]
fn bulk_locks_once_for_many_frames() {
    let frames = frames::<Turns>();
    let (mut slots, mut singles) = ([const { None }; BULK], [const { None }; BULK]);
    let names = ["allocate_bulk", "free_bulk", "allocate", "free", "free_bulk, shuffled"];
    let counts: [Count; 5] = count(
        || {},
        |shared| {
            shared.operation(0, || frames.allocate_bulk(&mut slots, Gfp::KERNEL)).ok();
            shared.operation(1, || frames.free_bulk(&mut slots)).ok();
            shared.operation(2, || singles.fill_with(|| frames.allocate(Order::ZERO, Gfp::KERNEL).ok()));
            shared.operation(3, || {
                singles.iter_mut().for_each(|slot| _ = slot.take().map(|block| frames.free(block)));
            });
            frames.allocate_bulk(&mut slots, Gfp::KERNEL).ok();
            // Each behind one of a word far away.
            let mut shuffled = [const { None }; BULK];
            for (nth, slot) in slots.into_iter().enumerate() {
                shuffled[nth * 419 % BULK] = slot;
            }
            shared.operation(4, || frames.free_bulk(&mut shuffled)).ok();
        },
    );
    for (name, count) in names.into_iter().zip(counts) {
        println!("{name}: {count:?}, one locked for {} frames", BULK as u32 / count.picked.max(1));
    }
    for (name, count) in names.into_iter().zip(counts) {
        assert!(count.steps > BULK as u32, "{name} did something");
        let words = BULK as u32 / 64;
        let most = match name {
            // Each is a swap of its pageblock's header; now and then the zone's lock or the list of pageblocks to look at.
            "free" => BULK as u32 + BULK as u32 / 16,
            "free_bulk" => BULK as u32 / PER_LOCKED,
            // They are of two pageblocks by turns, each of which becomes one to look at.
            "free_bulk, shuffled" => 2 * words + 2,
            // A refill takes the zone's lock, and those of the pageblock that the word is of and of the one before it. Two
            // pageblocks are split, each of which goes into the list of those to look at, comes out of it and is locked.
            _ => 3 * words + 2 * 3,
        };
        assert!(count.picked <= most, "{name}: {count:?} of {BULK} frames");
    }
}

thread_local! {
    static ACQUIRED: Cell<u64> = const { Cell::new(0) };
}

/// Counts the locks that a processor takes.
struct Counting;

impl Watch for Counting {
    fn acquire(_: &Lock, _: Acquire) {
        ACQUIRED.set(ACQUIRED.get() + 1);
    }
}

/// How many locks it takes.
fn acquisitions(work: impl FnOnce()) -> u64 {
    let before = ACQUIRED.get();
    work();
    ACQUIRED.get() - before
}

#[test]
fn what_takes_locks_says_so() {
    let frames = frames::<Turns<Counting>>();
    assert_eq!(acquisitions(|| _ = frames.take(Order::ZERO, Gfp::KERNEL)), 1, "the arena's first word");
    let pairs = acquisitions(|| {
        for _ in 0..1000 {
            frames.give(frames.take(Order::ZERO, Gfp::KERNEL).unwrap(), Order::ZERO).unwrap();
        }
    });
    assert_eq!(pairs, 0);

    let count = FRAMES * 3 / 4;
    let mut slots: Vec<Option<Block>> = (0..count).map(|_| None).collect();
    let allocated = acquisitions(|| assert_eq!(frames.allocate_bulk(&mut slots, Gfp::KERNEL), Ok(count as usize)));
    let freed = acquisitions(|| frames.free_bulk(&mut slots).unwrap());
    let allocated_singly =
        acquisitions(|| slots.fill_with(|| Some(frames.allocate(Order::ZERO, Gfp::KERNEL).unwrap())));
    let freed_singly = acquisitions(|| {
        slots.iter_mut().for_each(|slot| frames.free(slot.take().unwrap()).unwrap());
    });
    for (name, locks) in [
        ("allocate_bulk", allocated),
        ("free_bulk", freed),
        ("allocate", allocated_singly),
        ("free, in the order of allocation", freed_singly),
    ] {
        println!("{name}: {locks} locks for {count} frames, one for {}", count / locks.max(1));
        assert!(locks > 0, "{name}: the zone knows of nothing");
        assert!(locks * u64::from(PER_LOCKED) <= count, "{name}: {locks} locks for {count} frames");
    }
}
