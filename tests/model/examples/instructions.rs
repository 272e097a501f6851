//! Counts the instructions of each kind of operation on page frames and on the heap, for the test of the same name: one line
//! for each.
//!
//! The loops are those of `make bench`, so what they cost by themselves is included, and built as there the figures are
//! comparable. They are shorter: each instruction is a step of its own, and takes some microseconds. What leads up to an
//! operation is done at full speed.
#![cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), allow(unused))]

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "instructions/hardening.rs"]
mod hardening;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "instructions/heap.rs"]
mod heap;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "instructions/recorded.rs"]
mod recorded;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[path = "../tests/stepper/mod.rs"]
mod stepper;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    panic!("instructions are counted by Linux on x86_64");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    for (name, steps, operations) in
        linux::figures().into_iter().chain(heap::figures()).chain(recorded::figures()).chain(hardening::figures())
    {
        println!("{name}\t{steps}\t{operations}");
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use super::stepper::{self, Shared};
    use bifolio::frame::{Gfp, Order};
    use model::machine::Turns;
    use workloads::page::{self, BATCH, Mixed};
    use workloads::{Bifolio, FRAMES, PageFrames, Random};

    pub type Frames = Bifolio<Turns>;
    type Block = <Frames as PageFrames>::Block;
    /// What was counted: its name, its instructions, and of how many operations they are.
    pub type Figure = (&'static str, u64, u64);

    /// Operations of each kind that are counted: enough for several refills.
    pub const PAIRS: u64 = 100;
    const ALLOCATIONS: usize = 512;
    const FREES: usize = 256;
    /// Of mixed orders, so many at a time, so many times, and so many that nobody counts before each.
    const MIXED: u64 = 50;
    const TIMES: u64 = 40;
    const BETWEEN: u64 = 20_000;
    const PAGEBLOCKS: usize = 64;

    pub fn figures() -> Vec<Figure> {
        let mut figures = vec![pair(), batch()];
        figures.extend(bulk());
        figures.extend([random_free(), mixed()]);
        figures.extend(order9());
        figures.extend([pair_of_another_mobility(), refill(), remote_free(), drain()]);
        figures
    }

    /// The instructions of `work`, which is done by a copy of this process: nothing is done here.
    pub fn count(work: impl FnOnce()) -> u64 {
        let [whole, ..] = stepper::trace(|| (), |shared| shared.operation(0, work), |_| false);
        whole.steps.into()
    }

    /// As when operations have been going on for a while: a frame is in use, so that nothing merges far.
    pub fn in_use() -> Frames {
        let frames = Frames::new();
        frames.allocate(Order::ZERO, Gfp::KERNEL);
        page::pairs(&frames, 200);
        page::batches(&frames, 8 * BATCH as u64);
        frames
    }

    /// All of memory in blocks of an order, as it comes when everything was allocated before and freed so.
    fn everything(frames: &Frames, order: Order, rearrange: impl Fn(&mut [Block])) -> Vec<Block> {
        let mut blocks = vec![Block::default(); FRAMES >> order.get()];
        let got = page::fill(frames, order, page::ALL, &mut blocks);
        rearrange(&mut blocks[..got]);
        page::free_all(frames, order, &blocks[..got]);
        blocks
    }

    fn shuffle(blocks: &mut [Block]) {
        Random::new(7).shuffle(blocks);
    }

    fn pair() -> Figure {
        let frames = in_use();
        ("pair", count(|| _ = page::pairs(&frames, PAIRS)), PAIRS)
    }

    fn batch() -> Figure {
        let (frames, pairs) = (in_use(), 2 * BATCH as u64);
        ("batch of 64", count(|| _ = page::batches(&frames, pairs)), pairs)
    }

    /// In the middle of all of memory, so that what lies at its ends does not count.
    fn bulk() -> [Figure; 2] {
        let (frames, order) = (Frames::new(), Order::ZERO);
        let mut blocks = everything(&frames, order, |_| ());
        let (before, rest) = blocks.split_at_mut(FRAMES / 2);
        page::fill(&frames, order, page::ALL, before);
        let allocation = count(|| _ = page::fill(&frames, order, page::ALL, &mut rest[..ALLOCATIONS]));
        page::fill(&frames, order, page::ALL, rest);
        page::free_all(&frames, order, before);
        let free = count(|| page::free_all(&frames, order, &rest[..FREES]));
        [("bulk allocation", allocation, ALLOCATIONS as u64), ("bulk free", free, FREES as u64)]
    }

    fn random_free() -> Figure {
        let (frames, order) = (Frames::new(), Order::ZERO);
        let mut blocks = everything(&frames, order, shuffle);
        page::fill(&frames, order, page::ALL, &mut blocks);
        shuffle(&mut blocks);
        let (before, rest) = blocks.split_at(FRAMES / 2);
        page::free_all(&frames, order, before);
        ("random free", count(|| page::free_all(&frames, order, &rest[..FREES])), FREES as u64)
    }

    /// A few operations now and then of a long sequence: how dear they are goes up and down for thousands of them.
    fn mixed() -> Figure {
        let (frames, mut mixed) = (Frames::new(), Mixed::<Frames>::new(11, FRAMES / 2));
        let mut now_and_then = || {
            mixed.churn(&frames, BETWEEN);
            count(|| _ = mixed.churn(&frames, MIXED))
        };
        ("mixed orders", (0..TIMES).map(|_| now_and_then()).sum(), TIMES * MIXED)
    }

    fn order9() -> [Figure; 2] {
        let (frames, order) = (Frames::new(), Order::PAGEBLOCK);
        let mut blocks = everything(&frames, order, |_| ());
        let allocation = count(|| _ = page::fill(&frames, order, page::ALL, &mut blocks[..PAGEBLOCKS]));
        page::fill(&frames, order, page::ALL, &mut blocks);
        let free = count(|| page::free_all(&frames, order, &blocks[..PAGEBLOCKS]));
        [("order 9 allocated", allocation, PAGEBLOCKS as u64), ("order 9 freed", free, PAGEBLOCKS as u64)]
    }

    /// A block of order 10 where all that are free are for other contents, and a quarter of memory was freed in single frames
    /// that no search has looked at.
    fn pair_of_another_mobility() -> Figure {
        let (frames, order) = (Frames::new(), Order::ZERO);
        let mut blocks = vec![Block::default(); FRAMES / 2];
        page::fill(&frames, order, Gfp::KERNEL, &mut blocks);
        shuffle(&mut blocks);
        page::free_all(&frames, order, &blocks[..FRAMES / 4]);
        let allocate = || assert!(frames.allocate(Order::MAX, Gfp::KERNEL).is_some());
        ("order 10 of another mobility", count(allocate), 1)
    }

    /// The dearest of many allocations one after the other, where every other frame is free.
    fn refill() -> Figure {
        let (frames, order) = (Frames::new(), Order::ZERO);
        let mut blocks = everything(&frames, order, |_| ());
        page::fill(&frames, order, page::ALL, &mut blocks);
        shuffle(&mut blocks);
        page::free_all(&frames, order, &blocks[..FRAMES / 2]);
        let allocate = |shared: &Shared| {
            for nth in 0..FREES {
                shared.operation(nth, || frames.allocate(order, Gfp::KERNEL));
            }
        };
        ("refill", dearest(allocate), 1)
    }

    /// The instructions of the dearest of several operations.
    pub fn dearest(operations: impl FnOnce(&Shared)) -> u64 {
        let counts = stepper::trace(|| (), operations, |_| false);
        counts.iter().map(|count| count.steps.into()).max().unwrap_or_default()
    }

    /// What one CPU allocated another frees, in random order.
    fn remote_free() -> Figure {
        let (frames, order) = (Frames::new(), Order::ZERO);
        let mut blocks = everything(&frames, order, shuffle);
        blocks.truncate(FRAMES / 2);
        page::fill(&frames, order, page::ALL, &mut blocks);
        shuffle(&mut blocks);
        Turns::switch_to(1);
        let (before, rest) = blocks.split_at(FRAMES / 4);
        page::free_all(&frames, order, before);
        let steps = count(|| page::free_all(&frames, order, &rest[..FREES]));
        Turns::switch_to(0);
        ("remote free", steps, FREES as u64)
    }

    /// Of two CPUs, each with a few blocks of several orders and contents at hand.
    fn drain() -> Figure {
        let frames = in_use();
        for cpu in [1, 0] {
            Turns::switch_to(cpu);
            for (order, gfp) in (0..4).flat_map(|order| [(order, Gfp::KERNEL), (order, Gfp::KERNEL | Gfp::MOVABLE)]) {
                frames.allocate(Order::new(order).expect("3 is an order"), gfp);
            }
        }
        ("drain", count(|| frames.allocator().drain()), 1)
    }
}
