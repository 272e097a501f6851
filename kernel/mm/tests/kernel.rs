//! All memory of a kernel as one static, over memory of the host's that stands for a machine's.

use std::alloc::{GlobalAlloc, Layout};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bifolio::allocator::{PageAllocator, Plan, SetupError, Shrinker};
use bifolio::cpu::Cpu;
use bifolio::error::FreeError;
use bifolio::frame::{Blocks, FRAME_SIZE, Gfp, Order, Pfn, PfnRange, Profile};
use bifolio::heap::{self, StaticHeap};
use bifolio::kernel::{Frames, InitError, Kernel, Mappings, NoInterrupts, NoMappings, Regions, Shared, Uniprocessor};
use bifolio::memory_map::{Region, RegionKind};
use kit::machine::metadata;
use kit::{Sound, scale};

const MIB: u64 = 1 << 20;
/// What the machine has, behind its first MiB, which is nobody's.
const RAM: Range<u64> = MIB..9 * MIB;

fn ram() -> Region {
    Region { start: 0, end: RAM.end, kind: RegionKind::Usable }
}

/// Where the host has memory for what is up to the end of [`RAM`], from address 0 on.
fn window() -> u64 {
    let layout = Layout::from_size_align(RAM.end as usize, 4 << 20).unwrap();
    // SAFETY: the layout is not empty.
    let memory = unsafe { std::alloc::alloc(layout) };
    assert!(!memory.is_null());
    // SAFETY: so long is it. A machine's memory holds something, and not zeros.
    unsafe { memory.write_bytes(0xa5, layout.size()) };
    memory.expose_provenance() as u64
}

#[test]
fn a_kernel_has_frames_and_a_heap() {
    static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    const IMAGE: Range<u64> = 3 * MIB + 1..4 * MIB - 1;
    let layout = Layout::new::<[u64; 100]>();
    // SAFETY: the layout is not empty.
    assert!(unsafe { MEMORY.alloc(layout) }.is_null(), "there is no memory yet");

    let mut regions = Regions::<4>::of(Profile::X86_64);
    regions.extend([ram()]);
    regions.reserve(IMAGE);
    // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
    unsafe { MEMORY.init(regions.clone(), window()) }.unwrap();
    // SAFETY: it is refused before anything is set up, so no memory changes hands.
    assert_eq!(unsafe { MEMORY.init(regions, 0) }, Err(InitError::Twice));

    let frames = MEMORY.frames();
    let before = frames.usage();
    let metadata = frames.metadata().frames();
    let reserved = MIB / FRAME_SIZE;
    assert_eq!(before.total, 8 * MIB / FRAME_SIZE - metadata - reserved);
    assert_eq!((before.used, before.free), (0, before.total));

    // SAFETY: the layout is not empty; the object is used within the layout it has, and freed once, with the last of them.
    unsafe {
        let object = MEMORY.alloc_zeroed(layout);
        assert!((0..layout.size()).all(|at| object.add(at).read() == 0));
        object.write_bytes(7, layout.size());
        let object = MEMORY.realloc(object, layout, 100_000);
        assert!((0..layout.size()).all(|at| object.add(at).read() == 7));
        assert!(frames.usage().used > 100_000 / FRAME_SIZE);
        MEMORY.dealloc(object, Layout::from_size_align(100_000, layout.align()).unwrap());
    }
    MEMORY.heap().sound();
    assert!(MEMORY.heap().shrink() > 0);

    // All there is, none of it reserved.
    let gfp = Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN;
    let all: Vec<_> = std::iter::from_fn(|| frames.allocate(Order::ZERO, gfp).ok()).collect();
    assert_eq!((all.len() as u64, frames.usage().free), (before.total, 0));
    let image = Pfn::containing(IMAGE.start)..Pfn::containing(IMAGE.end + FRAME_SIZE - 1);
    assert!(all.iter().all(|block| !image.contains(&block.pfn()) && block.pfn().address() >= RAM.start));
    all.into_iter().for_each(|block| frames.free(block).unwrap());
    frames.drain();
    assert_eq!(frames.usage(), before);
    frames.sound();
    // SAFETY: there is no such block.
    let wrong = unsafe { frames.free_raw(image.start, Order::ZERO) };
    assert_eq!(wrong, Err(FreeError::Reserved(image.start)));
}

/// Whoever has them may lock them into a static, or hand them to an interrupt handler: the one `init` is the promise for all.
#[test]
fn a_kernel_of_one_cpu_and_its_frames_can_be_shared() {
    fn can_be_shared<T: Send + Sync>() {}
    can_be_shared::<Kernel<Uniprocessor<NoInterrupts>>>();
    can_be_shared::<Frames<'_, Uniprocessor<NoInterrupts>>>();
    can_be_shared::<StaticHeap<Shared<NoInterrupts>>>();
}

/// Half a MiB from address 0 on, as a microcontroller may have it.
#[test]
fn a_kernel_needs_little_memory() {
    static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    const SIZE: u64 = 512 << 10;
    let layout = Layout::from_size_align(SIZE as usize, 4 << 20).unwrap();
    // SAFETY: the layout is not empty.
    let memory = unsafe { std::alloc::alloc(layout) };
    // SAFETY: so long is it. A machine's memory holds something, and not zeros.
    unsafe { memory.write_bytes(0xa5, layout.size()) };
    let mut regions = Regions::<1>::of(Profile::MICROCONTROLLER);
    regions.extend([Region { start: 0, end: SIZE, kind: RegionKind::Usable }]);
    // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
    unsafe { MEMORY.init(regions, memory.expose_provenance() as u64) }.unwrap();
    let frames = MEMORY.frames();
    let total = frames.usage().total;
    assert_eq!(total, SIZE / FRAME_SIZE - frames.metadata().frames());
    let layout = Layout::new::<[u64; 100]>();
    let mut objects = Vec::new();
    loop {
        // SAFETY: the layout is not empty.
        let object = unsafe { MEMORY.alloc(layout) };
        if object.is_null() {
            break;
        }
        // SAFETY: the object is as large.
        unsafe { object.write_bytes(7, layout.size()) };
        objects.push(object);
    }
    assert!(objects.len() * layout.size() > SIZE as usize * 3 / 4, "{} objects", objects.len());
    // SAFETY: each was allocated with this layout, and is freed once.
    objects.into_iter().for_each(|object| unsafe { MEMORY.dealloc(object, layout) });
    MEMORY.heap().sound();
    MEMORY.heap().shrink();
    frames.drain();
    let usage = frames.usage();
    assert_eq!((usage.total, usage.used, usage.free), (total, 0, total));
}

#[test]
fn a_map_that_is_no_good_is_refused_and_can_be_mended() {
    static MEMORY: Kernel<Shared<NoInterrupts>> = Kernel::new();
    let window = window();
    // SAFETY: the memory was allocated for this, and stays.
    let init = |regions: Regions<2>| unsafe { MEMORY.init(regions, window) };
    assert_eq!(init(Regions::new()), Err(InitError::Setup(SetupError::NothingUsable)));
    let mut regions = Regions::new();
    regions.extend([ram(); 3]);
    assert_eq!(init(regions), Err(InitError::TooManyRegions { given: 3, room: 2 }));
    for offset in [window + FRAME_SIZE, window + (2 << 20)] {
        // SAFETY: it is refused before anything is set up, so no memory changes hands.
        let refused = unsafe { MEMORY.init(Regions::<2>::new(), offset) };
        assert_eq!(refused, Err(InitError::Offset { offset, align: 4 << 20 }));
    }
    let mut regions = Regions::new();
    regions.extend([ram()]);
    regions.reserve(5..5);
    init(regions).unwrap();
    let block = MEMORY.frames().allocate(Order::ZERO, Gfp::KERNEL).unwrap();
    assert_eq!(MEMORY.frames().cached(), 0, "no CPU has pages of its own");
    MEMORY.frames().free(block).unwrap();
}

/// Ready-made CPUs know of no memory: it is zeroed where the kernel sees it.
#[test]
fn frames_that_are_to_hold_zeros_do() {
    fn check<C: Cpu>(memory: &'static Kernel<C>) {
        let mut regions = Regions::<2>::of(Profile::X86_64);
        regions.extend([ram()]);
        let window = window();
        // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
        unsafe { memory.init(regions, window) }.unwrap();
        let bytes = |frames: PfnRange| {
            let start = std::ptr::with_exposed_provenance::<u8>((window + frames.start.address()) as usize);
            // SAFETY: the window is at least as long, and the frames are this test's.
            unsafe { std::slice::from_raw_parts(start, (frames.frames() * FRAME_SIZE) as usize) }
        };
        let gfp = Gfp::ATOMIC | Gfp::ZERO;
        let block = memory.frames().allocate(Order::new(3).unwrap(), gfp).unwrap();
        assert!(bytes(block.range()).iter().all(|byte| *byte == 0));
        let five = memory.frames().allocate_exact(5, gfp).unwrap();
        let behind = PfnRange::new(five.range().end, five.range().end.offset(1));
        assert!(bytes(five.range()).iter().all(|byte| *byte == 0));
        assert!(bytes(behind).iter().all(|byte| *byte == 0xa5), "nothing else is written to");
        let six = memory.frames().resize(five, 6, gfp).unwrap();
        assert!(bytes(six.range()).iter().all(|byte| *byte == 0));
        memory.frames().free_range(six).unwrap();
        memory.frames().free(block).unwrap();
    }

    static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    static OF_ALL: Kernel<Shared<NoInterrupts>> = Kernel::new();
    check(&MEMORY);
    check(&OF_ALL);
}

/// As code has it that was written for another allocator: nothing but the allocator says how large a frame is.
#[test]
#[cfg(target_arch = "x86_64")]
fn frames_are_the_page_tables_crates_without_a_word_of_their_size() {
    use x86_64::structures::paging::{FrameAllocator, FrameDeallocator};

    static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    let mut regions = Regions::<2>::of(Profile::X86_64);
    regions.extend([ram()]);
    // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
    unsafe { MEMORY.init(regions, window()) }.unwrap();
    let used = || MEMORY.frames().usage().used;

    let frame = MEMORY.frames().allocate_frame().unwrap();
    assert_eq!((frame.size(), used()), (4096, 1));
    let large = MEMORY.frames().large().allocate_frame().unwrap();
    assert_eq!((large.size(), used()), (2 * MIB, 513));
    assert!(large.start_address().is_aligned(2 * MIB));
    // SAFETY: nobody uses them.
    unsafe {
        MEMORY.frames().large().deallocate_frame(large);
        MEMORY.frames().deallocate_frame(frame);
    }
    assert_eq!(used(), 0);
}

/// Some of memory is where a boot loader says, some where the kernel knows it to be.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_a_boot_loader_uses_itself_is_kept() {
    use bootloader::bootinfo::{FrameRange, MemoryRegion, MemoryRegionType as Type};

    static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    let region = |mib: Range<u64>, region_type| MemoryRegion {
        range: FrameRange::new(mib.start * MIB, mib.end * MIB),
        region_type,
    };
    let map = [region(1..4, Type::Usable), region(4..5, Type::Kernel), region(5..6, Type::PageTable)];
    assert_eq!(Region::from(&region(3..4, Type::AcpiReclaimable)).kind, RegionKind::AcpiReclaimable);
    let mut regions = Regions::<8>::of(Profile::X86_64);
    regions.extend(map.iter());
    regions.usable(6 * MIB + 1..RAM.end);
    regions.usable(7 * MIB..7 * MIB);
    // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
    unsafe { MEMORY.init(regions, window()) }.unwrap();
    let frames = MEMORY.frames();
    let of_kernel = frames.metadata().frames();
    assert_eq!(frames.usage().total, 6 * MIB / FRAME_SIZE - 1 - of_kernel, "a frame of which a part is RAM is none");
    let gfp = Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN;
    let mut all = std::iter::from_fn(|| frames.allocate(Order::ZERO, gfp).ok()).map(|block| block.into_raw().0);
    assert!(all.all(|pfn| !(4 * MIB..6 * MIB).contains(&pfn.address())));
}

/// Memory of the host's, in place of what a kernel maps, and how many pages of it are out.
struct Host(AtomicUsize);

impl Host {
    /// What is mapped is larger than any block.
    const LEAST: usize = 5 << 20;

    fn layout(run: Layout) -> Layout {
        Layout::from_size_align(run.size(), run.align().max(FRAME_SIZE as usize)).unwrap()
    }
}

static MAPPED: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

// SAFETY: what is mapped is the system's, and nobody else's, until it is given back.
unsafe impl Mappings for Host {
    fn map(&self, run: Layout) -> Option<NonNull<u8>> {
        assert!(run.size() >= Self::LEAST && run.size() % FRAME_SIZE as usize == 0, "{run:?}");
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { std::alloc::alloc(Self::layout(run)) })?;
        MAPPED.lock().unwrap().push(start.addr().get());
        self.0.fetch_add(run.size() / FRAME_SIZE as usize, Relaxed);
        Some(start)
    }

    fn is_mapped(&self, start: NonNull<u8>) -> bool {
        MAPPED.lock().unwrap().contains(&start.addr().get())
    }

    unsafe fn unmap(&self, start: NonNull<u8>, run: Layout) -> Result<(), FreeError> {
        self.0.fetch_sub(run.size() / FRAME_SIZE as usize, Relaxed);
        MAPPED.lock().unwrap().retain(|address| *address != start.addr().get());
        // SAFETY: it was allocated as such, and nobody uses it.
        unsafe { std::alloc::dealloc(start.as_ptr(), Self::layout(run)) };
        Ok(())
    }
}

/// Metadata elsewhere, tables before there is an allocator, no CPU with pages of its own, and mappings.
#[test]
fn a_kernel_can_set_its_page_frames_up_by_itself() {
    static MEMORY: Kernel<Uniprocessor<NoInterrupts>, 4, { scale::size(heap::MAX_CPUS, 1) }> = Kernel::new();
    static HOST: Host = Host(AtomicUsize::new(0));
    assert!(MEMORY.try_frames().is_none());
    let window = window();
    let mut regions = Regions::<1>::of(Profile::X86_64);
    regions.extend([ram()]);
    let plan = Plan::apart(regions.map(window).unwrap());
    let mut early = plan.early_frames(3).unwrap();
    let table = early.take(1).unwrap();
    let allocator = || {
        let metadata = metadata(plan.metadata_words());
        // SAFETY: nobody else uses the memory, which is allocated below; it is given to the first of these alone.
        unsafe { PageAllocator::new(&plan, metadata, &MEMORY.pages()[..0]) }.unwrap()
    };
    let frames = allocator();
    // The table is for good.
    let _ = frames.hand_over(early).unwrap().map(Blocks::into_raw);
    // SAFETY: the window was allocated for this, and stays; one thread uses this kernel.
    unsafe {
        let crooked = InitError::Offset { offset: window + FRAME_SIZE, align: 4 << 20 };
        assert_eq!(MEMORY.start(allocator(), window + FRAME_SIZE, &NoMappings), Err(crooked));
        MEMORY.start(frames, window, &HOST).unwrap();
        assert_eq!(MEMORY.start(allocator(), window, &NoMappings), Err(InitError::Twice));
    }

    let usage = MEMORY.frames().usage();
    assert_eq!((usage.total, usage.used), (8 * MIB / FRAME_SIZE, 1), "metadata takes none of it, and the table one");
    assert_eq!(MEMORY.frames().order_of(table.start), Ok(Order::ZERO));
    let layout = |size| Layout::from_size_align(size, 8).unwrap();
    let [small, large] = [layout(25 * FRAME_SIZE as usize - 7), layout(Host::LEAST + 1)];
    let heap = MEMORY.heap();
    let objects = [small, large].map(|layout| heap.allocate(layout).unwrap());
    assert_eq!(HOST.0.load(Relaxed) as u64, Host::LEAST as u64 / FRAME_SIZE + 1, "larger than any block");
    assert_eq!(heap.frames().large, 25 + Host::LEAST as u64 / FRAME_SIZE + 1, "and not one page more");
    // SAFETY: the object is used within its layout; each is freed once, with the layout that it has.
    unsafe {
        objects[1].write_bytes(7, large.size());
        let moved = heap.reallocate(objects[1], large, small.size()).unwrap().unwrap();
        assert!(scale::bytes(0, small.size()).all(|at| moved.add(at).read() == 7));
        assert_eq!(HOST.0.load(Relaxed), 0, "it is in frames now");
        heap.free(moved, small).unwrap();
        heap.free(objects[0], small).unwrap();
    }
    heap.sound();
    heap.shrink();
    assert_eq!(MEMORY.frames().usage().used, 1);
    MEMORY.frames().sound();
}

/// `init` is no more than its steps; and by hand the plan may be another.
#[test]
fn what_is_set_up_step_by_step_is_what_init_makes() {
    static AT_ONCE: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    static BY_STEPS: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    let mut regions = Regions::<1>::of(Profile::X86_64);
    regions.extend([ram()]);
    // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
    unsafe { AT_ONCE.init(regions.clone(), window()) }.unwrap();
    let window = window();
    let planned = |plan: &Plan<'_>| {
        // SAFETY: the memory was allocated for this, and stays; the one kernel that is started by it is one thread's.
        unsafe { PageAllocator::new(plan, plan.metadata_in_window(window), BY_STEPS.pages()) }.unwrap()
    };
    let plan = Plan::new(regions.map(window).unwrap()).unwrap();
    assert_eq!(planned(&plan).usage(), AT_ONCE.frames().usage());
    let with_words = plan.with_words().unwrap();
    // SAFETY: likewise.
    unsafe { BY_STEPS.start(planned(&with_words), window, &NoMappings) }.unwrap();
    let more = with_words.metadata().frames() - plan.metadata().frames();
    assert!(more > 0);
    let frames = BY_STEPS.frames();
    assert_eq!(frames.usage().total + more, AT_ONCE.frames().usage().total);
    let block = frames.allocate(Order::ZERO, Gfp::KERNEL).unwrap();
    let word = frames.word(block.pfn()).unwrap();
    assert_eq!(word.swap(7, Relaxed), 0);
    frames.free(block).unwrap();
    assert!(frames.cached() > 0, "the CPU has pages of its own");
    assert_eq!(word.load(Relaxed), 7, "nobody else's");
}

#[test]
#[should_panic(expected = "no frames were planned for metadata")]
fn metadata_apart_from_ram_is_in_no_window() {
    let mut regions = Regions::<2>::of(Profile::X86_64);
    regions.extend([ram()]);
    let plan = Plan::apart(regions.map(0).unwrap());
    // SAFETY: there are no frames that could be seen.
    let _ = unsafe { plan.metadata_in_window(0) };
}

/// A kernel whose code may all take what is kept for those that free memory.
struct Pressing;

// SAFETY: nothing is mapped.
unsafe impl Mappings for Pressing {
    fn gfp(&self) -> Gfp {
        Gfp::ATOMIC | Gfp::NOWARN | Gfp::MEMALLOC
    }
}

/// That crate's traits say no flags, nor have they an error.
#[test]
#[cfg(target_arch = "x86_64")]
fn page_tables_take_frames_as_the_heap_does_and_bad_frees_of_them_are_named() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size2MiB, Size4KiB};

    fn kernel(mappings: &'static dyn Mappings) -> &'static Kernel<Uniprocessor<NoInterrupts>> {
        let memory: &Kernel<_> = Box::leak(Box::default());
        let window = window();
        let mut regions = Regions::<1>::of(Profile::X86_64);
        regions.extend([ram()]);
        let plan = Plan::new(regions.map(window).unwrap()).unwrap();
        // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
        unsafe {
            let frames = PageAllocator::new(&plan, plan.metadata_in_window(window), memory.pages()).unwrap();
            memory.start(frames, window, mappings).unwrap();
        }
        memory
    }
    let left = |memory: &Kernel<_>| {
        let mut frames = memory.frames();
        while frames.allocate_frame().is_some() {}
        frames.usage().free
    };
    assert!(left(kernel(&NoMappings)) > 0, "some are kept for those that free memory");
    assert_eq!(left(kernel(&Pressing)), 0);

    let memory = kernel(&NoMappings);
    let frame = memory.frames().allocate_frame().unwrap();
    let large = PhysFrame::<Size2MiB>::containing_address(frame.start_address());
    let before = memory.frames().usage();
    let refused = |free: &dyn Fn()| {
        let why = catch_unwind(AssertUnwindSafe(free)).expect_err("it is refused");
        assert_eq!(memory.frames().usage(), before);
        why.downcast_ref::<String>().unwrap().clone()
    };
    // SAFETY: nobody uses the frames, and none of these frees is taken.
    let of_large = refused(&|| unsafe { memory.frames().large().deallocate_frame(large) });
    assert!(of_large.starts_with("bad free of a 2MiB frame: "), "{of_large}");
    let nobodys = PhysFrame::<Size4KiB>::containing_address(x86_64::PhysAddr::new(0x1000));
    // SAFETY: likewise.
    let of_nobodys = refused(&|| unsafe { memory.frames().deallocate_frame(nobodys) });
    assert!(of_nobodys.starts_with("bad free of a 4KiB frame: "), "{of_nobodys}");
}

/// What is there is behind locks, and may be half made: a panic is to say no more of it than its name.
#[test]
fn what_debug_shows_of_a_kernel_is_its_name() {
    static MEMORY: Kernel<Uniprocessor<NoInterrupts>> = Kernel::new();
    let mut regions = Regions::<2>::default();
    regions.extend([ram()]);
    // SAFETY: the memory was allocated for this, and stays; one thread uses this kernel.
    unsafe { MEMORY.init(regions, window()) }.unwrap();
    assert_eq!(format!("{MEMORY:?}"), "Kernel { .. }");
    assert_eq!(format!("{:?}", MEMORY.frames()), "Frames");
    assert_eq!(format!("{:?}", MEMORY.heap()), "Heap { .. }");
    assert_eq!(format!("{:?}", MEMORY.heap().source()), "Window { .. }");
    // The heap gives what it does not use to page frames that are short, whatever it holds.
    let layout = Layout::new::<[u64; 100]>();
    // SAFETY: the layout is not empty, and the object is used no more.
    unsafe { MEMORY.dealloc(MEMORY.alloc(layout), layout) };
    let held = MEMORY.heap().frames();
    assert_eq!(Shrinker::shrink(&MEMORY, 1), held.slabs + held.metadata);
    MEMORY.frames().drain();
    assert_eq!(MEMORY.frames().usage().used, 0);
}

#[test]
fn what_is_made_by_default_has_no_memory() {
    let layout = Layout::new::<u64>();
    let kernel = Kernel::<Uniprocessor<NoInterrupts>>::default();
    let heap = StaticHeap::<Uniprocessor<NoInterrupts>>::default();
    // SAFETY: the layout is not empty.
    let objects = unsafe { [kernel.alloc(layout), heap.alloc(layout)] };
    assert!(objects.iter().all(|object| object.is_null()));
    assert_eq!(format!("{heap:?}"), "StaticHeap { .. }");
    assert!(heap.heap().is_none());
}
