//! Page allocators that several CPUs use: no frame has two owners, none is lost, and no bad free goes unnoticed.
#![cfg(not(bifolio_loom))]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bifolio::allocator::{BlockState, PageAllocator, PerCpuPages, Plan};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use bifolio::sync::Mutex;
use concurrency::cpus::{Effort, Thread, linger, on_cpus, random};
use concurrency::memory::Memory;
use kit::{Raw, over_numbers};

const CPUS: usize = 3;
/// The first frame of zone Normal.
const FIRST: u64 = 1 << 20;

type Frames<'a> = PageAllocator<'a, Thread>;
type Block = (Pfn, Order);

/// Runs `work` on an allocator of so many frames, with pages for each CPU.
fn with_frames(count: u64, work: impl FnOnce(&Frames<'_>)) {
    let mut regions = [Region { start: FIRST << 12, end: (FIRST + count) << 12, kind: RegionKind::Usable }];
    let plan = Plan::apart(MemoryMap::sanitise(&mut regions).unwrap());
    let mut metadata = vec![!0; plan.metadata_words()];
    let pages = [const { PerCpuPages::new() }; CPUS];
    work(&over_numbers(&plan, &mut metadata, &pages).unwrap());
}

/// Every block; but not its mobility, which a pageblock keeps from what was last taken from it.
fn blocks(frames: &Frames<'_>) -> Vec<(Pfn, Order, BlockState)> {
    let mut blocks = Vec::new();
    frames.for_each_block(ZoneKind::Normal, |block| blocks.push((block.pfn, block.order, block.state)));
    blocks
}

/// Runs `work`, after which everything must be free again and sound.
fn nothing_is_left_by(frames: &Frames<'_>, work: impl FnOnce()) {
    let fresh = blocks(frames);
    work();
    frames.drain();
    frames.validate().unwrap();
    assert_eq!(frames.cached(), 0);
    assert_eq!(blocks(frames), fresh);
}

fn order(order: usize) -> Order {
    Order::new(order as u8).unwrap()
}

/// CPUs that allocate, free, hand blocks to each other, drain and decay.
#[test]
fn no_frame_has_two_owners() {
    let effort = Effort { schedules: 1000, rounds: 1, short: 16, long: 20_000 };
    effort.explore(move || {
        with_frames(1024, |frames| {
            let memory = Memory::new(FIRST, 1024);
            let post = Mutex::<Vec<Block>, Thread>::new("post", Vec::new());
            let free = |(pfn, order): Block| {
                memory.give(pfn, order);
                frames.give(pfn, order).unwrap();
            };
            nothing_is_left_by(frames, || {
                on_cpus(CPUS, |cpu| {
                    let mut held: Vec<Block> = Vec::new();
                    for _ in 0..effort.steps() {
                        match random(12) {
                            0..5 if held.len() < 150 => {
                                let order = order([0, 0, 0, 1, 3, 5][random(6)]);
                                let gfp = [Gfp::KERNEL, Gfp::MOVABLE | Gfp::WAIT][random(2)];
                                if let Ok(pfn) = frames.take(order, gfp | Gfp::NOWARN) {
                                    memory.take(pfn, order, cpu);
                                    held.push((pfn, order));
                                }
                            }
                            5 => post.lock().extend(held.pop()),
                            6 => held.extend({ post.lock() }.pop()),
                            7 if random(4) == 0 => frames.drain(),
                            8 if random(4) == 0 => drop(frames.decay()),
                            _ if !held.is_empty() => free(held.swap_remove(random(held.len()))),
                            _ => {}
                        }
                    }
                    held.into_iter().for_each(free);
                });
                core::mem::take(&mut *post.lock()).into_iter().for_each(free);
            });
            assert_eq!(frames.late_double_frees(), 0);
        });
    });
}

/// One CPU empties the pages of others while they are inside, or are about to be.
#[test]
fn pages_are_emptied_only_while_their_owner_is_outside() {
    let effort = Effort { schedules: 2000, rounds: 1, short: 3, long: 20_000 };
    effort.explore(move || {
        with_frames(256, |frames| {
            let memory = Memory::new(FIRST, 256);
            nothing_is_left_by(frames, || {
                on_cpus(2, |cpu| {
                    for _ in 0..effort.steps() {
                        if cpu == 0 {
                            frames.drain();
                            continue;
                        }
                        let held = [0, 1].map(|_| frames.take(Order::ZERO, Gfp::KERNEL).unwrap());
                        held.iter().for_each(|pfn| memory.take(*pfn, Order::ZERO, cpu));
                        for pfn in held {
                            memory.give(pfn, Order::ZERO);
                            frames.give(pfn, Order::ZERO).unwrap();
                        }
                    }
                });
            });
            assert_eq!(frames.late_double_frees(), 0);
        });
    });
}

/// CPUs that take all of memory between them: a CPU that needs the last frames finds them in the others' pages.
#[test]
fn no_frame_is_missing_where_it_is_needed() {
    let effort = Effort { schedules: 200, rounds: 100, short: 0, long: 0 };
    effort.explore(|| {
        with_frames(192, |frames| {
            let memory = Memory::new(FIRST, 192);
            nothing_is_left_by(frames, || {
                let share = frames.zone(ZoneKind::Normal).managed / CPUS as u64;
                let held: [_; CPUS] = core::array::from_fn(|_| Mutex::<Vec<Pfn>, Thread>::new("share", Vec::new()));
                on_cpus(CPUS, |cpu| {
                    for _ in 0..share {
                        let pfn = frames.take(Order::ZERO, Gfp::MEMALLOC).expect("each CPU has its share");
                        memory.take(pfn, Order::ZERO, cpu);
                        held[cpu].lock().push(pfn);
                    }
                });
                on_cpus(CPUS, |cpu| {
                    // Another's.
                    for pfn in held[(cpu + 1) % CPUS].lock().drain(..) {
                        memory.give(pfn, Order::ZERO);
                        frames.give(pfn, Order::ZERO).unwrap();
                    }
                });
            });
        });
    });
}

/// Two CPUs free one block at the same time, wherever it came from: one of them is told, or else the allocator notices.
#[test]
fn of_two_frees_of_one_block_one_is_noticed() {
    let effort = Effort { schedules: 4000, rounds: 200, short: 0, long: 0 };
    effort.explore(|| {
        with_frames(256, |frames| {
            let given = Mutex::<Vec<Block>, Thread>::new("given", Vec::new());
            let freed = AtomicU64::new(0);
            nothing_is_left_by(frames, || {
                on_cpus(1 + random(CPUS), |_| {
                    let order = order([0, 0, 1][random(3)]);
                    let count = 1 + random(3);
                    let taken = (0..count).map(|_| (frames.take(order, Gfp::KERNEL).unwrap(), order));
                    let taken: Vec<_> = taken.collect();
                    given.lock().extend(taken);
                });
                let given = core::mem::take(&mut *given.lock());
                on_cpus(2, |_| {
                    linger(20);
                    for (pfn, order) in &given {
                        freed.fetch_add(frames.give(*pfn, *order).is_ok().into(), Relaxed);
                    }
                });
                // What was freed into a batch is handed out again, and what the zone has as well.
                let memory = Memory::new(FIRST, 256);
                let take = |cpu: usize, order: Order, gfp| {
                    let pfn = frames.take(order, gfp).ok()?;
                    memory.take(pfn, order, cpu);
                    Some((pfn, order))
                };
                let again = Mutex::<Vec<Block>, Thread>::new("again", Vec::new());
                on_cpus(CPUS, |cpu| {
                    let blocks = [0, 0, 1].map(|nth| take(cpu, order(nth), Gfp::KERNEL));
                    again.lock().extend(blocks.into_iter().flatten());
                });
                again.lock().extend(core::iter::from_fn(|| take(CPUS, Order::ZERO, Gfp::MEMALLOC | Gfp::NOWARN)));
                assert_eq!(freed.load(Relaxed) - frames.late_double_frees(), given.len() as u64);
                core::mem::take(&mut *again.lock())
                    .into_iter()
                    .for_each(|(pfn, order)| frames.give(pfn, order).unwrap());
            });
        });
    });
}

/// A block is split while another CPU frees it: one of the two is too late.
#[test]
fn a_block_is_split_or_freed() {
    let effort = Effort { schedules: 2000, rounds: 200, short: 0, long: 0 };
    effort.explore(|| {
        with_frames(256, |frames| {
            nothing_is_left_by(frames, || {
                let pfn = frames.take(order(4), Gfp::KERNEL).unwrap();
                let done = [0; 2].map(|_| AtomicU64::new(0));
                on_cpus(2, |cpu| {
                    linger(20);
                    let is_done = if cpu == 0 {
                        frames.cut(pfn, order(4), order(3)).is_ok()
                    } else {
                        frames.give(pfn, order(4)).is_ok()
                    };
                    done[cpu].store(is_done.into(), Relaxed);
                });
                let [split, freed] = done.map(AtomicU64::into_inner);
                assert_eq!(split + freed, 1);
                if split == 1 {
                    [0, 8].into_iter().for_each(|nth| frames.give(pfn.offset(nth), order(3)).unwrap());
                }
            });
        });
    });
}

/// What the pages of a CPU have on loan instead of a word, and where, is not what it was.
#[test]
fn a_block_in_use_is_not_taken_for_one_of_a_batch_that_goes_on_to_another_word() {
    let effort = Effort { schedules: 2000, rounds: 1, short: 0, long: 0 };
    effort.explore(|| {
        with_frames(1024, |frames| {
            let held = AtomicU64::new(0);
            on_cpus(1, |_| {
                for nth in 0..63 {
                    let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
                    if nth == 5 {
                        held.store(pfn.number(), Relaxed);
                    }
                }
            });
            let held = Pfn::new(held.load(Relaxed));
            on_cpus(2, |cpu| match cpu {
                0 => (0..3).for_each(|_| _ = frames.take(Order::ZERO, Gfp::KERNEL).unwrap()),
                _ => assert_eq!(frames.order_of(held), Ok(Order::ZERO)),
            });
        });
    });
}
