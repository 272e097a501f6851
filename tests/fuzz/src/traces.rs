//! Traces, as `boot replay` and the explorer read them: a file may hold anything, and is followed as far as it makes sense.

use bifolio::allocator::{Call, HeapCall};
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::{Region, RegionKind};
use model::choices::Choices;
use replay::World;
use trace::Header;

/// Frames that a machine may have here, spoken of or not: a larger one takes longer than all else.
const MOST_FRAMES: u64 = 1 << 14;
/// Bytes for checkpoints.
const BUDGET: usize = 1 << 20;

/// Memory of a machine that does what is chosen.
const MAP: [Region; 3] = [
    Region { start: 1 << 20, end: 9 << 20, kind: RegionKind::Usable },
    Region { start: 9 << 20, end: 10 << 20, kind: RegionKind::AcpiReclaimable },
    Region { start: 16 << 20, end: 20 << 20, kind: RegionKind::Usable },
];
/// As many CPUs have pages of their own there.
const CPUS: u64 = 2;

/// The first byte says whether what comes is a trace, or what is to be done and written into one.
pub(crate) fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0..128, rest)) => read(rest),
        Some((_, rest)) => write(Choices::bytes(rest)),
        None => {}
    }
}

/// Does what is chosen, and then once more by the trace that was written of it.
fn write(mut choices: Choices) {
    let mut world = World::new(&MAP, CPUS as usize, BUDGET).expect("the map is sound");
    let (mut frames, mut objects) = (vec![(Pfn::new(0), Order::ZERO)], vec![(0, None)]);
    while !choices.are_spent() {
        let cpu = choices.below(CPUS) as usize;
        let call = call(&mut choices, &frames, &objects);
        let returned = world.perform(cpu, call);
        match (call, returned) {
            (Call::Allocate { order, .. }, Some(pfn)) => frames.push((Pfn::new(pfn), order)),
            (Call::Heap(HeapCall::Allocate { cache, .. }), Some(address)) => objects.push((address, Some(cache))),
            _ => {}
        }
    }
    let (operations, hash) = (world.operation(), world.hash());
    assert_eq!(world.look(|frames| frames.validate()), Ok(()));
    assert_eq!(world.look_at_heap(|heap| heap.validate()), Ok(()));
    let mut again = World::open(world.with_trace(<[u8]>::to_vec), BUDGET).expect("a trace was written");
    assert_eq!(again.run(), Ok(()));
    assert_eq!((again.operation(), again.hash()), (operations, hash));
}

/// Something to be done: with what was allocated, be it freed or not, or with any frame.
fn call(choices: &mut Choices, blocks: &[(Pfn, Order)], objects: &[(u64, Option<u16>)]) -> Call {
    let order = Order::new(choices.below(11) as u8).expect("it is below 11");
    let gfp = Gfp::from_bits_retain(choices.below(1 << 16) as u32);
    let (block, of) = choices.one_of(blocks);
    let pfn = if choices.per_mille(800) { block } else { Pfn::new(choices.below(1 << 13)) };
    let frames = choices.below(1 << 11);
    let range = PfnRange::new(pfn, pfn.offset(frames));
    let (address, cache) = choices.one_of(objects);
    match choices.below(24) {
        0..4 => Call::Allocate { order, gfp },
        4 | 5 => Call::Free { pfn, order: of },
        6 => Call::Free { pfn, order },
        7 => Call::Split { pfn, order: of, into: order },
        8 => Call::AllocateExact { frames, align: order, gfp },
        9 => Call::AllocateContiguous { frames, align: order.frames(), gfp },
        10 => Call::AllocateRun { frames, align: order.frames(), gfp },
        11 => Call::AllocateRange { range, gfp },
        12 => Call::Resize { range: PfnRange::of(pfn, of), frames, gfp },
        13 => Call::Isolate(range),
        14 => Call::Unisolate(range),
        15 => Call::Add(range),
        16 => choices.one_of(&[Call::Drain, Call::Decay, Call::Balance, Call::UnreserveHighAtomic]),
        17 => choices.one_of(&[Call::AddShrinker, Call::RemoveShrinker, Call::Settle(ZoneKind::Dma)]),
        18..21 => Call::Heap(HeapCall::Allocate { cache: order.get().into(), size: frames }),
        21 => Call::Heap(HeapCall::Free { address, cache }),
        22 => Call::Heap(HeapCall::Free { address: address.wrapping_add(frames), cache: None }),
        _ => Call::Heap(choices.one_of(&[HeapCall::Shrink, HeapCall::Retire, HeapCall::Prepare])),
    }
}

/// Follows a trace, as a whole and in two parts, as it does that comes while it is read.
fn read(bytes: &[u8]) {
    // How much of it has come when somebody begins to follow it.
    let Some((cut, trace)) = bytes.split_first() else { return };
    let Ok((header, first)) = Header::read(trace) else { return };
    let frames = |region: Region| region.end.saturating_sub(region.start) / 4096;
    if header.cpus > 4 || header.map().map(frames).sum::<u64>() > MOST_FRAMES {
        return;
    }
    let whole = World::attach(trace.to_vec(), BUDGET);
    let rest = trace.len() - first.offset();
    let (begun, to_come) = trace.split_at(first.offset() + usize::from(*cut).min(rest));
    let part = World::attach(begun.to_vec(), BUDGET);
    let (mut whole, mut part) = match (whole, part) {
        (Ok(whole), Ok(mut part)) => {
            part.extend(to_come).expect("the same bytes are a trace as a whole");
            (whole, part)
        }
        // What is wrong may not have come yet.
        (Err(_), Ok(mut part)) => return assert!(part.extend(to_come).is_err()),
        (Err(_), Err(_)) => return,
        (Ok(_), Err(error)) => panic!("only the beginning is no trace: {error}"),
    };
    assert_eq!(whole.total(), part.total());
    let mut listed = 0;
    whole.for_each_operation_until(whole.total(), |_, within, _| listed += u64::from(within.is_empty()));
    assert_eq!(listed, whole.total());
    _ = (whole.unfinished(), whole.site_at(trace.len()));
    let ends = [whole.run(), part.run()];
    assert_eq!(ends[0], ends[1]);
    assert_eq!((whole.operation(), whole.hash()), (part.operation(), part.hash()));
    assert!(ends[0].is_err() || whole.operation() == whole.total());
    if ends[0].is_ok() {
        // What differs from its trace has stopped in the middle of something.
        assert_eq!(whole.look(|frames| frames.validate()), Ok(()));
        assert_eq!(whole.look_at_heap(|heap| heap.validate()), Ok(()));
    }
    // Back to the beginning, and there once more.
    let (operation, hash) = (whole.operation(), whole.hash());
    whole.seek(0).expect("the beginning can be gone to");
    assert_eq!(whole.seek(operation), Ok(()));
    if ends[0].is_ok() {
        assert_eq!(whole.hash(), hash);
    }
}
