//! Arenas under real concurrency: threads are CPUs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Barrier, mpsc};

use bifolio::allocator::{BlockState, PageAllocator, PerCpuPages, Plan};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::MemoryMap;
use bifolio::sync::Mutex;
use kit::machine::{metadata, usable};
use kit::{Random, Raw, Sound, Thread, Turns, Watch, over_numbers, scale};

const CPUS: usize = 4;
const FIRST: u64 = 1 << 20;
/// 64 MiB.
const FRAMES: u64 = scale::size(16384, 2048) as u64;
/// What each CPU does.
const OPERATIONS: usize = scale::rounds(60_000);

/// All frames in zone Normal, with an arena for each CPU.
fn allocator() -> PageAllocator<'static, Thread> {
    let mut regions = [usable(FIRST, FIRST + FRAMES)];
    let plan = Plan::new(MemoryMap::sanitise(&mut regions).unwrap()).unwrap();
    let metadata = metadata(plan.metadata_words());
    let arenas: &[PerCpuPages; CPUS] = Box::leak(Box::new([const { PerCpuPages::new() }; CPUS]));
    over_numbers(&plan, metadata, arenas).unwrap()
}

/// Every block; but not its mobility, which a pageblock keeps from what was last taken from it.
fn blocks(frames: &PageAllocator<'_, Thread>) -> Vec<(Pfn, Order, BlockState)> {
    let mut blocks = Vec::new();
    frames.for_each_block(ZoneKind::Normal, |block| blocks.push((block.pfn, block.order, block.state)));
    blocks
}

/// The owner of each frame: a frame that two have at once is found at once.
struct Owners(Vec<AtomicBool>);

impl Owners {
    fn new() -> Self {
        Self((0..FRAMES).map(|_| AtomicBool::new(false)).collect())
    }

    fn each(&self, pfn: Pfn, order: Order) -> &[AtomicBool] {
        let first = (pfn.number() - FIRST) as usize;
        &self.0[first..first + order.frames() as usize]
    }

    fn take(&self, pfn: Pfn, order: Order) {
        assert!(self.each(pfn, order).iter().all(|frame| !frame.swap(true, Relaxed)), "{pfn} was handed out twice");
    }

    fn give(&self, pfn: Pfn, order: Order) {
        assert!(self.each(pfn, order).iter().all(|frame| frame.swap(false, Relaxed)), "{pfn} was not handed out");
    }
}

#[test]
fn no_frame_has_two_owners_while_cpus_allocate_free_hand_over_and_drain() {
    let frames = allocator();
    let fresh = blocks(&frames);
    let owners = Owners::new();
    let operations = AtomicU64::new(0);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..CPUS).map(|_| mpsc::channel::<(Pfn, Order)>()).unzip();
    std::thread::scope(|scope| {
        for (cpu, incoming) in receivers.into_iter().enumerate() {
            let (frames, owners, operations) = (&frames, &owners, &operations);
            let next = senders[(cpu + 1) % CPUS].clone();
            scope.spawn(move || {
                Thread::as_cpu(cpu, || {
                    let mut random = Random::new(0x1234_5678_9abc_def0 + cpu as u64);
                    let mut held = Vec::new();
                    for _ in 0..OPERATIONS {
                        let choice = random.bits();
                        match choice % 16 {
                            0..7 if held.len() < 3000 => {
                                let order = Order::new([0, 0, 0, 0, 0, 0, 1, 3][(choice >> 8) as usize % 8]).unwrap();
                                let gfp = [Gfp::KERNEL, Gfp::MOVABLE | Gfp::WAIT][(choice >> 16) as usize % 2];
                                if let Ok(pfn) = frames.take(order, gfp) {
                                    owners.take(pfn, order);
                                    held.push((pfn, order));
                                }
                            }
                            7..9 if !held.is_empty() => {
                                let nth = (choice >> 8) as usize % held.len();
                                next.send(held.swap_remove(nth)).unwrap();
                            }
                            9 if choice >> 8 & 0x3f == 0 => frames.drain(),
                            _ if !held.is_empty() => {
                                held.extend(incoming.try_iter());
                                let nth = (choice >> 8) as usize % held.len();
                                let (pfn, order) = held.swap_remove(nth);
                                owners.give(pfn, order);
                                frames.give(pfn, order).unwrap();
                            }
                            _ => {}
                        }
                        operations.fetch_add(1, Relaxed);
                    }
                    drop(next);
                    for (pfn, order) in held.into_iter().chain(incoming.try_iter()) {
                        owners.give(pfn, order);
                        frames.give(pfn, order).unwrap();
                    }
                    // What the neighbour still sends.
                    for (pfn, order) in incoming {
                        owners.give(pfn, order);
                        frames.give(pfn, order).unwrap();
                    }
                });
            });
        }
        drop(senders);
    });
    assert_eq!(operations.load(Relaxed), (OPERATIONS * CPUS) as u64);
    frames.drain();
    assert_eq!(frames.cached(), 0);
    assert_eq!(frames.late_double_frees(), 0);
    frames.sound();
    assert_eq!(blocks(&frames), fresh);
}

/// A CPU that stops allocating strands nothing: another gets every last frame.
#[test]
fn what_idle_cpus_hold_is_found_before_anybody_is_refused() {
    let frames = allocator();
    let managed = frames.zone(ZoneKind::Normal).managed;
    let visit = |cpu| {
        Thread::as_cpu(cpu, || {
            for gfp in [Gfp::KERNEL, Gfp::MOVABLE, Gfp::RECLAIMABLE] {
                let held: Vec<Pfn> = (0..5).map(|_| frames.take(Order::ZERO, gfp).unwrap()).collect();
                held.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
            }
        });
    };
    for cpu in 1..CPUS {
        std::thread::scope(|scope| scope.spawn(|| visit(cpu)).join().unwrap());
    }
    assert!(frames.cached() >= 3 * 3 * 60, "the idle CPUs hold {} frames", frames.cached());
    Thread::as_cpu(0, || {
        let mut held = Vec::new();
        while let Ok(pfn) = frames.take(Order::ZERO, Gfp::MEMALLOC) {
            held.push(pfn);
        }
        assert_eq!(held.len() as u64, managed);
        held.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
    });
    // Whole pageblocks too: nothing is left over in anybody's arena to keep them apart.
    let mut count = 0;
    while frames.take(Order::MAX, Gfp::MEMALLOC).is_ok() {
        count += 1;
    }
    assert_eq!(count, FRAMES / Order::MAX.frames() - 1);
}

/// One CPU empties the others' arenas without a pause while they allocate and free.
#[test]
fn an_arena_is_never_emptied_while_its_owner_is_inside() {
    let frames = allocator();
    let owners = Owners::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (frames, owners, done) = (&frames, &owners, &done);
        let owner = scope.spawn(move || {
            Thread::as_cpu(1, || {
                for _ in 0..scale::rounds(300_000) {
                    let held = [Gfp::KERNEL, Gfp::MOVABLE].map(|gfp| frames.take(Order::ZERO, gfp).unwrap());
                    held.iter().for_each(|pfn| owners.take(*pfn, Order::ZERO));
                    held.iter().for_each(|pfn| owners.give(*pfn, Order::ZERO));
                    held.iter().for_each(|pfn| frames.give(*pfn, Order::ZERO).unwrap());
                }
            });
            done.store(true, Relaxed);
        });
        scope.spawn(move || {
            Thread::as_cpu(0, || {
                while !done.load(Relaxed) && !owner.is_finished() {
                    frames.drain();
                }
            });
        });
    });
    frames.drain();
    frames.sound();
    assert_eq!((frames.cached(), frames.late_double_frees()), (0, 0));
}

/// One CPU takes ranges, runs and exact counts, splits and isolates, while the others allocate and free.
#[test]
fn ranges_are_taken_from_under_busy_cpus_and_put_back() {
    let frames = allocator();
    let fresh = blocks(&frames);
    let owners = Owners::new();
    let done = AtomicBool::new(false);
    // Nobody is busy before all are: how soon threads run is the host's affair.
    let busy = Barrier::new(CPUS);
    let (taken, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for cpu in 1..CPUS {
            let (frames, owners, done, busy) = (&frames, &owners, &done, &busy);
            scope.spawn(move || {
                Thread::as_cpu(cpu, || {
                    let mut random = Random::new(0x0dd0_5eed + cpu as u64);
                    let mut held = Vec::new();
                    let mut is_busy = false;
                    while !done.load(Relaxed) {
                        if held.len() == 20 && !is_busy {
                            busy.wait();
                            is_busy = true;
                        }
                        let choice = random.bits();
                        if choice.is_multiple_of(2) && held.len() < 500 {
                            let order = Order::new([0, 0, 0, 1, 2, 3, 4, 6][(choice >> 8) as usize % 8]).unwrap();
                            let gfp = [Gfp::NOWAIT, Gfp::MOVABLE | Gfp::NOWARN][(choice >> 16) as usize % 2];
                            if let Ok(pfn) = frames.take(order, gfp) {
                                owners.take(pfn, order);
                                held.push((pfn, order));
                            }
                        } else if !held.is_empty() {
                            let (pfn, order) = held.swap_remove((choice >> 8) as usize % held.len());
                            owners.give(pfn, order);
                            frames.give(pfn, order).unwrap();
                        }
                    }
                    for (pfn, order) in held {
                        owners.give(pfn, order);
                        frames.give(pfn, order).unwrap();
                    }
                });
            });
        }
        Thread::as_cpu(0, || {
            let mut random = Random::new(0x5eed);
            busy.wait();
            for _ in 0..scale::size(3000, 30) {
                let choice = random.bits();
                let (start, count) = (FIRST + (choice >> 8) % (FRAMES - 384), 1 + (choice >> 40) % 300);
                let range = PfnRange::new(Pfn::new(start), Pfn::new(start + count));
                let range = match choice % 3 {
                    0 => frames.take_range(range, Gfp::NOWAIT).ok().map(|()| range),
                    1 => frames.take_exact(count, Gfp::NOWAIT).ok(),
                    _ => frames.take_contiguous(count, Gfp::NOWAIT).ok(),
                };
                let Some(range) = range else {
                    refused.fetch_add(1, Relaxed);
                    continue;
                };
                taken.fetch_add(1, Relaxed);
                range.blocks().for_each(|(pfn, order)| owners.take(pfn, order));
                let (first, order) = range.blocks().next().unwrap();
                let into = Order::new((choice >> 50) as u8 % (order.get() + 1)).unwrap();
                frames.cut(first, order, into).unwrap();
                range.blocks().for_each(|(pfn, order)| owners.give(pfn, order));
                for nth in 0..order.frames() / into.frames() {
                    frames.give(first.offset(nth * into.frames()), into).unwrap();
                }
                range.blocks().skip(1).for_each(|(pfn, order)| frames.give(pfn, order).unwrap());
            }
            done.store(true, Relaxed);
        });
    });
    let least = scale::rounds(100) as u64;
    assert!(taken.load(Relaxed) > least && refused.load(Relaxed) > 0, "{taken:?} were taken, {refused:?} refused");
    frames.drain();
    frames.sound();
    assert_eq!((frames.cached(), frames.late_double_frees()), (0, 0));
    assert_eq!(frames.zone(ZoneKind::Normal).isolated, 0);
    assert_eq!(blocks(&frames), fresh);
}

/// CPUs that take all of memory between them: a CPU that needs the last frames finds them in the others' arenas, even if
/// another is looking through arenas at that very moment.
#[test]
fn no_frame_is_missing_while_another_cpu_drains() {
    let frames = allocator();
    let share = frames.zone(ZoneKind::Normal).managed / CPUS as u64;
    for _ in 0..scale::rounds(300) {
        let taken: Vec<Vec<Pfn>> = std::thread::scope(|scope| {
            let take = |cpu| {
                let frames = &frames;
                scope.spawn(move || {
                    let take = || frames.take(Order::ZERO, Gfp::MEMALLOC).expect("each CPU has its share");
                    Thread::as_cpu(cpu, || (0..share).map(|_| take()).collect())
                })
            };
            let cpus: [_; CPUS] = std::array::from_fn(take);
            cpus.map(|cpu| cpu.join().unwrap()).into()
        });
        for (cpu, taken) in taken.into_iter().enumerate() {
            Thread::as_cpu(cpu, || taken.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap()));
        }
    }
    frames.drain();
    frames.sound();
}

/// A CPU that waits for a lock does it in its own way.
#[test]
fn who_waits_for_a_lock_relaxes() {
    static RELAXED: AtomicU64 = AtomicU64::new(0);

    struct Patient;

    impl Watch for Patient {
        fn relax() {
            RELAXED.fetch_add(1, Relaxed);
        }
    }

    let lock = Mutex::<u32, Turns<Patient>>::new("number", 0);
    let held = lock.lock();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| *lock.lock() += 1);
        while RELAXED.load(Relaxed) == 0 {
            assert!(!waiting.is_finished(), "the lock was had twice");
            std::thread::yield_now();
        }
        drop(held);
    });
    assert_eq!(*lock.lock(), 1);
}
