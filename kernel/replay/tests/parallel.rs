//! CPUs that really run at the same time are recorded, and a world does again what they did.

mod common;
#[path = "common/pages.rs"]
mod pages;

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use bifolio::allocator::{PerCpuPages, Plan, Recording, Shrinker};
use bifolio::frame::{Block, Gfp, Order};
use bifolio::heap::Heap;
use bifolio::memory_map::MemoryMap;
use common::{CPUS, Scribe, be, machine};
use pages::{Frames, MEMORY, Objects, Pages};
use replay::World;

/// Blocks that one CPU at a time gives back when it is asked: whoever asks meanwhile waits for that one, as for a mapping that is
/// being unmapped.
struct Spare {
    frames: &'static Frames,
    blocks: Mutex<Vec<Block>>,
    at_work: Mutex<()>,
    calls: AtomicUsize,
}

impl Shrinker for Spare {
    fn shrink(&self, frames: u64) -> u64 {
        self.calls.fetch_add(1, Relaxed);
        let _at_work = self.at_work.lock().unwrap();
        let mut given = 0;
        while given < frames {
            let Some(block) = self.blocks.lock().unwrap().pop() else { break };
            given += block.order().frames();
            self.frames.free(block).unwrap();
            thread::yield_now();
        }
        given
    }
}

/// What CPUs hand to each other.
#[derive(Default)]
struct Shared {
    objects: Mutex<Vec<(usize, Layout)>>,
    blocks: Mutex<Vec<Block>>,
}

/// What a CPU does, out of numbers of its own.
fn work(cpu: usize, seed: u64, heap: &'static Objects, spare: &Spare, shared: &Shared) {
    be(cpu);
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let frames = heap.source().frames;
    for _ in 0..1500 {
        let (what, size) = (next() % 100, next());
        let pick = |all: usize| (size >> 20) as usize % all;
        match what {
            0..45 => {
                // One in eight is too large for a slab.
                let bytes = 1 + if size % 8 == 0 { (size >> 8) % (256 << 10) } else { (size >> 8) % 2000 };
                let layout = Layout::from_size_align(bytes as usize, 8).unwrap();
                let object = heap.allocate(layout).map(|object| (object.as_ptr().expose_provenance(), layout));
                shared.objects.lock().unwrap().extend(object);
            }
            45..75 => {
                let mut objects = shared.objects.lock().unwrap();
                if !objects.is_empty() {
                    let at = pick(objects.len());
                    let (object, layout) = objects.swap_remove(at);
                    drop(objects);
                    let object = NonNull::new(std::ptr::with_exposed_provenance_mut(object)).unwrap();
                    // SAFETY: the object was on the list, from which it is taken off, and is used no more.
                    unsafe { heap.free(object, layout) }.unwrap();
                }
            }
            75..86 => {
                let order = Order::new([0, 0, 1, 3, 6, 9, 9, 9, 10][(size % 9) as usize]).unwrap();
                let block = frames.allocate(order, Gfp::KERNEL);
                let list = if size % 4 == 0 { &spare.blocks } else { &shared.blocks };
                list.lock().unwrap().extend(block);
            }
            86..95 => {
                let mut blocks = shared.blocks.lock().unwrap();
                if !blocks.is_empty() {
                    let at = pick(blocks.len());
                    let block = blocks.swap_remove(at);
                    drop(blocks);
                    frames.free(block).unwrap();
                }
            }
            // As a CPU that idles does: it may have to wait for its turn then.
            95..97 => _ = spare.shrink(64),
            97 => heap.retire_cpu(),
            98 => drop(heap.shrink()),
            _ => frames.drain(),
        }
    }
}

#[test]
fn what_cpus_do_at_the_same_time_is_done_again_to_the_same_state() {
    let mut asked = 0;
    for seed in 0..6 {
        let mut map = machine();
        let plan = Plan::new(MemoryMap::sanitise(&mut map).unwrap()).unwrap();
        let metadata = vec![0; plan.metadata_words()].leak();
        let pages = Box::leak(Box::new([const { PerCpuPages::new() }; CPUS]));
        let scribe: &Scribe = Box::leak(Box::new(Scribe::new(7)));
        let recording: &'static Recording<'static> =
            Box::leak(Box::new(Recording::with_room_for(1 + seed as usize, scribe)));
        // SAFETY: the frames are the memory's below, which nobody else uses.
        let mut frames = unsafe { Frames::new(&plan, metadata, pages) }.unwrap();
        frames.record(recording);
        let frames: &'static Frames = Box::leak(Box::new(frames));
        // SAFETY: the layout is not of size 0.
        let base = NonNull::new(unsafe { alloc_zeroed(MEMORY) }).expect("there is memory");
        let heap: &'static Objects = Box::leak(Box::new(Heap::new(Pages { frames, base })));
        scribe.hash_of(move || frames.hash() ^ heap.hash());
        be(0);
        heap.record(recording);
        let (blocks, at_work, calls) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
        let spare: &Spare = Box::leak(Box::new(Spare { frames, blocks, at_work, calls }));
        frames.add_shrinker(spare).unwrap();
        frames.add_shrinker(heap).unwrap();
        let shared = Shared::default();
        thread::scope(|scope| {
            for cpu in 0..=CPUS {
                let shared = &shared;
                scope.spawn(move || work(cpu, seed * 8 + cpu as u64 + 1, heap, spare, shared));
            }
        });
        asked += spare.calls.load(Relaxed);
        recording.flush::<common::Thread>();
        let hash = frames.hash() ^ heap.hash();
        let mut world = World::open(scribe.finish(), 1 << 20).unwrap();
        if let Err(stop) = world.run() {
            panic!("seed {seed}: {stop}; {:?}", world.last());
        }
        assert_eq!(world.hash(), hash);
        // What is held is forgotten with its memory.
        shared.blocks.into_inner().unwrap().drain(..).for_each(|block| _ = block.into_raw());
        // SAFETY: it was allocated with this layout; what refers to it is used no more.
        unsafe { std::alloc::dealloc(base.as_ptr(), MEMORY) };
    }
    assert!(asked > 0, "memory was never short");
}
