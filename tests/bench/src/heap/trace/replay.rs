//! Puts a trace to an allocator.
//!
//! Everything that can be known before is known before: which place in a table an object has, and its layout, which a free is told as
//! in Rust, though the recorded program's C library was not.

use super::{Event, Numbers, Trace};
use crate::heap::footprint::{self, Footprint};
use crate::meter::{Measured, Run};
use std::hint::black_box;
use std::ptr::NonNull;
use workloads::heap::{Objects, aligned, touch};

/// The traces: the workload's name, and the file.
pub const TRACES: [(&str, &[u8]); 4] = [
    ("heap-trace-gcc", include_bytes!("../../../traces/gcc.trace")),
    ("heap-trace-python", include_bytes!("../../../traces/python.trace")),
    ("heap-trace-sqlite", include_bytes!("../../../traces/sqlite.trace")),
    ("heap-trace-rustc", include_bytes!("../../../traces/rustc.trace")),
];

/// The trace with this number.
pub struct Nth<const NTH: usize>;

impl<const NTH: usize> Nth<NTH> {
    /// Its workload, as a case names them.
    pub const WORKLOADS: &'static [&'static str] = &[TRACES[NTH].0];
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Allocate,
    AllocateZeroed,
    Reallocate,
    Free,
}

/// An event with all that an allocator wants to know.
#[derive(Clone, Copy)]
struct Step {
    action: Action,
    align: u8,
    place: u32,
    /// Of the object that there is already.
    old: u32,
    new: u32,
}

/// No object is smaller than what is touched of it.
const LEAST: u32 = 8;

struct Script {
    steps: Vec<Step>,
    /// Size and the alignment's logarithm of the last object of each place.
    last: Vec<(u32, u8)>,
    /// How many steps it takes until most bytes are live.
    peak: usize,
    /// How many these are.
    peak_bytes: u64,
}

impl Script {
    fn new(trace: &Trace) -> Self {
        let (mut numbers, mut last) = (Numbers::default(), Vec::new());
        let (mut live, mut peak, mut peak_bytes) = (0, 0, 0);
        let mut steps = Vec::with_capacity(trace.events.len());
        for event in &trace.events {
            let step = match *event {
                Event::Allocate { size, align, is_zeroed } => {
                    let place = numbers.take();
                    last.resize(numbers.count(), (0, 0));
                    let action = if is_zeroed { Action::AllocateZeroed } else { Action::Allocate };
                    Step { action, align, place, old: 0, new: size.max(LEAST) }
                }
                Event::Reallocate { object, size } => {
                    let (old, align) = last[object as usize];
                    Step { action: Action::Reallocate, align, place: object, old, new: size.max(LEAST) }
                }
                Event::Free { object } => {
                    let (old, align) = last[object as usize];
                    numbers.give(object);
                    Step { action: Action::Free, align, place: object, old, new: 0 }
                }
            };
            last[step.place as usize] = (step.new, step.align);
            live = live + u64::from(step.new) - u64::from(step.old);
            steps.push(step);
            if live > peak_bytes {
                (peak, peak_bytes) = (steps.len(), live);
            }
        }
        Self { steps, last, peak, peak_bytes }
    }

    /// Of the trace with this number.
    fn of(nth: usize) -> Self {
        let (name, bytes) = TRACES[nth];
        Self::new(&Trace::decode(bytes).unwrap_or_else(|error| panic!("{name}: {error:#}")))
    }

    /// The table for the objects, which exists before memory is looked at.
    fn table(&self) -> Table {
        let mut table = Vec::new();
        table.resize_with(self.last.len(), || black_box(None));
        table
    }
}

/// The objects of a script while it is played.
type Table = Vec<Option<NonNull<u8>>>;

/// Takes the steps, in one piece of code for all traces; how many requests were refused. `IS_FULL`: writes every byte of every object, not the first word alone.
#[inline(never)]
fn play<A: Objects, const IS_FULL: bool>(heap: &A, steps: &[Step], table: &mut Table) -> u64 {
    let mut refused = 0;
    for step in steps {
        let object = &mut table[step.place as usize];
        let layout = |size: u32| aligned(size as usize, 1 << step.align);
        match (step.action, *object) {
            (Action::Free, None) => continue,
            (Action::Free, Some(old)) => {
                // SAFETY: it was allocated so below, and is forgotten.
                unsafe { heap.free(old, layout(step.old)) };
                *object = None;
                continue;
            }
            (Action::Reallocate, Some(old)) => {
                // SAFETY: it was allocated so below; what is there afterwards takes its place.
                *object = unsafe { heap.reallocate(old, layout(step.old), step.new as usize) };
                if object.is_none() {
                    // SAFETY: it was allocated so below. What follows takes it for an object of the new size.
                    unsafe { heap.free(old, layout(step.old)) };
                }
            }
            (Action::AllocateZeroed, _) => *object = heap.allocate_zeroed(layout(step.new)),
            (Action::Allocate | Action::Reallocate, _) => *object = heap.allocate(layout(step.new)),
        }
        match *object {
            // SAFETY: it has as many bytes, and only this table knows it.
            Some(object) if IS_FULL => unsafe { object.write_bytes(0x5a, step.new as usize) },
            Some(object) => touch(object),
            None => refused += 1,
        }
    }
    refused
}

/// Frees what is left when all steps were taken.
#[inline(never)]
fn clear<A: Objects>(heap: &A, script: &Script, table: &mut Table) {
    for (object, &(size, align)) in table.iter_mut().zip(&script.last) {
        if let Some(object) = object.take() {
            // SAFETY: the last step of its place gave it that layout.
            unsafe { heap.free(object, aligned(size as usize, 1 << align)) };
        }
    }
}

/// Time and instructions of an event. The trace is played once before, by which the allocator has its memory.
pub fn time<A: Objects, const NTH: usize>(run: Run) -> Vec<Measured> {
    let (heap, script) = (A::new(), Script::of(NTH));
    run.on_threads(&|clock| {
        let mut table = script.table();
        play::<A, false>(&heap, &script.steps, &mut table);
        clear(&heap, &script, &mut table);
        for _ in 0..run.operations(3, 1) {
            let count = script.steps.len() as u64;
            clock.measure(TRACES[NTH].0, count, &mut || play::<A, false>(&heap, &script.steps, &mut table));
            clear(&heap, &script, &mut table);
        }
    })
}

/// Memory at the moment at which most of it is live.
pub fn memory<A: Objects, const NTH: usize>(run: Run) -> Vec<Measured> {
    footprint::measure(run, TRACES[NTH].0, A::NAME, &|| {
        let script = Script::of(NTH);
        let mut table = script.table();
        let before = footprint::before();
        let heap = A::new();
        let refused = play::<A, true>(&heap, &script.steps[..script.peak], &mut table);
        Footprint { live: script.peak_bytes, taken: footprint::resident().saturating_sub(before), refused }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::peers::Glibc;

    #[test]
    fn a_script_knows_layouts_and_its_peak() {
        let events = vec![
            Event::Allocate { size: 100, align: 4, is_zeroed: false },
            Event::Allocate { size: 1, align: 3, is_zeroed: true },
            Event::Reallocate { object: 0, size: 5000 },
            Event::Free { object: 1 },
            Event::Reallocate { object: 0, size: 50 },
        ];
        let script = Script::new(&Trace { program: String::new(), recorded: 5, events });
        assert_eq!((script.peak, script.peak_bytes), (3, 5008));
        let steps: Vec<_> = script.steps.iter().map(|step| (step.place, step.align, step.old, step.new)).collect();
        assert_eq!(steps, [(0, 4, 0, 100), (1, 3, 0, 8), (0, 4, 100, 5000), (1, 3, 8, 0), (0, 4, 5000, 50)]);
        let (heap, mut table) = (Glibc, script.table());
        assert_eq!(play::<_, true>(&heap, &script.steps, &mut table), 0);
        assert!(table[0].is_some() && table[1].is_none());
        clear(&heap, &script, &mut table);
        assert_eq!(table, [None, None]);
    }

    #[test]
    fn every_trace_can_be_played() {
        for nth in 0..TRACES.len() {
            let script = Script::of(nth);
            assert_eq!(script.last.len(), script.table().len());
            assert!(script.peak_bytes > 0 && script.peak <= script.steps.len());
        }
    }
}
