//! What a CPU asks for: memory of all kinds, each as often as a table says.

use super::{BULK, Worker};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::piece::{Memory, Piece};
use bifolio::frame::{Block, Gfp, Order};
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::ptr::NonNull;
use rand::RngExt;

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

impl<M: Machine> Worker<'_, M> {
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

    /// Allocates something.
    pub(super) fn allocate(&mut self) -> Result<(), Failure> {
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
                let mapping = self.seat.inside(|| M::map(pages));
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
        let block = self.seat.inside(|| M::frames().allocate(order, gfp)).ok();
        let memory = block.inspect(|block| self.note_zone(block, gfp)).map(Memory::from);
        if let Some(memory) = memory.as_ref().filter(|_| gfp.contains(Gfp::ZERO)) {
            // SAFETY: the block was just allocated, and is this CPU's.
            unsafe { Piece::<M>::check_zeroed(memory) }?;
        }
        self.got(memory)
    }

    /// Notes whether a block is of the zone that it should be of at best.
    fn note_zone(&mut self, block: &Block, gfp: Gfp) {
        let wanted = gfp.highest_zone().map(|highest| self.first_choice[highest.index()]);
        self.tally.fallbacks += u64::from(wanted != Some(M::frames().zone_of(block.pfn())));
    }

    fn frames(&mut self) -> Result<(), Failure> {
        let (gfp, count) = (self.gfp(), self.random.random_range(1..=BULK));
        let mut slots = [const { None }; BULK];
        let got = self.seat.inside(|| M::frames().allocate_bulk(&mut slots[..count], gfp));
        self.tally.operations += 1;
        self.tally.refused += u64::from(got.is_err());
        for block in slots.into_iter().flatten() {
            self.note_zone(&block, gfp);
            let piece = self.run.mark(self.cpu, block.into())?;
            self.keep(piece)?;
        }
        Ok(())
    }

    fn range(&mut self) -> Result<(), Failure> {
        let (gfp, count) = (self.gfp(), self.random.random_range(3..40));
        let range = self.seat.inside(|| M::frames().allocate_exact(count, gfp));
        self.got(range.ok().map(Memory::from))
    }

    /// So many bytes, whole words: each magnitude as often as the others.
    pub(super) fn size(&mut self, magnitudes: Range<u32>) -> usize {
        let magnitude = 1 << self.random.random_range(magnitudes);
        (self.random.random_range(magnitude..magnitude * 2) + 7) & !7
    }

    fn layout(&mut self, magnitudes: Range<u32>) -> Result<Layout, Failure> {
        let align = 8 << self.random.random_range(0..64_u32).saturating_sub(56);
        let size = self.size(magnitudes);
        Layout::from_size_align(size, align).map_err(|_| Failure::NoMemory)
    }

    fn object(&mut self) -> Result<(), Failure> {
        // From 8 bytes to 2 MiB, few of them larger than any class.
        let magnitudes = if self.random.random_range(0..64) == 0 { 13..21 } else { 3..13 };
        let layout = self.layout(magnitudes)?;
        let object = self.seat.inside(|| M::heap().allocate(layout));
        self.got(object.map(|object| Memory::Object(object, layout)))
    }

    fn objects(&mut self) -> Result<(), Failure> {
        let (layout, count) = (self.layout(3..11)?, self.random.random_range(1..=BULK));
        let mut objects = [MaybeUninit::uninit(); BULK];
        let got = self.seat.inside(|| M::heap().allocate_bulk(layout, &mut objects[..count]));
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
            let object = self.seat.inside(|| M::heap().allocate(layout));
            return self.got(object.map(|object| Memory::Object(object, layout)));
        }
        let (gfp, count) = (self.gfp(), self.random.random_range(1025..1200));
        let range = self.seat.inside(|| M::frames().allocate_contiguous(count, gfp));
        self.got(range.ok().map(Memory::from))
    }
}
