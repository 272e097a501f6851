//! The heap: the workloads, and who takes part.

mod operations;
mod peers;

use crate::case::{Case, Repeat};
use crate::peers::Memory;
use crate::thread::Thread;
use peers::{Buddies, Glibc, GoodMemory, HeapFloor, MiMalloc, NoHeap, Rlsf, Slabs, SnMalloc};
use workloads::heap::{BifolioHeap, DefaultTalc, InRegion, LinkedList, Objects, RegionHeap};

type Region<R> = InRegion<R, Memory, Thread>;

/// Every workload with every allocator that takes part in it, the allocators of a workload next to each other.
pub fn cases() -> Vec<Case> {
    let everybody = [
        objects::<BifolioHeap<Memory, Thread>>(),
        objects::<MiMalloc>(),
        objects::<SnMalloc>(),
        objects::<Glibc>(),
        in_region::<DefaultTalc>(),
        in_region::<Rlsf>(),
        in_region::<GoodMemory>(),
        in_region::<Slabs>(),
        in_region::<Buddies>(),
        in_region::<LinkedList>(),
        objects::<HeapFloor>(),
        harness(),
    ];
    let groups: Vec<&'static [&'static str]> = everybody[0].iter().map(|case| case.workloads).collect();
    let of = |group: &&'static [&'static str]| {
        let group = *group;
        everybody.iter().flatten().filter(move |case| case.workloads == group).cloned().collect::<Vec<_>>()
    };
    groups.iter().flat_map(of).collect()
}

/// What every allocator does. snmalloc does not start under valgrind, which does not let it reserve the addresses that it
/// wants to reserve.
fn objects<A: Objects>() -> Vec<Case> {
    use Repeat::EveryRound;
    use operations as o;
    const EITHER: &[usize] = &[1, 2];
    let case = |workloads, threads, run| {
        let is_countable = A::NAME != SnMalloc::NAME;
        Case { workloads, threads, repeat: EveryRound, is_countable, allocator: A::NAME, run }
    };
    vec![
        case(&["heap-pair64"], EITHER, o::pair::<A>),
        case(&["heap-power"], EITHER, o::power::<A>),
        case(&["heap-uniform"], EITHER, o::uniform::<A>),
        case(&["heap-bulk-alloc", "heap-bulk-free"], &[1], o::bulk::<A>),
        case(&["heap-remote-free"], &[2], o::remote_free::<A>),
    ]
}

fn in_region<R: RegionHeap>() -> Vec<Case> {
    objects::<Region<R>>()
}

/// What the harness costs by itself.
fn harness() -> Vec<Case> {
    objects::<NoHeap>().into_iter().filter(|case| case.threads.contains(&1)).collect()
}
