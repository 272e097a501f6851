//! All CPUs at once in the allocator and the heap, and their timers' handlers in between.
//!
//! What is shown here is that it happens: interrupts come while the interrupted code is inside the allocator, on every CPU,
//! and allocate and free there; pieces of memory go from CPU to CPU. That nothing is given out twice, that contents stay, and
//! that every frame is as before in the end is what the run itself finds out.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::heap::CacheOptions;
use booted::{Hoard, first_word, leaving_nothing};
use core::alloc::Layout;
use core::time::Duration;
use kernel::cpu;
use kernel::machine::Machine;
use kernel::memory::heap::HEAP;
use kernel::memory::{frames, map, vmalloc};
use kernel::shell::Shell;
use kernel::sync::{Mutex, lockdep};
use kit::Raw;
use protocol::ExitCode;
use stress::{Failure, Id, Memory, Owners, Plan, Record, Summary, Word};

framework::entry!(test_main);

type Before = stress::Before<Machine>;
type Piece = stress::Piece<Machine>;
type Records = stress::Records<Machine>;

/// Frames of a machine with 64 MiB.
const SMALL: u64 = 64 << 8;

fn run(plan: Plan) -> Result<Summary, Failure> {
    stress::run::<Machine>(plan)
}

/// That nobody has any frame.
fn nobody() -> Result<Owners, Failure> {
    Owners::new(map::end_of_ram())
}

fn plan(seed: u64) -> Plan {
    Plan { cpus: cpu::count(), time: Duration::from_secs(2), timers: true, seed, cancellable: false }
}

#[test_case]
fn handlers_allocate_and_free_inside_the_allocator_on_every_cpu() -> Result<(), Failure> {
    let summary = run(plan(2))?;
    assert!(summary.cpus.iter().map(|(cpu, _)| *cpu).eq(cpu::online()));
    for (cpu, tally) in &summary.cpus {
        assert!(tally.re_entries > 0 && tally.re_entries <= tally.ticks, "CPU {cpu}: {tally:?}");
        assert!(tally.operations > 100 && tally.refills > 0, "CPU {cpu}: {tally:?}");
    }
    Ok(())
}

#[test_case]
fn cpus_free_what_others_have_allocated() -> Result<(), Failure> {
    let plan = plan(3);
    let (summary, others) = (run(plan)?, plan.cpus > 1);
    for (cpu, tally) in &summary.cpus {
        // By itself a CPU has nobody to hand anything to.
        assert_eq!([tally.handed_over > 0, tally.from_others > 0], [others; 2], "CPU {cpu}: {tally:?}");
    }
    let sum = summary.sum();
    assert_eq!(sum.remote_frees > 0, others, "{sum:?}");
    // What is left under way in the end is freed by nobody in particular.
    assert!(sum.from_others <= sum.handed_over, "{sum:?}");
    Ok(())
}

#[test_case]
fn memory_runs_short_and_nothing_stays_reserved() -> Result<(), Failure> {
    let zones = || ZoneKind::ALL.map(|kind| frames().zone(kind));
    // A large machine takes longer to use up, and is filled less often.
    let is_small = zones().iter().map(|zone| zone.managed).sum::<u64>() <= SMALL;
    // How soon a small one is short depends on how its CPUs take turns, which is QEMU's to choose: until it has been.
    let (time, seeds) = if is_small { (Duration::from_secs(6), 5..15) } else { (Duration::from_secs(2), 5..6) };
    // A pressing request has a pageblock kept for the next, in a zone that is not small.
    let mut hoard = Hoard::new();
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    let two = Order::new(1).expect("a valid order");
    let pressing = frames().take(two, Gfp::ATOMIC).expect("there are reserves");
    hoard.give_back();
    drop(hoard);
    frames().give(pressing, two)?;
    let zone = frames().zone(Profile::X86_64.zone_of(pressing));
    assert!(zone.reserved_highatomic > 0 || zone.managed / 100 < Order::PAGEBLOCK.frames(), "{zone:?}");
    let mut was_short = false;
    for seed in seeds {
        let sum = run(Plan { time, ..plan(seed) })?.sum();
        was_short |= sum.refused + sum.fallbacks > 0;
        if was_short {
            break;
        }
    }
    assert!(was_short || !is_small, "no request was refused or went to another zone");
    assert!(zones().iter().all(|zone| zone.reserved_highatomic == 0), "{:?}", zones());
    Ok(())
}

#[test_case]
fn every_cpu_can_begin_where_there_is_little_memory() -> Result<(), Failure> {
    let mut spare = Vec::with_capacity(1024);
    let mut hoard = Hoard::new();
    // What the owners' bitmap takes, which is a large object or a block, and 48 KiB a CPU.
    let bitmap = map::end_of_ram().number().div_ceil(8 * FRAME_SIZE).next_power_of_two();
    let count = 32 + 2 * bitmap as usize + 12 * cpu::count();
    spare.extend((0..count).map_while(|_| frames().take(Order::ZERO, Gfp::KERNEL | Gfp::NOWARN).ok()));
    assert_eq!(spare.len(), count);
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    for pfn in spare.drain(..) {
        frames().give(pfn, Order::ZERO)?;
    }
    let summary = run(plan(6));
    hoard.give_back();
    assert!(summary?.cpus.iter().map(|(cpu, _)| *cpu).eq(cpu::online()));
    Ok(())
}

#[test_case]
fn it_does_without_timers_and_with_some_of_the_cpus() -> Result<(), Failure> {
    let summary = run(Plan { cpus: 1, timers: false, ..plan(4) })?;
    let [(_, tally)] = summary.cpus[..] else { panic!("{summary:?}") };
    assert!(tally.operations > 100 && (tally.ticks, tally.handed_over) == (0, 0), "{tally:?}");
    Ok(())
}

#[test_case]
fn what_makes_no_sense_is_refused() {
    let running = cpu::count();
    assert_eq!(run(Plan { time: Duration::ZERO, ..plan(0) }).err(), Some(Failure::NoTime));
    for asked in [0, running + 1, usize::MAX] {
        let refused = run(Plan { cpus: asked, ..plan(0) });
        assert_eq!(refused.err(), Some(Failure::BadCpus { asked, running }));
    }
    let mut shell = Shell::default();
    for arguments in ["", " 0", " 1 0", " 1 65", " a", " -1", " 1 1 x", " 1 1 1 1", " 99999999999999999999"] {
        assert_eq!(shell.run_all(&format!("stress{arguments}")), ExitCode::Failure, "{arguments}");
    }
    assert_eq!(shell.run_all("stress 1 1; validate"), ExitCode::Success);
}

#[test_case]
fn one_bit_in_one_word_is_found_at_its_place() {
    // What stays of it in free memory must not look as if somebody had that.
    let mark = Id::new(3, 7).dead();
    for words in [1, 2, 3, 64, 511] {
        let mut memory = vec![!0_u64; words];
        let start = memory.as_mut_ptr();
        // SAFETY: so many words are the test's.
        unsafe { stress::fill(start, words, mark) };
        assert!(memory.iter().all(|word| *word == mark));
        // SAFETY: so many words are the test's, and all are initialised.
        let find = |memory: &[u64]| unsafe { stress::find_other(memory.as_ptr(), memory.len(), mark) };
        assert_eq!((find(&memory), find(&memory[..0])), (None, None));
        for place in 0..words {
            let other = mark ^ 1 << (place % 64);
            memory[place] = other;
            assert_eq!(find(&memory), Some((place, Word(other))));
            memory[place] = mark;
        }
        // Of several, the first.
        (memory[words - 1], memory[words / 2]) = (0, 1);
        assert_eq!(find(&memory), Some((words / 2, Word(memory[words / 2]))));
    }
}

#[test_case]
fn a_frame_that_somebody_has_is_not_given_to_another() -> Result<(), Failure> {
    let range = |start, end| PfnRange::new(Pfn::new(start), Pfn::new(end));
    let owners = nobody()?;
    assert_eq!(owners.take(range(60, 200)), Ok(()));
    assert_eq!((owners.take(range(59, 60)), owners.take(range(200, 201))), (Ok(()), Ok(())));
    for (again, first) in [(range(60, 61), 60), (range(199, 300), 199), (range(0, 1024), 59), (range(128, 192), 128)] {
        assert_eq!(owners.take(again), Err(Pfn::new(first)), "{again:?}");
    }
    let owners = nobody()?;
    assert_eq!(owners.take(range(60, 200)), Ok(()));
    owners.give_back(range(64, 128));
    assert_eq!(owners.take(range(64, 128)), Ok(()));
    assert_eq!(owners.take(range(63, 64)), Err(Pfn::new(63)));
    Ok(())
}

/// Memory of every kind, as a CPU at work allocates it.
fn of_every_kind(records: &Records) -> Vec<Memory> {
    let order = Order::new(1).expect("there is such an order");
    let layout = Layout::from_size_align(120, 8).expect("a size of a test");
    let memory = [
        frames().take(order, Gfp::KERNEL).ok().map(|pfn| Memory::Block(pfn, order)),
        frames().take_exact(3, Gfp::KERNEL).ok().map(Memory::Range),
        HEAP.allocate(layout).map(|object| Memory::Object(object, layout)),
        records.allocate().map(Memory::Record),
        vmalloc::allocate(2, 1).map(|start| Memory::Mapping(start, 2)),
    ];
    memory.map(|memory| memory.expect("there is memory")).into()
}

/// Runs a test with a cache of records, which must be empty behind it.
fn with_records(test: impl FnOnce(&Records)) {
    leaving_nothing(|| {
        let records = HEAP.cache::<Record>(CacheOptions::new("test-record")).expect("there is memory");
        test(&records);
        assert_eq!(records.destroy(|_| {}), 0);
    });
}

#[test_case]
fn a_word_that_another_has_written_is_found_before_the_memory_is_freed() {
    with_records(|records| {
        let owners = nobody().expect("there is memory");
        for (number, memory) in of_every_kind(records).into_iter().enumerate() {
            let id = Id::new(0, number as u64);
            // SAFETY: the memory was just allocated, and goes with the piece.
            let piece = unsafe { Piece::mark(memory, id, &owners) }.expect("nobody else has it");
            let (start, words) = memory.words::<Machine>();
            let others = [Id::new(1, 9).live(), id.dead(), id.live() ^ 1 << 20, 0];
            for (place, other) in [0, 1, words / 2, words - 1].into_iter().zip(others) {
                // SAFETY: a word of the piece, which is the test's.
                let word = unsafe { &mut *start.add(place) };
                *word = other;
                let address = start.addr() + place * size_of::<u64>();
                let failure = Failure::Contents { address, id, found: Word(other) };
                assert_eq!(piece.unmark(&owners), Err(failure), "{memory:?}");
                *word = id.live();
            }
            assert_eq!(piece.unmark(&owners), Ok(()));
            assert_eq!(piece.free(records), Ok(()));
        }
    });
}

#[test_case]
fn memory_that_is_given_out_twice_is_found_at_once() {
    with_records(|records| {
        let owners = nobody().expect("there is memory");
        for memory in of_every_kind(records) {
            let (first, second) = (Id::new(0, 1), Id::new(1, 2));
            // SAFETY: the memory was just allocated, and goes with the piece; the second time no piece is made, as it has an owner.
            let mark = |id, owners| unsafe { Piece::mark(memory, id, owners) };
            let piece = mark(first, &owners).expect("nobody else has it");
            let address = memory.words::<Machine>().0.addr();
            let again = mark(second, &owners).expect_err("somebody has it");
            match memory {
                Memory::Block(pfn, _) | Memory::Range(PfnRange { start: pfn, .. }) => {
                    assert_eq!(again, Failure::FrameTaken { pfn, id: second });
                }
                _ => assert_eq!(again, Failure::Shared { address, id: second, other: first }),
            }
            // The map of frames does not hear of what the heap has: of that only the marks tell.
            let again = mark(second, &nobody().expect("there is memory"));
            assert_eq!(again.expect_err("somebody has it"), Failure::Shared { address, id: second, other: first });
            piece.unmark(&owners).and_then(|()| piece.free(records)).expect("it is as it was");
        }
    });
}

#[test_case]
fn what_is_lost_when_an_object_is_resized_is_found() {
    leaving_nothing(|| {
        let owners = nobody().expect("there is memory");
        let layout = Layout::from_size_align(120, 8).expect("a size of a test");
        let object = HEAP.allocate(layout).expect("there is memory");
        // SAFETY: the object was just allocated, and goes with the piece.
        let piece = unsafe { Piece::mark(Memory::Object(object, layout), Id::new(0, 1), &owners) };
        let mut piece = piece.expect("nobody else has it");
        assert_eq!(piece.resize(400, |resize| resize()), Ok(true));
        let (start, _) = piece.memory().words::<Machine>();
        let spoiled = piece.resize(360, |resize| {
            // SAFETY: a word of the piece.
            unsafe { start.add(7).write(5) };
            resize();
        });
        assert!(matches!(spoiled, Err(Failure::Contents { found: Word(5), .. })), "{spoiled:?}");
        let Memory::Object(object, layout) = piece.memory() else { panic!("{piece:?}") };
        // SAFETY: the object is the test's, which does not use it any more.
        unsafe { HEAP.free(object, layout) }.expect("it is live");
    });
}

#[test_case]
fn frames_that_were_to_hold_zeros_and_do_not_are_found() {
    leaving_nothing(|| {
        let pfn = frames().take(Order::ZERO, Gfp::KERNEL | Gfp::ZERO).expect("there is memory");
        let memory = Memory::Block(pfn, Order::ZERO);
        let (start, words) = memory.words::<Machine>();
        // SAFETY: the frame was allocated as that, and is the test's.
        let check = || unsafe { Piece::check_zeroed(&memory) };
        for place in [0, 100, words - 1] {
            assert_eq!(check(), Ok(()));
            // SAFETY: a word of the frame, which is the test's.
            unsafe { start.add(place).write(1 << 63) };
            let address = start.addr() + place * size_of::<u64>();
            assert_eq!(check(), Err(Failure::NotZero { address, found: Word(1 << 63) }));
            // SAFETY: a word of the frame, which is the test's.
            unsafe { start.add(place).write(0) };
        }
        frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
    });
}

#[test_case]
fn what_is_not_given_back_in_the_end_is_found() {
    static FIRST: Mutex<()> = Mutex::new("test stress first", ());
    static SECOND: Mutex<()> = Mutex::new("test stress second", ());
    let before = Before::take();
    assert_eq!(before.compare(), Ok(()));
    let pfn = frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory");
    assert!(matches!(before.compare(), Err(Failure::Frames(_))), "a frame");
    frames().give(pfn, Order::ZERO).expect("it was allocated a moment ago");
    // Larger than any slot: a slot may be one of a slab that is there anyway.
    let object = vec![0_u8; 100_000];
    assert!(matches!(before.compare(), Err(Failure::Frames(_))), "an object");
    drop(object);
    assert_eq!(before.compare(), Ok(()));
    let both = |first: &Mutex<()>, second: &Mutex<()>| {
        let _first = first.lock();
        drop(second.lock());
    };
    both(&FIRST, &SECOND);
    assert_eq!(before.compare(), Ok(()));
    both(&SECOND, &FIRST);
    assert_eq!(before.compare(), Err(Failure::Locks(1)));
    assert_eq!(lockdep::take().count(), 1);
}

#[test_case]
fn what_a_cpu_finds_ends_the_run() {
    // All that stress gets bears the mark of a CPU that does not take part.
    const BLOCKS: usize = 4;
    let stranger = Id::new(cpu::MAX_CPUS, 5);
    let mut hoard = Hoard::new();
    let blocks: Vec<Pfn> =
        (0..BLOCKS).map(|_| frames().take(Order::MAX, Gfp::KERNEL).expect("there is memory")).collect();
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    let words = || blocks.iter().flat_map(|pfn| (0..Order::MAX.frames()).map(|frame| first_word(pfn.offset(frame))));
    // SAFETY: the frames are the test's.
    words().for_each(|word| unsafe { word.write_volatile(stranger.live()) });
    blocks.iter().for_each(|pfn| frames().give(*pfn, Order::MAX).expect("it was allocated a moment ago"));
    let found = run(plan(5)).err();
    // What is left of them would be found again. An object whose first bytes were written since may still have the rest, which says that
    // the memory is in use and whose it is, where it has nothing: only that is erased.
    for word in words() {
        // SAFETY: the frames exist, and whoever has one does not have these bytes in it but by chance.
        unsafe {
            if Id::of_live(word.read_volatile()).is_some_and(|id| id.cpu() == cpu::MAX_CPUS) {
                word.cast::<u16>().add(3).write_volatile(0);
            }
        }
    }
    hoard.give_back();
    assert!(matches!(found, Some(Failure::Shared { other, .. }) if other == stranger), "{found:?}");
}
