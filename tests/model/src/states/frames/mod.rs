//! Page frames of a machine of a shape: what can be done with them, and what must hold whatever was done.
//!
//! A state is all that the allocator does next depends on: every word of its metadata, its zones and its CPUs' pages, as
//! [`hash_of_state`](bifolio::allocator::View::hash_of_state) has it, and which blocks are allocated.

mod memory;
mod shapes;

use std::collections::BTreeSet;

use bifolio::allocator::{BlockState, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::oracle::range_blocks;
use kit::{Raw, Turns};

use super::States;
use memory::{Difference, Frames, Memory};
pub use shapes::{SHAPES, Shape};

/// A block: its first frame and its order.
type Held = (u64, u8);

/// What can be done, by a CPU. Blocks are named by their number among those that are allocated, by address.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// Asks for a block of an order.
    Allocate(u8, Gfp),
    /// Asks for a count of frames.
    AllocateExact(u64, Gfp),
    /// Asks for a range as it is: its first frame, and the one behind it.
    AllocateRange(u64, u64),
    /// Frees a block.
    Free(usize),
    /// Makes a block two.
    Split(usize),
    /// Makes a block a range of so many frames.
    Resize(usize, u64),
    /// Isolates the pageblock of a frame.
    Isolate(u64),
    /// Ends that.
    Unisolate(u64),
    /// Adds a range.
    Add(u64, u64),
    /// Empties all CPUs' pages.
    Drain,
    /// Empties a CPU's pages if they were not used since this was last done.
    Decay,
}

/// An operation, and the CPU that does it.
pub type Step = (u8, Operation);

/// The state of a machine, as far as it is not that of the first one.
pub struct State {
    words: Difference,
    held: Box<[Held]>,
    added: u8,
}

/// A machine, in one of its states.
pub struct Machine {
    shape: &'static Shape,
    memory: Memory,
    first: Box<[u64]>,
    /// The allocated blocks.
    held: Vec<Held>,
    /// Which ranges were added, a bit for each.
    added: u8,
}

fn order(order: u8) -> Order {
    Order::new(order).expect("shapes have orders that there are")
}

fn range(start: u64, end: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(end))
}

/// The largest blocks that make up a range, all of one zone.
fn pieces(range: PfnRange) -> impl Iterator<Item = Held> {
    range_blocks(range).into_iter().map(|(pfn, order)| (pfn.number(), order.get()))
}

impl Machine {
    /// A machine of this shape, as it is at first.
    pub fn new(shape: &'static Shape) -> Self {
        let region = |kind: RegionKind| {
            move |&(start, end): &(u64, u64)| Region { start: start * FRAME_SIZE, end: end * FRAME_SIZE, kind }
        };
        let usable = shape.usable.iter().map(region(RegionKind::Usable));
        let later = shape.later.iter().map(region(RegionKind::AcpiReclaimable));
        let mut map: Vec<Region> = usable.chain(later).collect();
        let plan = Plan::apart(MemoryMap::sanitise(&mut map).expect("the map is sound"));
        let mut memory = Memory::new(&plan, shape.cpus);
        let first = memory.image();
        Self { shape, memory, first, held: Vec::new(), added: 0 }
    }

    fn frames(&self) -> &Frames {
        self.memory.frames()
    }

    /// Takes note of blocks that were allocated, none of which may be part of another.
    fn hold(&mut self, blocks: impl IntoIterator<Item = Held>) {
        for (pfn, o) in blocks {
            let overlaps = |&(start, order): &Held| start < pfn + (1 << o) && pfn < start + (1 << order);
            assert!(!self.held.iter().any(overlaps), "the block of order {o} at {pfn:#x} was handed out twice");
            assert!(pfn.is_multiple_of(1 << o), "the block of order {o} at {pfn:#x} is not aligned");
            self.held.push((pfn, o));
        }
        self.held.sort_unstable();
    }

    /// A request that was refused could have taken all there is. So there is no such block, but for those that are isolated; the CPUs' pages are
    /// empty, since they were asked last.
    fn check_refusal(&self, o: u8, gfp: Gfp) {
        assert_eq!(self.frames().cached(), 0, "an order of {o} was refused, and CPUs hold free frames");
        let highest = gfp.highest_zone().expect("no shape has flags that contradict each other");
        for kind in ZoneKind::ALL.into_iter().filter(|kind| *kind <= highest) {
            self.frames().for_each_block(kind, |block| {
                let would_do = block.state == BlockState::Free && block.order >= order(o);
                let is_isolated = block.mobility == bifolio::frame::Mobility::Isolate;
                assert!(!would_do || is_isolated, "an order of {o} was refused, and {block:?} is free");
            });
        }
    }

    /// All blocks, as the allocator shows them.
    fn blocks(&self) -> Vec<(u64, u8, BlockState)> {
        let mut blocks = Vec::new();
        for kind in ZoneKind::ALL {
            self.frames().for_each_block(kind, |block| {
                if block.state != BlockState::Reserved {
                    blocks.push((block.pfn.number(), block.order.get(), block.state));
                }
            });
        }
        blocks
    }

    /// The ranges that are the allocator's now.
    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let added = (0..).zip(self.shape.later).filter(|(nth, _)| self.added >> nth & 1 == 1).map(|(_, range)| *range);
        self.shape.usable.iter().copied().chain(added)
    }

    /// No bad free is taken for a good one, on any CPU, and none changes anything, but for which words a search looks at once more.
    fn check_bad_frees(&self, blocks: &[(u64, u8, BlockState)]) {
        let frames = self.frames();
        let refuse = |pfn, order, error| assert_eq!(frames.give(pfn, order), Err(error));
        for cpu in 0..self.shape.cpus.max(1) {
            Turns::switch_to(cpu);
            for &(number, o, state) in blocks {
                let (pfn, actual) = (Pfn::new(number), order(o));
                if state != BlockState::Allocated {
                    refuse(pfn, actual, FreeError::AlreadyFree(pfn));
                    continue;
                }
                let given = order(if o == 0 { 1 } else { o - 1 });
                refuse(pfn, given, FreeError::WrongOrder { pfn, given, actual });
                if o > 0 {
                    let inside = pfn.offset(actual.frames() - 1);
                    refuse(inside, Order::ZERO, FreeError::Interior { pfn: inside, head: pfn, order: actual });
                }
            }
        }
        assert_eq!(frames.validate(), Ok(()));
        assert_eq!(self.blocks(), blocks, "a bad free has changed something");
    }

    /// Frees everything, by all CPUs in turn.
    fn take_down(&mut self) {
        let frames = self.memory.frames();
        for (nth, (pfn, o)) in self.held.drain(..).enumerate() {
            Turns::switch_to(nth % self.shape.cpus.max(1));
            assert_eq!(frames.give(Pfn::new(pfn), order(o)), Ok(()));
        }
        self.shape.isolated.iter().for_each(|pfn| assert_eq!(frames.unisolate(range(*pfn, pfn + 1)), Ok(())));
        frames.drain();
        assert_eq!((frames.validate(), frames.cached(), frames.late_double_frees()), (Ok(()), 0, 0));
        let frames: BTreeSet<u64> = self.ranges().flat_map(|(start, end)| start..end).collect();
        let mut whole = Vec::new();
        for frame in frames {
            match whole.last_mut() {
                Some((_, end)) if *end == frame && frame != 1 << 20 => *end += 1,
                _ => whole.push((frame, frame + 1)),
            }
        }
        let whole = whole.into_iter().flat_map(|(start, end)| pieces(range(start, end)));
        let whole: Vec<_> = whole.map(|(pfn, order)| (pfn, order, BlockState::Free)).collect();
        assert_eq!(self.blocks(), whole, "all was freed, and is not whole");
    }
}

impl States for Machine {
    type Step = Step;
    type State = State;

    fn key(&self) -> u64 {
        let held = self.held.iter().fold(u64::from(self.added), |hash, (pfn, order)| {
            (hash.rotate_left(7) ^ pfn << 4 ^ u64::from(*order)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        self.frames().hash_of_state() ^ held
    }

    fn state(&mut self) -> State {
        let words = self.memory.difference(&self.first);
        State { words, held: self.held.clone().into(), added: self.added }
    }

    fn return_to(&mut self, state: &State) {
        self.memory.restore(&self.first, &state.words);
        self.held.clear();
        self.held.extend_from_slice(&state.held);
        self.added = state.added;
    }

    fn steps(&self) -> Vec<Step> {
        let shape = self.shape;
        let mut all = Vec::new();
        let by_each_cpu = 0..shape.cpus.max(1) as u8;
        for cpu in by_each_cpu {
            if self.held.len() < shape.most {
                let orders = shape.orders.0..=shape.orders.1;
                let requests = orders.flat_map(|order| shape.gfps.iter().map(move |gfp| (order, *gfp)));
                all.extend(requests.map(|(order, gfp)| (cpu, Operation::Allocate(order, gfp))));
            }
            all.extend((0..self.held.len()).map(|nth| (cpu, Operation::Free(nth))));
            if shape.cpus > 0 {
                all.push((cpu, Operation::Decay));
            }
        }
        if shape.cpus > 0 {
            all.push((0, Operation::Drain));
        }
        let mut once = |operation| all.push((0, operation));
        for &pfn in shape.isolated {
            once(Operation::Isolate(pfn));
            once(Operation::Unisolate(pfn));
        }
        let may_have_more = self.held.len() < shape.most;
        shape
            .ranges
            .iter()
            .filter(|_| may_have_more)
            .for_each(|&(start, end)| once(Operation::AllocateRange(start, end)));
        for &frames in shape.counts {
            shape.gfps.iter().filter(|_| may_have_more).for_each(|gfp| once(Operation::AllocateExact(frames, *gfp)));
            (0..self.held.len()).for_each(|nth| once(Operation::Resize(nth, frames)));
        }
        if !shape.counts.is_empty() {
            let splits = (0..self.held.len()).filter(|nth| self.held[*nth].1 > shape.orders.0);
            splits.for_each(|nth| once(Operation::Split(nth)));
        }
        let not_added = (0..shape.later.len()).filter(|nth| self.added >> nth & 1 == 0);
        not_added.for_each(|nth| once(Operation::Add(shape.later[nth].0, shape.later[nth].1)));
        all
    }

    /// Does it. What is taken for allocated afterwards is compared with what the allocator says in [`check`](Self::check).
    fn go(&mut self, (cpu, operation): Step) {
        Turns::switch_to(cpu.into());
        let frames = self.memory.frames();
        match operation {
            Operation::Allocate(o, gfp) => match frames.take(order(o), gfp) {
                Ok(pfn) => self.hold([(pfn.number(), o)]),
                Err(_) => self.check_refusal(o, gfp),
            },
            Operation::AllocateExact(count, gfp) => {
                if let Ok(range) = frames.take_exact(count, gfp) {
                    assert_eq!(range.frames(), count);
                    self.hold(pieces(range));
                }
            }
            Operation::AllocateRange(start, end) => {
                if frames.take_range(range(start, end), self.shape.gfps[0]).is_ok() {
                    self.hold(pieces(range(start, end)));
                }
            }
            Operation::Free(nth) => {
                let (pfn, o) = self.held.remove(nth);
                assert_eq!(frames.give(Pfn::new(pfn), order(o)), Ok(()));
            }
            Operation::Split(nth) => {
                let (pfn, o) = self.held.remove(nth);
                assert_eq!(frames.cut(Pfn::new(pfn), order(o), order(o - 1)), Ok(()));
                self.hold([(pfn, o - 1), (pfn + (1 << (o - 1)), o - 1)]);
            }
            Operation::Resize(nth, count) => {
                let (pfn, o) = self.held[nth];
                if frames.regrow(range(pfn, pfn + (1 << o)), count, self.shape.gfps[0]).is_ok() {
                    self.held.remove(nth);
                    self.hold(pieces(range(pfn, pfn + count)));
                }
            }
            Operation::Isolate(pfn) => _ = frames.isolate(range(pfn, pfn + 1)),
            Operation::Unisolate(pfn) => assert_eq!(frames.unisolate(range(pfn, pfn + 1)), Ok(())),
            Operation::Add(start, end) => {
                assert_eq!(frames.give_more(range(start, end)), Ok(()));
                let nth = self.shape.later.iter().position(|later| later.0 == start).expect("it is one of them");
                self.added |= 1 << nth;
            }
            Operation::Drain => frames.drain(),
            Operation::Decay => _ = frames.decay(),
        }
    }

    /// In the end all is freed, and must be as whole as it was at first.
    fn check(&mut self) {
        assert_eq!(self.frames().validate(), Ok(()));
        let blocks = self.blocks();
        let allocated = blocks.iter().filter(|block| block.2 == BlockState::Allocated).map(|block| (block.0, block.1));
        assert!(allocated.eq(self.held.iter().copied()), "{:x?} are held of {blocks:x?}", self.held);
        self.check_bad_frees(&blocks);
        let zones = ZoneKind::ALL.map(|kind| self.frames().zone(kind));
        let free: u64 = zones.iter().map(|zone| zone.free + zone.isolated).sum();
        let held: u64 = self.held.iter().map(|block| 1 << block.1).sum();
        let all: u64 = self.ranges().map(|(start, end)| end - start).sum();
        assert_eq!(free + self.frames().cached() + held, all, "frames are missing, or too many");
        assert_eq!(zones.iter().map(|zone| zone.managed).sum::<u64>(), all);
        self.take_down();
    }
}
