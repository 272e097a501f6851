//! Pieces of all kinds: of each, what its sequences are, what does them, and what a picture of it shows.

use core::alloc::Layout as Size;
use core::marker::PhantomData;

use alloc::vec::Vec;

use crate::caches::{self, BATCH, Batches, Caches, Timed};
use crate::draw::Strip;
use crate::judge::{Event, Failure, Rules, Tally};
use crate::layout::Layout;
use crate::objects::{self, Objects, SLAB, Sizes};
use crate::operation::{Blocks, Operation, Wanted, sequence};
use crate::{Frames, exam};

/// A kind of piece, with one of that kind.
pub trait Subject {
    /// The type of the piece.
    type Piece;
    /// What its sequences consist of.
    type Operation: Copy;

    /// A piece that has taken charge of some memory.
    fn piece(layout: &Layout) -> Self::Piece;

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
        layout: &'a Layout,
        operations: &[Self::Operation],
        rules: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>);

    /// What is drawn.
    fn strip(layout: &Layout) -> Strip {
        Strip::frames(layout)
    }
}

/// An allocator of frames: labs 1, 2, 3 and 6.
#[derive(Debug)]
pub struct OfFrames<P>(PhantomData<P>);

impl<P: Frames> Subject for OfFrames<P> {
    type Piece = P;
    type Operation = Operation;

    fn piece(layout: &Layout) -> P {
        P::new(layout.memory())
    }

    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Operation> {
        sequence(seed, wanted, &mut Blocks)
    }

    fn perform<'a>(
        layout: &'a Layout,
        operations: &[Operation],
        rules: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>) {
        exam::perform::<P>(layout, operations, rules, see)
    }
}

/// A heap of small objects: lab 4.
#[derive(Debug)]
pub struct OfObjects<P>(PhantomData<P>);

impl<P: Objects> Subject for OfObjects<P> {
    type Piece = P;
    type Operation = Operation<Size>;

    fn piece(layout: &Layout) -> P {
        P::new(objects::Frames::new(layout.source(1)))
    }

    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Self::Operation> {
        sequence(seed, wanted, &mut Sizes::new(seed))
    }

    /// A slab of the smallest class has 256 slots.
    fn length(_: &Layout, _: bool) -> usize {
        700
    }

    fn perform<'a>(
        layout: &'a Layout,
        operations: &[Self::Operation],
        _: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>) {
        objects::perform::<P>(layout, operations, see)
    }

    fn strip(layout: &Layout) -> Strip {
        let per_frame = SLAB as u64 / objects::CELL;
        Strip { cells: layout.first() * per_frame..layout.end() * per_frame, bytes: Some(objects::CELL) }
    }
}

/// Caches of several CPUs: lab 5.
#[derive(Debug)]
pub struct OfCaches<P>(PhantomData<P>);

impl<P: Caches> Subject for OfCaches<P> {
    type Piece = P;
    type Operation = Timed;

    fn piece(layout: &Layout) -> P {
        P::new(Batches::new(layout.source(BATCH)))
    }

    fn sequence(seed: u64, wanted: Wanted<'_>) -> Vec<Timed> {
        caches::timed(seed, wanted)
    }

    fn length(layout: &Layout, _: bool) -> usize {
        (6 * layout.frames()) as usize
    }

    fn perform<'a>(
        layout: &'a Layout,
        operations: &[Timed],
        _: Rules,
        see: Option<&'a mut dyn FnMut(Event)>,
    ) -> (Tally, Option<Failure>) {
        caches::perform::<P>(layout, operations, see)
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

/// Does the first test of a lab, by the lab's number, which is in the module of the piece.
#[macro_export]
macro_rules! first_test {
    (4, $module:ident, $layout:expr) => {
        $module::first_test(<$crate::subject::OfObjects<$module::Piece> as $crate::subject::Subject>::piece($layout))
    };
    (5, $module:ident, $layout:expr) => {
        $module::first_test(
            <$crate::subject::OfCaches<$module::Piece> as $crate::subject::Subject>::piece($layout),
            [&$crate::caches::Quiet(0), &$crate::caches::Quiet(1)],
        )
    };
    ($lab:literal, $module:ident, $layout:expr) => {
        $module::first_test(<$crate::subject::OfFrames<$module::Piece> as $crate::subject::Subject>::piece($layout))
    };
}
