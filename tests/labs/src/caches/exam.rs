//! A sequence of operations, done by caches of several CPUs, some in the middle of others, with an oracle beside it.
//!
//! There is one thread: what another CPU or an interrupt does in the middle of an operation is done as a whole between two of its
//! steps, by a call out of [`Cpu::step`]. So each mistake is there again when its sequence is.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::ops::Range;

use super::sequence::Timed;
use super::{BATCH, Batches, Caches, Cpu};
use crate::judge::{Event, Failure, Kind, Step, Tally, check_refused, not_taken_back, said};
use crate::layout::Layout;
use crate::operation::{Operation, Wrong};
use crate::source::Source;
use crate::{BadFree, Frame, Refused};

/// What knows whose the frames are.
#[derive(Debug)]
pub struct Known {
    source: &'static Source,
    live: BTreeSet<Frame>,
}

impl Known {
    /// Nobody has a frame.
    pub fn new(source: &'static Source) -> Self {
        Self { source, live: BTreeSet::new() }
    }

    /// The CPU that has the batch of a frame.
    fn holder(&self, frame: Frame) -> Option<usize> {
        self.source.holder(self.source.run_of(frame)?)
    }

    /// Takes note of a frame that a CPU was given, if that is right.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, cpu: usize, frame: Frame) -> Result<(), String> {
        if self.source.run_of(frame).is_none() {
            return Err(format!("frame {frame:#x} was handed out, and is in no batch"));
        }
        if self.live.contains(&frame) {
            return Err(format!("frame {frame:#x} was handed out, and somebody has it already"));
        }
        match self.holder(frame) {
            None => Err(format!("frame {frame:#x} was handed out, and nobody has taken its batch")),
            Some(holder) if holder != cpu => {
                Err(format!("frame {frame:#x} was handed out by CPU {cpu}, and its batch is CPU {holder}'s"))
            }
            Some(_) => {
                self.live.insert(frame);
                Ok(())
            }
        }
    }

    /// Takes note that a frame is its owner's no more.
    pub fn remove(&mut self, frame: Frame) {
        self.live.remove(&frame);
    }

    /// What a free must say.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verdict(&self, frame: Frame) -> Result<(), BadFree> {
        match self.source.run_of(frame) {
            None => Err(BadFree::NotMemory),
            Some(_) if self.live.contains(&frame) => Ok(()),
            Some(_) => Err(BadFree::AlreadyFree),
        }
    }

    /// The frames that somebody has.
    pub fn live(&self) -> impl Iterator<Item = Frame> {
        self.live.iter().copied()
    }

    fn frames(&self, batch: usize) -> Range<Frame> {
        let start = self.source.start(batch);
        start..start + BATCH
    }

    /// A frame of this CPU's batches that nobody has.
    fn free_frame(&self, cpu: usize) -> Option<Frame> {
        let own = self.source.held().filter(|batch| self.source.holder(*batch) == Some(cpu));
        own.flat_map(|batch| self.frames(batch)).find(|frame| !self.live.contains(frame))
    }

    /// A batch of this CPU's of which nobody has a frame.
    fn whole(&self, cpu: usize) -> Option<Frame> {
        let own = self.source.held().filter(|batch| self.source.holder(*batch) == Some(cpu));
        let mut starts = own.map(|batch| self.source.start(batch));
        starts.find(|start| self.live.range(*start..*start + BATCH).next().is_none())
    }

    /// Whether every frame that somebody has is one of a batch that is taken.
    fn check_batches(&self) -> Step {
        self.live.iter().find(|frame| self.holder(**frame).is_none()).map_or(Ok(()), |frame| {
            Err((Kind::GaveAway, format!("the batch of frame {frame:#x} was given back, and somebody has that frame")))
        })
    }
}

/// What each frame is, a byte each: what somebody has, has the number of the CPU whose batch it is in; what is free there is a dot; what
/// is in no CPU's batch is a space.
pub fn states(known: &Known, frames: Range<Frame>) -> String {
    let state = |frame| match known.holder(frame) {
        Some(cpu) if known.live.contains(&frame) => char::from_digit(cpu as u32, 36).unwrap_or('?'),
        Some(_) => '.',
        None if known.live.contains(&frame) => '?',
        None => ' ',
    };
    frames.map(state).collect()
}

/// What is known of an owner.
#[derive(Clone, Copy)]
struct Owned {
    frame: Frame,
    is_live: bool,
}

/// What changes while a piece is at work.
struct State<'a> {
    known: Known,
    owners: BTreeMap<usize, Owned>,
    right: Tally,
    /// What is to come in the middle of the operation that is under way.
    coming: VecDeque<Timed>,
    /// What went wrong in the middle of it.
    wrong: Step,
    see: Option<&'a mut dyn FnMut(Event)>,
}

/// A piece at work.
struct Work<'a> {
    piece: Box<dyn Caches>,
    frames: Range<Frame>,
    state: RefCell<State<'a>>,
}

/// A CPU in the middle of an operation.
struct At<'w, 'a> {
    work: &'w Work<'a>,
    number: usize,
    /// Whether others may come in between. They themselves are left alone.
    is_outermost: bool,
    steps: Cell<usize>,
    is_masked: Cell<bool>,
    /// Whether others came in between, or this is itself in the middle of something: what there is cannot be known then.
    was_met: Cell<bool>,
}

impl Cpu for At<'_, '_> {
    fn number(&self) -> usize {
        self.number
    }

    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
        self.let_others();
    }

    fn set_masked(&self, masked: bool) -> bool {
        let before = self.is_masked.replace(masked);
        self.let_others();
        before
    }
}

impl At<'_, '_> {
    /// Lets those come whose time it is. An interrupt waits for as long as it is masked.
    fn let_others(&self) {
        while let Some(next) = self.next() {
            self.was_met.set(true);
            let step = self.steps.get();
            let prefix = match next.cpu == self.number {
                true => format!("  interrupt behind step {step}: "),
                false => format!("  behind step {step}, CPU {}: ", next.cpu),
            };
            let done = self.work.perform(next, false, &prefix);
            let mut state = self.work.state.borrow_mut();
            state.wrong = core::mem::replace(&mut state.wrong, Ok(())).and(done);
        }
    }

    fn next(&self) -> Option<Timed> {
        let coming = &mut self.work.state.borrow_mut().coming;
        let is_due = |other: &Timed| {
            let may = other.cpu != self.number || !self.is_masked.get();
            may && other.behind.is_some_and(|behind| behind <= self.steps.get())
        };
        let place = coming.iter().position(is_due).filter(|_| self.is_outermost)?;
        coming.remove(place)
    }
}

/// Has a piece do a sequence in some memory, up to its first mistake; what went right, and the mistake. What happens is shown to
/// `see`.
pub(crate) fn perform(
    new: fn(Batches) -> Box<dyn Caches>,
    layout: &Layout,
    operations: &[Timed],
    see: Option<&mut dyn FnMut(Event)>,
) -> (Tally, Option<Failure>) {
    let source = layout.source(BATCH);
    let state = State {
        known: Known::new(source),
        owners: BTreeMap::new(),
        right: Tally::default(),
        coming: VecDeque::new(),
        wrong: Ok(()),
        see,
    };
    let frames = layout.first()..layout.end();
    let work = Work { piece: new(Batches::new(source)), frames, state: RefCell::new(state) };
    let mut number = 0;
    while let Some(operation) = operations.get(number) {
        let within = operations[number + 1..].iter().take_while(|other| other.behind.is_some());
        work.state.borrow_mut().coming = within.copied().collect();
        let count = work.state.borrow().coming.len();
        if let Err((kind, text)) = work.outermost(*operation) {
            let right = work.state.borrow().right;
            return (right, Some(Failure { operation: number + count, kind, text }));
        }
        number += 1 + count;
    }
    let right = work.state.borrow().right;
    (right, None)
}

impl Work<'_> {
    /// Does an operation and what comes in the middle of it; what came too late for that is done behind it.
    fn outermost(&self, operation: Timed) -> Step {
        let done = self.perform(operation, true, &format!("CPU {}: ", operation.cpu));
        core::mem::replace(&mut self.state.borrow_mut().wrong, Ok(())).and(done)?;
        loop {
            let next = self.state.borrow_mut().coming.pop_front();
            let Some(next) = next else { break };
            self.perform(next, false, &format!("CPU {}: ", next.cpu))?;
        }
        self.state.borrow().known.check_batches()
    }

    fn perform(&self, timed: Timed, is_outermost: bool, prefix: &str) -> Step {
        let at = At {
            work: self,
            number: timed.cpu,
            is_outermost,
            steps: Cell::new(0),
            is_masked: Cell::new(false),
            was_met: Cell::new(!is_outermost),
        };
        let (owner, wrong) = match timed.operation {
            None => return self.drain(&at, prefix),
            Some(Operation::Allocate { owner, .. }) => return self.allocate(&at, owner, prefix),
            Some(Operation::FreeOther { place, .. }) => return self.free_badly(&at, place, prefix),
            Some(Operation::Free { owner, wrong }) => (owner, wrong),
        };
        let owned = self.state.borrow().owners.get(&owner).copied();
        match owned {
            Some(Owned { frame, is_live: true }) if wrong == Wrong::Nothing => self.free(&at, owner, frame, prefix),
            Some(Owned { frame, is_live: false }) if wrong == Wrong::Again => self.free_badly(&at, frame, prefix),
            // What it is about is not there in this sequence.
            _ => Ok(()),
        }
    }

    fn allocate(&self, at: &At<'_, '_>, owner: usize, prefix: &str) -> Step {
        self.ask(|| format!("{prefix}allocate"));
        let cpu = at.number;
        let held = |known: &Known| known.source.held().count();
        let (free, before) = {
            let known = &self.state.borrow().known;
            (known.free_frame(cpu), held(known))
        };
        let answer = self.piece.allocate(at);
        // Who was met on the way may have changed what there is.
        let free = free.filter(|_| !at.was_met.get());
        let checked = match answer {
            Ok(frame) => {
                let state = &mut *self.state.borrow_mut();
                state.owners.insert(owner, Owned { frame, is_live: true });
                state.known.take(cpu, frame).map_err(|text| (Kind::Served, text)).and_then(|()| {
                    state.right.count(Kind::Served);
                    has_taken(state, cpu, free.filter(|_| held(&state.known) > before))
                })
            }
            Err(refused) => self.is_refusal_right(at, refused, free),
        };
        self.answer(answer.map_or(0..0, |frame| frame..frame.saturating_add(1)), || match answer {
            Ok(frame) => format!("{frame:#x}"),
            Err(refused) => format!("{refused:?}"),
        });
        checked
    }

    fn is_refusal_right(&self, at: &At<'_, '_>, refused: Refused, free: Option<Frame>) -> Step {
        let mut state = self.state.borrow_mut();
        let source = state.known.source;
        let is_left = source.held().count() < source.count() && !at.was_met.get();
        if let Some(frame) = free {
            let text = format!("CPU {} was refused a frame: {frame:#x} is free in a batch of its own", at.number);
            return Err((Kind::Refused, text));
        }
        if is_left || refused != Refused::OutOfMemory {
            let text = format!("CPU {} was refused a frame as {refused:?}: there is a batch to take", at.number);
            return Err((Kind::Refused, text));
        }
        state.right.count(Kind::Refused);
        Ok(())
    }

    fn free(&self, at: &At<'_, '_>, owner: usize, frame: Frame, prefix: &str) -> Step {
        self.ask(|| format!("{prefix}free {frame:#x}"));
        {
            // From here on it may be anybody's.
            let mut state = self.state.borrow_mut();
            state.owners.insert(owner, Owned { frame, is_live: false });
            state.known.remove(frame);
        }
        let answer = self.piece.free(at, frame);
        self.answer(frame..frame + 1, || said(answer));
        answer.map_err(|reason| not_taken_back(&format!("frame {frame:#x}"), reason))?;
        self.state.borrow_mut().right.count(Kind::NotTakenBack);
        Ok(())
    }

    /// Frees what must not be freed.
    fn free_badly(&self, at: &At<'_, '_>, frame: Frame, prefix: &str) -> Step {
        let verdict = self.state.borrow().known.verdict(frame);
        let Err(reason) = verdict else { return Ok(()) };
        self.ask(|| format!("{prefix}free {frame:#x}"));
        let answer = self.piece.free(at, frame);
        self.answer(frame..frame.saturating_add(1), || said(answer));
        check_refused(&format!("{frame:#x}"), answer, reason)?;
        self.state.borrow_mut().right.count(Kind::Accepted);
        Ok(())
    }

    fn drain(&self, at: &At<'_, '_>, prefix: &str) -> Step {
        self.ask(|| format!("{prefix}drain"));
        self.piece.drain(at);
        let kept = self.state.borrow().known.whole(at.number).filter(|_| !at.was_met.get());
        self.answer(kept.map_or(0..0, |start| start..start + BATCH), || "done".into());
        if let Some(start) = kept {
            let text = format!("CPU {} was drained, and kept the batch at {start:#x}, all of which is free", at.number);
            return Err((Kind::Kept, text));
        }
        self.state.borrow_mut().right.count(Kind::Kept);
        Ok(())
    }

    fn ask(&self, what: impl FnOnce() -> String) {
        if let Some(see) = &mut self.state.borrow_mut().see {
            see(Event::Asked(what()));
        }
    }

    fn answer(&self, touched: Range<u64>, what: impl FnOnce() -> String) {
        let state = &mut *self.state.borrow_mut();
        if let Some(see) = &mut state.see {
            see(Event::Answered { answer: what(), states: states(&state.known, self.frames.clone()), touched });
        }
    }
}

/// Whether a batch was taken although there was a free frame.
fn has_taken(state: &mut State<'_>, cpu: usize, free: Option<Frame>) -> Step {
    match free {
        Some(frame) => {
            let text = format!("CPU {cpu} took a batch: frame {frame:#x} is free in one of its own");
            Err((Kind::Took, text))
        }
        None => {
            state.right.count(Kind::Took);
            Ok(())
        }
    }
}
