//! What is explained is what then happens.

use bifolio::allocator::{Allocation, BlockState, Freeing, PerCpuPages, Step};
use bifolio::frame::{Gfp, Order, Pfn, ZoneKind};
use kit::machine::{allocator_with, usable};

use kit::{Random, Raw, Turns};

use super::{NORMAL, order};

const CPUS: usize = 3;

/// A few hundred requests and frees on a machine that is full of holes; how many were told exactly.
fn run(seed: u64, operations: usize) -> (usize, usize) {
    let pages: &'static [PerCpuPages] = Box::leak((0..CPUS).map(|_| PerCpuPages::new()).collect());
    let frames =
        allocator_with::<Turns>(&[usable(512, 4096), usable(8192, 14336), usable(NORMAL, NORMAL + 6144)], pages);
    let mut random = Random::new(seed);
    let mut held: Vec<(Pfn, Order)> = Vec::new();
    let (mut exact, mut all) = (0, 0);
    let most = random.between(200, 9000);
    for _ in 0..operations {
        Turns::switch_to(random.index(CPUS));
        let used: u64 = held.iter().map(|(_, order)| order.frames()).sum();
        let before = kit::oracle::blocks(&frames);
        all += 1;
        if used < most && random.per_mille(600) || held.is_empty() {
            let order = order(random.one_of(&[0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 8, 9, 10]));
            let kind = random.one_of(&[Gfp::empty(), Gfp::MOVABLE, Gfp::RECLAIMABLE]);
            let how = random.one_of(&[
                Gfp::KERNEL,
                Gfp::NOWAIT,
                Gfp::ATOMIC,
                Gfp::MEMALLOC,
                Gfp::KERNEL | Gfp::DMA32,
                Gfp::NOFRAGMENT,
            ]);
            let gfp = kind | how | Gfp::NOWARN;
            let told = frames.explain_allocate(order, gfp, &mut |_| {}).unwrap();
            assert_eq!(kit::oracle::blocks(&frames), before, "an explanation changes nothing");
            let drains = frames.stats().drains;
            let done = frames.take(order, gfp).ok();
            match told {
                Allocation::Served(pfn) => {
                    assert_eq!(done, Some(pfn), "order {order} {gfp}, seed {seed}");
                    exact += 1;
                }
                Allocation::Short { cached, may_reclaim } => {
                    assert!(frames.stats().drains > drains, "it came that far");
                    if cached == 0 && !may_reclaim {
                        assert_eq!(done, None, "order {order} {gfp}, seed {seed}");
                        exact += 1;
                    }
                }
            }
            held.extend(done.map(|pfn| (pfn, order)));
        } else {
            let (pfn, order) = held.swap_remove(random.index(held.len()));
            let told = frames.explain_free(pfn, &mut |_| {}).unwrap();
            assert_eq!(kit::oracle::blocks(&frames), before, "an explanation changes nothing");
            frames.give(pfn, order).unwrap();
            let info = frames.look_at(pfn).unwrap();
            match told {
                Freeing::Free(pfn, order) => {
                    assert_eq!(
                        (info.block.pfn, info.block.order, info.block.state),
                        (pfn, order, BlockState::Free),
                        "seed {seed}"
                    );
                }
                Freeing::Held(cpu) => assert_eq!(info.holder.map(|holder| holder.cpu), Some(cpu), "seed {seed}"),
            }
            exact += 1;
        }
    }
    frames.validate().unwrap();
    (exact, all)
}

#[test]
fn what_is_explained_is_what_then_happens() {
    let (exact, all) = (1..=25).map(|seed| run(seed, 400)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!(all, 10_000);
    assert!(exact * 100 > all * 95, "{exact} of {all} told to the end");
}

#[test]
fn splits_and_merges_are_told_with_their_addresses() {
    let frames = kit::machine::allocator(&[usable(NORMAL, NORMAL + 2048)]);
    let free = frames.zone(ZoneKind::Normal).free;
    let mut steps = Vec::new();
    let told = frames.explain_allocate(order(8), Gfp::KERNEL, &mut |step| steps.push(step)).unwrap();
    let Allocation::Served(pfn) = told else { panic!("{steps:?}") };
    assert_eq!(frames.zone(ZoneKind::Normal).free, free);
    let splits: Vec<_> = steps.iter().filter(|step| matches!(step, Step::Split { .. })).collect();
    assert_eq!(splits.len(), 2, "{steps:?}");
    let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
    let half = Pfn::new(pfn.number() ^ 256);
    assert!(text.iter().any(|line| line.contains(&format!("split into {pfn}+8 and {half}+8"))), "{text:?}");
    assert_eq!(frames.take(order(8), Gfp::KERNEL), Ok(pfn));
    let mut steps = Vec::new();
    assert_eq!(frames.explain_free(pfn, &mut |step| steps.push(step)), Ok(Freeing::Free(Pfn::new(NORMAL), Order::MAX)));
    assert_eq!(steps[1], Step::Merge { order: order(8), pfn, buddy: half });
    assert!(frames.explain_free(half, &mut |_| {}).is_err());
}

#[test]
fn what_it_comes_to_is_told_behind_the_steps() {
    let frames = kit::machine::allocator(&[usable(NORMAL, NORMAL + 2048)]);
    let told = |request| {
        let mut lines = Vec::new();
        let end = frames.explain_allocate(request, Gfp::ATOMIC | Gfp::NOWARN, &mut |_| {}).unwrap();
        end.tell(request, &mut |words| lines.push(words.to_string()));
        (end, lines)
    };
    let (Allocation::Served(pfn), lines) = told(order(10)) else { panic!("all is free") };
    assert_eq!(lines, [format!("so order 10 is served: {pfn}")]);
    while let (Allocation::Served(pfn), _) = told(order(10)) {
        assert_eq!(frames.take(order(10), Gfp::ATOMIC | Gfp::NOWARN), Ok(pfn));
    }
    assert_eq!(told(order(10)).1, ["so order 10 is refused"]);
    let mut lines = Vec::new();
    frames.explain_free(pfn, &mut |_| {}).unwrap().tell(pfn, &mut |words| lines.push(words.to_string()));
    assert_eq!(lines, [format!("so {pfn} becomes free, in the block {pfn}+10")]);
}
