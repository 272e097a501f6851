//! A trace that fails, made short: operations are left out as long as what is left fails in the same way, and become a Rust test.
//!
//! What is left gives out other frames than before, so frames are spoken of by the allocation that gave them out.
//!
//! Panics are the same if they come from the same place, and violations if the same rule does not hold. Where the replay merely comes to
//! something else than the trace says, nobody knows what a shorter trace would say. So what is left must come to the very same, must be done
//! and refused as the trace says up to there, and what the trace says must still be possible.

mod operations;
mod spelling;

use anyhow::{Result, bail};
use bifolio::allocator::{BlockState, Call, HeapCall};
use bifolio::error::Violation;
use bifolio::frame::Pfn;
use kit::shortest;
use operations::{Operation, Owners, frames_of, operations, unfinished, with_place};
use replay::{Found, Stop, World};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

/// What checkpoints may take: there is no way back here.
const BUDGET: usize = 0;

/// How operations fail.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure {
    kind: Kind,
    /// In words.
    text: String,
}

/// What failures of fewer operations must have in common with that of all.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// There is a panic at this place in the code.
    Panic(String),
    /// This does not hold.
    Violation(&'static str),
    /// What was looked for is not as the trace says.
    Difference,
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self { kind: Kind::Violation(violation.rule), text: violation.to_string() }
    }
}

/// What a replay came to, and not to what the trace says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Difference {
    /// The last operation returned this.
    Returned { actual: Option<u64>, before: Before },
    /// The state has this hash.
    State { expected: u64, actual: u64 },
}

/// What there was before the operation that a difference is looked for in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Before {
    /// So many frames were free.
    free: u64,
    /// What it is about had been allocated.
    has_owner: bool,
    /// What the trace says was possible.
    is_possible: bool,
}

thread_local! {
    /// Whether panics of this thread are caught, and are not to be shown.
    static IS_TRYING: Cell<bool> = const { Cell::new(false) };
    /// The last of them.
    static PANIC: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Does something that may panic.
fn caught<R>(what: impl FnOnce() -> R) -> Result<R, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_TRYING.get() {
                return before(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let text = format!("a panic at {place}: {}", info.payload_as_str().unwrap_or("it did not say why"));
            PANIC.set(Some(Failure { kind: Kind::Panic(place), text }));
        }));
    });
    IS_TRYING.set(true);
    let result = catch_unwind(AssertUnwindSafe(what));
    IS_TRYING.set(false);
    result.map_err(|_| PANIC.take().expect("the hook has noted it"))
}

/// Operations, done in a world of their own.
struct Trial {
    again: World,
    owners: Owners,
    /// What each has returned.
    given: Vec<Option<u64>>,
    /// The objects that there are.
    objects: BTreeSet<u64>,
    /// Each was done, or refused, as the trace says.
    is_as_told: bool,
}

impl Trial {
    fn new(world: &World) -> Self {
        let again = World::new(world.map(), world.cpus(), BUDGET).expect("there was such a world");
        let (owners, given, objects) = (Owners::default(), Vec::new(), BTreeSet::new());
        Self { again, owners, given, objects, is_as_told: true }
    }

    /// The operation, about the frame or the object that is now what it was about. `None` if that was not given out.
    fn call_now(&self, operation: &Operation) -> Option<Call> {
        match self.owners.of_call(&operation.call) {
            Some((owner, offset, unit)) => {
                self.given[owner].map(|start| with_place(operation.call, unit.place(start, offset)))
            }
            None => Some(operation.call),
        }
    }

    fn perform(&mut self, operation: &Operation) -> Option<u64> {
        let call = self.call_now(operation);
        let returned = call.and_then(|call| self.again.perform(operation.cpu, call));
        match (call, returned) {
            (Some(Call::Heap(HeapCall::Allocate { .. })), Some(object)) => _ = self.objects.insert(object),
            (Some(Call::Heap(HeapCall::Free { address, .. })), Some(_)) => _ = self.objects.remove(&address),
            _ => {}
        }
        self.owners.note(self.given.len(), operation);
        self.given.push(returned);
        returned
    }

    /// What there is before the last operation.
    fn before(&mut self, last: &Operation) -> Before {
        let free = self.again.look(|frames| frames.usage().free);
        Before { free, has_owner: self.owners.of_call(&last.call).is_some(), is_possible: self.is_possible(last) }
    }

    fn are_free(&self, start: u64, frames: u64) -> bool {
        let is_free = |pfn| {
            let info = self.again.frames().look_at(Pfn::new(pfn));
            info.is_some_and(|info| matches!(info.block.state, BlockState::Free | BlockState::Cached))
        };
        (start..start + frames).all(is_free)
    }

    /// Whether an operation could do now what the trace says: nobody has what it says was allocated, or somebody what was freed.
    fn is_possible(&self, operation: &Operation) -> bool {
        let Some(told) = operation.returned else { return true };
        let Some(call) = self.call_now(operation) else { return false };
        match call {
            Call::Resize { range, frames, .. } => {
                self.again.frames().order_of(range.start).is_ok()
                    && self.are_free(range.end.number(), frames.saturating_sub(range.frames()))
            }
            Call::Free { pfn, order } | Call::Split { pfn, order, .. } => {
                self.again.frames().order_of(pfn) == Ok(order)
            }
            Call::Heap(HeapCall::Allocate { .. }) => !self.objects.contains(&told),
            Call::Heap(HeapCall::Free { address, .. }) => self.objects.contains(&address),
            call => frames_of(&call).is_none_or(|frames| self.are_free(told, frames)),
        }
    }

    /// Does all operations; how they fail, if they do. A difference that is looked for is behind all of them, or in the last.
    fn run(&mut self, operations: &[Operation], difference: Option<Difference>) -> Result<(), Failure> {
        let (last, first) = match operations.split_last() {
            Some((last, first)) if matches!(difference, Some(Difference::Returned { .. })) => (Some(last), first),
            _ => (None, operations),
        };
        for operation in first {
            let returned = self.perform(operation);
            self.is_as_told &= returned.is_some() == operation.returned.is_some();
        }
        let is_found = match (difference, last) {
            (Some(Difference::Returned { actual, before }), Some(last)) => self.last_differs(last, actual, before),
            (Some(Difference::State { actual, .. }), _) => self.again.hash() == actual,
            _ => false,
        };
        self.again.frames().validate()?;
        self.again.heap().validate()?;
        match is_found && self.is_as_told {
            true => Err(Failure { kind: Kind::Difference, text: String::new() }),
            false => Ok(()),
        }
    }

    /// Does the last operation. Whether it is the same difference as in the replay.
    fn last_differs(&mut self, last: &Operation, actual: Option<u64>, before: Before) -> bool {
        let now = self.before(last);
        let allocates = frames_of(&last.call).is_some() || matches!(last.call, Call::Heap(HeapCall::Allocate { .. }));
        let is_room_the_same = match (last.returned, actual) {
            (Some(_), None) if allocates => now.free >= before.free,
            (None, Some(_)) if allocates => now.free <= before.free,
            _ => true,
        };
        let is_as_it_was = now.has_owner >= before.has_owner && now.is_possible >= before.is_possible;
        self.perform(last) == actual && is_room_the_same && is_as_it_was
    }
}

/// What the end of a replay says: the operations up to there, and what was not as in the trace, if that is all.
fn looked_for(world: &World, ended: &Result<Result<(), Stop>, Failure>) -> (Vec<Operation>, Option<Difference>) {
    let Ok(Err(stop)) = ended else {
        let moment = if ended.is_ok() { world.total() } else { world.operation() + 1 };
        let all = operations(world, moment);
        // A replay that has panicked has met what the trace is in the middle of, at most.
        return ([all, unfinished(world)].concat(), None);
    };
    let Stop::Differs(met) = stop else { return (operations(world, world.operation()), None) };
    if let Found::State { expected, actual } = met.found {
        return (operations(world, met.operation), Some(Difference::State { expected, actual }));
    }
    let all = operations(world, met.operation + 1);
    let last = all.last().copied();
    let returned = last.and_then(|last| match met.found {
        Found::Returned { cpu, call, expected, actual } => {
            let is_it = (last.cpu, last.call, last.returned) == (cpu, call, expected);
            is_it.then_some((last, actual))
        }
        _ => None,
    });
    let difference = returned.and_then(|(last, actual)| {
        let mut trial = Trial::new(world);
        caught(|| all[..all.len() - 1].iter().for_each(|operation| _ = trial.perform(operation))).ok()?;
        Some(Difference::Returned { actual, before: trial.before(&last) })
    });
    (all, difference)
}

/// The shortest part of operations that fails in the way in which all do, and that way, if they do.
fn shortened(all: &[Operation], fails: impl Fn(&[Operation]) -> Option<Failure>) -> Option<(Vec<Operation>, Failure)> {
    let whole = fails(all)?;
    let short = shortest(all, |part| fails(part).is_some_and(|failure| failure.kind == whole.kind));
    let failure = fails(&short)?;
    Some((short, failure))
}

/// Follows a trace as far as it goes, makes what fails short, and says so as a Rust test.
///
/// # Errors
/// Nothing fails: nothing panics, no invariant is violated, and all is as the trace says. Or what is not is within an operation, or does not
/// come again by the operations alone.
pub fn run(file: &Path) -> Result<String> {
    let mut world = crate::replay::open(file)?;
    let ended = caught(|| world.run());
    let (all, difference) = looked_for(&world, &ended);
    let fails = |part: &[Operation]| {
        let run = caught(|| Trial::new(&world).run(part, difference));
        run.flatten().err()
    };
    let stopped = match &ended {
        Ok(Ok(())) => "it is as the trace says".to_owned(),
        Ok(Err(stop)) => stop.to_string(),
        Err(panic) => panic.text.clone(),
    };
    let Some((short, failure)) = shortened(&all, fails) else {
        bail!(
            "nothing to make short: done again by themselves, these {} operations do not fail ({stopped})",
            all.len()
        );
    };
    let text = if failure.kind == Kind::Difference { stopped } else { failure.text };
    let mut trial = Trial::new(&world);
    _ = caught(|| trial.run(&short, difference));
    let test = spelling::test(&world, &short, &trial.given, difference.filter(|_| failure.kind == Kind::Difference));
    Ok(format!("// {} of {} operations: {text}\n{test}", short.len(), all.len()))
}

#[cfg(test)]
mod tests;
