//! What every kernel in `tests/adopters` does with its memory before it says that it works.
#![no_std]

extern crate alloc;

#[cfg(target_arch = "x86_64")]
pub mod pc;
pub mod smp;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use bifolio::allocator::Usage;
use bifolio::cpu::Cpu;
use bifolio::error::FreeError;
use bifolio::frame::{Block, Gfp, Order, Pfn, ZoneKind};
use bifolio::kernel::{Frames, Kernel};

/// Runs all checks, on memory that was set up just now, and is the global allocator's, and says so on the console.
///
/// # Panics
/// If anything is not as it should be.
pub fn run<C: Cpu, const CPUS: usize>(memory: &'static Kernel<C, CPUS>, console: &mut impl Write) {
    let frames = memory.frames();
    let first = State::of(memory);
    assert_eq!(first.usage.used, 0, "nothing was allocated yet");
    collections();
    memory.heap().validate().expect("the heap is sound");
    bad_frees_are_named(&frames);
    assert_eq!(State::of(memory), first, "all is given back");
    all_there_is(&frames);
    assert_eq!(State::of(memory), first, "all is given back");
    frames.validate().expect("the page allocator is sound");
    writeln!(console, "{} frames were given out and are whole again", first.usage.total).expect("the console works");
}

/// How much is in use, and the free blocks of each zone and order.
#[derive(PartialEq, Debug)]
struct State {
    usage: Usage,
    free: [[u64; Order::COUNT]; ZoneKind::COUNT],
}

impl State {
    /// The state once neither the heap nor a CPU holds anything that nobody uses.
    fn of<C: Cpu, const CPUS: usize>(memory: &Kernel<C, CPUS>) -> Self {
        let frames = memory.frames();
        memory.heap().shrink();
        frames.drain();
        let of_zone = |kind| {
            let blocks = frames.free_blocks(kind);
            core::array::from_fn(|order| Order::new(order as u8).map_or(0, |order| blocks.of(order)))
        };
        Self { usage: frames.usage(), free: ZoneKind::ALL.map(of_zone) }
    }
}

/// Everything, whatever is kept for others, and without a word if there is nothing.
const ALL: Gfp = Gfp::ATOMIC.union(Gfp::MEMALLOC).union(Gfp::NOWARN);

/// Blocks in a piece of a list of them: a heap that is made of page frames alone has nothing larger than 4 MiB.
const PIECE: usize = 1 << 16;

/// Takes every frame there is, and frees them in a random order.
fn all_there_is<C: Cpu>(frames: &Frames<'_, C>) {
    let all = frames.usage().free as usize;
    // The list has frames of its own, which are taken first.
    let mut held: Vec<Vec<Option<Block>>> = Vec::new();
    held.resize_with(all.div_ceil(PIECE), || Vec::with_capacity(PIECE));
    let list = frames.usage().used as usize;
    let mut count = 0;
    while let Ok(block) = frames.allocate(Order::ZERO, ALL) {
        held[count / PIECE].push(Some(block));
        count += 1;
    }
    assert_eq!((count, frames.usage().free), (all - list, 0), "all there is was given out");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (0..count).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let chosen = (random % (last as u64 + 1)) as usize;
        let at_end = held[last / PIECE][last % PIECE].take();
        let place = &mut held[chosen / PIECE][chosen % PIECE];
        let block = if chosen == last { at_end } else { core::mem::replace(place, at_end) };
        frames.free(block.expect("none was taken yet")).expect("it was allocated");
    }
}

/// Lists, maps and text on the global allocator, which grow, move and go.
///
/// # Panics
/// If one does not hold what was put into it.
pub fn collections() {
    let mut numbers: Vec<u64> = Vec::new();
    numbers.extend(0..20_000);
    let mut map: BTreeMap<u64, Box<[u8]>> = BTreeMap::new();
    for number in &numbers[..2_000] {
        map.insert(number * 7919 % 2_003, alloc::vec![*number as u8; 1 + *number as usize % 700].into_boxed_slice());
    }
    assert!(
        map.iter().all(|(key, bytes)| bytes.iter().all(|byte| u64::from(*byte) == bytes[0].into()) && *key < 2_003)
    );
    let text: String = numbers.iter().take(100).map(|number| alloc::format!("{number} ")).collect();
    assert!(text.starts_with("0 1 2 ") && text.ends_with("98 99 "));
    assert_eq!(numbers.iter().sum::<u64>(), 199_990_000);
}

/// What is no block is refused, and named.
fn bad_frees_are_named<C: Cpu>(frames: &Frames<'_, C>) {
    let order = Order::new(2).expect("there is an order 2");
    let (pfn, _) = frames.allocate(order, ALL).expect("there is a block").into_raw();
    // SAFETY: none of these is a block that anybody has, but the last, which is ours.
    let free = |pfn: Pfn, order| unsafe { frames.free_raw(pfn, order) };
    assert!(matches!(free(pfn, Order::ZERO), Err(FreeError::WrongOrder { .. })));
    assert!(matches!(free(pfn.offset(1), Order::ZERO), Err(FreeError::Interior { .. })));
    assert_eq!(free(pfn, order), Ok(()));
    assert!(matches!(free(pfn, order), Err(FreeError::AlreadyFree(_))));
    assert!(matches!(free(Pfn::new(0), Order::ZERO), Err(FreeError::Reserved(_) | FreeError::NotManaged(_))));
}
