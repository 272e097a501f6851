//! 4 TiB of frames that do not exist: RAM below 2 GiB, and again from 1 TiB up.

use std::time::Instant;

use bifolio::allocator::{PageAllocator, PerCpuPages, Plan};
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::oracle::blocks;
use kit::{Raw, over_numbers};
use model::machine::Turns;

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Two GiB at the bottom, and the rest of four TiB from `above` up.
fn regions(above: u64) -> [Region; 2] {
    let usable = |start, end| Region { start, end, kind: RegionKind::Usable };
    [usable(0, 2 * GIB), usable(above, above + 4 * TIB - 2 * GIB)]
}

#[test]
fn four_tib_with_a_hole_of_one_behave_like_any_memory() {
    let start = Instant::now();
    let mut regions = regions(TIB);
    let plan = Plan::new(MemoryMap::sanitise(&mut regions).unwrap()).unwrap();
    let mut metadata = vec![0; plan.metadata_words()];
    let arenas = [PerCpuPages::new()];
    let frames: PageAllocator<'_, Turns> = over_numbers(&plan, &mut metadata, &arenas).unwrap();
    println!("set up in {:.2} s", start.elapsed().as_secs_f32());

    let own = plan.metadata();
    let last = Pfn::new((5 * TIB - 2 * GIB) / 4096 - 1);
    let zones = ZoneKind::ALL.map(|kind| frames.zone(kind));
    assert_eq!(zones.map(|zone| zone.present), [4096 - 256, (2 * GIB / 4096) - 4096, (4 * TIB - 2 * GIB) / 4096]);
    assert_eq!(zones.map(|zone| zone.managed).iter().sum::<u64>(), 4 * TIB / 4096 - 256 - own.frames());
    assert_eq!(own.end, last.offset(1), "the metadata lies at the end of the highest memory");
    assert!(
        own.frames() * 4096 * 2 <= 4 * TIB / 4096,
        "{} bytes of metadata are more than half a byte a frame",
        own.frames() * 4096
    );
    println!(
        "{} MiB of metadata, {:.3} bytes a frame",
        own.frames() >> 8,
        own.frames() as f64 * 4096.0 / (4 * TIB / 4096) as f64
    );

    let mut held = Vec::new();
    // The first and the last frame that there is in each zone, and the frames on both sides of the hole.
    let single = |pfn: Pfn| PfnRange::new(pfn, pfn.offset(1));
    let [below, above] = [2 * GIB, TIB].map(Pfn::containing);
    for pfn in [Pfn::new(4095), Pfn::new(below.number() - 1), above, Pfn::new(own.start.number() - 1)] {
        assert_eq!(frames.take_range(single(pfn), Gfp::KERNEL), Ok(()), "{pfn}");
        held.push((pfn, Order::ZERO));
    }
    // Every order from every zone, and each of its bad frees.
    for (kind, zone) in ZoneKind::ALL.into_iter().zip([Gfp::DMA, Gfp::DMA32, Gfp::empty()]) {
        for order in Order::all() {
            let pfn = frames.take(order, zone | Gfp::KERNEL).unwrap();
            assert_eq!(Profile::X86_64.zone_of(pfn), kind);
            assert!(pfn.is_aligned(order));
            assert_eq!(frames.order_of(pfn), Ok(order));
            if let Some(inside) = order.frames().checked_sub(1).filter(|inside| *inside > 0) {
                let inside = pfn.offset(inside);
                assert_eq!(frames.give(inside, order), Err(FreeError::Interior { pfn: inside, head: pfn, order }));
            }
            held.push((pfn, order));
        }
    }
    for hole in [below, Pfn::containing(512 * GIB), Pfn::new(above.number() - 1), last.offset(1), Pfn::new(u64::MAX)] {
        for order in Order::all() {
            assert_eq!(frames.give(hole, order), Err(FreeError::NotManaged(hole)));
        }
    }
    assert_eq!(frames.give(last, Order::ZERO), Err(FreeError::Reserved(last)));
    assert_eq!(frames.give(Pfn::new(0), Order::ZERO), Err(FreeError::Reserved(Pfn::new(0))));
    let start = Instant::now();
    frames.validate().unwrap();
    println!("validated in {:.2} s", start.elapsed().as_secs_f32());

    // Down to the last block of order 10: everything but what is held and the ends of the zones.
    let start = Instant::now();
    let mut large = Vec::new();
    while let Ok(pfn) = frames.take(Order::MAX, Gfp::MEMALLOC) {
        large.push(pfn);
    }
    let all = 4 * TIB / Order::MAX.bytes();
    let metadata_blocks = own.frames().div_ceil(Order::MAX.frames());
    assert!(large.len() as u64 >= all - metadata_blocks - held.len() as u64 - 1, "{} of {all}", large.len());
    for pfn in &large {
        assert_eq!(frames.give(*pfn, Order::MAX), Ok(()));
    }
    println!("{} blocks of order 10 allocated and freed in {:.2} s", large.len(), start.elapsed().as_secs_f32());
    assert_eq!(frames.give(large[0], Order::MAX), Err(FreeError::AlreadyFree(large[0])));
    for (pfn, order) in held {
        assert_eq!(frames.give(pfn, order), Ok(()), "order {order} at {pfn}");
        assert_eq!(frames.give(pfn, order), Err(FreeError::AlreadyFree(pfn)));
    }
    frames.drain();
    assert!(ZoneKind::ALL.into_iter().all(|kind| frames.zone(kind).free == frames.zone(kind).managed));
    // As few blocks as there can be: those of order 10, and the rest at the start and at the metadata.
    assert!(blocks(&frames).len() as u64 <= all + 40);
    frames.validate().unwrap();
}

/// The size of the hole makes no difference, as long as it is large.
#[test]
fn metadata_follows_memory_and_not_the_addresses_that_it_spans() {
    let words = |above| {
        let mut regions = regions(above);
        Plan::new(MemoryMap::sanitise(&mut regions).unwrap()).unwrap().metadata_words()
    };
    assert_eq!(words(TIB), words(4 * GIB));
    assert_eq!(words(TIB), words(4000 * TIB));
}
