//! Pieces of all kinds: of each, what its sequences are, what does them, and what a picture of it shows.

use core::alloc::Layout as Size;

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::caches::{self, BATCH, Batches, Caches, Timed};
use crate::draw::Strip;
use crate::judge::{Event, Failure, Rules, Tally};
use crate::layout::Layout;
use crate::objects::{self, Objects, SLAB, Sizes};
use crate::operation::{Blocks, Operation, Wanted, sequence};
use crate::{Frames, Memory, exam};

/// A kind of piece, and how one of that kind is made. Of what type it is does not matter to what is tried, which is compiled once.
pub trait Subject: Copy {
    /// What its sequences consist of.
    type Operation: Copy;

    /// A sequence: the same for the same seed.
    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Self::Operation>;

    /// How long a sequence is that has seen most of what some memory can come to. `keeps_all` says that nothing is freed in it.
    fn length(layout: &Layout, keeps_all: bool) -> usize {
        // Small memory is full with few operations; of large there is no need to see all of it.
        (4 * layout.frames() + 8).min(if keeps_all { 4000 } else { 600 }) as usize
    }

    /// Has a piece do a sequence in some memory, up to its first mistake; what went right, and the mistake. What happens is shown
    /// to `see`.
    fn perform<'a>(
        self,
        layout: &'a Layout,
        operations: &[Self::Operation],
        rules: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>);

    /// The same operation in an easier place, if it is in a hard one: shown is what shows the mistake there as well.
    fn easier(_: Self::Operation) -> Option<Self::Operation> {
        None
    }

    /// What is drawn.
    fn strip(layout: &Layout) -> Strip {
        Strip::frames(layout)
    }
}

/// An allocator of frames: labs 1, 2, 3 and 6.
#[derive(Clone, Copy, Debug)]
pub struct OfFrames(pub fn(Memory) -> Box<dyn Frames>);

impl OfFrames {
    /// With pieces of a type.
    pub fn of<P: Frames + 'static>() -> Self {
        Self(|memory| Box::new(P::new(memory)))
    }
}

impl Subject for OfFrames {
    type Operation = Operation;

    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Operation> {
        sequence(seed, wanted, &mut Blocks)
    }

    fn perform<'a>(
        self,
        layout: &'a Layout,
        operations: &[Operation],
        rules: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>) {
        exam::perform(self.0, layout, operations, rules, see)
    }
}

/// A heap of small objects: lab 4.
#[derive(Clone, Copy, Debug)]
pub struct OfObjects(pub fn(objects::Frames) -> Box<dyn Objects>);

impl OfObjects {
    /// With pieces of a type.
    pub fn of<P: Objects + 'static>() -> Self {
        Self(|frames| Box::new(P::new(frames)))
    }
}

impl Subject for OfObjects {
    type Operation = Operation<Size>;

    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Self::Operation> {
        sequence(seed, wanted, &mut Sizes::new(seed))
    }

    /// A slab of the smallest class has 256 slots.
    fn length(_: &Layout, _: bool) -> usize {
        700
    }

    fn perform<'a>(
        self,
        layout: &'a Layout,
        operations: &[Self::Operation],
        _: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>) {
        objects::perform(self.0, layout, operations, see)
    }

    fn strip(layout: &Layout) -> Strip {
        let per_frame = SLAB as u64 / objects::CELL;
        Strip {
            cells: layout.first() * per_frame..layout.end() * per_frame,
            bytes: Some(objects::CELL),
            taken_as: Some(0),
        }
    }
}

/// Caches of several CPUs: lab 5.
#[derive(Clone, Copy, Debug)]
pub struct OfCaches(pub fn(Batches) -> Box<dyn Caches>);

impl OfCaches {
    /// With pieces of a type.
    pub fn of<P: Caches + 'static>() -> Self {
        Self(|batches| Box::new(P::new(batches)))
    }
}

impl Subject for OfCaches {
    type Operation = Timed;

    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Timed> {
        caches::timed(seed, wanted)
    }

    fn length(layout: &Layout, _: bool) -> usize {
        (6 * layout.frames()) as usize
    }

    fn perform<'a>(
        self,
        layout: &'a Layout,
        operations: &[Timed],
        _: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>) {
        caches::perform(self.0, layout, operations, see)
    }

    fn easier(operation: Timed) -> Option<Timed> {
        operation.behind.is_some().then_some(Timed { behind: None, ..operation })
    }

    fn strip(layout: &Layout) -> Strip {
        Strip { taken_as: Some(BATCH.trailing_zeros()), ..Strip::frames(layout) }
    }
}

/// Does something with a piece, of whatever type it is.
pub trait Visitor: Sized {
    /// What comes of it.
    type Output;

    /// Does it with an allocator of frames.
    fn frames<P: Frames + Send + 'static>(self) -> Self::Output;

    /// Does it with a heap of small objects.
    fn objects<P: Objects + Send + 'static>(self) -> Self::Output;

    /// Does it with caches of several CPUs.
    fn caches<P: Caches + Send + 'static>(self) -> Self::Output;
}

/// Has a visitor visit the piece of a lab, by the lab's number.
#[macro_export]
macro_rules! visit {
    (4, $visitor:expr, $piece:ty) => {
        $crate::subject::Visitor::objects::<$piece>($visitor)
    };
    (5, $visitor:expr, $piece:ty) => {
        $crate::subject::Visitor::caches::<$piece>($visitor)
    };
    ($lab:literal, $visitor:expr, $piece:ty) => {
        $crate::subject::Visitor::frames::<$piece>($visitor)
    };
}

/// A piece of this type that has taken charge of some memory.
pub fn frames<P: Frames>(layout: &Layout) -> P {
    P::new(layout.memory())
}

/// A heap of this type over some memory.
pub fn objects<P: Objects>(layout: &Layout) -> P {
    P::new(objects::Frames::new(layout.source(1)))
}

/// Caches of this type over some memory.
pub fn caches<P: Caches>(layout: &Layout) -> P {
    P::new(Batches::new(layout.source(BATCH)))
}

/// Does the first test of a lab, by the lab's number, which is in the module of the piece.
#[macro_export]
macro_rules! first_test {
    (4, $module:ident, $layout:expr) => {
        $module::first_test($crate::subject::objects($layout))
    };
    (5, $module:ident, $layout:expr) => {
        $module::first_test($crate::subject::caches($layout), [&$crate::caches::Quiet(0), &$crate::caches::Quiet(1)])
    };
    ($lab:literal, $module:ident, $layout:expr) => {
        $module::first_test($crate::subject::frames($layout))
    };
}
