//! What a CPU does besides its handlers: random requests of all kinds, one after the other.

mod requests;

use crate::failure::Failure;
use crate::machine::Machine;
use crate::piece::{Memory, Piece};
use crate::run::{Run, Seat};
use crate::summary::Tally;
use alloc::vec::Vec;
use bifolio::frame::{Block, FRAME_SIZE, Gfp, Order, ZoneKind};
use core::alloc::Layout;
use core::mem;
use core::ptr::NonNull;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// The most pieces that a CPU can have.
const PIECES: usize = 1024;
/// The most frames or objects of a bulk operation.
const BULK: usize = 64;
/// The most blocks that a CPU can take at once to make memory short: 4 GiB.
const HOARD: usize = 1024;
/// Operations between two looks at the clock.
const AT_A_TIME: usize = 8;
/// Operations after which a CPU wants another amount of memory.
const PHASE: u64 = 256;

/// Where a CPU notes what it has. All CPUs get theirs before any of them uses up memory.
pub(super) struct Room<M: Machine> {
    pieces: Vec<Piece<M>>,
    hoard: Vec<Block>,
}

impl<M: Machine> Default for Room<M> {
    fn default() -> Self {
        Self { pieces: Vec::new(), hoard: Vec::new() }
    }
}

impl<M: Machine> Room<M> {
    /// Room for what a CPU can have whose share of memory is so many bytes, of which it takes up a fourth at the most, or a few
    /// KiB.
    pub fn new(share: usize) -> Result<Self, Failure> {
        let mut room = Self::default();
        room.pieces.try_reserve_exact((share / 256).clamp(2 * BULK, PIECES)).map_err(|_| Failure::NoMemory)?;
        room.hoard.try_reserve_exact((share / 1024).clamp(BULK, HOARD)).map_err(|_| Failure::NoMemory)?;
        Ok(room)
    }
}

/// One CPU at work.
pub(super) struct Worker<'a, M: Machine> {
    run: &'a Run<M>,
    seat: &'a Seat<M>,
    cpu: usize,
    random: Xoshiro256PlusPlus,
    pieces: Vec<Piece<M>>,
    /// Bytes in them.
    bytes: usize,
    /// What is taken to make memory short.
    hoard: Vec<Block>,
    /// Bytes that it wants to have just now.
    target: usize,
    tally: Tally,
    /// The zone that each request is served from if it can be, by the highest that it may use.
    first_choice: [ZoneKind; ZoneKind::COUNT],
}

impl<'a, M: Machine> Worker<'a, M> {
    pub fn new(run: &'a Run<M>, cpu: usize) -> Self {
        let seat = &run.seats[cpu];
        let Room { pieces, hoard } = seat.room.with(mem::take);
        let managed = ZoneKind::ALL.map(|kind| M::frames().zone(kind).managed > 0);
        let first_choice = ZoneKind::ALL.map(|highest| {
            let usable = ZoneKind::ALL[..=highest.index()].iter().rev();
            usable.copied().find(|kind| managed[kind.index()]).unwrap_or(highest)
        });
        Self {
            run,
            seat,
            cpu,
            random: Xoshiro256PlusPlus::seed_from_u64(run.plan.seed.wrapping_mul(256) + cpu as u64),
            pieces,
            bytes: 0,
            hoard,
            target: 0,
            tally: Tally::default(),
            first_choice,
        }
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
                // One is enough to look, and the boot processor always takes part.
                if self.cpu == 0 {
                    self.run.look_at_console();
                }
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
                let wants_more = self.bytes < self.target && self.pieces.len() + BULK < self.pieces.capacity();
                if self.random.random_range(0..8) < if wants_more { 6 } else { 2 } {
                    self.allocate()
                } else {
                    self.free_some()
                }
            }
        }
    }

    /// Takes note of one request and what came of it.
    fn got(&mut self, memory: Option<Memory>) -> Result<(), Failure> {
        self.tally.operations += 1;
        self.tally.refused += u64::from(memory.is_none());
        let Some(memory) = memory else { return Ok(()) };
        let piece = self.run.mark(self.cpu, memory)?;
        self.keep(piece)
    }

    fn keep(&mut self, piece: Piece<M>) -> Result<(), Failure> {
        if self.pieces.len() == self.pieces.capacity() {
            return self.free(&piece);
        }
        self.bytes += piece.memory.bytes();
        self.pieces.push(piece);
        Ok(())
    }

    /// Takes a random piece out of those that it has.
    fn pick(&mut self) -> Option<Piece<M>> {
        if self.pieces.is_empty() {
            return None;
        }
        let piece = self.pieces.swap_remove(self.random.random_range(0..self.pieces.len()));
        self.bytes -= piece.memory.bytes();
        Some(piece)
    }

    fn free(&mut self, piece: &Piece<M>) -> Result<(), Failure> {
        self.count_free(piece);
        piece.unmark(&self.run.owners)?;
        self.seat.inside(|| piece.free(&self.run.records))
    }

    fn count_free(&mut self, piece: &Piece<M>) {
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
    fn free_frames(&mut self, first: Piece<M>) -> Result<(), Failure> {
        let mut slots = [const { None }; BULK];
        let mut next = Some(first);
        for slot in &mut slots {
            let Some(piece) = next else { break };
            self.count_free(&piece);
            piece.unmark(&self.run.owners)?;
            if let Memory::Block(pfn, order) = piece.memory {
                // SAFETY: the block is this piece's, which ends here.
                *slot = Some(unsafe { Block::from_raw(pfn, order) });
            }
            next = self.pick_like(|memory| matches!(memory, Memory::Block(_, Order::ZERO)));
        }
        if let Some(piece) = next {
            self.keep(piece)?;
        }
        Ok(self.seat.inside(|| M::frames().free_bulk(&mut slots))?)
    }

    /// Frees objects of one layout, this one among them, with one call.
    fn free_objects(&mut self, first: Piece<M>, layout: Layout) -> Result<(), Failure> {
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
        Ok(self.seat.inside(|| unsafe { M::heap().free_bulk(&objects[..count], layout) })?)
    }

    /// The last piece of some kind among the last few.
    fn pick_like(&mut self, is_like: impl Fn(&Memory) -> bool) -> Option<Piece<M>> {
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

    /// Takes all that is left, so that everybody has to do with little for a moment: CPUs' pages are emptied, caches shrink, requests
    /// go to other zones and mobilities, and are refused. Nothing is written to it.
    fn make_short(&mut self) -> Result<(), Failure> {
        self.tally.operations += 1;
        for order in [Order::MAX.get(), 6, 3, 0].into_iter().filter_map(Order::new) {
            while self.hoard.len() < self.hoard.capacity() {
                let gfp = Gfp::NOWAIT | Gfp::MOVABLE;
                let Ok(block) = self.seat.inside(|| M::frames().allocate(order, gfp)) else { break };
                self.run.own(self.cpu, &block)?;
                self.hoard.push(block);
            }
        }
        for _ in 0..AT_A_TIME {
            self.allocate()?;
        }
        while let Some(block) = self.hoard.pop() {
            self.run.disown(&block);
            self.seat.inside(|| M::frames().free(block))?;
        }
        Ok(())
    }

    /// What is done now and then, and concerns all CPUs: it is the more likely to be done wrongly.
    fn disturb(&mut self) -> Result<(), Failure> {
        self.tally.operations += 1;
        self.seat.inside(|| match self.random.random_range(0..8) {
            0 => M::frames().drain(),
            1 => _ = M::heap().shrink(),
            2 => M::heap().retire_cpu(),
            3 => _ = M::heap().frames(),
            4 => _ = M::frames().stats(),
            _ => _ = M::frames().decay(),
        });
        // What the allocator says of a block that is in use.
        match self.pieces.last() {
            Some(Piece { memory: Memory::Block(pfn, order), .. }) if M::frames().order_of(*pfn)? != *order => {
                Err(Failure::WrongOrder { pfn: *pfn, order: *order })
            }
            Some(Piece { memory: Memory::Object(object, layout), .. }) => {
                let size = M::heap().object_size(*object)?;
                if size < layout.size() { Err(Failure::TooSmall { size, wanted: layout.size() }) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

const _: () = assert!(FRAME_SIZE.is_multiple_of(8), "a frame has whole words");
