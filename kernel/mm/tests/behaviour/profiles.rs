//! Machines of other kinds than x86_64: where their zones end, and how little memory will do.

use bifolio::allocator::{AllocError, PageAllocator, PerCpuPages, Plan};
use bifolio::error::{RangeError, ResizeError};
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region, RegionKind};
use kit::machine::{SingleCpu, metadata};
use kit::over_numbers;
use kit::{Raw, Sound};

use super::exhaust;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const ALL: [Profile; 4] = [Profile::X86_64, Profile::RISCV64, Profile::AARCH64, Profile::MICROCONTROLLER];

fn machine(profile: Profile, ram: &[(u64, u64)]) -> PageAllocator<'static, SingleCpu> {
    let regions = ram.iter().map(|&(start, end)| Region { start, end, kind: RegionKind::Usable });
    let mut regions: Vec<_> = regions.collect();
    let plan = Plan::new(MemoryMap::sanitise_for(profile, &mut regions).unwrap()).unwrap();
    assert_eq!(plan.metadata().frames(), (plan.metadata_words() as u64 * 8).div_ceil(FRAME_SIZE));
    let metadata = metadata(plan.metadata_words());
    over_numbers(&plan, metadata, Box::leak(Box::new([PerCpuPages::new()]))).unwrap()
}

/// In order: zones DMA, DMA32 and Normal.
fn managed(frames: &PageAllocator<'_, SingleCpu>) -> [u64; 3] {
    ZoneKind::ALL.map(|kind| frames.zone(kind).managed)
}

#[test]
fn zones_end_where_the_profile_says() {
    // All zones of any profile, and 4 GiB more.
    let ram = [(0, 8 * GIB)];
    let bytes = |bytes: u64| bytes / FRAME_SIZE;
    let expected = [
        [bytes(15 * MIB), bytes(4 * GIB - 16 * MIB), bytes(4 * GIB)],
        [0, bytes(4 * GIB), bytes(4 * GIB)],
        [bytes(GIB), bytes(3 * GIB), bytes(4 * GIB)],
        [0, 0, bytes(8 * GIB)],
    ];
    for (profile, mut expected) in ALL.into_iter().zip(expected) {
        let frames = machine(profile, &ram);
        expected[2] -= frames.metadata().frames();
        assert_eq!(managed(&frames), expected, "{profile:?}");
        for kind in ZoneKind::ALL {
            let range = profile.range(kind);
            assert!(range.is_empty() || profile.zone_of(range.start) == kind && frames.zone_of(range.start) == kind);
        }
        for (gfp, highest) in
            [(Gfp::DMA, ZoneKind::Dma), (Gfp::DMA32, ZoneKind::Dma32), (Gfp::KERNEL, ZoneKind::Normal)]
        {
            let limit = profile.range(highest).end;
            let taken = frames.take(Order::PAGEBLOCK, Gfp::KERNEL | gfp);
            assert_eq!(taken.is_ok(), limit > Pfn::new(0), "{profile:?}: {taken:?}");
            if let Ok(pfn) = taken {
                assert!(pfn < limit && frames.order_of(pfn) == Ok(Order::PAGEBLOCK));
                frames.give(pfn, Order::PAGEBLOCK).unwrap();
            }
        }
        frames.sound();
        assert_eq!(managed(&frames), ZoneKind::ALL.map(|kind| frames.zone(kind).free));
    }
}

#[test]
fn a_zone_that_the_machine_does_not_have_is_named() {
    let frames = machine(Profile::RISCV64, &[(2 * GIB, 2 * GIB + 64 * MIB)]);
    let dma = Gfp::KERNEL | Gfp::DMA;
    assert_eq!(frames.take(Order::ZERO, dma), Err(AllocError::NoZone(dma)));
    assert_eq!(frames.explain_allocate(Order::ZERO, dma, &mut |_| ()).unwrap_err(), AllocError::NoZone(dma));
    let block = frames.take(Order::ZERO, Gfp::KERNEL | Gfp::DMA32).unwrap();
    assert_eq!(frames.zone_of(block), ZoneKind::Dma32);
    let one = PfnRange::of(block, Order::ZERO);
    assert_eq!(frames.regrow(one, 2, dma), Err(ResizeError::NoRoom(RangeError::ContradictoryFlags(dma))));
    frames.give(block, Order::ZERO).unwrap();
    // There is a zone DMA on this one, but no RAM in it.
    let frames = machine(Profile::AARCH64, &[(2 * GIB, 2 * GIB + 64 * MIB)]);
    let dma = dma | Gfp::NOWARN;
    assert_eq!(frames.take(Order::ZERO, dma), Err(AllocError::OutOfMemory { order: Order::ZERO, gfp: dma }));
}

#[test]
fn no_range_is_in_two_of_the_profiles_zones() {
    let frames = machine(Profile::AARCH64, &[(GIB - 4 * MIB, GIB + 4 * MIB)]);
    let border = GIB / FRAME_SIZE;
    let across = PfnRange::new(Pfn::new(border - 1), Pfn::new(border + 1));
    assert_eq!(frames.take_range(across, Gfp::KERNEL), Err(RangeError::CrossesZones(across)));
    // On x86_64 both are in one.
    let frames = machine(Profile::X86_64, &[(GIB - 4 * MIB, GIB + 4 * MIB)]);
    assert_eq!(frames.take_range(across, Gfp::KERNEL), Ok(()));
}

/// From none of it on, all of it can be allocated, and nearly all by any request.
#[test]
fn a_little_memory_anywhere_will_do() {
    let low = (0, 512 * KIB);
    let places = [0, 0x2000_0000, 0x8000_0000, GIB - 128 * KIB, 4 * GIB - 252 * KIB, 7 * GIB + 12 * KIB];
    let small = places.map(|start| (start, start + 256 * KIB));
    for profile in ALL {
        for (start, end) in small.into_iter().chain([low]) {
            if start < profile.low_memory().end.address() {
                continue;
            }
            let frames = machine(profile, &[(start, end)]);
            let total = frames.usage().total;
            assert_eq!(total, (end - start) / FRAME_SIZE - frames.metadata().frames());
            assert_eq!(frames.metadata().frames(), 1, "a 64th of it is enough");
            let any = exhaust(&frames, Gfp::KERNEL);
            assert!(any.len() as u64 > total * 4 / 5, "{} of {total}", any.len());
            let rest = exhaust(&frames, Gfp::KERNEL | Gfp::MEMALLOC);
            assert_eq!((any.len() + rest.len()) as u64, total);
            any.into_iter().chain(rest).for_each(|pfn| frames.give(pfn, Order::ZERO).unwrap());
            frames.drain();
            frames.sound();
            assert_eq!(frames.usage().free, total);
            let order = Order::new(4).unwrap();
            let large = frames.take(order, Gfp::KERNEL).unwrap();
            frames.give(large, order).unwrap();
        }
    }
}

#[test]
#[should_panic = "no block is in two zones"]
fn a_border_inside_a_block_is_refused() {
    let _ = Profile::new(16 * MIB, GIB + MIB);
}

#[test]
#[should_panic = "zones ascend"]
fn borders_that_descend_are_refused() {
    let _ = Profile::new(16 * MIB, 8 * MIB);
}

#[test]
fn low_memory_is_kept_whatever_the_map_says() {
    let profile = Profile::MICROCONTROLLER.with_low_memory(5);
    let frames = machine(profile, &[(0, 512 * KIB)]);
    assert_eq!(frames.zone(ZoneKind::Normal).start, Pfn::new(1));
    assert_eq!(frames.usage().total, 128 - 1 - frames.metadata().frames());
}

#[test]
fn a_board_has_the_zones_that_it_says() {
    // At run-time, as from a device tree.
    let ends = [std::hint::black_box(512 * MIB), std::hint::black_box(2 * GIB)];
    let board = Profile::new(ends[0], ends[1]);
    assert!(board.low_memory().is_empty());
    assert_eq!(ZoneKind::ALL.map(|kind| board.range(kind).start.address()), [0, 512 * MIB, 2 * GIB]);
    assert_eq!(board.with_low_memory(5000).low_memory().frames(), 2);
    let frames = machine(board, &[(0, 3 * GIB)]);
    let metadata = frames.metadata().frames();
    let pages = |bytes: u64| bytes / FRAME_SIZE;
    assert_eq!(managed(&frames), [pages(512 * MIB), pages(3 * GIB / 2), pages(GIB) - metadata]);
}
