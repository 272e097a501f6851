//! Many CPUs: how they are found, started and stopped, and what they do for each other.
//!
//! On a machine with a single CPU each test asks for what there is: the others are none.
#![no_std]
#![no_main]
#![feature(custom_test_frameworks)]
#![test_runner(framework::run)]
#![reexport_test_harness_main = "test_main"]
#![allow(missing_docs, reason = "a test's name says what it tests")]

extern crate alloc;

mod topology;

use alloc::format;
use alloc::vec::Vec;
use bifolio::allocator::Cpu;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn};
use booted::{Hoard, fault_at};
use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use kernel::cpu::start::StartError;
use kernel::cpu::{self, MAX_CPUS, Trap, apic, catch, clock, exceptions, ipi, local, timer};
use kernel::host::{Input, Stopwatch};
use kernel::memory::frames::Processor;
use kernel::memory::heap::HEAP;
use kernel::memory::{frames, vmalloc};
use kernel::println;
use kit::Raw;
use protocol::input;
use x86_64::VirtAddr;
use x86_64::instructions::interrupts;

framework::entry!(test_main);

/// A bit for each CPU that runs.
fn all() -> u64 {
    cpu::online().map(|cpu| 1 << cpu).sum()
}

/// Returns once this has been called by so many CPUs.
fn meet(arrived: &AtomicUsize, cpus: usize) {
    arrived.fetch_add(1, Ordering::SeqCst);
    while arrived.load(Ordering::SeqCst) < cpus {
        ipi::relax();
    }
}

#[test_case]
fn every_cpu_works_at_once_and_knows_its_number() {
    let (seen, arrived) = (AtomicU64::new(0), AtomicUsize::new(0));
    cpu::on_cpus(cpu::count(), &|number| {
        assert_eq!((number, cpu::local().number()), (cpu::current(), number));
        assert!(interrupts::are_enabled() && !cpu::in_interrupt());
        assert_eq!(seen.fetch_or(1 << number, Ordering::Relaxed) >> number & 1, 0, "CPU {number} came twice");
        // None could go on if the others came only after it.
        meet(&arrived, cpu::count());
    });
    assert_eq!(seen.load(Ordering::Relaxed), all());
    assert_eq!(all(), (1 << cpu::count()) - 1, "the numbers have no holes");
}

#[test_case]
fn work_goes_to_the_cpus_that_were_asked() {
    for asked in 0..=cpu::count() {
        let seen = AtomicU64::new(0);
        cpu::on_cpus(asked, &|number| _ = seen.fetch_or(1 << number, Ordering::Relaxed));
        assert_eq!(seen.load(Ordering::Relaxed), (1 << asked) - 1);
    }
    for asked in cpu::online() {
        let seen = AtomicU64::new(0);
        cpu::on(asked, &|number| _ = seen.fetch_or(1 << number, Ordering::Relaxed));
        assert_eq!(seen.load(Ordering::Relaxed), 1 << asked);
    }
}

/// How long the first allocation of a CPU takes that has an arena without a slab. It may be the first that it makes at all.
fn first_allocation() -> u64 {
    let layout = Layout::new::<[u64; 12]>();
    interrupts::without_interrupts(|| {
        let stopwatch = Stopwatch::start();
        let object = black_box(HEAP.allocate(layout));
        let time = stopwatch.elapsed().0;
        // SAFETY: the object is ours, and not used afterwards.
        unsafe { HEAP.free(object.expect("there is memory"), layout) }.expect("it was allocated");
        time
    })
}

// Before the one that leaves memory in pieces: a refill looks longer for its frames then.
#[test_case]
fn a_cpu_comes_up_prepared_and_its_first_allocation_is_short() {
    /// Instructions that it may take, and with the validator of locks, which looks on where assertions are on.
    const MOST: u64 = if cfg!(debug_assertions) { 5_000 } else { 4_000 };
    let has_arena = |cpu| HEAP.arena_stats(Some(cpu)).is_some();
    for cpu in cpu::online().collect::<Vec<_>>() {
        let times = [(); 3].map(|()| {
            cpu::on(cpu, &|_| HEAP.retire_cpu());
            HEAP.shrink();
            assert!(!has_arena(cpu), "CPU {cpu} has an arena without a slab");
            if cpu == 0 {
                HEAP.prepare_cpu();
            } else {
                cpu::stop(cpu);
                cpu::start(cpu).expect("the CPU ran before");
            }
            let time = AtomicU64::new(0);
            cpu::on(cpu, &|_| {
                assert!(has_arena(cpu), "CPU {cpu} was not prepared");
                time.store(first_allocation(), Ordering::Relaxed);
            });
            time.into_inner()
        });
        println!("CPU {cpu}: {times:?} instructions");
        // Where another CPU has had its turn in between, that counts too.
        let shortest = times.into_iter().min().expect("there are three");
        // What is recorded takes a slow path, and its record.
        let is_counted = Input::read(input::CLOCK_SHIFT).is_given() && !Input::read(input::TRACE).is_given();
        assert!(!is_counted || shortest <= MOST, "CPU {cpu}: {times:?}");
    }
}

/// The number of a local APIC that no machine here has.
const ABSENT: u32 = 250;

// Before the others that start a CPU which was never started: its stacks stay for the next time.
#[test_case]
fn a_cpu_for_which_there_is_too_little_memory_takes_none() {
    let mut hoard = Hoard::new();
    let mut single: Vec<Pfn> = Vec::with_capacity(128);
    single.extend((0..128).map(|_| frames().take(Order::ZERO, Gfp::KERNEL).expect("there is memory")));
    hoard.take(Gfp::KERNEL | Gfp::NOWARN);
    let mapped = || vmalloc::totals().1;
    let before = mapped();
    let mut seen = Vec::with_capacity(128);
    while cpu::add(ABSENT) == Err(StartError::NoMemory) {
        seen.push(mapped());
        frames().give(single.pop().expect("that is enough for some stacks"), Order::ZERO).expect("it was allocated");
    }
    seen.dedup();
    // First there is no room for its own stack, which it keeps then, and after that none for those of its exceptions.
    assert!(seen.len() <= 2, "mappings stay: {before} bytes before, then {seen:?}");
    hoard.give_back();
    single.into_iter().for_each(|pfn| frames().give(pfn, Order::ZERO).expect("it was allocated"));
}

#[test_case]
fn a_cpu_stops_and_starts_again_with_its_number() {
    let before = all();
    for cpu in cpu::online().skip(1).collect::<Vec<_>>() {
        cpu::stop(cpu);
        assert_eq!(all(), before & !(1 << cpu));
        // A CPU that does not run is not waited for.
        Processor::synchronize();
        cpu::on_cpus(MAX_CPUS, &|number| assert_ne!(number, cpu));
        cpu::start(cpu).expect("the CPU ran before");
        cpu::on(cpu, &|number| assert_eq!(number, cpu));
    }
    assert_eq!(all(), before);
}

#[test_case]
fn a_cpu_that_does_not_answer_is_left_alone() {
    let before = all();
    assert_eq!(cpu::add(ABSENT), Err(StartError::Silent));
    assert_eq!(all(), before);
    Processor::synchronize();
}

#[test_case]
fn a_number_that_names_no_cpu_or_all_of_them_is_left_alone() {
    let before = all();
    // Where numbers have eight bits, the first would be the boot processor and the next two everybody.
    let too_large: &[u32] = if apic::mode() == "xAPIC" { &[0x100, 0xff, 0x1ff] } else { &[] };
    for &number in too_large.iter().chain(&[u32::MAX]) {
        assert_eq!(cpu::add(number), Err(StartError::NoName), "{number:#x}");
    }
    assert_eq!(all(), before);
}

#[test_case]
fn cpus_that_ask_each_other_for_barriers_do_not_wait_for_each_other() {
    let arrived = AtomicUsize::new(0);
    cpu::on_cpus(cpu::count(), &|_| {
        meet(&arrived, cpu::count());
        for round in 0..50 {
            if round % 2 == 0 {
                Processor::synchronize();
            } else {
                interrupts::without_interrupts(Processor::synchronize);
            }
        }
    });
}

#[test_case]
fn every_other_cpu_has_passed_a_barrier_when_it_was_asked_for() {
    for asking in cpu::online().collect::<Vec<_>>() {
        cpu::on(asking, &|_| {
            let passed = || cpu::online().map(|cpu| local::of(cpu).barriers_passed()).collect::<Vec<_>>();
            let before = passed();
            Processor::synchronize();
            for (cpu, (before, now)) in before.into_iter().zip(passed()).enumerate() {
                assert_eq!(now, before + u64::from(cpu != asking), "CPU {cpu}, asked by CPU {asking}");
            }
        });
    }
}

#[test_case]
fn no_cpu_remembers_a_page_that_another_has_unmapped() {
    // One page is flushed by itself, so many all at once; a CPU that masks interrupts leaves it to another.
    for (pages, masked) in [(1, false), (3, true), (100, false), (600, true)] {
        for cpu in cpu::online().collect::<Vec<_>>() {
            let start = vmalloc::allocate(pages, 1).expect("there is memory for the mapping");
            let first = VirtAddr::from_ptr(start.as_ptr());
            let last = first + (pages - 1) * FRAME_SIZE;
            for address in [first, last] {
                // SAFETY: the page is mapped.
                cpu::on(cpu, &|_| unsafe { address.as_mut_ptr::<u64>().write_volatile(7) });
            }
            // SAFETY: nobody uses the mapping from here on.
            let free = || unsafe { vmalloc::free(start, pages) }.expect("it was mapped a moment ago");
            if masked {
                interrupts::without_interrupts(free);
                vmalloc::free_deferred();
            } else {
                free();
            }
            for address in [first, last] {
                cpu::on(cpu, &|_| {
                    fault_at(address);
                });
            }
        }
    }
}

#[test_case]
fn cpus_that_unmap_at_once_do_not_wait_for_each_other() {
    let arrived = AtomicUsize::new(0);
    cpu::on_cpus(cpu::count(), &|number| {
        meet(&arrived, cpu::count());
        for round in 0..20 {
            let pages = 1 + (number as u64 * 7 + round) % 40;
            let start: NonNull<u64> = vmalloc::allocate(pages, 1).expect("there is memory").cast();
            // SAFETY: the page is mapped, and this CPU's alone.
            unsafe { start.write_volatile(number as u64) };
            // SAFETY: the page is mapped, and this CPU's alone; nobody uses the mapping behind this.
            unsafe {
                assert_eq!(start.read_volatile(), number as u64);
                vmalloc::free(start.cast(), pages).expect("it was mapped a moment ago");
            }
        }
    });
}

#[test_case]
fn every_cpu_reports_its_own_exceptions_on_stacks_of_its_own() {
    /// Calls itself until the stack is full.
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn descend(depth: u64) -> u64 {
        black_box(descend(black_box(depth + 1))) + 1
    }
    let stacks: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
    let arrived = AtomicUsize::new(0);
    cpu::on_cpus(cpu::count(), &|number| {
        meet(&arrived, cpu::count());
        // SAFETY: the closure owns nothing.
        let trap = unsafe { catch(|| _ = black_box(descend(0))) }.expect("the stack is full");
        assert_eq!(trap.vector, exceptions::DOUBLE_FAULT);
        assert!(format!("{}", exceptions::Report(&trap)).contains("the stack has overflown"));
        // Where the handler was, and not what it interrupted.
        stacks[number].store(cpu::local().caught_at(), Ordering::Relaxed);
    });
    let mut stacks: Vec<u64> = stacks.map(AtomicU64::into_inner).into_iter().filter(|&stack| stack != 0).collect();
    stacks.sort_unstable();
    stacks.dedup();
    assert_eq!(stacks.len(), cpu::count());
}

framework::should_panic! {
    fn a_panic_of_any_cpu_ends_the_machine_and_is_reported() {
        let last = cpu::online().last().expect("this one runs");
        cpu::on(last, &|number| assert_eq!(number, MAX_CPUS, "meant to fail"));
    }
}

static INTERRUPTED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static BAD: AtomicBool = AtomicBool::new(false);

fn count_interrupt(trap: &mut Trap) {
    INTERRUPTED[cpu::current()].fetch_add(1, Ordering::Relaxed);
    if !cpu::in_interrupt() || interrupts::are_enabled() || trap.rip < 0xffff_8000_0000_0000 {
        BAD.store(true, Ordering::Relaxed);
    }
}

/// Stops this CPU's timer, which may have been set while the CPU was idle, and forgets its interrupts.
fn rest(number: usize) {
    timer::set_period(Duration::ZERO);
    // One that is pending comes now.
    ipi::relax();
    INTERRUPTED[number].store(0, Ordering::Relaxed);
}

#[test_case]
fn every_cpus_timer_ticks_at_the_rate_that_was_asked() {
    const PERIOD: Duration = Duration::from_millis(1);
    timer::set_hook(Some(count_interrupt));
    let twenty_ticks = |number: usize| {
        rest(number);
        let start = clock::uptime();
        timer::set_period(PERIOD);
        while INTERRUPTED[number].load(Ordering::Relaxed) < 20 {
            interrupts::enable_and_hlt();
        }
        timer::set_period(Duration::ZERO);
        let time = clock::uptime() - start;
        // Never early, but for a hundredth by which the measured rate is off.
        assert!(time * 100 >= PERIOD * 20 * 99, "20 ticks of {PERIOD:?} in {time:?}");
        time
    };
    // Late, where CPUs take turns.
    cpu::on_cpus(cpu::count(), &|number| _ = twenty_ticks(number));
    if Input::read(input::CLOCK_SHIFT).is_given() {
        // But not a CPU that works by itself, on a machine whose time does not depend on the host's.
        let time = twenty_ticks(cpu::current());
        assert!(time < PERIOD * 20 * 3 / 2, "20 ticks of {PERIOD:?} in {time:?}");
    }
    let silence: Vec<u64> = INTERRUPTED.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    let end = clock::uptime() + PERIOD * 5;
    while clock::uptime() < end {
        ipi::relax();
    }
    for (before, now) in silence.iter().zip(&INTERRUPTED) {
        assert!(now.load(Ordering::Relaxed) <= before + 1, "a timer that was stopped ticks");
    }
    timer::set_hook(None);
    assert!(!BAD.load(Ordering::Relaxed), "the hook runs in an interrupt handler, with interrupts masked");
}

#[test_case]
fn an_alarm_comes_once() {
    timer::set_hook(Some(count_interrupt));
    cpu::on_cpus(cpu::count(), &|number| {
        rest(number);
        timer::set_alarm(Duration::from_millis(1));
        let end = clock::uptime() + Duration::from_millis(8);
        while clock::uptime() < end {
            ipi::relax();
        }
        assert_eq!(INTERRUPTED[number].load(Ordering::Relaxed), 1);
    });
    timer::set_hook(None);
}

#[test_case]
fn time_goes_on_alike_on_all_cpus() {
    let last = AtomicU64::new(0);
    for cpu in cpu::online().collect::<Vec<_>>().repeat(5) {
        cpu::on(cpu, &|_| {
            let now = clock::uptime().as_nanos() as u64;
            assert!(last.swap(now, Ordering::Relaxed) < now);
        });
    }
}
