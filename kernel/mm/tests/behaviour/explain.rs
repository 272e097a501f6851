//! What is explained is what then happens.

use bifolio::allocator::{BlockState, PerCpuPages, Step};
use bifolio::frame::{Gfp, Mobility, Order, Pfn, ZoneKind};
use kit::machine::{allocator_with, usable};

use kit::{Random, Raw, Sound, Turns};

use super::{NORMAL, exhaust, free_each, order, pfn, range};

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
            let mut end = Step::Slowly;
            let told = frames.explain_allocate(order, gfp, &mut |step| end = step).unwrap();
            assert_eq!(kit::oracle::blocks(&frames), before, "an explanation changes nothing");
            let drains = frames.stats().drains;
            let done = frames.take(order, gfp).ok();
            match told {
                Some(pfn) => {
                    assert_eq!((done, end), (told, Step::Served { order, pfn }), "order {order} {gfp}, seed {seed}");
                    exact += 1;
                }
                None => {
                    assert!(frames.stats().drains > drains, "it came that far");
                    let Step::Refused { surely, .. } = end else { panic!("{end}, seed {seed}") };
                    if surely {
                        assert_eq!(done, None, "order {order} {gfp}, seed {seed}");
                        exact += 1;
                    }
                }
            }
            held.extend(done.map(|pfn| (pfn, order)));
        } else {
            let (pfn, order) = held.swap_remove(random.index(held.len()));
            let mut end = Step::Slowly;
            frames.explain_free(pfn, &mut |step| end = step).unwrap();
            assert_eq!(kit::oracle::blocks(&frames), before, "an explanation changes nothing");
            frames.give(pfn, order).unwrap();
            let info = frames.look_at(pfn).unwrap();
            match end {
                Step::Free { first, order, .. } => {
                    let block = (info.block.pfn, info.block.order, info.block.state);
                    assert_eq!(block, (first, order, BlockState::Free), "seed {seed}");
                }
                Step::Held { cpu, .. } => assert_eq!(info.holder.map(|(cpu, _)| cpu), Some(cpu), "seed {seed}"),
                _ => panic!("{end}, seed {seed}"),
            }
            exact += 1;
        }
    }
    frames.sound();
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
    let Some(pfn) = told else { panic!("{steps:?}") };
    assert_eq!(frames.zone(ZoneKind::Normal).free, free);
    let splits: Vec<_> = steps.iter().filter(|step| matches!(step, Step::Split { .. })).collect();
    assert_eq!(splits.len(), 2, "{steps:?}");
    let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
    let half = Pfn::new(pfn.number() ^ 256);
    assert!(text.iter().any(|line| line.contains(&format!("split into {pfn}+8 and {half}+8"))), "{text:?}");
    assert_eq!(frames.take(order(8), Gfp::KERNEL), Ok(pfn));
    let mut steps = Vec::new();
    frames.explain_free(pfn, &mut |step| steps.push(step)).unwrap();
    assert_eq!(steps[1], Step::Merge { order: order(8), pfn, buddy: half });
    assert_eq!(steps.last(), Some(&Step::Free { pfn, first: Pfn::new(NORMAL), order: Order::MAX }));
    assert!(frames.explain_free(half, &mut |_| {}).is_err());
}

#[test]
fn what_it_comes_to_is_told_last() {
    let frames = kit::machine::allocator(&[usable(NORMAL, NORMAL + 2048)]);
    let told = |request| {
        let mut lines = Vec::new();
        let gfp = Gfp::ATOMIC | Gfp::NOWARN;
        let end = frames.explain_allocate(request, gfp, &mut |step| lines.push(step.to_string())).unwrap();
        (end, lines.pop().unwrap())
    };
    let (Some(pfn), line) = told(order(10)) else { panic!("all is free") };
    assert_eq!(line, format!("so order 10 is served: {pfn}"));
    while let (Some(pfn), _) = told(order(10)) {
        assert_eq!(frames.take(order(10), Gfp::ATOMIC | Gfp::NOWARN), Ok(pfn));
    }
    assert_eq!(told(order(10)).1, "so order 10 is refused");
    let mut lines = Vec::new();
    frames.explain_free(pfn, &mut |step| lines.push(step.to_string())).unwrap();
    assert_eq!(lines.pop(), Some(format!("so {pfn} becomes free, in the block {pfn}+10")));
}

#[test]
fn each_step_says_what_happens_with_its_addresses() {
    let (zone, order_3) = (ZoneKind::Normal, order(3));
    let (at, buddy) = (pfn(8), pfn(16));
    let no_block = |largest, mixing| Step::NoBlock { zone, order: order_3, largest, mixing };
    let told = [
        (Step::AtHand { cpu: 1, pfn: at, is_recent: true }, format!("CPU 1's pages kept {at}, which it freed last")),
        (
            Step::AtHand { cpu: 1, pfn: at, is_recent: false },
            format!("CPU 1's pages have a loan of that kind: {at} is its lowest free block"),
        ),
        (
            Step::Empty { cpu: 2, has_batch: true },
            "CPU 2's pages have none: they ask for the blocks of a word of 64 frames".to_owned(),
        ),
        (Step::Empty { cpu: 2, has_batch: false }, "CPU 2's pages have none of that order".to_owned()),
        (Step::PastPages, "the CPU's own pages do not serve that: the zones are asked".to_owned()),
        (
            no_block(Some(order(5)), false),
            "zone Normal: no free block of order 3 without mixing mobilities in a pageblock".to_owned(),
        ),
        (
            no_block(Some(order(2)), true),
            "zone Normal: no free block of order 3: the largest is of order 2, and 8 frames would have to be free in one piece"
                .to_owned(),
        ),
        (no_block(None, true), "zone Normal: no free block of order 3, nor any other".to_owned()),
        (
            Step::Chosen {
                zone,
                mobility: Mobility::Movable,
                pageblock: at,
                other: None,
                from: (buddy, order_3),
                pfn: buddy,
                lent: 4,
            },
            format!(
                "zone Normal: pageblock {at}, of the Movable ones with a block that is large enough the one with the smallest; \
                 free block {buddy}+3; 4 blocks are lent to the CPU at once"
            ),
        ),
        (
            Step::Slowly,
            "no zone serves that above 'low': the slow path goes down to what the flags allow".to_owned(),
        ),
        (
            Step::Frees { pfn: at, order: order_3, zone },
            format!("an allocated block of order 3, {}, in zone Normal", range(8, 16)),
        ),
        (
            Step::ToBatch { cpu: 0 },
            "it was handed out of CPU 0's pages, and goes back there: a bit, and no lock".to_owned(),
        ),
        (
            Step::OffLoan { cpu: 1 },
            "it was handed out of CPU 1's pages: it is taken off that loan".to_owned(),
        ),
        (
            Step::Kept { cpu: 1 },
            "its pageblock is nearly full: CPU 1's pages keep it for the next request".to_owned(),
        ),
        (
            Step::Merge { order: order_3, pfn: buddy, buddy: at },
            format!("merges: {buddy} ^ 0x8 = {at}, which is free: order 4 at {at}"),
        ),
        (
            Step::NoMerge { order: order_3, pfn: at, buddy },
            format!("ends: {at} ^ 0x8 = {buddy}, which is not a free block of order 3"),
        ),
    ];
    for (step, words) in told {
        assert_eq!(step.to_string(), words);
    }
}

/// What a zone lacks, and what it would give up for a request that its own pageblocks cannot serve.
#[test]
fn a_mark_that_is_missed_and_another_mobilitys_pageblock_are_told_of() {
    // Single frames of pageblock 1, and what becomes of it.
    for (free, way) in [
        (0, None),
        (255, Some("none is worth changing: from a Movable one")),
        (300, Some("mostly free, it changes from Movable")),
    ] {
        let frames = kit::machine::allocator(&[usable(NORMAL, NORMAL + 4096)]);
        exhaust(&frames, Gfp::MOVABLE | Gfp::MEMALLOC);
        let free_before = frames.zone(ZoneKind::Normal).free;
        free_each(&frames, 512..512 + free);
        let low = frames.zone(ZoneKind::Normal).watermarks.low;
        let mut steps = Vec::new();
        let gfp = Gfp::KERNEL | Gfp::NOWARN;
        let end = frames.explain_allocate(Order::ZERO, gfp, &mut |step| steps.push(step.to_string())).unwrap();
        let Some(way) = way else {
            assert_eq!(free_before, 0);
            let lacks = format!(
                "zone Normal, mark 'low': 0 free - 1 < {low} + 0 kept for others: {} more would have to be free",
                low + 1
            );
            assert!(steps.contains(&lacks), "{steps:?}");
            let asked = "shrinkers are asked for memory, and what is kept for pressing requests is given up";
            assert!(steps.ends_with(&[asked.into(), "so order 0 is refused, unless that helps".into()]), "{steps:?}");
            continue;
        };
        assert!(free > low, "{low}");
        let block = pfn(512);
        assert!(steps.iter().any(|step| step.contains(way)), "{steps:?}");
        assert!(
            steps
                .iter()
                .any(|step| step.starts_with(&format!("zone Normal: pageblock {block}, no Unmovable one has room"))),
            "{steps:?}"
        );
        assert!(end.is_some() && frames.take(Order::ZERO, gfp).ok() == end, "{steps:?}");
    }
}

#[test]
fn what_cpus_hold_is_told_of() {
    let pages: &'static [PerCpuPages; 2] = Box::leak(Box::new([const { PerCpuPages::new() }; 2]));
    let frames = allocator_with::<Turns>(&[usable(NORMAL, NORMAL + 2048)], pages);
    Turns::switch_to(1);
    let taken = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    let mut steps = Vec::new();
    let told = frames.explain_allocate(Order::ZERO, Gfp::KERNEL, &mut |step| steps.push(step)).unwrap();
    let Some(next) = told else { panic!("{steps:?}") };
    let at_hand = Step::AtHand { cpu: 1, pfn: next, is_recent: false };
    assert_eq!(steps, [at_hand, Step::Served { order: Order::ZERO, pfn: next }]);
    let mut freed = Vec::new();
    frames.explain_free(taken, &mut |step| freed.push(step)).unwrap();
    assert_eq!(freed[1..], [Step::ToBatch { cpu: 1 }, Step::Held { cpu: 1, pfn: taken }]);
    let held = format!("so CPU 1 has {taken} at hand, and the zone does not count it as free");
    assert_eq!(freed[2].to_string(), held);

    Turns::switch_to(0);
    let mut freed = Vec::new();
    frames.explain_free(taken, &mut |step| freed.push(step)).unwrap();
    assert_eq!(freed[1], Step::OffLoan { cpu: 1 });
    let gfp = Gfp::ATOMIC | Gfp::NOWARN;
    let cached = loop {
        let mut steps = Vec::new();
        if let Some(pfn) = frames.explain_allocate(order(10), gfp, &mut |step| steps.push(step)).unwrap() {
            assert_eq!(frames.take(order(10), gfp), Ok(pfn));
            continue;
        }
        let [.., Step::Emptied { cached }, end] = steps[..] else { panic!("{steps:?}") };
        assert!(!steps.contains(&Step::Reclaims));
        let emptied = format!("the CPUs' pages hold {cached} frames: they are emptied, and the zones asked again");
        assert_eq!(Step::Emptied { cached }.to_string(), emptied);
        assert_eq!(end.to_string(), "so order 10 is refused, unless that helps");
        break cached;
    };
    assert_eq!(cached, frames.cached());
    assert!(cached > 0);

    exhaust(&frames, Gfp::MEMALLOC);
    let mut steps = Vec::new();
    let end = frames.explain_allocate(Order::ZERO, Gfp::KERNEL, &mut |step| steps.push(step)).unwrap();
    assert_eq!((end, steps.last()), (None, Some(&Step::Refused { order: Order::ZERO, surely: false })));
    assert!(steps.contains(&Step::Reclaims) && !steps.iter().any(|step| matches!(step, Step::Emptied { .. })));
    assert_eq!(steps[0], Step::Empty { cpu: 0, has_batch: true });
    assert!(steps.contains(&Step::Slowly));
}
