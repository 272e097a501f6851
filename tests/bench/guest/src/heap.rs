//! The host's workloads for the heap, with one processor, and the worst single operation.

use crate::meter::Meter;
use alloc::vec;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::hint::black_box;
use core::ptr::NonNull;
use workloads::Random;
use workloads::heap::{self, Objects, SIXTY_FOUR, Sizes, Window, sized, touch};

/// Live objects of `heap-power` and `heap-uniform`, as on the host.
const LIVE: usize = 1024;
/// Objects of `heap-bulk-alloc` and `heap-bulk-free`, as on the host.
const BULK: usize = 20_000;

/// Runs all of them with one allocator.
pub fn run<A: Objects>(meter: &Meter<'_>) {
    pairs::<A>(meter);
    window::<A>(meter, "heap-power", Sizes::PowerLaw);
    window::<A>(meter, "heap-uniform", Sizes::Uniform);
    bulk::<A>(meter);
}

fn pairs<A: Objects>(meter: &Meter<'_>) {
    const COUNT: u64 = 10_000;
    if !meter.wants(&["heap-pair64"]) {
        return;
    }
    let heap = A::new();
    let held = heap.allocate(SIXTY_FOUR);
    heap::pairs(&heap, 200);
    meter.measure("heap-pair64", A::NAME, COUNT, || heap::pairs(&heap, COUNT));
    // SAFETY: it was allocated so, and nobody uses it.
    unsafe { heap::free_all(&heap, &[held]) };
}

fn window<A: Objects>(meter: &Meter<'_>, workload: &'static str, sizes: Sizes) {
    const COUNT: u64 = 20_000;
    if !meter.wants(&[workload]) {
        return;
    }
    let (heap, mut window) = (A::new(), Window::new(21, sizes, LIVE));
    window.fill(&heap);
    window.churn(&heap, 20_000);
    meter.measure(workload, A::NAME, COUNT, || window.churn(&heap, COUNT));
    window.clear(&heap);
}

fn bulk<A: Objects>(meter: &Meter<'_>) {
    if !meter.wants(&["heap-bulk-alloc", "heap-bulk-free"]) {
        return;
    }
    let (heap, mut random, mut objects) = (A::new(), Random::new(7), vec![None; BULK]);
    // As on the host, the first time does not count.
    heap::fill(&heap, &mut objects);
    random.shuffle(&mut objects);
    // SAFETY: all were just allocated, and nobody uses them.
    unsafe { heap::free_all(&heap, &objects) };
    meter.measure("heap-bulk-alloc", A::NAME, BULK as u64, || heap::fill(&heap, &mut objects));
    random.shuffle(&mut objects);
    meter.measure("heap-bulk-free", A::NAME, BULK as u64, || {
        // SAFETY: as before.
        unsafe { heap::free_all(&heap, &objects) };
        0
    });
}

/// The worst single allocation or free among random ones, of power-law sizes and of uniform ones by turns, with up to 20,000
/// objects live. What fetches frames or gives some back is among them; requests that are refused are not. And the worst but for
/// the very first, since that may have to set up the heap. The CPU was prepared before.
pub fn worst<A: Objects>(meter: &Meter<'_>, operations: u64) {
    const WORKLOADS: [&str; 2] = ["heap-worst", "heap-worst-later"];
    if !meter.wants(&WORKLOADS) {
        return;
    }
    let (heap, mut random) = (A::new(), Random::new(17));
    heap.prepare();
    let sizes = [Sizes::PowerLaw.table(), Sizes::Uniform.table()];
    let mut held: Vec<(NonNull<u8>, Layout)> = Vec::with_capacity(BULK);
    let (mut worst, mut later, mut refused) = (0, 0, 0);
    for nth in 0..operations {
        // More allocations than frees for a while, and then the reverse: slabs come and go.
        let growing = (nth / BULK as u64).is_multiple_of(2);
        let wants_more = random.below(8) < if growing { 6 } else { 2 };
        let instructions = if held.is_empty() || (wants_more && held.len() < BULK) {
            let sizes = &sizes[random.below(sizes.len())];
            let layout = sized(sizes[random.below(sizes.len())].into());
            let mut object = None;
            let instructions = meter.instructions(|| object = black_box(heap.allocate(layout)));
            let Some(object) = object else {
                refused += 1;
                continue;
            };
            touch(object);
            held.push((object, layout));
            instructions
        } else {
            let (object, layout) = held.swap_remove(random.below(held.len()));
            // SAFETY: it was allocated so, and is forgotten.
            meter.instructions(|| unsafe { heap.free(black_box(object), layout) })
        };
        worst = instructions.max(worst);
        if nth > 0 {
            later = instructions.max(later);
        }
    }
    for (workload, worst) in WORKLOADS.into_iter().zip([worst, later]) {
        meter.report(workload, A::NAME, 1, worst, refused);
    }
}
