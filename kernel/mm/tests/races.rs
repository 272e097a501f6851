//! Threads that free the same blocks at the same time: of all frees of a block one is good, wherever the block lies.
//!
//! A CPU that frees into a batch of its own asks nobody, so two frees of one of its blocks, there and elsewhere, may both be
//! told that they were good. Such a one is counted when the batch's loan ends, with its address, and nothing is handed out
//! twice.
//!
//! `RACES=10000 cargo test -p bifolio --test races` frees so many blocks in all; by default they are a million.

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::memory_map::MemoryMap;
use kit::machine::{metadata, usable};
use kit::{Raw, Sound, Thread, over_numbers};

/// Those that free, and one that lends or drains.
const CPUS: usize = 4;
/// The last CPU, which never frees.
const BYSTANDER: usize = CPUS - 1;
const FIRST: u64 = 1 << 20;
const MILLION: usize = 1_000_000;
const PAGEBLOCK: u64 = Order::PAGEBLOCK.frames();
/// How long a thread waits for others to come as far as it is: not for one that does not run at all.
const PATIENCE: usize = 200;
/// The mobilities that requests have, each of which has batches of its own.
const KINDS: [Gfp; 3] = [Gfp::KERNEL, Gfp::MOVABLE, Gfp::RECLAIMABLE];

type Frames = PageAllocator<'static, Thread>;

fn allocator(frames: u64) -> Frames {
    let mut regions = [usable(FIRST, FIRST + frames)];
    let plan = Plan::apart(MemoryMap::sanitise(&mut regions).unwrap());
    let metadata = metadata(plan.metadata_words());
    let pages: &[PerCpuPages; CPUS] = Box::leak(Box::new([const { PerCpuPages::new() }; CPUS]));
    over_numbers(&plan, metadata, pages).unwrap()
}

/// A block, and how many were told that they freed it.
struct Raced {
    pfn: Pfn,
    order: Order,
    good: AtomicUsize,
}

fn orders(below: u8) -> impl DoubleEndedIterator<Item = Order> {
    (0..below).map(|order| Order::new(order).unwrap())
}

fn take(frames: &Frames, order: Order, gfp: Gfp) -> Raced {
    Raced { pfn: frames.take(order, gfp).unwrap(), order, good: AtomicUsize::new(0) }
}

/// As many blocks of every order, from the zone.
fn from_zone(frames: &Frames) -> Vec<Raced> {
    orders(11).rev().flat_map(|order| (0..48).map(move |_| take(frames, order, Gfp::MOVABLE))).collect()
}

/// Orders that have batches, each of which finds what is worth lending in a pageblock that those before it were lent a word of.
const LENT: [u8; 5] = [3, 4, 2, 1, 0];

/// Everything that the words hold that a CPU's batches have on loan.
fn from_batches(frames: &Frames, cpu: usize) -> Vec<Raced> {
    let refills = || frames.refills(cpu);
    let before = refills();
    let kinds = LENT.into_iter().flat_map(|order| KINDS.map(|kind| (Order::new(order).unwrap(), kind)));
    let words = kinds.flat_map(|(order, kind)| (0..64 >> order.get()).map(move |_| take(frames, order, kind)));
    let blocks = Thread::as_cpu(cpu, || words.collect());
    assert_eq!(refills() - before, 15, "each batch had one loan");
    blocks
}

/// Blocks of pageblocks that are full, no more of an order than one CPU keeps.
fn from_full(frames: &Frames) -> Vec<Raced> {
    let blocks = orders(6).rev().flat_map(|order| (0..15).map(move |_| take(frames, order, Gfp::MOVABLE)));
    blocks.collect()
}

/// Where the blocks lie that are freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In the zone.
    Zone,
    /// In a batch of one of the CPUs that free.
    Own,
    /// In a batch of another CPU.
    Another,
    /// In a batch of one of the CPUs that free, which is emptied meanwhile.
    Drained,
    /// Among what CPUs have freed last, once they are free.
    Recent,
}

impl Place {
    /// The CPU in whose batches the blocks are.
    fn lender(self) -> Option<usize> {
        match self {
            Self::Own | Self::Drained => Some(0),
            Self::Another => Some(BYSTANDER),
            Self::Zone | Self::Recent => None,
        }
    }

    fn blocks(self, frames: &Frames) -> Vec<Raced> {
        match self.lender() {
            Some(cpu) => from_batches(frames, cpu),
            None if self == Self::Zone => from_zone(frames),
            None => from_full(frames),
        }
    }
}

/// Frees all blocks, each on so many CPUs at about the same time.
fn race(frames: &Frames, place: Place, blocks: &[Raced], cpus: usize) {
    let at: [AtomicUsize; CPUS] = Default::default();
    let done = AtomicUsize::new(0);
    let (at, done) = (&at[..cpus], &done);
    std::thread::scope(|scope| {
        for cpu in 0..cpus {
            scope.spawn(move || {
                Thread::as_cpu(cpu, || free_all(frames, blocks, &at[cpu], at));
                done.fetch_add(1, Relaxed);
            });
        }
        if place == Place::Drained {
            await_all(&at[..1], 1, usize::MAX);
            Thread::as_cpu(BYSTANDER, || {
                while done.load(Relaxed) < cpus && at.iter().any(|at| at.load(Relaxed) < blocks.len()) {
                    frames.drain();
                    std::thread::yield_now();
                }
            });
        }
    });
}

fn free_all(frames: &Frames, blocks: &[Raced], own: &AtomicUsize, all: &[AtomicUsize]) {
    for (nth, block) in blocks.iter().enumerate() {
        own.store(nth + 1, Relaxed);
        await_all(all, nth + 1, if nth == 0 { usize::MAX } else { PATIENCE });
        match frames.give(block.pfn, block.order) {
            Ok(()) => _ = block.good.fetch_add(1, Relaxed),
            Err(error) => assert_eq!(error, FreeError::AlreadyFree(block.pfn)),
        }
    }
}

/// Waits until all are at a block; no longer than so many turns.
fn await_all(all: &[AtomicUsize], nth: usize, patience: usize) {
    for turn in 0..patience {
        if all.iter().all(|at| at.load(Relaxed) >= nth) {
            return;
        }
        if turn > PATIENCE { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

/// Blocks that were taken, no frame of which was taken before.
struct Taken {
    blocks: Vec<(Pfn, Order)>,
    frames: Vec<bool>,
}

impl Taken {
    fn new(frames: u64) -> Self {
        Self { blocks: Vec::new(), frames: vec![false; frames as usize] }
    }

    fn add(&mut self, pfn: Pfn, order: Order) {
        let first = (pfn.number() - FIRST) as usize;
        let frames = &mut self.frames[first..first + order.frames() as usize];
        assert!(!frames.contains(&true), "{pfn} of order {order:?} has two owners");
        frames.fill(true);
        self.blocks.push((pfn, order));
    }

    /// Takes what was freed into a batch, unless another CPU freed it too.
    fn add_from_batches(&mut self, frames: &Frames) {
        for (order, kind) in orders(5).flat_map(|order| KINDS.map(|kind| (order, kind))) {
            (0..32 >> order.get()).for_each(|_| self.add(frames.take(order, kind).unwrap(), order));
        }
    }

    /// Takes everything that there is.
    fn add_rest(&mut self, frames: &Frames) {
        for order in orders(11).rev() {
            while let Ok(pfn) = frames.take(order, Gfp::MOVABLE | Gfp::MEMALLOC | Gfp::NOWARN) {
                self.add(pfn, order);
            }
        }
    }

    fn give(self, frames: &Frames) {
        self.blocks.into_iter().for_each(|(pfn, order)| frames.give(pfn, order).unwrap());
    }
}

/// One race of so many CPUs, and all that must hold behind it. How many blocks were freed.
fn round(frames: &Frames, place: Place, cpus: usize) -> usize {
    let managed = frames.zone(ZoneKind::Normal).managed;
    let late = frames.late_double_frees();
    let blocks = place.blocks(frames);
    let mut held = Taken::new(managed);
    if place == Place::Recent {
        // All pageblocks are full then.
        held.add_rest(frames);
    }
    race(frames, place, &blocks, cpus);
    if place == Place::Recent {
        let freed = blocks.iter().map(|block| block.order.frames()).sum();
        assert_eq!(frames.cached(), freed, "all of it is where it was freed last");
    }
    if let Some(cpu) = place.lender() {
        Thread::as_cpu(cpu, || held.add_from_batches(frames));
    }
    frames.drain();
    check_counts(frames, place, &blocks, frames.late_double_frees() - late);
    held.add_rest(frames);
    assert!(!held.frames.contains(&false), "frames are lost");
    held.give(frames);
    frames.drain();
    frames.sound();
    assert_eq!((frames.zone(ZoneKind::Normal).free, frames.cached()), (managed, 0));
    blocks.len()
}

/// Of the frees of a block one was good, but for those that were found late.
fn check_counts(frames: &Frames, place: Place, blocks: &[Raced], late: u64) {
    let twice: Vec<Pfn> = blocks.iter().filter(|block| block.good.load(Relaxed) == 2).map(|block| block.pfn).collect();
    assert!(blocks.iter().all(|block| (1..=2).contains(&block.good.load(Relaxed))));
    assert_eq!(twice.len() as u64, late, "{place:?}");
    if late > 0 {
        assert!(matches!(place, Place::Own | Place::Drained), "{twice:?} found late in {place:?}");
        let latest = frames.latest_double_free().unwrap();
        assert!(twice.contains(&latest), "{latest} was not freed twice, but {twice:?}");
    }
}

/// Races until so many blocks were freed twice, and as many three times: of a million in all.
fn races(place: Place, pageblocks: u64, blocks: usize) {
    let all = env::var("RACES").map_or(MILLION, |races| races.parse().expect("RACES is a number"));
    let blocks = (blocks * all).div_ceil(MILLION);
    let frames = allocator(pageblocks * PAGEBLOCK);
    for cpus in [2, 3] {
        let mut raced = 0;
        while raced < blocks {
            raced += round(&frames, place, cpus);
        }
    }
    let late = frames.late_double_frees();
    println!("{place:?}: {blocks} blocks freed twice, and as many three times; of those {late} found late");
}

#[test]
fn of_frees_of_one_block_of_any_order_one_is_good() {
    races(Place::Zone, 256, 270_000);
}

#[test]
fn of_frees_of_a_block_of_a_batch_one_is_good_or_found_late() {
    races(Place::Own, 8, 70_000);
}

#[test]
fn of_frees_of_a_block_of_another_cpus_batch_one_is_good() {
    races(Place::Another, 8, 70_000);
}

#[test]
fn of_frees_into_a_batch_that_is_emptied_one_is_good_or_found_late() {
    races(Place::Drained, 8, 40_000);
}

#[test]
fn of_frees_of_a_block_that_is_kept_for_reuse_one_is_good() {
    races(Place::Recent, 8, 50_000);
}
