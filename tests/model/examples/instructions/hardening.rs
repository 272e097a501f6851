//! What hardening costs where it is on, and that it costs nothing once it is off again. The filling itself, which is the C library's
//! here, is not counted.

use super::linux::Figure;
use super::stepper;
use bifolio::frame::{Gfp, Order};
use bifolio::hardening::Hardening;
use bifolio::kernel::{Kernel, Regions};
use bifolio::memory_map::{Region, RegionKind};
use model::machine::Turns;
use std::alloc::{Layout, alloc_zeroed};

const PAIRS: u64 = 100;
const MEMORY: Layout = match Layout::from_size_align(64 << 20, 4 << 20) {
    Ok(layout) => layout,
    Err(_) => panic!("4 MiB are a power of two"),
};

unsafe extern "C" {
    safe static __executable_start: u8;
    safe static etext: u8;
}

pub fn figures() -> Vec<Figure> {
    let kernel = kernel();
    kernel.heap().allocate(Layout::new::<[u64; 8]>());
    let mut figures = Vec::new();
    for (hardening, names) in [
        (Hardening::empty(), ["not hardened: pair", "not hardened: heap: pair of 64 bytes"]),
        (Hardening::INIT_ON_ALLOC, ["init_on_alloc: pair", "init_on_alloc: heap: pair of 64 bytes"]),
        (Hardening::INIT_ON_FREE, ["init_on_free: pair", "init_on_free: heap: pair of 64 bytes"]),
        (Hardening::empty(), ["off again: pair", "off again: heap: pair of 64 bytes"]),
    ] {
        kernel.harden(hardening);
        figures.extend([(names[0], pairs(kernel), PAIRS), (names[1], heap_pairs(kernel), PAIRS)]);
    }
    // There is nothing that has memory for them: what they cost by themselves is the kernel's.
    kernel.heap().sample(100);
    figures.push(("kfence.sample_interval: heap: pair of 64 bytes", heap_pairs(kernel), PAIRS));
    figures
}

/// A machine that is never taken down, in which something is in use.
pub fn kernel() -> &'static Kernel<Turns, 2> {
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc_zeroed(MEMORY) };
    assert!(!memory.is_null(), "the host has memory");
    let kernel = Box::leak(Box::new(Kernel::new()));
    let mut regions = Regions::<1>::new();
    regions.extend([Region { start: 1 << 20, end: MEMORY.size() as u64, kind: RegionKind::Usable }]);
    // SAFETY: the memory is for this alone, and stays; the CPUs take turns on this thread.
    unsafe { kernel.init(regions, memory.expose_provenance() as u64) }.expect("there is memory");
    let _ = kernel.frames().allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory").into_raw();
    kernel
}

/// The instructions of this program in `work`, and none of the libraries'.
fn count(work: impl Fn()) -> u64 {
    let own = (&raw const __executable_start)..(&raw const etext);
    // Once before, at full speed: what is not at hand yet is fetched then.
    let [whole, ..] = stepper::trace(&work, |shared| shared.operation(0, &work), |at| own.contains(&at));
    whole.picked.into()
}

fn pairs(kernel: &'static Kernel<Turns, 2>) -> u64 {
    let frames = kernel.frames().allocator();
    count(|| {
        for _ in 0..PAIRS {
            let block = frames.allocate(Order::ZERO, Gfp::KERNEL).expect("there is memory");
            frames.free(block).expect("it was allocated just now");
        }
    })
}

fn heap_pairs(kernel: &'static Kernel<Turns, 2>) -> u64 {
    let (heap, layout) = (kernel.heap(), Layout::new::<[u64; 8]>());
    count(|| {
        for _ in 0..PAIRS {
            let object = heap.allocate(layout).expect("there is memory");
            // SAFETY: it was allocated just now, and nobody else knows of it.
            unsafe { heap.free(object, layout) }.expect("it was allocated just now");
        }
    })
}
