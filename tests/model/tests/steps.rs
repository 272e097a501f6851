//! No allocation and no free loops over frames or pageblocks: single operations take as many steps in 4 TiB as in 64 MiB.
//!
//! A step is one instruction of the processor, and each is counted. Debug assertions and overflow checks, which tests are
//! built with, are counted too: the figures here are for comparing sizes, those of `make bench` for comparing allocators.
//!
//! The index has a level more for each factor of 64 in memory: the 32 pageblocks of 64 MiB have one, and the two million
//! of 4 TiB four. So in 1 and in 4 TiB, with as many levels, an operation must take as many steps, and a level may cost a few.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod stepper;

use bifolio::allocator::PageAllocator;
use bifolio::frame::{Gfp, Order, Pfn, PfnRange};
use kit::Raw;
use model::machine::{Turns, allocator_apart};
use stepper::Shared;

type Frames = PageAllocator<'static, Turns>;

/// The first frame of zone Normal, where the memory lies.
const FIRST: u64 = 1 << 20;
/// Where the metadata lies, far away.
const METADATA: Pfn = Pfn::new(1 << 36);
/// Sizes in MiB, each with the number of levels that its index has more than the first.
const SIZES: [(u64, u32); 5] = [(64, 0), (1 << 10, 1), (64 << 10, 2), (1 << 20, 3), (4 << 20, 3)];

/// Steps that no operation may exceed in any size, by its kind. A refill of an arena and the return of what it collected are
/// among them, and a refusal asks every zone several times and empties the arenas before.
const WORST: [u32; KINDS.len()] = [5000, 6500, 2000, 1000];
/// Steps that one more level of the index may cost an operation.
const LEVEL: u32 = 150;
/// Steps that it may cost to go below the low mark: all zones are asked twice before.
const BELOW: u32 = 600;

/// What was measured.
const KINDS: [&str; 4] = ["allocate", "refuse", "free", "bad free"];
const ALLOCATE: u8 = 0;
const REFUSE: u8 = 1;
const FREE: u8 = 2;
const BAD_FREE: u8 = 3;

/// The child's side of a measurement.
struct Meter<'a> {
    shared: &'a Shared,
    count: usize,
}

impl Meter<'_> {
    /// Does an operation that is counted; `kind` says by its result what it was.
    fn count<R>(&mut self, operation: impl FnOnce() -> R, kind: impl FnOnce(&R) -> u8) -> R {
        let result = self.shared.operation(self.count, operation);
        self.shared.note(self.count, kind(&result));
        self.count += 1;
        result
    }

    fn allocate(&mut self, frames: &Frames, order: Order, gfp: Gfp) -> Option<Pfn> {
        let kind = |pfn: &Option<Pfn>| if pfn.is_some() { ALLOCATE } else { REFUSE };
        self.count(|| frames.take(order, gfp).ok(), kind)
    }

    fn free(&mut self, frames: &Frames, pfn: Pfn, order: Order) {
        self.count(|| frames.give(pfn, order), |result| if result.is_ok() { FREE } else { BAD_FREE }).ok();
    }
}

/// Lets a child do `prepare` at full speed and then `body` step by step; the most steps that an operation of each kind took.
fn measure(prepare: impl Fn(), body: impl Fn(&mut Meter<'_>)) -> [u32; KINDS.len()] {
    let counts = stepper::trace(prepare, |shared| body(&mut Meter { shared, count: 0 }), |_| false);
    let mut worst = [0; KINDS.len()];
    for count in counts.into_iter().filter(|count| count.steps > 0) {
        let worst = &mut worst[usize::from(count.note)];
        *worst = count.steps.max(*worst);
    }
    worst
}

/// What memory is like when operations are measured. It begins with every block of order 10 allocated, or none.
struct Case {
    name: &'static str,
    full: bool,
    /// What is free is more than the low mark in up to 1 GiB, and less in more memory, so that more is tried there.
    crosses_low: bool,
    /// Gets the number of frames.
    prepare: fn(&Frames, u64),
}

const CASES: [Case; 6] = [
    Case { name: "all free", full: false, crosses_low: false, prepare: |_, _| {} },
    Case { name: "all allocated", full: true, crosses_low: false, prepare: |_, _| {} },
    Case {
        name: "only the last block of order 10 free",
        full: true,
        crosses_low: false,
        prepare: |frames, length| free_last(frames, length),
    },
    Case {
        name: "only the last frame free",
        full: true,
        crosses_low: false,
        prepare: |frames, length| {
            free_last(frames, length);
            let rest = PfnRange::new(Pfn::new(FIRST + length - 1024), Pfn::new(FIRST + length - 1));
            frames.take_range(rest, Gfp::MEMALLOC).ok();
        },
    },
    Case {
        name: "every other frame free at both ends and in the middle",
        full: true,
        crosses_low: true,
        prepare: |frames, length| free_each(frames, length, 2),
    },
    Case {
        // Below the low mark in 1 GiB as well, where the one before is not.
        name: "every fourth frame free at both ends and in the middle",
        full: true,
        crosses_low: false,
        prepare: |frames, length| free_each(frames, length, 4),
    },
];

fn free_last(frames: &Frames, length: u64) {
    frames.give(Pfn::new(FIRST + length - 1024), Order::MAX).ok();
}

/// Frees every `nth` frame of the first, the middle and the last block of order 10.
fn free_each(frames: &Frames, length: u64, nth: usize) {
    for piece in [0, length / 2048, length / 1024 - 1] {
        let start = Pfn::new(FIRST + piece * 1024);
        frames.give(start, Order::MAX).ok();
        for frame in (0..1024).step_by(nth) {
            let others = PfnRange::new(start.offset(frame), start.offset(frame + nth as u64 - 1));
            frames.take_range(others, Gfp::MEMALLOC).ok();
        }
    }
}

/// Orders of a frame, of an arena, of a word, of a pageblock and of a pair for contents of two kinds, freed badly and well;
/// then several small blocks at once.
fn operations(frames: &Frames, meter: &mut Meter<'_>) {
    for mobility in [Gfp::MOVABLE, Gfp::empty()] {
        for order in [0, 3, 6, 9, 10].into_iter().filter_map(Order::new) {
            let Some(pfn) = meter.allocate(frames, order, mobility | Gfp::MEMALLOC) else { continue };
            meter.free(frames, pfn.offset(order.frames() - 1), Order::MAX);
            meter.free(frames, pfn, order);
        }
    }
    let mut held = [None; 16];
    for slot in &mut held {
        *slot = meter.allocate(frames, Order::ZERO, Gfp::MEMALLOC);
    }
    for pfn in held.into_iter().flatten() {
        meter.free(frames, pfn, Order::ZERO);
    }
}

/// The most steps of each kind of operation in each case, in memory of this size.
fn steps_in(mib: u64, arenas: usize) -> [[u32; KINDS.len()]; CASES.len()] {
    let length = mib << 8;
    let memory = PfnRange::new(Pfn::new(FIRST), Pfn::new(FIRST + length));
    let frames: Frames = allocator_apart(&[memory], METADATA, arenas);
    let empty = CASES.each_ref().map(|case| (!case.full).then(|| measure_case(case, &frames, length)));
    while frames.take(Order::MAX, Gfp::MOVABLE | Gfp::MEMALLOC).is_ok() {}
    let full = CASES.each_ref().map(|case| case.full.then(|| measure_case(case, &frames, length)));
    frames.drain();
    std::array::from_fn(|case| empty[case].or(full[case]).unwrap_or_default())
}

fn measure_case(case: &Case, frames: &Frames, length: u64) -> [u32; KINDS.len()] {
    measure(|| (case.prepare)(frames, length), |meter| operations(frames, meter))
}

fn compare(what: &str, arenas: usize) {
    let steps = SIZES.map(|(mib, _)| steps_in(mib, arenas));
    println!("{what}: the most instructions of one operation, by size in MiB");
    for (case, kind) in (0..CASES.len()).flat_map(|case| (0..KINDS.len()).map(move |kind| (case, kind))) {
        let figures = steps.map(|steps| steps[case][kind]);
        if figures.iter().all(|figure| *figure == 0) {
            continue;
        }
        let name = format!("{}, {}", CASES[case].name, KINDS[kind]);
        print!("  {name:64}");
        SIZES.iter().zip(figures).for_each(|((mib, _), steps)| print!(" {mib}: {steps}"));
        println!();
        for ((mib, levels), steps) in SIZES.into_iter().zip(figures) {
            // What is left is above the marks of 64 MiB, and below those of 1 GiB, where more is tried.
            let base = figures[0].max(figures[1]) + if CASES[case].crosses_low { BELOW } else { 0 };
            assert!(steps <= base + levels * LEVEL, "{name}: {base} steps in up to 1 GiB, {steps} in {mib} MiB");
            assert!(steps <= WORST[kind], "{name}: {steps} steps in {mib} MiB");
        }
        let [.., small, large] = figures;
        assert!(
            small.abs_diff(large) * 50 <= small,
            "{name}: {small} steps in 1 TiB and {large} in 4 TiB, of as many levels"
        );
    }
}

#[test]
fn no_operation_on_a_zone_takes_more_steps_in_more_memory() {
    compare("zones", 0);
}

#[test]
fn no_operation_on_an_arena_takes_more_steps_in_more_memory() {
    compare("arenas", 1);
}
