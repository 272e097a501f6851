//! Page frames: the workloads, and who takes part.

mod fragmentation;
mod llfree;
mod operations;
pub mod singles;

use crate::case::{Case, Repeat};
use crate::peers::{Acid, BuddyAlloc, BuddySlab, Floor, Nothing};
use crate::thread::Thread;
use workloads::{Bifolio, Bitmap, BuddySystem, PageFrames};

/// Every workload with every allocator that takes part in it, the allocators of a workload next to each other.
pub fn cases() -> Vec<Case> {
    let everybody = [
        buddies::<Bifolio<Thread>>(),
        buddies::<BuddySystem<Thread>>(),
        buddies::<Bitmap<Thread>>(),
        buddies::<BuddySlab>(),
        buddies::<BuddyAlloc>(),
        buddies::<Acid>(),
        single_frames::<Floor>(),
        harness(),
    ];
    let groups: Vec<&'static [&'static str]> = everybody[0].iter().map(|case| case.workloads).collect();
    let of = |group: &&'static [&'static str]| {
        let group = *group;
        everybody.iter().flatten().filter(move |case| case.workloads == group).cloned().collect::<Vec<_>>()
    };
    groups.iter().flat_map(of).collect()
}

/// What an allocator of single frames can do.
fn single_frames<A: PageFrames>() -> Vec<Case> {
    use Repeat::{EveryRound, Once};
    use operations as o;
    const EITHER: &[usize] = &[1, 2];
    let case = |workloads, threads, run| Case {
        workloads,
        threads,
        repeat: EveryRound,
        is_countable: true,
        allocator: A::NAME,
        run,
    };
    vec![
        case(&["page-pair"], EITHER, o::pair::<A>),
        case(&["page-batch64"], EITHER, o::batch::<A>),
        case(&["page-bulk-alloc", "page-bulk-free"], EITHER, o::bulk::<A>),
        case(&["page-random-alloc", "page-random-free"], EITHER, o::random::<A>),
        case(&["page-cross-free"], &[2], o::cross_free::<A>),
        Case { repeat: Once, ..case(&["page-metadata"], &[1], o::metadata::<A>) },
    ]
}

/// What an allocator of blocks of every order can do.
fn buddies<A: PageFrames>() -> Vec<Case> {
    use Repeat::{EveryRound, Once};
    use fragmentation as f;
    use operations as o;
    const EITHER: &[usize] = &[1, 2];
    let case = |workloads, threads, repeat, run| Case {
        workloads,
        threads,
        repeat,
        is_countable: true,
        allocator: A::NAME,
        run,
    };
    let mut cases = single_frames::<A>();
    cases.insert(1, case(&["page-pair-top"], &[1], EveryRound, o::pair_top::<A>));
    cases.extend([
        case(&["page-mixed"], EITHER, EveryRound, o::mixed::<A>),
        case(&["page-order9-alloc", "page-order9-free"], EITHER, EveryRound, o::order9::<A>),
        case(&["frag-churn"], &[1], Once, f::churn::<A>),
        case(&["frag-unmovable"], &[1], Once, f::unmovable::<A>),
        case(&["frag-mixed"], &[1], Once, f::mixed::<A>),
        case(&["frag-llfree-order0"], &[1], Once, f::llfree_order0::<A>),
        case(&["frag-llfree-order3"], &[1], Once, f::llfree_order3::<A>),
    ]);
    cases.extend(of_llfree::<A, 0>().into_iter().chain(of_llfree::<A, 1>()).chain(of_llfree::<A, 2>()));
    cases
}

/// LLFree's workloads with blocks of one order. Its authors give times, and no more is compared.
fn of_llfree<A: PageFrames, const ORDER: usize>() -> [Case; 3] {
    let names = &llfree::NAMES[ORDER];
    let case = |workloads, run| Case {
        workloads,
        threads: &[1, 2],
        repeat: Repeat::EveryRound,
        is_countable: false,
        allocator: A::NAME,
        run,
    };
    [
        case(&names.bulk, llfree::bulk::<A, ORDER>),
        case(&names.random, llfree::random_free::<A, ORDER>),
        case(&names.repeat, llfree::repeat::<A, ORDER>),
    ]
}

/// What the harness costs by itself.
fn harness() -> Vec<Case> {
    buddies::<Nothing>()
        .into_iter()
        .filter(|case| case.repeat == Repeat::EveryRound && case.threads.contains(&1))
        .collect()
}
