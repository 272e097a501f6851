//! The trace of a world, and how far it has been followed: by the world, and by whatever an operation asks for within itself, which is
//! answered as the trace says. Or else the world goes its own way, and the trace is written.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ptr::NonNull;

use bifolio::allocator::{Call, HeapCall, Shrinker};
use bifolio::frame::{Gfp, Order, Pfn};
use trace::{Broken, Defect, Encoder, Place, Record};

use crate::cpu;
use crate::memory::{Frames, Objects};
use crate::perform::perform;
use crate::source::{Addresses, Chunk};

/// The first thing that was not as the trace says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Difference {
    /// How many operations were the same before.
    pub operation: u64,
    /// The place of the record in the trace.
    pub offset: usize,
    /// What was found.
    pub found: Found,
}

/// What was not as the trace says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// An operation returned something else.
    Returned {
        /// The CPU that did it.
        cpu: usize,
        /// The operation.
        call: Call,
        /// What the trace says.
        expected: Option<u64>,
        /// What it returned.
        actual: Option<u64>,
    },
    /// The state is another.
    State {
        /// The hash in the trace.
        expected: u64,
        /// The state's.
        actual: u64,
    },
    /// A shrinker was asked for so many frames, where the trace has no such thing.
    Asked(u64),
    /// The heap asked for a slab of this order, where the trace has no such thing.
    AskedForSlab(Order),
    /// Something was not asked for, where the trace says so.
    NotAsked,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = |value: Option<u64>| match value {
            Some(value) => alloc::format!("{value:#x}"),
            None => "a refusal".into(),
        };
        let Self { operation, offset, found } = self;
        write!(f, "operation {operation} (byte {offset:#x} of the trace): ")?;
        match *found {
            Found::Returned { cpu, call, expected, actual } => {
                write!(f, "{call:?} on CPU {cpu} gave {}, not {}", returned(actual), returned(expected))
            }
            Found::State { expected, actual } => {
                write!(f, "the state before it has the hash {actual:#018x}, not {expected:#018x}")
            }
            Found::Asked(frames) => {
                write!(f, "a shrinker was asked for {frames} frames, of which the trace knows nothing")
            }
            Found::AskedForSlab(order) => {
                write!(f, "the heap asked for a slab of order {order}, of which the trace knows nothing")
            }
            Found::NotAsked => write!(f, "a shrinker or a slab was not asked for, as the trace has it"),
        }
    }
}

/// A trace, and how far it has been followed.
#[derive(Debug)]
pub(crate) struct Script(RefCell<Inner>);

#[derive(Debug)]
struct Inner {
    trace: Vec<u8>,
    /// How many bytes of it may be followed: the rest has not come as a whole.
    whole: usize,
    place: Place,
    /// What was met within an operation, which cannot tell whoever asked it.
    met: Option<(usize, Found)>,
    frames: *const Frames,
    heap: *const Objects,
    /// What writes the trace, while it is not followed but written.
    writer: Option<Encoder>,
    /// The address of the run that is about to be a large object.
    run: Option<u64>,
    /// Within the operation that is being done, the trace has others.
    has_others: bool,
    /// If it has opened a slab: the frames that the trace has for what is known of that, as far as they were not asked for.
    slab_frames: Option<Vec<(Order, Pfn)>>,
    addresses: Addresses,
    chunks: Vec<Chunk>,
}

// SAFETY: a script is its world's alone, and a world is neither `Send` nor `Sync`: one thread has both. (A shrinker has to be
// `Sync` for allocators that many threads use.)
unsafe impl Sync for Script {}

impl Script {
    /// Begins to follow a trace at `place`.
    pub(crate) fn new(trace: Vec<u8>, place: Place) -> Self {
        let (frames, heap) = (core::ptr::null(), core::ptr::null());
        let (addresses, chunks) = (Addresses::default(), Vec::new());
        Self(RefCell::new(Inner {
            whole: place.offset(),
            trace,
            place,
            met: None,
            frames,
            heap,
            writer: None,
            run: None,
            has_others: false,
            slab_frames: None,
            addresses,
            chunks,
        }))
    }

    /// What operations are done with. Before any is.
    pub(crate) fn set_world(&self, frames: &Frames, heap: &Objects) {
        self.with(|inner| (inner.frames, inner.heap) = (frames, heap));
    }

    fn with<R>(&self, inside: impl FnOnce(&mut Inner) -> R) -> R {
        inside(&mut self.0.borrow_mut())
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        self.with(|inner| inner.place)
    }

    /// Goes to another place.
    pub(crate) fn go_to(&self, place: Place) {
        self.with(|inner| {
            inner.place = place;
            inner.met = None;
        });
    }

    /// Reads the next record.
    pub(crate) fn next(&self) -> Result<Option<Record>, Broken> {
        self.with(|inner| inner.place.next(&inner.trace[..inner.whole]))
    }

    /// What was met since this was last asked.
    pub(crate) fn take_met(&self) -> Option<(usize, Found)> {
        self.with(|inner| inner.met.take())
    }

    fn met(&self, offset: usize, found: Found) {
        self.with(|inner| inner.met = inner.met.or(Some((offset, found))));
    }

    /// Shows the trace, as far as it may be followed.
    pub(crate) fn with_trace<R>(&self, show: impl FnOnce(&[u8]) -> R) -> R {
        self.with(|inner| show(&inner.trace[..inner.whole]))
    }

    /// Shows all that has come of the trace.
    pub(crate) fn with_all<R>(&self, show: impl FnOnce(&[u8]) -> R) -> R {
        self.with(|inner| show(&inner.trace))
    }

    /// Adds what has come of the trace.
    pub(crate) fn extend(&self, bytes: &[u8]) {
        self.with(|inner| inner.trace.extend_from_slice(bytes));
    }

    /// Lets it be followed for so many bytes, or to its end.
    pub(crate) fn let_follow(&self, bytes: Option<usize>) {
        self.with(|inner| inner.whole = bytes.unwrap_or(inner.trace.len()));
    }

    /// Complains of a trace that may not be followed to its end.
    pub(crate) fn check_whole(&self) -> Result<(), Broken> {
        let (whole, length) = self.with(|inner| (inner.whole, inner.trace.len()));
        if whole == length { Ok(()) } else { Err(Broken { defect: Defect::Cut, offset: length }) }
    }

    /// The addresses that stand for the machine's.
    pub(crate) fn with_addresses<R>(&self, look: impl FnOnce(&mut Addresses) -> R) -> R {
        self.with(|inner| look(&mut inner.addresses))
    }

    /// The memory of what the heap keeps of itself.
    pub(crate) fn with_chunks<R>(&self, look: impl FnOnce(&mut Vec<Chunk>) -> R) -> R {
        self.with(|inner| look(&mut inner.chunks))
    }

    /// The address here that stands for one of the machine's.
    pub(crate) fn pointer_to(&self, number: u64) -> Option<NonNull<u8>> {
        self.with_addresses(|addresses| addresses.pointer_to(number))
    }

    /// Does an operation that was read, within which the trace has others or not, and returns what it returned.
    pub(crate) fn repeat(&self, cpu: usize, call: Call, has_others: bool) -> Option<u64> {
        let had_others = self.with(|inner| core::mem::replace(&mut inner.has_others, has_others));
        let returned = self.act(cpu, call);
        self.with(|inner| inner.has_others = had_others);
        returned
    }

    /// Does an operation, and returns what it returned.
    pub(crate) fn act(&self, cpu: usize, call: Call) -> Option<u64> {
        cpu::take_turn_of(cpu);
        let (frames, heap) = self.with(|inner| (inner.frames, inner.heap));
        // SAFETY: both are the world's, in a block that does not move; and so is this, in a box that is dropped with the world.
        let (frames, heap, script): (_, _, &'static Self) = unsafe { (&*frames, &*heap, &*core::ptr::from_ref(self)) };
        let Call::Heap(call) = call else { return perform(frames, script, call) };
        if let HeapCall::OpenRun { address, .. } = call {
            self.with(|inner| inner.run = Some(address));
        }
        let of_outer = self.with(|inner| inner.slab_frames.take());
        // SAFETY: objects are numbers here, which nobody uses as memory.
        let returned = unsafe { heap.perform(call, |number| self.pointer_to(number)) };
        self.with(|inner| inner.slab_frames = of_outer);
        returned
    }

    /// Does an operation that was read within one of the CPU whose turn it is, with all that is within it, and returns what it returned.
    /// `None` if something is not as the trace says.
    fn follow(&self, offset: usize, record: Record) -> Option<Option<u64>> {
        let own = cpu::current();
        let (cpu, call, actual, expected) = match record {
            Record::Operation { cpu, call, returned } => (cpu, call, self.repeat(cpu, call, false), Some(returned)),
            Record::Opened { cpu, call } => (cpu, call, self.repeat(cpu, call, true), self.follow_to_end()),
            _ => return None,
        };
        cpu::take_turn_of(own);
        let expected = expected?;
        if actual != expected {
            let is_asked_for = matches!(call, Call::Shrink { .. } | Call::Heap(HeapCall::Slab { .. }));
            let found = Found::Returned { cpu, call, expected, actual };
            self.met(offset, if is_asked_for { Found::NotAsked } else { found });
            return None;
        }
        Some(actual)
    }

    /// Does what is left within the operation that was opened last, and returns what that is to return. `None` if something is not as
    /// the trace says.
    pub(crate) fn follow_to_end(&self) -> Option<Option<u64>> {
        loop {
            let offset = self.place().offset();
            match self.next() {
                Ok(Some(Record::Closed(returned))) => return Some(returned),
                Ok(Some(record)) if self.follow(offset, record).is_some() => {}
                _ => {
                    self.met(offset, Found::NotAsked);
                    return None;
                }
            }
        }
    }

    /// What was asked for within an operation, once all is done that comes before: what was returned, and where what is within it begins.
    /// `None` if there is no such thing.
    fn answer(&self, asked: Call, found: Found) -> Option<(Option<u64>, Place)> {
        loop {
            let before = self.place();
            let offset = before.offset();
            if !self.has_others() {
                self.met(offset, found);
                return None;
            }
            match self.next() {
                Ok(Some(Record::Operation { call, returned, .. })) if call == asked => {
                    return Some((returned, self.place()));
                }
                Ok(Some(Record::Opened { call, .. })) if call == asked => {
                    let inside = self.place();
                    return self.follow_to_end().map(|returned| (returned, inside));
                }
                Ok(Some(record)) if self.follow(offset, record).is_some() => {}
                _ => {
                    self.with(|inner| inner.place = before);
                    self.met(offset, found);
                    return None;
                }
            }
        }
    }

    /// A slab's block, for an operation on the heap: its address.
    pub(crate) fn ask_for_slab(&self, order: Order) -> Option<u64> {
        let call = HeapCall::Slab { order };
        if !self.is_written() {
            let (slab, inside) = self.answer(Call::Heap(call), Found::AskedForSlab(order))?;
            let frames = self.frames_kept(inside, slab?);
            self.with(|inner| inner.slab_frames = Some(frames));
            return slab;
        }
        self.begin(Call::Heap(call));
        let block = self.do_within(Call::Allocate { order, gfp: Gfp::KERNEL }).map(|pfn| Pfn::new(pfn).address());
        self.end(block);
        self.with(|inner| inner.slab_frames = block.map(|_| Vec::new()));
        block
    }

    /// The frames that were allocated from `place` on to where the trace was followed, and are still: but for those of the slab.
    fn frames_kept(&self, mut place: Place, slab: u64) -> Vec<(Order, Pfn)> {
        let (end, mut kept, mut within) = (self.place().offset(), Vec::new(), Vec::new());
        while place.offset() < end {
            let record = self.with(|inner| place.next(&inner.trace[..inner.whole]));
            let (call, returned) = match record {
                Ok(Some(Record::Operation { call, returned, .. })) => (call, returned),
                Ok(Some(Record::Opened { call, .. })) => {
                    within.push(call);
                    continue;
                }
                Ok(Some(Record::Closed(returned))) => match within.pop() {
                    Some(call) => (call, returned),
                    None => break,
                },
                _ => break,
            };
            match (call, returned) {
                (Call::Allocate { order, .. }, Some(pfn)) if within.is_empty() => kept.push((order, Pfn::new(pfn))),
                (Call::Free { pfn, order }, Some(_)) if within.is_empty() => kept.retain(|own| *own != (order, pfn)),
                _ => {}
            }
        }
        kept.retain(|(_, pfn)| pfn.address() != slab);
        kept
    }

    /// Frames for something that the heap keeps of itself: `None` if they are refused, and else their number, if that is known.
    ///
    /// None are refused that are for a slab: whether it was opened, the trace says of the slab.
    pub(crate) fn ask_for_frames(&self, order: Order) -> Option<Option<u64>> {
        if self.is_written() {
            let block = self.do_within(Call::Allocate { order, gfp: Gfp::KERNEL });
            let is_for_slab = self.with(|inner| inner.slab_frames.is_some());
            return if is_for_slab { Some(block) } else { block.map(Some) };
        }
        if let Some(known) = self.with(|inner| {
            let frames = inner.slab_frames.as_mut()?;
            let place = frames.iter().position(|(of, _)| *of == order);
            Some(place.map(|place| frames.swap_remove(place).1.number()))
        }) {
            return Some(known);
        }
        if !self.has_others() {
            return Some(None);
        }
        loop {
            let before = self.place();
            match self.next() {
                Ok(Some(record)) if is_of(&record, |call| matches!(call, Call::Free { .. })) => {
                    self.follow(before.offset(), record)?;
                }
                Ok(Some(record))
                    if is_of(&record, |call| matches!(call, Call::Allocate { order: of, .. } if *of == order)) =>
                {
                    return self.follow(before.offset(), record)?.map(Some);
                }
                _ => {
                    self.with(|inner| inner.place = before);
                    return Some(None);
                }
            }
        }
    }

    /// The heap gives frames back.
    pub(crate) fn give_back_frames(&self, pfn: Pfn, order: Order) {
        if self.is_written() {
            self.do_within(Call::Free { pfn, order });
        }
    }

    /// The run that is about to be a large object: its address.
    pub(crate) fn run(&self) -> Option<u64> {
        self.with(|inner| inner.run)
    }

    fn has_others(&self) -> bool {
        self.with(|inner| inner.has_others)
    }
}

/// Writing.
impl Script {
    /// Begins to write what is done in place of all that comes, behind so many operations.
    pub(crate) fn begin_to_write(&self, operations: u64) {
        self.with(|inner| {
            inner.trace.truncate(inner.place.offset());
            inner.writer = Some(Encoder::resume(&inner.place, operations));
        });
    }

    /// Ends that, and goes behind what was written; with a hash, if one is due, that is asked for.
    pub(crate) fn end_writing(&self) {
        self.with(|inner| {
            inner.writer = None;
            inner.whole = inner.trace.len();
        });
        while self.next().is_ok_and(|record| record.is_some()) {}
    }

    fn is_written(&self) -> bool {
        self.with(|inner| inner.writer.is_some())
    }

    fn write<R>(&self, write: impl FnOnce(&mut Encoder, &mut Vec<u8>) -> R) -> Option<R> {
        self.with(|inner| inner.writer.as_mut().map(|writer| write(writer, &mut inner.trace)))
    }

    /// An operation begins.
    pub(crate) fn begin(&self, call: Call) {
        // Nobody has asked for it at a site that the trace could know.
        self.write(|writer, sink| writer.begin_at(sink, cpu::current(), call, 0, &[]));
    }

    /// It ends. True if a hash is due.
    pub(crate) fn end(&self, returned: Option<u64>) -> bool {
        self.write(|writer, sink| writer.end(sink, returned)).unwrap_or(false)
    }

    /// Writes the hash of the state.
    pub(crate) fn write_hash(&self, hash: u64) {
        self.write(|writer, sink| writer.hash(sink, hash));
    }

    /// Does an operation within another.
    fn do_within(&self, call: Call) -> Option<u64> {
        self.begin(call);
        let returned = self.act(cpu::current(), call);
        self.end(returned);
        returned
    }
}

/// Whether a record is of such an operation.
fn is_of(record: &Record, is_such: impl Fn(&Call) -> bool) -> bool {
    matches!(record, Record::Operation { call, .. } | Record::Opened { call, .. } if is_such(call))
}

/// Does what the trace says that a shrinker did.
impl Shrinker for Script {
    fn shrink(&self, frames: u64) -> u64 {
        let call = Call::Shrink { frames };
        if !self.is_written() {
            return self.answer(call, Found::Asked(frames)).and_then(|(given, _)| given).unwrap_or(0);
        }
        // Whoever did something here before is not there any more.
        self.begin(call);
        self.end(Some(0));
        0
    }
}
