//! What a heap does is recorded with the page frames below it, on several CPUs and when memory runs out, and a world does it again.

mod common;
#[path = "common/pages.rs"]
mod pages;

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use bifolio::allocator::{Call, HeapCall, PerCpuPages, Plan, Recording};
use bifolio::frame::{Block, Gfp, Order};
use bifolio::heap::{Cache, CacheOptions, Heap};
use bifolio::memory_map::MemoryMap;
use common::{CPUS, Scribe, Thread, be, machine};
use pages::{Frames, MEMORY, Objects, Pages};
use proptest::prelude::*;
use replay::{Found, Stop, World};

type Odd = [u64; 9];

/// What a test holds.
#[derive(Default)]
struct Held {
    objects: Vec<(NonNull<u8>, Layout)>,
    blocks: Vec<Block>,
    cache: Option<Cache<'static, Odd, Pages, Thread>>,
    odd: Vec<NonNull<Odd>>,
}

/// What a test does next, out of numbers.
fn act(heap: &'static Objects, held: &mut Held, (what, a, b): (u8, u64, u64)) {
    let small = Layout::from_size_align(1 + (a % 2000) as usize, 1 << (b % 7)).unwrap();
    let large = Layout::from_size_align(9000 + (a % 300_000) as usize, 1 << (b % 15)).unwrap();
    let any = if a % 40 == 0 { large } else { small };
    let pick = |all: usize| b as usize % all;
    match what {
        0..90 => held.objects.extend(heap.allocate(any).map(|object| (object, any))),
        90..100 => (0..a % 300).for_each(|_| held.objects.extend(heap.allocate(small).map(|object| (object, small)))),
        100..175 if !held.objects.is_empty() => {
            let (object, layout) = held.objects.swap_remove(pick(held.objects.len()));
            // SAFETY: the object is the test's, and used no more: what is freed twice is refused.
            unsafe {
                heap.free(object, layout).unwrap();
                if a % 16 == 0 {
                    heap.free(object, layout).unwrap_err();
                }
            }
        }
        175..185 => held.objects.drain(..held.objects.len() / 2).for_each(|(object, layout)| {
            // SAFETY: the object is the test's, taken off its list, and used no more.
            unsafe { heap.free(object, layout) }.unwrap();
        }),
        185..200 if !held.objects.is_empty() => {
            let at = pick(held.objects.len());
            let (object, layout) = held.objects[at];
            let size = if a % 3 == 0 { layout.size() * 2 } else { 1 + (a % 40_000) as usize };
            // SAFETY: the object is the test's, and where it moves, only the new one is used.
            if let Some(object) = unsafe { heap.reallocate(object, layout, size) }.unwrap() {
                held.objects[at] = (object, Layout::from_size_align(size, layout.align()).unwrap());
            }
        }
        200..204 if !held.objects.is_empty() => {
            let (object, layout) = held.objects[pick(held.objects.len())];
            let wrong = Layout::from_size_align(layout.size() * 3 + 100, layout.align()).unwrap();
            // SAFETY: nothing is freed.
            unsafe { heap.free(object, wrong) }.unwrap_err();
        }
        204..208 => heap.retire_cpu(),
        208..210 => drop(heap.shrink()),
        210..212 => heap.validate().unwrap(),
        212..215 => drop(heap.prepare_cpu()),
        215..240 => match &held.cache {
            None => held.cache = heap.cache(CacheOptions::new("odd")).ok(),
            Some(cache) if a % 4 > 0 => held.odd.extend(cache.allocate()),
            // SAFETY: the object is the test's, and used no more.
            Some(cache) => held.odd.pop().into_iter().for_each(|odd| unsafe { cache.free(odd) }.unwrap()),
        },
        240..242 => {
            // What is left in it stays where it is for good.
            held.odd.clear();
            held.cache.take().into_iter().for_each(|cache| _ = cache.destroy(|_| ()));
        }
        242..252 => held.blocks.extend(heap.source().frames.allocate(Order::new((a % 11) as u8).unwrap(), Gfp::KERNEL)),
        252..=254 => held.blocks.drain(..).for_each(|block| heap.source().frames.free(block).unwrap()),
        _ => heap.source().frames.drain(),
    }
}

/// A heap over an allocator, both recorded.
struct Recorded {
    heap: &'static Objects,
    recording: &'static Recording<'static>,
    scribe: &'static Scribe,
    _memory: Memory,
}

struct Memory(NonNull<u8>);

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout; what refers to it is used no more.
        unsafe { dealloc(self.0.as_ptr(), MEMORY) };
    }
}

impl Recorded {
    /// The trace is told so many events at a time.
    fn new(events: usize) -> Self {
        let mut map = machine();
        let plan = Plan::new(MemoryMap::sanitise(&mut map).unwrap()).unwrap();
        let metadata = vec![0; plan.metadata_words()].leak();
        let pages = Box::leak(Box::new([const { PerCpuPages::new() }; CPUS]));
        let scribe: &Scribe = Box::leak(Box::new(Scribe::new(5)));
        let recording: &'static Recording<'static> = Box::leak(Box::new(Recording::with_room_for(events, scribe)));
        // SAFETY: the frames are the memory's, which nobody else uses.
        let mut frames = unsafe { Frames::new(&plan, metadata, pages) }.unwrap();
        frames.record(recording);
        let frames: &'static Frames = Box::leak(Box::new(frames));
        // SAFETY: the layout is not of size 0.
        let base = NonNull::new(unsafe { alloc_zeroed(MEMORY) }).unwrap();
        let heap: &'static Objects = Box::leak(Box::new(Heap::new(Pages { frames, base })));
        scribe.hash_of(move || frames.hash() ^ heap.hash());
        be(0);
        heap.record(recording);
        frames.add_shrinker(heap).unwrap();
        Self { heap, recording, scribe, _memory: Memory(base) }
    }

    fn finish(&self) -> Vec<u8> {
        self.recording.flush::<Thread>();
        self.scribe.finish()
    }

    fn hash(&self) -> u64 {
        self.heap.source().frames.hash() ^ self.heap.hash()
    }
}

/// Does all that; the trace, told so many events at a time, and the hash of the state at its end. If memory is to be short, there is
/// hardly any from the start.
fn record(acts: &[(u8, (u8, u64, u64))], is_short: bool, events: usize) -> (Vec<u8>, u64) {
    let recorded = Recorded::new(events);
    let mut held = Held::default();
    let frames = recorded.heap.source().frames;
    let all = |order| std::iter::from_fn(move || frames.allocate(order, Gfp::KERNEL).ok());
    let mut taken: Vec<Block> = Order::all().rev().filter(|_| is_short).flat_map(all).collect();
    for &(cpu, numbers) in acts {
        be(usize::from(cpu) % (CPUS + 1));
        if numbers.1 % 8 == 0 {
            taken.pop().into_iter().for_each(|block| frames.free(block).unwrap());
        }
        act(recorded.heap, &mut held, numbers);
    }
    let hash = recorded.hash();
    // What is held is forgotten with its memory.
    std::mem::forget(held.cache.take());
    (recorded.finish(), hash)
}

fn acts(count: usize) -> impl Strategy<Value = Vec<(u8, (u8, u64, u64))>> {
    prop::collection::vec(any::<(u8, (u8, u64, u64))>(), 0..count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_a_heap_did_is_done_again_to_the_same_state(acts in acts(800), is_short: bool, events in 1_usize..80) {
        let (trace, hash) = record(&acts, is_short, events);
        let mut world = World::open(trace, 1 << 20).unwrap();
        if let Err(stop) = world.run() { return Err(TestCaseError::fail(format!("{stop}; {:?}", world.last()))); }
        prop_assert_eq!(world.hash(), hash);
        prop_assert_eq!(world.operation(), world.total());
        world.look_at_heap(|heap| heap.validate()).unwrap();
        for moment in [world.total() / 3, world.total(), world.total() / 2, 0, world.total()] {
            world.seek(moment).unwrap();
        }
        prop_assert_eq!(world.hash(), hash);
    }

    #[test]
    fn a_world_goes_on_with_its_heap_and_its_trace_is_followed(acts in acts(300), sizes in prop::collection::vec(1_u64..9000, 1..200)) {
        let (trace, _) = record(&acts, false, 1);
        let mut world = World::open(trace, 1 << 20).unwrap();
        world.run().unwrap();
        let mut given = Vec::new();
        for (nth, &size) in sizes.iter().enumerate() {
            let cache = bifolio::heap::SizeClass::of(Layout::from_size_align(size.min(8192) as usize, 8).unwrap()).unwrap();
            let call = Call::Heap(HeapCall::Allocate { cache: cache.number(), size });
            given.extend(world.perform(nth % CPUS, call));
            if nth % 3 == 0 && let Some(address) = given.pop() {
                let call = Call::Heap(HeapCall::Free { address, cache: None });
                prop_assert_eq!(world.perform((nth + 1) % CPUS, call), Some(0));
                prop_assert_eq!(world.perform(nth % CPUS, call), None);
            }
        }
        world.perform(0, Call::Heap(HeapCall::Shrink));
        let mut again = World::open(world.with_trace(<[u8]>::to_vec), 1 << 20).unwrap();
        if let Err(stop) = again.run() { return Err(TestCaseError::fail(stop.to_string())); }
        prop_assert_eq!(again.hash(), world.hash());
    }
}

#[test]
fn an_object_in_another_slot_is_named() {
    let recorded = Recorded::new(1);
    let layout = Layout::new::<[u64; 4]>();
    for _ in 0..202 {
        recorded.heap.allocate(layout).unwrap();
    }
    let mut trace = recorded.finish();
    // The last record but the hash: an allocation whose result is 32 bytes behind the one before.
    let at = trace.len() - 9 - 4;
    assert_eq!(trace[at], 0xa4, "{:x?}", &trace[at..]);
    trace[at + 3] += 8;
    let mut world = World::open(trace, 1 << 20).unwrap();
    let Err(Stop::Differs(difference)) = world.run() else { panic!("nothing was noticed") };
    let is_object = matches!(difference.found, Found::Returned { call: Call::Heap(HeapCall::Allocate { .. }), .. });
    assert!(is_object && difference.offset == at, "{difference}");
}
