//! CPUs that do not answer: they spin, with interrupts masked, for a lock of the kernel's own, and the CPU that has it needs
//! memory.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use bifolio::cpu::{Cpu, Hooks};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use bifolio::heap::{Heap, PageSource};
use bifolio::memory_map::MemoryMap;
use bifolio::sync::Barriers;
use kit::machine::{metadata, usable};
use kit::{Raw, Sound, over_numbers};

const CPUS: usize = 2;
const FIRST: u64 = 1 << 20;
const FRAMES: u64 = 2048;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A thread as a CPU, which others interrupt as the documentation of [`Cpu`] has it: it answers where it is ready to.
/// `KERNEL` keeps the CPUs of one test from those of another.
struct Machine<const KERNEL: usize>;

const KERNELS: usize = 2;
static BARRIERS: [Barriers<CPUS>; KERNELS] = [const { Barriers::new() }; KERNELS];

impl<const KERNEL: usize> Machine<KERNEL> {
    fn as_cpu<R>(number: usize, work: impl FnOnce() -> R) -> R {
        NUMBER.set(number);
        work()
    }

    /// What an interrupt does.
    fn answer() {
        BARRIERS[KERNEL].answer(NUMBER.get());
    }
}

// SAFETY: the threads have different numbers; each other thread is waited for until it has passed a barrier, or is named.
unsafe impl<const KERNEL: usize> Cpu for Machine<KERNEL> {
    fn current() -> usize {
        NUMBER.get()
    }

    fn synchronize() {
        panic!("this would be waiting without end");
    }

    fn try_synchronize(missed: &mut dyn FnMut(usize)) {
        // A kernel cannot know that, and waits some milliseconds.
        let gives_up = || DEAF[KERNEL].load(Ordering::SeqCst);
        BARRIERS[KERNEL].ask::<Self>(std::iter::once(1 - NUMBER.get()), |_| {}, gives_up, missed);
    }

    fn mask_interrupts() -> bool {
        false
    }

    fn restore_interrupts(_: bool) {}
}

impl<const KERNEL: usize> Hooks for Machine<KERNEL> {
    fn relax() {
        Self::answer();
        thread::yield_now();
    }
}

/// Whether CPU 1 has its interrupts masked, and answers nobody.
static DEAF: [AtomicBool; KERNELS] = [const { AtomicBool::new(false) }; KERNELS];

/// A lock of the kernel's own: a CPU that waits for it has masked its interrupts, and knows of nothing else.
struct KernelLock(AtomicBool);

impl KernelLock {
    fn lock(&self) {
        while self.0.swap(true, Ordering::Acquire) {
            thread::yield_now();
        }
    }

    fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// 8 MiB, and pages for both CPUs.
fn allocator<C: Cpu>() -> PageAllocator<'static, C> {
    let mut regions = [usable(FIRST, FIRST + FRAMES)];
    let plan = Plan::apart(MemoryMap::sanitise(&mut regions).unwrap());
    let metadata = metadata(plan.metadata_words());
    let pages: &[PerCpuPages; CPUS] = Box::leak(Box::new([const { PerCpuPages::new() }; CPUS]));
    over_numbers(&plan, metadata, pages).unwrap()
}

fn all_there_is<C: Cpu>(frames: &PageAllocator<'_, C>) -> Vec<Pfn> {
    std::iter::from_fn(|| frames.take(Order::ZERO, Gfp::MEMALLOC | Gfp::NOWARN).ok()).collect()
}

/// What ends with CPU 0, however that ends.
struct Held<'a> {
    lock: &'a KernelLock,
    is_over: &'a AtomicBool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.lock.unlock();
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// CPU 1 is `busy` while it is ready to be interrupted; then it spins for a lock that CPU 0 holds, which does something meanwhile.
/// Then CPU 0 does something more, and CPU 1 answers.
fn while_another_spins<const KERNEL: usize>(busy: impl FnOnce() + Send, held: impl FnOnce(), behind: impl FnOnce()) {
    let lock = KernelLock(AtomicBool::new(false));
    // Before CPU 1 begins, which is not to get it first, however slow this thread is.
    lock.lock();
    let (is_ready, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            Machine::<KERNEL>::as_cpu(1, || {
                busy();
                DEAF[KERNEL].store(true, Ordering::SeqCst);
                is_ready.store(true, Ordering::SeqCst);
                lock.lock();
                lock.unlock();
                DEAF[KERNEL].store(false, Ordering::SeqCst);
                while !is_over.load(Ordering::SeqCst) {
                    Machine::<KERNEL>::relax();
                }
            });
        });
        Machine::<KERNEL>::as_cpu(0, || {
            let _held = Held { lock: &lock, is_over: &is_over };
            while !is_ready.load(Ordering::SeqCst) {
                Machine::<KERNEL>::relax();
            }
            held();
            lock.unlock();
            while DEAF[KERNEL].load(Ordering::SeqCst) {
                Machine::<KERNEL>::relax();
            }
            behind();
        });
    });
}

#[test]
fn a_cpu_that_waits_for_the_kernels_lock_is_done_without() {
    let frames = allocator::<Machine<0>>();
    let taken = Cell::new(Vec::new());
    let busy = || {
        let one = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
        frames.give(one, Order::ZERO).unwrap();
    };
    let held = || {
        let all = all_there_is(&frames);
        let kept = frames.cached();
        assert!(kept > 0, "CPU 1 has a word on loan");
        assert_eq!(all.len() as u64 + kept, FRAMES, "all but that is served");
        taken.set(all);
    };
    let behind = || {
        // Now it answers.
        let mut all = taken.take();
        all.extend(all_there_is(&frames));
        assert_eq!((all.len() as u64, frames.cached()), (FRAMES, 0));
        all.into_iter().for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
        frames.drain();
        frames.sound();
        assert_eq!(frames.zone(ZoneKind::Normal).free, FRAMES);
    };
    while_another_spins::<0>(busy, held, behind);
}

/// Blocks of the host's memory.
struct Blocks;

fn layout_of(order: Order) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(order.bytes() as usize, order.bytes() as usize).unwrap()
}

// SAFETY: what the host allocates is nobody else's, and aligned as it was asked for.
unsafe impl PageSource for Blocks {
    fn allocate(&self, order: Order) -> Option<std::ptr::NonNull<u8>> {
        // SAFETY: a block is not empty.
        std::ptr::NonNull::new(unsafe { std::alloc::alloc(layout_of(order)) })
    }

    unsafe fn release(&self, block: std::ptr::NonNull<u8>, order: Order) -> Result<(), bifolio::error::FreeError> {
        // SAFETY: by this function's contract the block was allocated above, with this order.
        unsafe { std::alloc::dealloc(block.as_ptr(), layout_of(order)) };
        Ok(())
    }
}

#[test]
fn a_heap_does_without_the_arena_of_a_cpu_that_never_answers() {
    static HEAP: Heap<Blocks, Machine<1>> = Heap::new(Blocks);
    let layout = std::alloc::Layout::new::<[u64; 12]>();
    let pair = || {
        let object = HEAP.allocate(layout).unwrap();
        // SAFETY: the object is ours, and not used any more.
        unsafe { HEAP.free(object, layout) }.unwrap();
    };
    let held = || {
        pair();
        let before = HEAP.shrink();
        assert_eq!(before, 0, "nothing of it is touched");
        // All goes on, there too.
        pair();
    };
    let behind = || {
        assert!(HEAP.shrink() > 0);
        HEAP.sound();
        assert_eq!(HEAP.frames(), bifolio::heap::HeapFrames::default());
    };
    while_another_spins::<1>(pair, held, behind);
}
