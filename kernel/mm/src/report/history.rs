//! The last operations on some memory, as far as a recording has not forgotten them: for reports of what is wrong there. They are in its
//! ring, whether or not the recorder was told of them, until others take their places.

use core::fmt;
use core::ops::Range;

use crate::allocator::{Call, Event, HeapCall, Recording, View};
use crate::cpu::{CALLERS, Cpu};
use crate::error::FreeError;
use crate::frame::{FRAME_SIZE, Pfn};

/// An operation that was recorded, and has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PastCall {
    /// The CPU that did it.
    pub cpu: usize,
    /// What was asked.
    pub call: Call,
    /// What was returned, as a number; `None` if it was refused.
    pub returned: Option<u64>,
    /// The return addresses of the calls that led to it, innermost first, as far as [somebody knows](crate::cpu::Hooks::callers), and 0
    /// behind the last.
    pub callers: [u64; CALLERS],
}

impl PastCall {
    /// Calls that are shown: the innermost are the allocator's own, behind those come those of the code that asked.
    const SHOWN: usize = 6;

    fn of(event: &Event, returned: Option<u64>) -> Option<Self> {
        let (cpu, call) = event.begun()?;
        let mut callers = [0; CALLERS];
        callers.iter_mut().zip(event.callers()).for_each(|(place, address)| *place = address);
        Some(Self { cpu, call, returned, callers })
    }

    /// Whether it was about any of these bytes.
    fn touches(&self, bytes: &Range<u64>) -> bool {
        let own = bytes_of(&self.call, self.returned);
        own.is_some_and(|own| own.start < bytes.end && bytes.start < own.end)
    }
}

/// As `boot replay --list` has it, and below that the calls as lines of a backtrace.
impl fmt::Display for PastCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, call, returned, callers } = self;
        write!(f, "CPU {cpu}: {call:?} -> ")?;
        match returned {
            Some(number) => write!(f, "{number:#x}")?,
            None => f.write_str("refused")?,
        }
        let callers = callers.iter().take_while(|&&address| address != 0).take(Self::SHOWN);
        (1..).zip(callers).try_for_each(|(nth, address)| write!(f, "\n  #{nth} {address:#018x}"))
    }
}

/// The last operations on some memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct History([Option<PastCall>; Self::MOST]);

impl History {
    /// How many operations it has at most.
    pub const MOST: usize = 8;

    /// The operations, the latest first.
    pub fn calls(&self) -> impl Iterator<Item = &PastCall> {
        self.0.iter().flatten()
    }

    fn push(&mut self, call: PastCall) {
        self.0.rotate_right(1);
        self.0[0] = Some(call);
    }
}

/// Behind a report: a line of its own, and the operations below it; nothing if there are none.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.calls().next().is_some() {
            f.write_str("\nlast operations there, the latest first:")?;
        }
        self.calls().try_for_each(|call| write!(f, "\n{call}"))
    }
}

/// An error with what is known of the frame that it is about.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FreeReport<'e> {
    /// What is wrong.
    pub error: &'e FreeError,
    /// The last operations on the frame, if they are [recorded](crate::allocator::PageAllocator::record): who allocated it, and who freed it.
    pub last: History,
}

impl fmt::Display for FreeReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, last } = self;
        write!(f, "{error}{last}")
    }
}

impl Recording<'_> {
    /// The last operations on the memory with these numbers of bytes, once no other is at work.
    pub(crate) fn history<C: Cpu>(&self, bytes: &Range<u64>) -> History {
        let mut history = History::default();
        self.for_each_ended::<C>(|event, returned| {
            let call = PastCall::of(event, returned).filter(|call| call.touches(bytes));
            call.into_iter().for_each(|call| history.push(call));
        });
        history
    }
}

impl<C: Cpu> View<'_, C> {
    /// An error with what is known of the frame that it is about: where operations are [recorded](crate::allocator::PageAllocator::record),
    /// the last on that frame. No lock of the kernel's may be held that an operation takes.
    pub fn report<'e>(&self, error: &'e FreeError) -> FreeReport<'e> {
        let pfn = match *error {
            FreeError::NoFrames => None,
            FreeError::NotManaged(pfn) | FreeError::Reserved(pfn) | FreeError::AlreadyFree(pfn) => Some(pfn),
            FreeError::Interior { pfn, .. } | FreeError::WrongOrder { pfn, .. } => Some(pfn),
        };
        let history =
            |(recording, pfn): (&Recording<'_>, Pfn)| recording.history::<C>(&bytes_of_frames(pfn.number(), 1));
        let last = self.recording.zip(pfn).map(history);
        FreeReport { error, last: last.unwrap_or_default() }
    }
}

fn bytes_of_frames(first: u64, frames: u64) -> Range<u64> {
    bytes_from(first.saturating_mul(FRAME_SIZE), frames.saturating_mul(FRAME_SIZE))
}

fn bytes_from(address: u64, bytes: u64) -> Range<u64> {
    address..address.saturating_add(bytes)
}

/// The bytes that an operation is about, by the numbers of their addresses; `None` if it is about none, or has come to nothing.
fn bytes_of(call: &Call, returned: Option<u64>) -> Option<Range<u64>> {
    Some(match *call {
        Call::Allocate { order, .. } => bytes_of_frames(returned?, order.frames()),
        Call::Free { pfn, order } | Call::Split { pfn, order, .. } => bytes_of_frames(pfn.number(), order.frames()),
        Call::AllocateExact { frames, .. }
        | Call::AllocateContiguous { frames, .. }
        | Call::AllocateRun { frames, .. } => bytes_of_frames(returned?, frames),
        Call::Resize { range, frames, .. } => bytes_of_frames(range.start.number(), range.frames().max(frames)),
        Call::AllocateRange { range, .. } | Call::Isolate(range) | Call::Unisolate(range) | Call::Add(range) => {
            bytes_of_frames(range.start.number(), range.frames())
        }
        Call::Heap(call) => return bytes_of_heap(call, returned),
        Call::Drain
        | Call::Decay
        | Call::Balance
        | Call::UnreserveHighAtomic
        | Call::Settle(_)
        | Call::AddShrinker
        | Call::RemoveShrinker
        | Call::Shrink { .. } => return None,
    })
}

/// The same of one on the heap. Of an object that is freed it is the first byte alone: how long it was is not said.
fn bytes_of_heap(call: HeapCall, returned: Option<u64>) -> Option<Range<u64>> {
    Some(match call {
        HeapCall::Allocate { size, .. } => bytes_from(returned?, size.max(1)),
        HeapCall::Slab { order } => bytes_from(returned?, order.bytes()),
        HeapCall::Free { address, .. } | HeapCall::TakeRun { address } => bytes_from(address, 1),
        HeapCall::OpenRun { address, bytes, .. } | HeapCall::CloseRun { address, bytes } => bytes_from(address, bytes),
        HeapCall::PutRun { address, bytes } => bytes_from(address, bytes.unwrap_or(1)),
        HeapCall::Shrink
        | HeapCall::Retire
        | HeapCall::Prepare
        | HeapCall::SetAside { .. }
        | HeapCall::Settle
        | HeapCall::NewCache { .. }
        | HeapCall::EndCache { .. } => return None,
    })
}
