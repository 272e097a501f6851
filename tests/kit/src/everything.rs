//! A workload that uses all there is of page frames and of the heap, and that takes every refusal.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use bifolio::allocator::PageAllocator;
use bifolio::cpu::Cpu;
use bifolio::frame::{Block, Blocks, FRAME_SIZE, Gfp, Order};
use bifolio::heap::{CacheOptions, Heap, PageSource, SizeClass, SlabDebug};

const FRAME: usize = FRAME_SIZE as usize;
/// Bytes of objects: of classes, and of frames.
const SIZES: [usize; 9] = [8, 64, 100, 500, 2048, 8000, 3 * FRAME + 5, 20 * FRAME, 40 * FRAME];
/// What they are resized to, in turn.
const RESIZED: [usize; 4] = [30, 1000, 5 * FRAME, 50 * FRAME];
/// How many frames are asked for at once.
const BULK: usize = 40;

/// An object, of which the first and the last byte and one of each frame hold its mark.
struct Object {
    start: NonNull<u8>,
    layout: Layout,
    mark: u8,
}

impl Object {
    /// Offsets of marked bytes below `size`, at least one byte.
    fn marked(size: usize) -> impl Iterator<Item = usize> {
        (0..size).step_by(FRAME)
    }

    fn mark(&self, from: usize) {
        for offset in Self::marked(self.layout.size()).filter(|offset| *offset >= from) {
            // SAFETY: the object is ours, and this long.
            unsafe { self.start.add(offset).write(self.mark) };
        }
    }

    fn check(&self, size: usize) {
        for offset in Self::marked(size) {
            // SAFETY: the object is ours, this long, and was marked.
            let found = unsafe { self.start.add(offset).read() };
            assert_eq!(found, self.mark, "byte {offset} of {:?} at {:?}", self.layout, self.start);
        }
    }
}

/// Blocks at most: twice three of each order, of which the last is split into pairs of frames.
const BLOCKS: usize = 2 * (3 * Order::COUNT + (Order::MAX.frames() / 2) as usize);

/// What is held of it all. There is room for notes from the beginning, so that they are no part of what is used.
pub struct Everything {
    blocks: Vec<Block>,
    ranges: Vec<Blocks>,
    objects: Vec<Object>,
    bulk: Vec<Option<Block>>,
}

impl Everything {
    /// Nothing is held.
    pub fn new() -> Self {
        let (blocks, ranges, objects) = (Vec::with_capacity(BLOCKS), Vec::with_capacity(16), Vec::with_capacity(512));
        Self { blocks, ranges, objects, bulk: (0..BULK).map(|_| None).collect() }
    }

    /// Does it all, and gives everything back that it got. `elsewhere` runs what it is given on another CPU, if there is one.
    ///
    /// # Panics
    /// If an object's memory was changed, or something is not taken back.
    pub fn run<C: Cpu, S: PageSource, const CPUS: usize>(
        &mut self,
        frames: &PageAllocator<'_, C>,
        heap: &Heap<S, C, CPUS>,
        elsewhere: impl Fn(&mut dyn FnMut()),
    ) {
        self.take_frames(frames);
        self.take_ranges(frames);
        heap.prepare_cpu();
        self.take_objects(heap);
        self.debug_objects(heap);
        self.use_caches(heap);
        self.resize_objects(heap);
        elsewhere(&mut || {
            self.take_objects(heap);
            let half = self.objects.len() / 2;
            self.give_objects(heap, half);
            heap.retire_cpu();
        });
        self.take_frames(frames);
        self.give_objects(heap, 0);
        self.blocks.drain(..).for_each(|block| frames.free(block).expect("the block was allocated"));
        self.ranges.drain(..).for_each(|range| frames.free_range(range).expect("the range was allocated"));
        frames.free_bulk(&mut self.bulk).expect("the frames were allocated");
        for class in SizeClass::all() {
            // There is a record if it was switched on; else that may be refused, and nothing is lost.
            let _ = heap.set_debug(class, SlabDebug::empty());
        }
    }

    /// Blocks of all orders, in parts, with an owner, many at once.
    fn take_frames<C: Cpu>(&mut self, frames: &PageAllocator<'_, C>) {
        for gfp in [Gfp::KERNEL, Gfp::KERNEL | Gfp::MOVABLE, Gfp::ATOMIC | Gfp::RECLAIMABLE] {
            let blocks = Order::all().filter_map(|order| frames.allocate(order, gfp | Gfp::NOWARN).ok());
            self.blocks.extend(blocks);
        }
        let owned = frames.allocate_owned(Order::new(3).expect("an order"), Gfp::KERNEL | Gfp::ZERO | Gfp::NOWARN);
        drop(owned);
        let _ = frames.allocate_bulk(&mut self.bulk, Gfp::KERNEL | Gfp::NOWARN);
        let halves = Order::new(1).expect("an order");
        if let Some(block) = self.blocks.pop_if(|block| block.order() > halves) {
            let parts = frames.split(block, halves).expect("the block was allocated");
            self.blocks.extend(parts);
        }
        frames.decay();
    }

    /// Ranges, which grow and shrink.
    fn take_ranges<C: Cpu>(&mut self, frames: &PageAllocator<'_, C>) {
        let gfp = Gfp::KERNEL | Gfp::NOWARN;
        let ranges = [
            frames.allocate_exact(5, gfp),
            frames.allocate_exact_aligned(300, Order::PAGEBLOCK, gfp | Gfp::ZERO),
            frames.allocate_contiguous(700, gfp | Gfp::MOVABLE),
            frames.allocate_run(13, 4, gfp),
        ];
        for range in ranges.into_iter().flatten() {
            let (longer, shorter) = (range.range().frames() + 9, range.range().frames().div_ceil(2));
            let range = frames.resize(range, longer, gfp).unwrap_or_else(|refused| refused.given);
            self.ranges.push(frames.resize(range, shorter, gfp).unwrap_or_else(|refused| refused.given));
        }
        if let Some(range) = self.ranges.pop() {
            let same = range.range();
            frames.free_range(range).expect("the range was allocated");
            self.ranges.extend(frames.allocate_range(same, gfp));
        }
    }

    fn note(&mut self, start: Option<NonNull<u8>>, layout: Layout) {
        let Some(start) = start else { return };
        let object = Object { start, layout, mark: self.objects.len() as u8 };
        object.mark(0);
        self.objects.push(object);
    }

    /// Objects of all kinds of sizes, and many at once.
    fn take_objects<C: Cpu, S: PageSource, const CPUS: usize>(&mut self, heap: &Heap<S, C, CPUS>) {
        for size in SIZES {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            self.note(heap.allocate(layout), layout);
        }
        let layout = Layout::from_size_align(5 * FRAME, 16 * FRAME).expect("a layout");
        self.note(heap.allocate_zeroed(layout), layout);
        let layout = Layout::new::<[u64; 100]>();
        let mut objects = [MaybeUninit::uninit(); 50];
        let count = heap.allocate_bulk(layout, &mut objects);
        for object in &objects[..count] {
            // SAFETY: so many were initialised.
            self.note(Some(unsafe { object.assume_init() }), layout);
        }
    }

    /// Objects that are debugged. Switching that on takes a frame, and may be refused.
    fn debug_objects<C: Cpu, S: PageSource, const CPUS: usize>(&mut self, heap: &Heap<S, C, CPUS>) {
        for size in [48, 700, 8192] {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            let class = SizeClass::of(layout).expect("a class has it");
            let _ = heap.set_debug(class, SlabDebug::all());
            for _ in 0..3 {
                self.note(heap.allocate(layout), layout);
            }
        }
    }

    /// Caches of one type, plain and debugged.
    fn use_caches<C: Cpu, S: PageSource, const CPUS: usize>(&mut self, heap: &Heap<S, C, CPUS>) {
        fn construct(object: NonNull<[u64; 21]>) {
            // SAFETY: the slot is the cache's, and this large.
            unsafe { object.write([7; 21]) };
        }
        for debug in [SlabDebug::empty(), SlabDebug::all()] {
            let options = CacheOptions::new("everything").constructor(construct).debug(debug);
            let Ok(cache) = heap.cache(options) else { continue };
            let mut objects = [const { None }; 20];
            objects.fill_with(|| cache.allocate());
            for object in objects.into_iter().flatten() {
                // SAFETY: the object is ours, as constructed, and not used afterwards.
                unsafe {
                    assert_eq!(object.read(), [7; 21]);
                    cache.free(object).expect("the object was allocated");
                }
            }
            assert_eq!(cache.destroy(|_| ()), 0, "nothing is left");
        }
    }

    /// Objects that grow, shrink, become others: from slots to runs and back.
    fn resize_objects<C: Cpu, S: PageSource, const CPUS: usize>(&mut self, heap: &Heap<S, C, CPUS>) {
        for (nth, object) in self.objects.iter_mut().enumerate().step_by(3) {
            let size = RESIZED[nth / 3 % RESIZED.len()];
            // SAFETY: the object is ours; we go on with what comes back.
            let resized = unsafe { heap.reallocate(object.start, object.layout, size) };
            let kept = object.layout.size().min(size);
            if let Some(start) = resized.expect("the object is live") {
                object.start = start;
                object.layout = Layout::from_size_align(size, object.layout.align()).expect("a layout");
            }
            object.check(kept.min(object.layout.size()));
            object.mark(0);
        }
    }

    /// Checks and frees all objects but the first so many.
    fn give_objects<C: Cpu, S: PageSource, const CPUS: usize>(&mut self, heap: &Heap<S, C, CPUS>, but: usize) {
        for object in self.objects.drain(but..) {
            object.check(object.layout.size());
            // SAFETY: the object is ours, and not used afterwards.
            unsafe { heap.free(object.start, object.layout) }.expect("the object was allocated");
        }
    }
}

impl Default for Everything {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Everything {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Everything").finish_non_exhaustive()
    }
}
