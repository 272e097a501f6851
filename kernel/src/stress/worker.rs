//! What a CPU does besides its handlers: random requests of all kinds, one after the other.

use super::Failure;
use super::piece::{Memory, Piece};
use super::run::{Run, Seat};
use super::summary::Tally;
use crate::memory::heap::HEAP;
use crate::memory::{frames, vmalloc};
use alloc::vec::Vec;
use bifolio::allocator::AllocError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, ZoneKind};
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Pieces that a CPU can have.
const PIECES: usize = 1024;
/// The most frames or objects of a bulk operation.
const BULK: usize = 64;
/// Blocks that a CPU can take at once to make memory short: 4 GiB.
const HOARD: usize = 1024;
/// Operations between two looks at the clock.
const AT_A_TIME: usize = 8;
/// Operations after which a CPU wants another amount of memory.
const PHASE: u64 = 256;

/// What frames are asked for as, with how often: zones, mobilities, and how pressing it is.
const KINDS: [(Gfp, u32); 9] = [
    (Gfp::KERNEL, 8),
    (Gfp::KERNEL.union(Gfp::MOVABLE), 8),
    (Gfp::KERNEL.union(Gfp::RECLAIMABLE), 4),
    (Gfp::ATOMIC, 4),
    (Gfp::NOWAIT.union(Gfp::MOVABLE), 2),
    (Gfp::KERNEL.union(Gfp::ZERO), 2),
    (Gfp::KERNEL.union(Gfp::MOVABLE).union(Gfp::NOFRAGMENT), 2),
    (Gfp::KERNEL.union(Gfp::DMA32), 1),
    (Gfp::KERNEL.union(Gfp::DMA), 1),
];

/// What a CPU can do next.
#[derive(Clone, Copy)]
enum Operation {
    Block,
    Frames,
    Range,
    Object,
    Objects,
    Record,
    Mapping,
    Large,
}

/// The kinds of allocation, with how often.
const ALLOCATIONS: [(Operation, u32); 8] = [
    (Operation::Block, 1600),
    (Operation::Frames, 100),
    (Operation::Range, 40),
    (Operation::Object, 1600),
    (Operation::Objects, 100),
    (Operation::Record, 400),
    (Operation::Mapping, 40),
    (Operation::Large, 1),
];

/// One CPU at work.
pub(super) struct Worker<'a> {
    run: &'a Run,
    seat: &'a Seat,
    cpu: usize,
    random: Xoshiro256PlusPlus,
    pieces: Vec<Piece>,
    /// Bytes in them.
    bytes: usize,
    /// What is taken to make memory short.
    hoard: Vec<(Pfn, Order)>,
    /// Bytes that it wants to have just now.
    target: usize,
    tally: Tally,
    /// The zone that each request is served from if it can be, by the highest that it may use.
    first_choice: [ZoneKind; ZoneKind::COUNT],
}

impl<'a> Worker<'a> {
    pub fn new(run: &'a Run, cpu: usize) -> Result<Self, Failure> {
        let mut pieces = Vec::new();
        pieces.try_reserve_exact(PIECES).map_err(|_| Failure::NoMemory)?;
        let mut hoard = Vec::new();
        hoard.try_reserve_exact(HOARD).map_err(|_| Failure::NoMemory)?;
        let managed = ZoneKind::ALL.map(|kind| frames().zone(kind).managed > 0);
        let first_choice = ZoneKind::ALL.map(|highest| {
            let usable = ZoneKind::ALL[..=highest.index()].iter().rev();
            usable.copied().find(|kind| managed[kind.index()]).unwrap_or(highest)
        });
        Ok(Self {
            run,
            seat: &run.seats[cpu],
            cpu,
            random: Xoshiro256PlusPlus::seed_from_u64(run.plan.seed.wrapping_mul(256) + cpu as u64),
            pieces,
            bytes: 0,
            hoard,
            target: 0,
            tally: Tally::default(),
            first_choice,
        })
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Works until the time is up, and gives everything back.
    pub fn work(&mut self) -> Result<(), Failure> {
        let mut phase = 0;
        while !self.run.is_over() {
            for _ in 0..AT_A_TIME {
                self.step()?;
            }
            if self.tally.operations >= phase {
                phase += PHASE;
                self.target = self.random.random_range(0..=self.run.share);
            }
        }
        while let Some(piece) = self.seat.take_mail() {
            self.free(&piece)?;
        }
        while let Some(piece) = self.pieces.pop() {
            self.free(&piece)?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Failure> {
        if let Some(piece) = self.seat.take_mail() {
            // Half of what comes in is freed at once, and half is kept for a while.
            return if self.random.random() { self.free(&piece) } else { self.keep(piece) };
        }
        match self.random.random_range(0..1000) {
            0..60 => self.hand_over(),
            60..90 => self.resize(),
            90..94 => self.disturb(),
            94 => self.make_short(),
            _ => {
                let wants_more = self.bytes < self.target && self.pieces.len() + BULK < PIECES;
                if self.random.random_range(0..8) < if wants_more { 6 } else { 2 } {
                    self.allocate()
                } else {
                    self.free_some()
                }
            }
        }
    }

    /// One of several, as often as each says.
    fn choose<T: Copy>(&mut self, from: &[(T, u32)]) -> T {
        let all: u32 = from.iter().map(|(_, weight)| weight).sum();
        let mut place = self.random.random_range(0..all);
        for &(choice, weight) in from {
            if place < weight {
                return choice;
            }
            place -= weight;
        }
        unreachable!("the place is below the sum")
    }

    fn gfp(&mut self) -> Gfp {
        self.choose(&KINDS) | Gfp::NOWARN
    }

    fn allocate(&mut self) -> Result<(), Failure> {
        match self.choose(&ALLOCATIONS) {
            Operation::Block => self.block(),
            Operation::Frames => self.frames(),
            Operation::Range => self.range(),
            Operation::Object => self.object(),
            Operation::Objects => self.objects(),
            Operation::Record => {
                let record = self.seat.inside(|| self.run.records.allocate());
                self.got(record.map(Memory::Record))
            }
            Operation::Mapping => {
                let pages = self.random.random_range(1..=24);
                let mapping = self.seat.inside(|| vmalloc::allocate(pages, Order::ZERO));
                self.got(mapping.map(|start| Memory::Mapping(start, pages)))
            }
            Operation::Large => self.large(),
        }
    }

    fn block(&mut self) -> Result<(), Failure> {
        // Each order a quarter as often as the one below, or half as often: most are small, and there are some of 4 MiB.
        let often: u32 = if self.random.random_range(0..8) == 0 { 0 } else { self.random.random() };
        let order = (self.random.random::<u32>() | often | 1 << 10).trailing_zeros();
        let order = Order::new(order as u8).unwrap_or(Order::MAX);
        let gfp = self.gfp();
        let pfn = self.seat.inside(|| frames().allocate(order, gfp));
        let memory = self.frame_from_zone(pfn, gfp).map(|pfn| Memory::Block(pfn, order));
        if let Some(memory) = memory.as_ref().filter(|_| gfp.contains(Gfp::ZERO)) {
            Piece::check_zeroed(memory)?;
        }
        self.got(memory)
    }

    /// Notes whether a frame is of the zone that it should be of at best.
    fn frame_from_zone(&mut self, pfn: Result<Pfn, AllocError>, gfp: Gfp) -> Option<Pfn> {
        let pfn = pfn.ok()?;
        let wanted = gfp.highest_zone().map(|highest| self.first_choice[highest.index()]);
        self.tally.fallbacks += u64::from(wanted != Some(ZoneKind::of(pfn)));
        Some(pfn)
    }

    fn frames(&mut self) -> Result<(), Failure> {
        let (gfp, count) = (self.gfp(), self.random.random_range(1..=BULK));
        let mut slots = [None; BULK];
        let got = self.seat.inside(|| frames().allocate_bulk(&mut slots[..count], gfp));
        self.tally.operations += 1;
        self.tally.refused += u64::from(got.is_err());
        for pfn in slots.into_iter().flatten() {
            self.frame_from_zone(Ok(pfn), gfp);
            let piece = self.run.mark(self.cpu, Memory::Block(pfn, Order::ZERO))?;
            self.keep(piece)?;
        }
        Ok(())
    }

    fn range(&mut self) -> Result<(), Failure> {
        let (gfp, count) = (self.gfp(), self.random.random_range(3..40));
        let range = self.seat.inside(|| frames().allocate_exact(count, gfp));
        self.got(range.ok().map(Memory::Range))
    }

    /// So many bytes, whole words: each magnitude as often as the others.
    fn size(&mut self, magnitudes: core::ops::Range<u32>) -> usize {
        let magnitude = 1 << self.random.random_range(magnitudes);
        (self.random.random_range(magnitude..magnitude * 2) + 7) & !7
    }

    fn layout(&mut self, magnitudes: core::ops::Range<u32>) -> Result<Layout, Failure> {
        let align = 8 << self.random.random_range(0..64_u32).saturating_sub(56);
        let size = self.size(magnitudes);
        Layout::from_size_align(size, align).map_err(|_| Failure::NoMemory)
    }

    fn object(&mut self) -> Result<(), Failure> {
        // From 8 bytes to 2 MiB, few of them larger than any class.
        let magnitudes = if self.random.random_range(0..64) == 0 { 13..21 } else { 3..13 };
        let layout = self.layout(magnitudes)?;
        let object = self.seat.inside(|| HEAP.allocate(layout));
        self.got(object.map(|object| Memory::Object(object, layout)))
    }

    fn objects(&mut self) -> Result<(), Failure> {
        let (layout, count) = (self.layout(3..11)?, self.random.random_range(1..=BULK));
        let mut objects = [MaybeUninit::uninit(); BULK];
        let got = self.seat.inside(|| HEAP.allocate_bulk(layout, &mut objects[..count]));
        self.tally.operations += 1;
        self.tally.refused += u64::from(got < count);
        for object in &objects[..got] {
            // SAFETY: those at the front are initialised.
            let object: NonNull<u8> = unsafe { object.assume_init() };
            let piece = self.run.mark(self.cpu, Memory::Object(object, layout))?;
            self.keep(piece)?;
        }
        Ok(())
    }

    /// An object for which no block is large enough, or frames in a row.
    fn large(&mut self) -> Result<(), Failure> {
        if self.random.random() {
            let layout = Layout::from_size_align((4 << 20) + self.size(12..21), 8).map_err(|_| Failure::NoMemory)?;
            let object = self.seat.inside(|| HEAP.allocate(layout));
            return self.got(object.map(|object| Memory::Object(object, layout)));
        }
        let (gfp, count) = (self.gfp(), self.random.random_range(1025..1200));
        let range = self.seat.inside(|| frames().allocate_contiguous(count, gfp));
        self.got(range.ok().map(Memory::Range))
    }

    /// Takes note of one request and what came of it.
    fn got(&mut self, memory: Option<Memory>) -> Result<(), Failure> {
        self.tally.operations += 1;
        self.tally.refused += u64::from(memory.is_none());
        let Some(memory) = memory else { return Ok(()) };
        let piece = self.run.mark(self.cpu, memory)?;
        self.keep(piece)
    }

    fn keep(&mut self, piece: Piece) -> Result<(), Failure> {
        if self.pieces.len() == PIECES {
            return self.free(&piece);
        }
        self.bytes += piece.memory.bytes();
        self.pieces.push(piece);
        Ok(())
    }

    /// Takes a random piece out of those that it has.
    fn pick(&mut self) -> Option<Piece> {
        if self.pieces.is_empty() {
            return None;
        }
        let piece = self.pieces.swap_remove(self.random.random_range(0..self.pieces.len()));
        self.bytes -= piece.memory.bytes();
        Some(piece)
    }

    fn free(&mut self, piece: &Piece) -> Result<(), Failure> {
        self.count_free(piece);
        piece.unmark(&self.run.owners)?;
        self.seat.inside(|| piece.free(&self.run.records))
    }

    fn count_free(&mut self, piece: &Piece) {
        self.tally.operations += 1;
        self.tally.from_others += u64::from(piece.id.cpu() != self.cpu);
    }

    fn free_some(&mut self) -> Result<(), Failure> {
        let Some(piece) = self.pick() else { return Ok(()) };
        match piece.memory {
            Memory::Block(_, Order::ZERO) if self.random.random_range(0..8) == 0 => self.free_frames(piece),
            Memory::Object(_, layout) if self.random.random_range(0..8) == 0 => self.free_objects(piece, layout),
            _ => self.free(&piece),
        }
    }

    /// Frees single frames, this one among them, with one call.
    fn free_frames(&mut self, first: Piece) -> Result<(), Failure> {
        let mut slots = [None; BULK];
        let mut next = Some(first);
        for slot in &mut slots {
            let Some(piece) = next else { break };
            self.count_free(&piece);
            piece.unmark(&self.run.owners)?;
            if let Memory::Block(pfn, _) = piece.memory {
                *slot = Some(pfn);
            }
            next = self.pick_like(|memory| matches!(memory, Memory::Block(_, Order::ZERO)));
        }
        if let Some(piece) = next {
            self.keep(piece)?;
        }
        Ok(self.seat.inside(|| frames().free_bulk(&mut slots))?)
    }

    /// Frees objects of one layout, this one among them, with one call.
    fn free_objects(&mut self, first: Piece, layout: Layout) -> Result<(), Failure> {
        let mut objects = [NonNull::dangling(); BULK];
        let (mut count, mut next) = (0, Some(first));
        while let Some(piece) = next.take_if(|_| count < BULK) {
            self.count_free(&piece);
            piece.unmark(&self.run.owners)?;
            if let Memory::Object(object, _) = piece.memory {
                objects[count] = object;
                count += 1;
            }
            next = self.pick_like(|memory| matches!(memory, Memory::Object(_, other) if *other == layout));
        }
        if let Some(piece) = next {
            self.keep(piece)?;
        }
        // SAFETY: the objects are this CPU's, and nobody uses them.
        Ok(self.seat.inside(|| unsafe { HEAP.free_bulk(&objects[..count], layout) })?)
    }

    /// The last piece of some kind among the last few.
    fn pick_like(&mut self, is_like: impl Fn(&Memory) -> bool) -> Option<Piece> {
        let behind = self.pieces.len().saturating_sub(2 * BULK);
        let place = self.pieces[behind..].iter().rposition(|piece| is_like(&piece.memory))?;
        let piece = self.pieces.swap_remove(behind + place);
        self.bytes -= piece.memory.bytes();
        Some(piece)
    }

    fn hand_over(&mut self) -> Result<(), Failure> {
        let to = self.run.cpus[self.random.random_range(0..self.run.cpus.len())];
        let Some(piece) = self.pick() else { return Ok(()) };
        match self.run.post(to, piece) {
            Ok(()) => {
                self.tally.handed_over += u64::from(to != self.cpu);
                Ok(())
            }
            Err(piece) => self.keep(piece),
        }
    }

    fn resize(&mut self) -> Result<(), Failure> {
        let Some(mut piece) = self.pick() else { return Ok(()) };
        if let Memory::Object(_, layout) = piece.memory {
            let size = match self.random.random_range(0..3) {
                0 => layout.size() / 2 + 8,
                1 => layout.size() + layout.size() / 2,
                _ => self.size(3..14),
            };
            let seat = self.seat;
            let is_done = piece.resize(size & !7, |resize| seat.inside(resize))?;
            self.tally.operations += 1;
            self.tally.refused += u64::from(!is_done);
        }
        self.keep(piece)
    }

    /// Takes all that is left, so that everybody has to do with little for a moment: arenas are emptied, caches shrink, requests
    /// go to other zones and mobilities, and are refused. Nothing is written to it.
    fn make_short(&mut self) -> Result<(), Failure> {
        self.tally.operations += 1;
        for order in [Order::MAX.get(), 6, 3, 0].into_iter().filter_map(Order::new) {
            while self.hoard.len() < HOARD {
                let gfp = Gfp::NOWAIT | Gfp::MOVABLE;
                let Ok(pfn) = self.seat.inside(|| frames().allocate(order, gfp)) else { break };
                self.run.own(self.cpu, pfn, order)?;
                self.hoard.push((pfn, order));
            }
        }
        for _ in 0..AT_A_TIME {
            self.allocate()?;
        }
        while let Some((pfn, order)) = self.hoard.pop() {
            self.run.disown(pfn, order);
            self.seat.inside(|| frames().free(pfn, order))?;
        }
        Ok(())
    }

    /// What is done now and then, and concerns all CPUs: it is the more likely to be done wrongly.
    fn disturb(&mut self) -> Result<(), Failure> {
        self.tally.operations += 1;
        self.seat.inside(|| match self.random.random_range(0..8) {
            0 => frames().drain(),
            1 => _ = HEAP.shrink(),
            2 => HEAP.retire_cpu(),
            3 => _ = HEAP.frames(),
            4 => _ = frames().stats(),
            _ => _ = frames().decay(),
        });
        // What the allocator says of a block that is in use.
        match self.pieces.last() {
            Some(Piece { memory: Memory::Block(pfn, order), .. }) if frames().order_of(*pfn)? != *order => {
                Err(Failure::WrongOrder { pfn: *pfn, order: *order })
            }
            Some(Piece { memory: Memory::Object(object, layout), .. }) => {
                let size = HEAP.object_size(*object)?;
                if size < layout.size() { Err(Failure::TooSmall { size, wanted: layout.size() }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

const _: () = assert!(FRAME_SIZE.is_multiple_of(8), "a frame has whole words");
