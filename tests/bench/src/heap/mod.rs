//! The heap: the workloads, and who takes part.

pub mod footprint;
mod operations;
mod peers;
mod regions;
pub mod trace;

use crate::case::{Case, Repeat};
use crate::meter::{Measured, Run};
use crate::peers::Memory;
use crate::thread::Thread;
use peers::{Buddies, Glibc, GoodMemory, HeapFloor, MiMalloc, NoHeap, Rlsf, Slabs};
use workloads::heap::{BifolioHeap, DefaultTalc, InRegion, LinkedList, Objects, RegionHeap};

type Region<R> = InRegion<R, Memory, Thread>;

/// Every workload with every allocator that takes part in it, the allocators of a workload next to each other.
pub fn cases() -> Vec<Case> {
    let everybody = [
        objects::<BifolioHeap<Memory, Thread>>(),
        objects::<MiMalloc>(),
        #[cfg(feature = "snmalloc")]
        objects::<peers::SnMalloc>(),
        objects::<Glibc>(),
        objects::<Region<DefaultTalc>>(),
        objects::<Region<Rlsf>>(),
        objects::<Region<GoodMemory>>(),
        objects::<Region<Slabs>>(),
        objects::<Region<Buddies>>(),
        objects::<Region<LinkedList>>(),
        objects::<HeapFloor>(),
        harness(),
    ];
    let groups: Vec<_> = everybody[0].iter().map(|case| (case.workloads, case.repeat)).collect();
    let of = |&group: &(&'static [&'static str], Repeat)| {
        let is_in = move |case: &&Case| (case.workloads, case.repeat) == group;
        everybody.iter().flatten().filter(is_in).cloned().collect::<Vec<_>>()
    };
    groups.iter().flat_map(of).chain(in_regions()).collect()
}

/// What a region holds, for each allocator that can be given one.
fn in_regions() -> [Case; 6] {
    [
        region::<regions::BifolioRegion>(),
        region::<DefaultTalc>(),
        region::<Rlsf>(),
        region::<GoodMemory>(),
        region::<Buddies>(),
        region::<LinkedList>(),
    ]
}

fn region<R: RegionHeap>() -> Case {
    Case {
        workloads: &regions::NAMES,
        threads: ONE,
        repeat: Repeat::Once,
        is_countable: false,
        allocator: R::NAME,
        run: regions::run::<R>,
    }
}

/// What every allocator does.
fn objects<A: Objects>() -> Vec<Case> {
    use operations as o;
    let timed = |workloads, threads, run| Case { threads, ..case::<A>(workloads, Repeat::EveryRound, run) };
    let mut cases = vec![
        timed(&["heap-pair64"], EITHER, o::pair::<A>),
        timed(&["heap-power"], EITHER, o::power::<A>),
        timed(&["heap-uniform"], EITHER, o::uniform::<A>),
        timed(&["heap-big"], EITHER, o::big::<A>),
        timed(&["heap-bulk-alloc", "heap-bulk-free"], EITHER, o::bulk::<A>),
        timed(&["heap-remote-free"], &[2], o::remote_free::<A>),
    ];
    cases.extend(trace::<A, 0>());
    cases.extend(trace::<A, 1>());
    cases.extend(trace::<A, 2>());
    cases.extend(trace::<A, 3>());
    cases.push(case::<A>(&["heap-overhead"], Repeat::Once, footprint::overhead::<A>));
    cases.retain(|case| peers::can(case.allocator, case.workloads[0], case.repeat));
    cases
}

const ONE: &[usize] = &[1];
const EITHER: &[usize] = &[1, 2];

fn case<A: Objects>(workloads: &'static [&'static str], repeat: Repeat, run: fn(Run) -> Vec<Measured>) -> Case {
    let is_countable = peers::is_countable(A::NAME, workloads[0]);
    Case { workloads, threads: ONE, repeat, is_countable, allocator: A::NAME, run }
}

/// Time and memory of a trace.
fn trace<A: Objects, const NTH: usize>() -> [Case; 2] {
    const { assert!(NTH < trace::TRACES.len()) };
    let workloads = trace::Nth::<NTH>::WORKLOADS;
    [
        case::<A>(workloads, Repeat::EveryRound, trace::time::<A, NTH>),
        case::<A>(workloads, Repeat::Once, trace::memory::<A, NTH>),
    ]
}

/// What the harness costs by itself. Memory it has none.
fn harness() -> Vec<Case> {
    let is_costly = |case: &Case| case.repeat == Repeat::EveryRound && case.threads.contains(&1);
    objects::<NoHeap>().into_iter().filter(is_costly).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::NonNull;
    use workloads::Random;
    use workloads::heap::aligned;

    /// Objects of all sizes, each filled with a byte of its own, some of them resized, and looked at before they go.
    fn keeps_contents<A: Objects>() {
        let (heap, mut random) = (A::new(), Random::new(1));
        let is_filled = |object: NonNull<u8>, size: usize, byte: u8| {
            // SAFETY: the object is ours, has so many bytes, and all of them were written.
            unsafe { std::slice::from_raw_parts(object.as_ptr(), size) }.iter().all(|&found| found == byte)
        };
        let mut objects = Vec::new();
        for nth in 0..3000u32 {
            let layout = aligned(8 + random.below(5000), 8 << random.below(5));
            let object = heap.allocate(layout).unwrap_or_else(|| panic!("{}: refused {layout:?}", A::NAME));
            assert_eq!(object.addr().get() % layout.align(), 0, "{}", A::NAME);
            // SAFETY: it is ours and has as many bytes.
            unsafe { object.write_bytes(nth as u8, layout.size()) };
            objects.push((object, layout, nth as u8));
            if nth % 3 == 0 {
                let which = random.below(objects.len());
                let (object, layout, byte) = &mut objects[which];
                let size = 8 + random.below(5000);
                // SAFETY: it was allocated so, and goes on as what is returned.
                *object = unsafe { heap.reallocate(*object, *layout, size) }.expect("there is memory");
                assert!(is_filled(*object, size.min(layout.size()), *byte), "{}", A::NAME);
                // SAFETY: as before.
                unsafe { object.write_bytes(*byte, size) };
                *layout = aligned(size, layout.align());
            }
            if nth % 2 == 0 {
                let (object, layout, byte) = objects.swap_remove(random.below(objects.len()));
                assert!(is_filled(object, layout.size(), byte), "{}", A::NAME);
                // SAFETY: it was allocated so, and is forgotten.
                unsafe { heap.free(object, layout) };
            }
        }
        for (object, layout, byte) in objects {
            assert!(is_filled(object, layout.size(), byte), "{}", A::NAME);
            // SAFETY: as before.
            unsafe { heap.free(object, layout) };
        }
    }

    #[test]
    fn everybody_is_called_rightly() {
        keeps_contents::<BifolioHeap<Memory, Thread>>();
        keeps_contents::<MiMalloc>();
        keeps_contents::<Glibc>();
        keeps_contents::<Region<DefaultTalc>>();
        keeps_contents::<Region<Rlsf>>();
        keeps_contents::<Region<GoodMemory>>();
        keeps_contents::<Region<Slabs>>();
        keeps_contents::<Region<Buddies>>();
        keeps_contents::<Region<LinkedList>>();
        keeps_contents::<HeapFloor>();
    }
}
