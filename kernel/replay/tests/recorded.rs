//! What an allocator does with several CPUs and with shrinkers is recorded, and a world does it again.

mod common;

use std::cell::RefCell;

use bifolio::allocator::{Call, PageAllocator, PerCpuPages, Plan, Recording, Shrinker};
use bifolio::frame::{Block, Gfp, Mobility, Order, Pfn, PfnRange, ZoneKind};
use bifolio::memory_map::MemoryMap;
use common::{CPUS, Scribe, Thread, be, machine};
use proptest::prelude::*;
use replay::{Found, Stop, World};

/// Holds blocks that it could do without.
struct Cache<'a> {
    frames: RefCell<Option<&'a PageAllocator<'a, Thread>>>,
    blocks: RefCell<Vec<Block>>,
}
// SAFETY: it is used by the thread that made it.
unsafe impl Sync for Cache<'_> {}
impl Shrinker for Cache<'_> {
    fn shrink(&self, frames: u64) -> u64 {
        let allocator = self.frames.borrow().expect("set before there are requests");
        let mut given = 0;
        while given < frames {
            let Some(block) = self.blocks.borrow_mut().pop() else { break };
            given += block.order().frames();
            allocator.free(block).unwrap();
            // A cache may need memory to give memory back.
            if given.is_multiple_of(3)
                && let Ok(block) = allocator.allocate(Order::ZERO, Gfp::KERNEL | Gfp::MEMALLOC)
            {
                allocator.free(block).unwrap();
            }
        }
        given
    }
}

/// What a test does next, out of numbers.
fn act(frames: &PageAllocator<'_, Thread>, held: &mut Vec<Block>, cache: &Cache<'_>, (what, a, b): (u8, u64, u64)) {
    let order = Order::new((a % 11) as u8).unwrap();
    let small = Order::new((a % 4) as u8).unwrap();
    let gfp = [
        Gfp::KERNEL,
        Gfp::KERNEL | Gfp::MOVABLE,
        Gfp::KERNEL | Gfp::RECLAIMABLE,
        Gfp::ATOMIC,
        Gfp::NOWAIT,
        Gfp::KERNEL | Gfp::DMA32,
        Gfp::DMA,
        Gfp::KERNEL | Gfp::ZERO,
        Gfp::KERNEL | Gfp::NOFRAGMENT,
    ][(b % 9) as usize];
    let start = Pfn::new([0x1000, 0x10_0000][(a % 2) as usize] + b % 0x1800);
    let range = PfnRange::new(start, start.offset(a % 600));
    match what {
        0..90 => held.extend(frames.allocate(small, gfp)),
        90..110 => held.extend(frames.allocate(order, gfp)),
        110..120 => {
            let block = frames.allocate(order, gfp);
            cache.blocks.borrow_mut().extend(block);
        }
        120..200 if !held.is_empty() => frames.free(held.swap_remove(b as usize % held.len())).unwrap(),
        // SAFETY: the frames are numbers, and a block that was there is forgotten.
        200..206 => drop(unsafe { frames.free_raw(start, order) }.is_ok_and(|()| {
            held.retain(|block| block.pfn() != start);
            cache.blocks.borrow_mut().retain(|block| block.pfn() != start);
            true
        })),
        206..210 if !held.is_empty() => {
            let block = held.swap_remove(b as usize % held.len());
            match frames.split(block, small) {
                Ok(pieces) => held.extend(pieces),
                Err(refused) => held.push(refused.given),
            };
        }
        210..214 => {
            if let Ok(blocks) = frames.allocate_exact(a % 700, gfp) {
                match frames.resize(blocks, 1 + b % 900, gfp) {
                    Ok(blocks) => held.extend(blocks.into_blocks()),
                    Err(refused) => frames.free_range(refused.given).unwrap(),
                }
            }
        }
        214..216 => {
            held.extend(frames.allocate_contiguous(b % 5000, gfp).into_iter().flat_map(|blocks| blocks.into_blocks()))
        }
        216..217 => held.extend(
            frames.allocate_run(b % 900, 1 << (a % 5), gfp).into_iter().flat_map(|blocks| blocks.into_blocks()),
        ),
        217..220 => held.extend(frames.allocate_range(range, gfp).into_iter().flat_map(|blocks| blocks.into_blocks())),
        220..223 => drop(frames.isolate(range)),
        223..228 => drop(frames.unisolate(range)),
        228..231 => frames.drain(),
        231..235 => drop(frames.decay()),
        235..237 => drop(frames.balance()),
        237..239 => frames.unreserve_highatomic(),
        239..246 => drop(frames.zone(ZoneKind::ALL[(a % 3) as usize])),
        246..250 => frames.validate().unwrap(),
        // SAFETY: the frames are numbers.
        250..252 => drop(unsafe { frames.add(PfnRange::new(Pfn::new(0x3000), Pfn::new(0x3100 + a % 0x300))) }),
        _ => {
            let mut slots: Vec<Option<Block>> = (0..a % 100).map(|_| None).collect();
            let _ = frames.allocate_bulk(&mut slots, gfp);
            let mut other = slots.split_off(slots.len() / 2);
            frames.free_bulk(&mut other).unwrap();
            held.extend(slots.into_iter().flatten());
        }
    }
}

/// Does all that, recorded, with a hash behind each operation. The trace, and the hash of the state at its end.
fn record(acts: &[(u8, (u8, u64, u64))]) -> (Vec<u8>, u64) {
    record_with_room_for(1, acts)
}

/// The same, the trace being told so many events at a time.
fn record_with_room_for(events: usize, acts: &[(u8, (u8, u64, u64))]) -> (Vec<u8>, u64) {
    let mut map = machine();
    let plan = Plan::new(MemoryMap::sanitise(&mut map).unwrap()).unwrap();
    let mut metadata = vec![0; plan.metadata_words()];
    let pages = [const { PerCpuPages::new() }; CPUS];
    let cache = Cache { frames: RefCell::new(None), blocks: RefCell::new(Vec::new()) };
    let scribe = Scribe::new(1);
    // SAFETY: the frames are numbers.
    let mut frames = unsafe { PageAllocator::<Thread>::new(&plan, &mut metadata, &pages) }.unwrap();
    let recording = Recording::with_room_for(events, &scribe);
    frames.record(&recording);
    // SAFETY: both outlive the allocator's use.
    let (frames, cache_ref) = unsafe {
        (
            &*std::ptr::from_ref(&frames).cast::<PageAllocator<'_, Thread>>(),
            &*std::ptr::from_ref(&cache).cast::<Cache<'_>>(),
        )
    };
    scribe.hash_of(move || frames.hash());
    *cache.frames.borrow_mut() = Some(frames);
    frames.add_shrinker(cache_ref).unwrap();
    let mut held = Vec::new();
    for &(cpu, numbers) in acts {
        be(usize::from(cpu) % (CPUS + 1));
        act(frames, &mut held, &cache, numbers);
    }
    recording.flush::<Thread>();
    let hash = frames.hash();
    (scribe.finish(), hash)
}

fn acts(count: usize) -> impl Strategy<Value = Vec<(u8, (u8, u64, u64))>> {
    prop::collection::vec(any::<(u8, (u8, u64, u64))>(), 0..count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_recorded_is_done_again_to_the_same_state(acts in acts(1500), events in 1_usize..80) {
        let (trace, hash) = record_with_room_for(events, &acts);
        let mut world = World::open(trace, 1 << 20).unwrap();
        if let Err(stop) = world.run() { return Err(TestCaseError::fail(format!("{stop}; {:?}", world.last()))); }
        prop_assert_eq!(world.hash(), hash);
        prop_assert_eq!(world.operation(), world.total());
        world.frames().validate().unwrap();
    }

    #[test]
    fn any_moment_is_the_same_however_it_is_reached(acts in acts(3000), moments in prop::collection::vec(any::<u64>(), 20)) {
        let (trace, _) = record(&acts);
        // A budget that has checkpoints thinned out.
        let mut world = World::open(trace.clone(), 200_000).unwrap();
        let mut forward = World::open(trace, 0).unwrap();
        let mut hashes = vec![forward.hash()];
        while forward.step().is_ok() {
            hashes.push(forward.hash());
        }
        prop_assert_eq!(hashes.len() as u64, world.total() + 1);
        for moment in moments {
            let moment = moment % (world.total() + 1);
            world.seek(moment).map_err(|stop| TestCaseError::fail(stop.to_string()))?;
            let zones = world.zones();
            prop_assert_eq!(zones, world.zones());
            prop_assert_eq!(world.hash(), hashes[moment as usize], "after {} operations", moment);
        }
    }

    #[test]
    fn a_trace_is_followed_as_it_comes_however_it_is_cut(acts in acts(300), sizes in prop::collection::vec(1_usize..200, 1..50)) {
        let (trace, hash) = record(&acts);
        let (mut come, mut world) = (0, None);
        for size in sizes.iter().cycle() {
            let part = &trace[come..trace.len().min(come + size)];
            come += part.len();
            match &mut world {
                None => world = World::attach(trace[..come].to_vec(), 1 << 20).ok(),
                Some(world) => world.extend(part).unwrap(),
            }
            if let Some(world) = &mut world {
                world.run().map_err(|stop| TestCaseError::fail(stop.to_string()))?;
                prop_assert_eq!(world.operation(), world.total());
                prop_assert!(world.with_trace(<[u8]>::len) <= come);
            }
            if come == trace.len() {
                break;
            }
        }
        let world = world.unwrap();
        prop_assert_eq!((world.hash(), world.total()), (hash, World::open(trace, 0).unwrap().total()));
        prop_assert!(world.with_trace(<[u8]>::len) == come);
    }
}

#[test]
fn the_first_difference_is_named() {
    let acts = [(0, (0, 0, 0)); 400];
    let (trace, _) = record(&acts);
    // An allocation says that it gave another frame: its result is the byte behind.
    let at = (0..trace.len()).rev().find(|&at| trace[at] == 0 && trace[at + 1] == 3).unwrap();
    let mut changed = trace.clone();
    changed[at + 1] = 5;
    let mut world = World::open(changed, 1 << 20).unwrap();
    let Err(Stop::Differs(difference)) = world.run() else { panic!("nothing was noticed") };
    assert_eq!(difference.offset, at);
    assert!(matches!(difference.found, Found::Returned { call: Call::Allocate { .. }, .. }), "{difference}");
    assert_eq!(difference.operation, world.operation());
}

#[test]
fn of_a_trace_that_is_cut_off_all_is_done_that_is_there_and_the_rest_is_named() {
    // Memory runs out, and what is asked for then asks the shrinker, which is at it when the trace ends.
    let (trace, _) = record(&[(0, (110, 10, 0)); 200]);
    let world = World::open(trace.clone(), 0).unwrap();
    assert_eq!(world.unfinished(), None);
    let mut place = trace::Header::read(&trace).unwrap().1;
    let end = loop {
        if let trace::Record::Opened { call: Call::Shrink { .. }, .. } = place.next(&trace).unwrap().unwrap() {
            break place.offset();
        }
    };
    let mut world = World::attach(trace[..end].to_vec(), 0).unwrap();
    world.run().unwrap();
    let (offset, opened) = world.unfinished().unwrap();
    assert_eq!(offset, world.with_trace(<[u8]>::len));
    assert!(offset < end && world.operation() == world.total());
    assert!(
        matches!(opened[..], [(0, Call::Allocate { order: Order::MAX, .. }), (0, Call::Shrink { .. })]),
        "{opened:?}"
    );
}

#[test]
fn a_state_with_another_hash_is_named() {
    let (mut trace, _) = record(&[(0, (0, 0, 0))]);
    *trace.last_mut().unwrap() ^= 1;
    let mut world = World::open(trace, 1 << 20).unwrap();
    let Err(Stop::Differs(difference)) = world.run() else { panic!("nothing was noticed") };
    assert!(matches!(difference.found, Found::State { .. }), "{difference}");
}

#[test]
fn a_world_goes_on_where_it_is_and_what_would_have_come_is_gone() {
    let mut world = World::new(&machine(), 2, 1 << 20).unwrap();
    let call = |order| Call::Allocate { order: Order::new(order).unwrap(), gfp: Gfp::KERNEL };
    let first = world.perform(0, call(3)).unwrap();
    let start = world.hash();
    world.perform(1, call(0)).unwrap();
    world.perform(1, Call::Free { pfn: Pfn::new(first), order: Order::new(3).unwrap() }).unwrap();
    let end = world.hash();
    assert_eq!((world.operation(), world.total()), (3, 3));
    world.seek(1).unwrap();
    assert_eq!(world.hash(), start);
    world.seek(3).unwrap();
    assert_eq!(world.hash(), end);
    world.seek(1).unwrap();
    world.perform(0, Call::Free { pfn: Pfn::new(first), order: Order::new(3).unwrap() }).unwrap();
    assert_eq!((world.operation(), world.total()), (2, 2));
    assert_eq!(world.step(), Err(Stop::End));
    let copy = world.with_trace(<[u8]>::to_vec);
    let mut again = World::open(copy, 1 << 20).unwrap();
    again.run().unwrap();
    assert_eq!(again.hash(), world.hash());
    assert!(world.frames().free_blocks(ZoneKind::Normal).pageblocks[Mobility::Movable.index()] > 0);
}
