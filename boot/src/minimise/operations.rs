//! The operations of a trace, and which of them a frame or an object is from.

use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::{FRAME_SIZE, Pfn, PfnRange};
use replay::{Last, World};
use std::collections::BTreeMap;

/// An operation of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) cpu: usize,
    pub(super) call: Call,
    /// What the trace says that it returned.
    pub(super) returned: Option<u64>,
    /// The number of the site that asked for it.
    pub(super) site: u32,
}

/// The operations of a world's trace up to a moment.
pub(super) fn operations(world: &World, moment: u64) -> Vec<Operation> {
    let mut all = Vec::new();
    world.for_each_operation_until(moment, |_, within, Last { cpu, call, returned, site }| {
        if !is_asked_for(within, &call) {
            all.push(Operation { cpu, call, returned, site });
        }
    });
    all
}

/// Those that the trace ends in the middle of.
pub(super) fn unfinished(world: &World) -> Vec<Operation> {
    let (_, opened) = world.unfinished().unwrap_or_default();
    let calls: Vec<Call> = opened.iter().map(|(_, call)| *call).collect();
    let own = (0..calls.len()).rev().filter(|&nth| !is_asked_for(&calls[..nth], &calls[nth]));
    let site = world.site_at(usize::MAX);
    own.map(|nth| Operation { cpu: opened[nth].0, call: calls[nth], returned: None, site }).collect()
}

/// Whether the operations that it is within ask for this one again: what the heap asks for, but not what shrinkers do, nor what others did
/// meanwhile.
fn is_asked_for(within: &[Call], call: &Call) -> bool {
    let mut asking = within.iter().rev().take_while(|call| !matches!(call, Call::Shrink { .. }));
    matches!(call, Call::Shrink { .. }) || asking.any(|call| matches!(call, Call::Heap(_)))
}

/// How many frames a call asks for, if it allocates any.
pub(super) fn frames_of(call: &Call) -> Option<u64> {
    match *call {
        Call::Allocate { order, .. } => Some(order.frames()),
        Call::AllocateExact { frames, .. }
        | Call::AllocateContiguous { frames, .. }
        | Call::AllocateRun { frames, .. } => Some(frames),
        Call::AllocateRange { range, .. } => Some(range.frames()),
        _ => None,
    }
}

/// What a place behind an allocation is counted in, and its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    Frames,
    Bytes,
    /// Bytes, behind what was allocated as frames.
    BytesOfFrames,
}

impl Unit {
    /// The place so far behind what was given.
    pub(super) fn place(self, given: u64, offset: u64) -> u64 {
        let place = given + offset;
        if self == Self::BytesOfFrames { place * FRAME_SIZE } else { place }
    }
}

/// Which allocation a frame or an object is of: its number among the operations, and how many frames or bytes lie before. Of what was
/// freed it is the last, for frees of what is free.
#[derive(Default)]
pub(super) struct Owners {
    /// By the first frame.
    frames: BTreeMap<u64, (u64, usize)>,
    objects: BTreeMap<u64, usize>,
}

impl Owners {
    /// Notes what an operation gives out.
    pub(super) fn note(&mut self, number: usize, operation: &Operation) {
        let Some(returned) = operation.returned else { return };
        let (start, frames, number) = match (operation.call, frames_of(&operation.call)) {
            (_, Some(frames)) => (returned, frames, number),
            (Call::Resize { range, frames, .. }, _) => match self.of(range.start) {
                Some((owner, 0)) => (range.start.number(), frames, owner),
                _ => return,
            },
            (Call::Heap(HeapCall::Allocate { .. }), _) => {
                self.objects.insert(returned, number);
                return;
            }
            _ => return,
        };
        // Whatever began there before is free.
        while let Some((&before, _)) = self.frames.range(start..start + frames).next() {
            self.frames.remove(&before);
        }
        self.frames.insert(start, (frames, number));
    }

    fn of(&self, pfn: Pfn) -> Option<(usize, u64)> {
        let (start, (frames, number)) = self.frames.range(..=pfn.number()).next_back()?;
        let offset = pfn.number() - start;
        (offset < *frames).then_some((*number, offset))
    }

    /// The allocation that gave out what `call` is about, how far behind its start that is, and in what that is counted.
    pub(super) fn of_call(&self, call: &Call) -> Option<(usize, u64, Unit)> {
        let (pfn, unit) = match *call {
            Call::Free { pfn, .. } | Call::Split { pfn, .. } => (pfn, Unit::Frames),
            Call::Resize { range, .. } => (range.start, Unit::Frames),
            Call::Heap(HeapCall::Free { address, .. }) => {
                return self.objects.get(&address).map(|number| (*number, 0, Unit::Bytes));
            }
            Call::Heap(call) => (Pfn::containing(run_of(&call)?), Unit::BytesOfFrames),
            _ => return None,
        };
        self.of(pfn).map(|(number, offset)| (number, offset, unit))
    }
}

/// The address of the large object that a call is about.
fn run_of(call: &HeapCall) -> Option<u64> {
    match *call {
        HeapCall::OpenRun { address, .. }
        | HeapCall::CloseRun { address, .. }
        | HeapCall::TakeRun { address }
        | HeapCall::PutRun { address, .. } => Some(address),
        _ => None,
    }
}

/// The call about another frame or address than its own.
pub(super) fn with_place(call: Call, place: u64) -> Call {
    match call {
        Call::Free { order, .. } => Call::Free { pfn: Pfn::new(place), order },
        Call::Split { order, into, .. } => Call::Split { pfn: Pfn::new(place), order, into },
        Call::Resize { range, frames, gfp } => {
            let range = PfnRange::new(Pfn::new(place), Pfn::new(place + range.frames()));
            Call::Resize { range, frames, gfp }
        }
        Call::Heap(call) => Call::Heap(match call {
            HeapCall::Free { cache, .. } => HeapCall::Free { address: place, cache },
            HeapCall::OpenRun { bytes, align, .. } => HeapCall::OpenRun { address: place, bytes, align },
            HeapCall::CloseRun { bytes, .. } => HeapCall::CloseRun { address: place, bytes },
            HeapCall::TakeRun { .. } => HeapCall::TakeRun { address: place },
            HeapCall::PutRun { bytes, .. } => HeapCall::PutRun { address: place, bytes },
            call => call,
        }),
        call => call,
    }
}
