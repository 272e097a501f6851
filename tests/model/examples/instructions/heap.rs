//! The heap's part, as a kernel has it: over a page allocator, by the loops of `make bench`.

use super::linux::{Figure, count, dearest};

use model::machine::Turns;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use workloads::Random;
use workloads::heap::{self, Backing, BifolioHeap, Objects, SIXTY_FOUR, Sizes, Window};

type Heap = BifolioHeap<Memory, Turns>;

const PAIRS: u64 = 100;
/// Objects of the list that is filled and freed, and how many of them are counted.
const BULK: usize = 20_000;
const COUNTED: usize = 600;
/// Live objects of a window, and of a big one; how many are replaced at full speed, and counted.
const LIVE: usize = 1024;
const BIG: usize = 200_000;
const WARM: u64 = 200_000;
const REPLACED: u64 = 300;
/// Allocations of which the dearest counts.
const SINGLES: usize = 600;

pub fn figures() -> Vec<Figure> {
    let mut figures = vec![
        pair(),
        window("heap: power", Sizes::PowerLaw, LIVE),
        window("heap: uniform", Sizes::Uniform, LIVE),
        window("heap: big", Sizes::PowerLaw, BIG),
    ];
    figures.extend(bulk());
    figures.extend([remote_free(), refill(), first()]);
    figures
}

/// 256 MiB.
struct Memory(NonNull<u8>);

// SAFETY: it is only a range of addresses.
unsafe impl Send for Memory {}
// SAFETY: likewise.
unsafe impl Sync for Memory {}

impl Memory {
    const LAYOUT: Layout = match Layout::from_size_align(<Self as Backing>::SIZE, 4 << 20) {
        Ok(layout) => layout,
        Err(_) => panic!("4 MiB are a power of two"),
    };
}

impl Backing for Memory {
    const SIZE: usize = 256 << 20;

    fn new() -> Self {
        // SAFETY: the layout is not empty.
        Self(NonNull::new(unsafe { alloc_zeroed(Self::LAYOUT) }).expect("the host has memory"))
    }

    fn base(&self) -> NonNull<u8> {
        self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and whoever used it is gone with it.
        unsafe { dealloc(self.0.as_ptr(), Self::LAYOUT) };
    }
}

fn pair() -> Figure {
    let heap = Heap::new();
    heap.allocate(SIXTY_FOUR);
    heap::pairs(&heap, PAIRS);
    ("heap: pair of 64 bytes", count(|| _ = heap::pairs(&heap, PAIRS)), PAIRS)
}

fn window(name: &'static str, sizes: Sizes, live: usize) -> Figure {
    let (heap, mut window) = (Heap::new(), Window::new(21, sizes, live));
    window.fill(&heap);
    window.churn(&heap, WARM);
    (name, count(|| _ = window.churn(&heap, REPLACED)), REPLACED)
}

/// Objects of 64 bytes that were all live before, in random order, of which the first half was freed already and the other
/// is counted.
fn scattered(heap: &Heap) -> Vec<Option<NonNull<u8>>> {
    let mut objects = vec![None; BULK];
    heap::fill(heap, &mut objects);
    Random::new(7).shuffle(&mut objects);
    objects
}

fn free_all(heap: &Heap, objects: &heap::List) {
    // SAFETY: each was allocated so, and is freed once.
    unsafe { heap::free_all(heap, objects) };
}

fn bulk() -> [Figure; 2] {
    let heap = Heap::new();
    let mut objects = scattered(&heap);
    free_all(&heap, &objects);
    heap::fill(&heap, &mut objects[..BULK / 2]);
    let rest = &mut objects[BULK / 2..];
    let allocation = count(|| _ = heap::fill(&heap, &mut rest[..COUNTED]));
    heap::fill(&heap, rest);
    Random::new(8).shuffle(&mut objects);
    free_all(&heap, &objects[..BULK / 2]);
    let free = count(|| free_all(&heap, &objects[BULK / 2..][..COUNTED]));
    [("heap: bulk allocation", allocation, COUNTED as u64), ("heap: bulk free", free, COUNTED as u64)]
}

/// What one CPU allocated another frees, in random order.
fn remote_free() -> Figure {
    let heap = Heap::new();
    let objects = scattered(&heap);
    Turns::switch_to(1);
    heap.allocate(SIXTY_FOUR);
    free_all(&heap, &objects[..BULK / 2]);
    let steps = count(|| free_all(&heap, &objects[BULK / 2..][..COUNTED]));
    Turns::switch_to(0);
    ("heap: remote free", steps, COUNTED as u64)
}

/// The dearest of many allocations one after the other, on a heap that has not had as many.
fn refill() -> Figure {
    let heap = Heap::new();
    heap.allocate(SIXTY_FOUR);
    ("heap: refill", dearest_of(&heap), 1)
}

/// The dearest of as many on one whose CPU was prepared and that has had none.
fn first() -> Figure {
    let heap = Heap::new();
    assert!(heap.prepare_cpu(), "there is memory");
    ("heap: first allocations", dearest_of(&heap), 1)
}

fn dearest_of(heap: &Heap) -> u64 {
    dearest(|shared| {
        for nth in 0..SINGLES {
            shared.operation(nth, || heap.allocate(SIXTY_FOUR));
        }
    })
}
