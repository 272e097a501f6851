//! Every sequence of operations on small zones: every state that they can lead to is visited, and each step between two.
//!
//! How many states there must be follows from counting alone. An aligned region of order 0, one frame, is free or
//! allocated: two states. A region of order *k* is one allocated block, or whatever its two halves are; that both halves
//! are wholly free is the state "free as a whole". So there are `S(k) = S(k - 1)^2 + 1` states: 2, 5, 26, 677, 458,330. A
//! region that is not aligned has the product of those of its aligned parts, since no block reaches over their bounds.
//! The same numbers come up whatever order the smallest block has.

use std::collections::{BTreeMap, HashSet};

use bifolio::allocator::{AllocError, BlockState, PageAllocator};
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use kit::Raw;
use kit::oracle::range_blocks;
use model::machine::{Turns, allocator_apart};

type Frames = PageAllocator<'static, Turns>;
/// A block: first frame, order, state.
type Seen = (u64, u8, BlockState);
/// The allocated blocks: by first frame, the order.
type Allocated = BTreeMap<u64, u8>;

/// The first frame of zone Normal: the regions lie in pageblocks with nothing else.
const FIRST: u64 = 1 << 20;
/// Where the metadata lies, far away.
const METADATA: Pfn = Pfn::new(1 << 30);
/// Pageblocks have this mobility from the start, so that requests find what they look for and retype nothing.
const GFP: Gfp = Gfp::MOVABLE.union(Gfp::MEMALLOC);

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn range(start: u64, frames: u64) -> PfnRange {
    PfnRange::new(Pfn::new(start), Pfn::new(start + frames))
}

/// How many states an aligned region has that is as large as a block of `order`, if no block is smaller than `smallest`.
fn states_of_aligned(order: u8, smallest: u8) -> u64 {
    match order.checked_sub(smallest) {
        None => 1,
        Some(0) => 2,
        Some(_) => states_of_aligned(order - 1, smallest).pow(2) + 1,
    }
}

/// How many states a region has.
fn states_of(start: u64, frames: u64, smallest: u8) -> u64 {
    range_blocks(range(start, frames)).into_iter().map(|(_, order)| states_of_aligned(order.get(), smallest)).product()
}

/// What the allocator must hold in a state: the allocated blocks, and between them the largest free ones there can be.
fn must_hold(start: u64, frames: u64, allocated: &Allocated) -> Vec<Seen> {
    let mut blocks = Vec::with_capacity(32);
    let mut at = start;
    let ends = allocated.iter().map(|(pfn, order)| (*pfn, Some(*order))).chain([(start + frames, None)]);
    for (end, block) in ends {
        while at < end {
            let order = at.trailing_zeros().min((end - at).ilog2()).min(Order::MAX.get().into()) as u8;
            blocks.push((at, order, BlockState::Free));
            at += 1 << order;
        }
        if let Some(order) = block {
            blocks.push((end, order, BlockState::Allocated));
            at = end + (1 << order);
        }
    }
    blocks
}

/// Where a block of order `o` goes: into the pageblock whose largest free block is the smallest that suffices; there, if
/// it is smaller than a word, into the word of which the same can be said; and there into the smallest block that
/// suffices. Among equals it is the lowest.
fn placement(blocks: &[Seen], o: u8) -> Option<u64> {
    const WORD: u8 = 6;
    // Of the pieces of the order `size`, the lowest of those whose largest block is the smallest that suffices.
    let tightest = |blocks: &[(u64, u8)], size: u8| -> Vec<(u64, u8)> {
        let piece = |block: &(u64, u8)| block.0 >> size;
        let pieces = blocks.chunk_by(|one, other| piece(one) == piece(other));
        let largest = |piece: &&[(u64, u8)]| piece.iter().map(|block| block.1).max();
        pieces.filter(|piece| largest(piece) >= Some(o)).min_by_key(largest).unwrap_or_default().to_vec()
    };
    let free: Vec<(u64, u8)> = blocks.iter().filter(|block| block.2 == BlockState::Free).map(|b| (b.0, b.1)).collect();
    let mut here = tightest(&free, Order::PAGEBLOCK.get());
    if o < WORD {
        let words = |(pfn, order): (u64, u8)| {
            (0..1u64 << order.saturating_sub(WORD)).map(move |word| (pfn + (word << WORD), order.min(WORD)))
        };
        here = tightest(&here.into_iter().flat_map(words).collect::<Vec<_>>(), WORD);
    }
    here.into_iter().filter(|(_, order)| *order >= o).min_by_key(|(pfn, order)| (*order, *pfn)).map(|(pfn, _)| pfn)
}

fn holds(frames: &Frames) -> Vec<Seen> {
    let mut blocks = Vec::new();
    frames.for_each_block(ZoneKind::Normal, |block| {
        if block.state != BlockState::Reserved {
            blocks.push((block.pfn.number(), block.order.get(), block.state));
        }
    });
    blocks
}

/// An operation: allocating a block of an order, or freeing the one at a frame.
#[derive(Clone, Copy)]
enum Operation {
    Allocate(u8),
    Free(u64, u8),
}

/// What an operation did to the block at a frame.
#[derive(Clone, Copy)]
enum Step {
    Allocated(u64, u8),
    Freed(u64, u8),
}

/// A walk through the states of a region.
struct Walk {
    frames: Frames,
    start: u64,
    length: u64,
    allocated: Allocated,
}

impl Walk {
    fn must_hold(&self) -> Vec<Seen> {
        must_hold(self.start, self.length, &self.allocated)
    }

    /// Does an operation, and checks what it did against what the state before allows. `None` if it was rightly refused.
    fn go(&mut self, operation: Operation) -> Option<Step> {
        match operation {
            Operation::Free(pfn, o) => {
                self.free(pfn, o);
                let again = self.frames.give(Pfn::new(pfn), order(o));
                assert_eq!(again, Err(FreeError::AlreadyFree(Pfn::new(pfn))));
                Some(Step::Freed(pfn, o))
            }
            Operation::Allocate(o) => {
                let place = placement(&self.must_hold(), o);
                let result = self.frames.take(order(o), GFP);
                let refused = Err(AllocError::OutOfMemory { order: order(o), gfp: GFP });
                assert_eq!(result, place.map(Pfn::new).map_or(refused, Ok), "order {o} in {:x?}", self.allocated);
                let pfn = result.ok()?;
                self.allocated.insert(pfn.number(), o);
                Some(Step::Allocated(pfn.number(), o))
            }
        }
    }

    fn free(&mut self, pfn: u64, o: u8) {
        assert_eq!(self.frames.give(Pfn::new(pfn), order(o)), Ok(()));
        self.allocated.remove(&pfn);
    }

    /// Takes a step back: a block that was allocated is freed, and one that was freed is allocated again where it was.
    fn back(&mut self, step: Step) {
        match step {
            Step::Allocated(pfn, o) => self.free(pfn, o),
            Step::Freed(pfn, o) => {
                assert_eq!(self.frames.take_range(range(pfn, 1 << o), GFP), Ok(()));
                self.allocated.insert(pfn, o);
            }
        }
    }

    /// The state as a number: for each place where a block can begin whether an allocated one does, and whether it is inside
    /// of one.
    fn state(&self, smallest: u8) -> u64 {
        assert!(self.length >> smallest <= 32, "a state fits into 64 bits");
        self.allocated.iter().fold(0, |state, (pfn, order)| {
            let place = (pfn - self.start) >> smallest;
            let inside = ((1u64 << (1 << (order - smallest))) - 1) << place;
            state | 1 << (32 + place) | inside
        })
    }

    fn check(&self) {
        assert_eq!(holds(&self.frames), self.must_hold());
        let allocated: u64 = self.allocated.values().map(|order| 1 << order).sum();
        assert_eq!(self.frames.zone(ZoneKind::Normal).free, self.length - allocated);
    }

    /// Everything that can be done in this state, refused or not.
    fn operations(&self, smallest: u8) -> Vec<Operation> {
        let orders = (smallest..=Order::MAX.get()).filter(|order| 1 << order <= self.length);
        let frees = self.allocated.iter().map(|(pfn, order)| Operation::Free(*pfn, *order));
        orders.map(Operation::Allocate).chain(frees).collect()
    }
}

/// Walks through every state of a region, tries every operation in each, and says how many states and steps there were.
fn explore(start: u64, length: u64, smallest: u8) -> (u64, u64) {
    let frames = allocator_apart(&[range(start, length)], METADATA, 0);
    let mut walk = Walk { frames, start, length, allocated: Allocated::new() };
    let mut seen = HashSet::from([walk.state(smallest)]);
    let mut steps = 0;
    walk.check();
    // The step that led to each state on the way here, and what is still to be tried there.
    let mut path = vec![(None, walk.operations(smallest))];
    while let Some((led_here, left)) = path.last_mut() {
        let Some(operation) = left.pop() else {
            let step = *led_here;
            path.pop();
            if let Some(step) = step {
                walk.back(step);
            }
            continue;
        };
        let Some(step) = walk.go(operation) else { continue };
        steps += 1;
        walk.check();
        if seen.insert(walk.state(smallest)) {
            assert_eq!(walk.frames.validate(), Ok(()));
            path.push((Some(step), walk.operations(smallest)));
        } else {
            walk.back(step);
        }
    }
    walk.check();
    (seen.len() as u64, steps)
}

/// Explores a region, and prints and checks how many states it has.
fn explore_and_count(what: &str, start: u64, length: u64, smallest: u8) {
    let (states, steps) = explore(FIRST + start, length, smallest);
    println!("{what}: {states} states, {steps} steps between them");
    assert_eq!(states, states_of(FIRST + start, length, smallest), "{what}");
}

#[test]
fn theory_counts_the_states_of_small_regions_right() {
    let counts = [0, 1, 2, 3, 4].map(|order| states_of_aligned(order, 0));
    assert_eq!(counts, [2, 5, 26, 677, 458_330]);
    assert_eq!(states_of(59, 10, 0), 2 * 26 * 26 * 2);
}

#[test]
fn every_state_of_a_few_frames_is_visited_and_right() {
    explore_and_count("8 frames in a word", 8, 8, 0);
    explore_and_count("8 frames at the end of a word", 56, 8, 0);
    explore_and_count("7 frames from an odd one", 25, 7, 0);
    explore_and_count("10 frames across the end of a word", 59, 10, 0);
    explore_and_count("10 frames across the end of a pageblock", 506, 10, 0);
}

#[test]
fn every_state_of_16_frames_is_visited_and_right() {
    explore_and_count("16 frames in a word", 16, 16, 0);
}

/// The smallest blocks are so large that words, pageblocks and pairs of them are what is split and merged.
#[test]
fn every_state_of_words_and_pageblocks_is_visited_and_right() {
    explore_and_count("64 frames, a word, in blocks of order 3 and more", 64, 64, 3);
    explore_and_count("128 frames, two words, in blocks of order 4 and more", 128, 128, 4);
    explore_and_count("512 frames, a pageblock, in blocks of order 6 and more", 512, 512, 6);
    explore_and_count("1024 frames, two pageblocks that are no buddies, in blocks of order 7 and more", 512, 1024, 7);
    explore_and_count("1024 frames, a block of order 10, in blocks of order 7 and more", 1024, 1024, 7);
    explore_and_count("2048 frames, two of order 10, in blocks of order 8 and more", 2048, 2048, 8);
}

#[test]
fn every_state_of_a_block_of_order_10_in_words_is_visited_and_right() {
    explore_and_count("1024 frames, a block of order 10, in words", 1024, 1024, 6);
}
