//! What page frames must do, in the plainest words that are fast enough for a hundred million operations.
//!
//! A byte a frame says what it is, a table says where its block begins, and for each aligned piece of each order a
//! counter says how many of its frames are free. From these follow the answer to every free, the blocks that there must
//! be, and whether a refusal was justified.

mod compare;
mod marks;

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::ops::Range;

use bifolio::allocator::BlockState;
use bifolio::error::FreeError;
use bifolio::frame::{Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};

pub use compare::blocks;

/// Frames in the largest block. Memory is looked up in pieces of this size.
const PIECE: u64 = 1024;
/// A hole from here up, in frames, is no part of the memory around it: 128 MiB.
const HOLE: u64 = 32768;
const ORDERS: usize = 11;
/// An index that no frame has.
const NOWHERE: u32 = u32::MAX;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Frame {
    Reserved,
    Free,
    /// The first of an allocated block of this order.
    Head(u8),
    Inside,
}

/// A block, as far as the oracle cares: first frame, order, state.
pub type Seen = (u64, u8, BlockState);

/// The oracle's memory.
pub struct Oracle {
    /// For each piece of the address space the index of its first frame, or [`NOWHERE`].
    pieces: Vec<u32>,
    /// For each piece that there is, its first frame.
    starts: Vec<u64>,
    frames: Vec<Frame>,
    /// For each frame of an allocated block the index of the block's first.
    heads: Vec<u32>,
    /// By order: free frames in each aligned piece of that order.
    free_in: [Vec<u16>; ORDERS],
    /// By pageblock.
    isolated: Vec<bool>,
    /// By zone and order: aligned pieces all of whose frames are free, in pageblocks that are not isolated.
    whole: [[u64; ORDERS]; ZoneKind::COUNT],
    /// By zone.
    free: [u64; ZoneKind::COUNT],
    free_isolated: [u64; ZoneKind::COUNT],
    managed: [u64; ZoneKind::COUNT],
    /// The allocated blocks in no order, and for each head its place among them.
    live: Vec<u32>,
    places: Vec<u32>,
}

impl Oracle {
    /// An oracle over RAM, all of which is reserved: ranges in ascending order that do not meet.
    pub fn new(ram: &[PfnRange]) -> Self {
        let end = ram.last().map_or(0, |range| range.end.number()).div_ceil(PIECE);
        let mut pieces = vec![NOWHERE; end as usize];
        let mut starts = Vec::new();
        for covered in covered(ram) {
            for piece in covered.start / PIECE..covered.end / PIECE {
                pieces[piece as usize] = (starts.len() as u64 * PIECE) as u32;
                starts.push(piece * PIECE);
            }
        }
        let count = starts.len() * PIECE as usize;
        Self {
            pieces,
            starts,
            frames: vec![Frame::Reserved; count],
            heads: vec![NOWHERE; count],
            free_in: core::array::from_fn(|order| vec![0; count >> order]),
            isolated: vec![false; count / PAGEBLOCK_FRAMES as usize],
            whole: Default::default(),
            free: Default::default(),
            free_isolated: Default::default(),
            managed: Default::default(),
            live: Vec::new(),
            places: vec![NOWHERE; count],
        }
    }

    /// An oracle of what is free in a fresh allocator over a map whose usable regions do not overlap: all of them but
    /// the first MiB and the allocator's metadata.
    pub fn over(regions: &[Region], metadata: PfnRange) -> Self {
        let is_usable = |region: &&Region| region.kind == RegionKind::Usable;
        let whole = |region: &Region| PfnRange::new(Pfn::new(region.start.div_ceil(4096)), Pfn::new(region.end / 4096));
        let mut ram: Vec<PfnRange> = regions.iter().filter(is_usable).map(whole).collect();
        ram.sort_by_key(|range| range.start);
        let mut oracle = Self::new(&ram);
        let above = |start| PfnRange::new(start, Pfn::new(u64::MAX));
        for range in ram {
            let low = Pfn::new(256);
            oracle.add(range.intersection(PfnRange::new(low, metadata.start.max(low))));
            oracle.add(range.intersection(above(metadata.end.max(low))));
        }
        oracle
    }

    fn index(&self, pfn: Pfn) -> Option<usize> {
        let piece = self.pieces.get(usize::try_from(pfn.number() / PIECE).ok()?)?;
        (*piece != NOWHERE).then(|| *piece as usize + (pfn.number() % PIECE) as usize)
    }

    fn pfn(&self, index: usize) -> Pfn {
        Pfn::new(self.starts[index / PIECE as usize] + index as u64 % PIECE)
    }

    fn zone(&self, index: usize) -> usize {
        Profile::X86_64.zone_of(self.pfn(index)).index()
    }

    /// Whether the aligned piece lies in a pageblock that is isolated.
    fn is_isolated(&self, index: usize, order: usize) -> bool {
        let first = ((index >> order) << order) >> 9;
        self.isolated[first] || order == 10 && self.isolated[first + 1]
    }

    /// Makes reserved frames free.
    pub fn add(&mut self, range: PfnRange) {
        for number in range.start.number()..range.end.number() {
            let index = self.index(Pfn::new(number)).expect("what is added is RAM");
            assert_eq!(self.frames[index], Frame::Reserved, "frame {number:#x} is added twice");
            self.managed[Profile::X86_64.zone_of(Pfn::new(number)).index()] += 1;
            self.set(index, 0, true);
        }
    }

    /// Makes an aligned piece free or not free, as a whole; it is all the other now.
    fn set(&mut self, index: usize, order: usize, free: bool) {
        if order == 10 {
            // A block's two pageblocks may be isolated or not, each by itself.
            return [index, index + PAGEBLOCK_FRAMES as usize].into_iter().for_each(|half| self.set(half, 9, free));
        }
        let zone = self.zone(index);
        let sign = if free { 1 } else { -1 };
        let isolated = self.is_isolated(index, order);
        let count = if isolated { &mut self.free_isolated } else { &mut self.free };
        count[zone] = count[zone].wrapping_add_signed(sign << order);
        for smaller in 0..=order {
            let pieces = index >> smaller..(index >> smaller) + (1 << (order - smaller));
            if !isolated {
                let whole = &mut self.whole[zone][smaller];
                *whole = whole.wrapping_add_signed(sign * pieces.len() as i64);
            }
            self.free_in[smaller][pieces].fill(if free { 1 << smaller } else { 0 });
        }
        for larger in order + 1..ORDERS {
            let hidden = self.is_isolated(index, larger);
            let count = &mut self.free_in[larger][index >> larger];
            let whole = &mut self.whole[zone][larger];
            if free {
                *count += 1 << order;
                *whole += u64::from(*count == 1 << larger && !hidden);
            } else {
                *whole -= u64::from(*count == 1 << larger && !hidden);
                *count -= 1 << order;
            }
        }
        self.frames[index..index + (1 << order)].fill(if free { Frame::Free } else { Frame::Inside });
    }

    /// Takes note of a block that was allocated, and says what is wrong with it.
    pub fn allocate(&mut self, pfn: Pfn, order: Order, highest: ZoneKind) -> Result<(), String> {
        let (index, k) = (self.index(pfn).ok_or(format!("{pfn} is no RAM"))?, order.index());
        if !pfn.is_aligned(order) {
            return Err(format!("{pfn} is not aligned to order {order}"));
        }
        if Profile::X86_64.zone_of(pfn) > highest {
            return Err(format!("{pfn} lies above zone {highest}"));
        }
        if u64::from(self.free_in[k][index >> k]) != order.frames() {
            return Err(format!("order {order} at {pfn} was not free"));
        }
        self.set(index, k, false);
        self.note(index, k);
        Ok(())
    }

    /// Notes an allocated block whose frames are not free any more.
    fn note(&mut self, index: usize, order: usize) {
        self.frames[index] = Frame::Head(order as u8);
        self.heads[index..index + (1 << order)].fill(index as u32);
        self.places[index] = self.live.len() as u32;
        self.live.push(index as u32);
    }

    fn forget(&mut self, index: usize) {
        let place = core::mem::replace(&mut self.places[index], NOWHERE) as usize;
        self.live.swap_remove(place);
        if let Some(moved) = self.live.get(place) {
            self.places[*moved as usize] = place as u32;
        }
    }

    /// What freeing this must say. Changes nothing.
    pub fn verdict(&self, pfn: Pfn, given: Order) -> Result<(), FreeError> {
        match self.order_of(pfn)? {
            actual if actual == given => Ok(()),
            actual => Err(FreeError::WrongOrder { pfn, given, actual }),
        }
    }

    /// The order of the block that starts at a frame, or what is there instead.
    pub fn order_of(&self, pfn: Pfn) -> Result<Order, FreeError> {
        let Some(index) = self.index(pfn) else {
            return Err(FreeError::NotManaged(pfn));
        };
        match self.frames[index] {
            Frame::Reserved => Err(FreeError::Reserved(pfn)),
            Frame::Free => Err(FreeError::AlreadyFree(pfn)),
            Frame::Head(order) => Ok(order_of(order)),
            Frame::Inside => {
                let head = self.heads[index] as usize;
                let Frame::Head(order) = self.frames[head] else { unreachable!("heads are kept with their blocks") };
                Err(FreeError::Interior { pfn, head: self.pfn(head), order: order_of(order) })
            }
        }
    }

    /// Frees an allocated block, which must be there.
    pub fn free(&mut self, pfn: Pfn, order: Order) {
        let index = self.index(pfn).expect("the block is in RAM");
        assert_eq!(self.frames[index], Frame::Head(order.get()), "{pfn} is no block of order {order}");
        self.forget(index);
        self.set(index, order.index(), true);
    }

    /// Frees a block, if that is what there is, and says what freeing it must say.
    pub fn give(&mut self, pfn: Pfn, given: Order) -> Result<(), FreeError> {
        self.verdict(pfn, given)?;
        self.free(pfn, given);
        Ok(())
    }

    /// Hides an allocated block: somebody holds it, and nobody else is to free it.
    pub fn hide(&mut self, pfn: Pfn) {
        let index = self.index(pfn).expect("the block is in RAM");
        self.forget(index);
    }

    /// Shows a block again that was hidden.
    pub fn show(&mut self, pfn: Pfn) {
        let index = self.index(pfn).expect("the block is in RAM");
        assert_eq!(self.places[index], NOWHERE, "{pfn} is not hidden");
        self.places[index] = self.live.len() as u32;
        self.live.push(index as u32);
    }

    /// Whether the block that starts at this frame is hidden.
    pub fn is_hidden(&self, pfn: Pfn) -> bool {
        self.index(pfn).is_some_and(|index| self.places[index] == NOWHERE)
    }

    /// Makes an allocated block, which must be there, several of the order `into`.
    pub fn split(&mut self, pfn: Pfn, order: Order, into: Order) {
        let index = self.index(pfn).expect("the block is in RAM");
        assert_eq!(self.frames[index], Frame::Head(order.get()), "{pfn} is no block of order {order}");
        self.forget(index);
        for part in (index..index + (1 << order.index())).step_by(1 << into.index()) {
            self.note(part, into.index());
        }
    }

    /// The numbers of the pageblocks that a range lies in; `None` if any is not there.
    fn pageblocks(&self, range: PfnRange) -> Option<Range<usize>> {
        let mut numbers = Vec::new();
        let mut pfn = range.start.number() / PAGEBLOCK_FRAMES * PAGEBLOCK_FRAMES;
        while pfn < range.end.number() {
            numbers.push(self.index(Pfn::new(pfn))? / PAGEBLOCK_FRAMES as usize);
            pfn += PAGEBLOCK_FRAMES;
        }
        Some(*numbers.first()?..numbers.last()? + 1)
    }

    /// Whether a range could be isolated: a reason if not.
    pub fn isolable(&self, range: PfnRange) -> Result<(), &'static str> {
        let pageblocks = self.pageblocks(range).ok_or("no RAM")?;
        if self.isolated[pageblocks].iter().any(|isolated| *isolated) { Err("isolated") } else { Ok(()) }
    }

    /// Isolates the pageblocks of a range, or ends that.
    pub fn set_isolated(&mut self, range: PfnRange, isolated: bool) {
        for pageblock in self.pageblocks(range).unwrap_or_default() {
            let index = pageblock << 9;
            let zone = self.zone(index);
            self.count_pageblock(zone, pageblock, -1);
            self.isolated[pageblock] = isolated;
            self.count_pageblock(zone, pageblock, 1);
        }
    }

    fn count_pageblock(&mut self, zone: usize, pageblock: usize, sign: i64) {
        let free = sign * i64::from(self.free_in[9][pageblock]);
        let count = if self.isolated[pageblock] { &mut self.free_isolated } else { &mut self.free };
        count[zone] = count[zone].wrapping_add_signed(free);
        for order in 0..ORDERS {
            let pieces = (pageblock << 9) >> order..((pageblock << 9 | 511) >> order) + 1;
            if !self.is_isolated(pageblock << 9, order) {
                let whole = self.free_in[order][pieces].iter().filter(|free| **free == 1 << order).count() as i64;
                let count = &mut self.whole[zone][order];
                *count = count.wrapping_add_signed(sign * whole);
            }
        }
    }

    /// Whether a frame lies in an isolated pageblock.
    pub fn in_isolation(&self, pfn: Pfn) -> bool {
        self.index(pfn).is_some_and(|index| self.isolated[index >> 9])
    }

    /// Whether a zone has a free block of this order that is not isolated.
    pub fn has_block(&self, zone: ZoneKind, order: Order) -> bool {
        self.whole[zone.index()][order.index()] > 0
    }

    /// Whether the aligned block is all free.
    pub fn is_free_block(&self, pfn: Pfn, order: Order) -> bool {
        let free = |index: usize| u64::from(self.free_in[order.index()][index >> order.index()]);
        self.index(pfn).is_some_and(|index| free(index) == order.frames())
    }

    /// Whether a zone up to `highest` has such a block.
    pub fn could_serve(&self, order: Order, highest: ZoneKind) -> bool {
        ZoneKind::ALL.into_iter().filter(|zone| *zone <= highest).any(|zone| self.has_block(zone, order))
    }

    /// Whether all these frames lie in one zone, are free, and are not isolated.
    pub fn is_free_range(&self, range: PfnRange) -> bool {
        let zone = Profile::X86_64.zone_of(range.start);
        (range.start.number()..range.end.number()).map(Pfn::new).all(|pfn| {
            Profile::X86_64.zone_of(pfn) == zone && self.is_free_block(pfn, Order::ZERO) && !self.in_isolation(pfn)
        })
    }

    /// The first so many frames in a row for which [`is_free_range`](Self::is_free_range) is true, in a zone up to `highest`.
    pub fn free_run(&self, frames: u64, alignment: u64, highest: ZoneKind) -> Option<PfnRange> {
        let starts = (0..self.frames.len()).map(|index| self.pfn(index));
        starts
            .filter(|pfn| Profile::X86_64.zone_of(*pfn) <= highest && pfn.number().is_multiple_of(alignment))
            .map(|pfn| PfnRange::new(pfn, pfn.offset(frames)))
            .find(|range| self.is_free_range(*range))
    }

    /// Free frames of a zone that are not isolated.
    pub fn free_frames(&self, zone: ZoneKind) -> u64 {
        self.free[zone.index()]
    }

    /// Free frames of a zone that are isolated.
    pub fn isolated_frames(&self, zone: ZoneKind) -> u64 {
        self.free_isolated[zone.index()]
    }

    /// Free frames, wherever.
    pub fn all_free(&self) -> u64 {
        self.free.iter().chain(&self.free_isolated).sum()
    }

    /// Frames that were added, by zone.
    pub fn managed(&self) -> [u64; ZoneKind::COUNT] {
        self.managed
    }

    /// How many blocks are allocated.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// The allocated blocks, in no order.
    pub fn allocated(&self) -> impl Iterator<Item = (Pfn, Order)> + '_ {
        (0..self.count()).map(|nth| self.nth(nth))
    }

    /// One of the allocated blocks.
    pub fn nth(&self, nth: usize) -> (Pfn, Order) {
        let index = self.live[nth] as usize;
        let Frame::Head(order) = self.frames[index] else { unreachable!("live blocks have heads") };
        (self.pfn(index), order_of(order))
    }

    /// Any frame that there is metadata for.
    pub fn frame(&self, nth: u64) -> Pfn {
        self.pfn((nth % self.frames.len() as u64) as usize)
    }

    /// The blocks that there must be, in ascending order: the allocated ones, and every free one that is as large as it can
    /// be.
    pub fn blocks(&self) -> Vec<Seen> {
        let mut blocks = Vec::new();
        let mut index = 0;
        while index < self.frames.len() {
            let order = match self.frames[index] {
                Frame::Reserved => {
                    index += 1;
                    continue;
                }
                Frame::Inside => unreachable!("a block was left before its end"),
                Frame::Head(order) => {
                    blocks.push((self.pfn(index).number(), order, BlockState::Allocated));
                    order
                }
                Frame::Free => {
                    let is_free = |order: &usize| usize::from(self.free_in[*order][index >> order]) == 1 << order;
                    let starts = |order: &usize| index.is_multiple_of(1 << order);
                    let order = (0..ORDERS).rev().find(|order| starts(order) && is_free(order)).unwrap_or(0) as u8;
                    blocks.push((self.pfn(index).number(), order, BlockState::Free));
                    order
                }
            };
            index += 1 << order;
        }
        blocks
    }
}

/// The stretches of memory that there is metadata for: whole pieces of the largest block's size, with the holes between
/// them that are small.
fn covered(ram: &[PfnRange]) -> Vec<Range<u64>> {
    let mut stretches: Vec<Range<u64>> = Vec::new();
    for kind in ZoneKind::ALL {
        let mut of_zone: Vec<Range<u64>> = Vec::new();
        for range in
            ram.iter().map(|range| range.intersection(Profile::X86_64.range(kind))).filter(|range| !range.is_empty())
        {
            let (start, end) = (range.start.number() / PIECE * PIECE, range.end.number().div_ceil(PIECE) * PIECE);
            match of_zone.last_mut() {
                Some(last) if start < last.end + HOLE => last.end = last.end.max(end),
                _ => of_zone.push(start..end),
            }
        }
        stretches.extend(of_zone);
    }
    stretches
}

fn order_of(order: u8) -> Order {
    Order::new(order).expect("the oracle only has orders that there are")
}

/// A range as the largest aligned blocks that make it up, found by trying the largest first.
pub fn range_blocks(range: PfnRange) -> Vec<(Pfn, Order)> {
    let mut blocks = Vec::new();
    let mut pfn = range.start;
    while pfn < range.end {
        let fits = |order: &Order| pfn.is_aligned(*order) && pfn.offset(order.frames()) <= range.end;
        let order = Order::all().rev().find(fits).expect("a frame fits");
        blocks.push((pfn, order));
        pfn = pfn.offset(order.frames());
    }
    blocks
}
