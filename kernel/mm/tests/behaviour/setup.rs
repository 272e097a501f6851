//! What comes before an allocator: frames that are taken early, and what metadata is planned for.

use std::sync::atomic::Ordering::Relaxed;

use bifolio::allocator::{EarlyFrames, PageAllocator, Plan, SetupError};
use bifolio::error::RangeError;
use bifolio::frame::{FRAME_SIZE, Gfp, Order, Pfn, PfnRange, Profile, ZoneKind};
use bifolio::memory_map::{MemoryMap, Region};
use kit::machine::{SingleCpu, metadata, usable};
use kit::{Raw, Sound, over_numbers};

use super::{NORMAL, range};

/// The tests of a plan are over before its map is.
fn map(regions: &[Region]) -> MemoryMap<'static> {
    MemoryMap::sanitise(Box::leak(regions.to_vec().into_boxed_slice())).unwrap()
}

fn allocator(plan: &Plan<'_>) -> PageAllocator<'static, SingleCpu> {
    let metadata = metadata(plan.metadata_words());
    over_numbers(plan, metadata, &[]).unwrap()
}

/// RAM in zones DMA32 and Normal, up to the border between them and again behind a hole.
fn ram() -> [Region; 2] {
    [usable(NORMAL - 1000, NORMAL + 3000), usable(NORMAL + (1 << 20), NORMAL + (1 << 20) + 777)]
}

#[test]
fn what_is_taken_early_is_the_first_allocation() {
    let plan = Plan::new(map(&ram())).unwrap();
    let mut early = plan.early_frames(700).unwrap();
    let table = early.take(1).unwrap();
    let more = early.take(20).unwrap();
    assert_eq!((table.frames(), more.frames(), more.end), (1, 20, table.start), "from the end on");
    assert_eq!(table.end, plan.metadata().start, "the metadata is the only thing behind them");
    assert_eq!(early.taken(), PfnRange::new(more.start, table.end));
    assert_eq!(early.take(777), None, "there are not so many");

    let frames = allocator(&plan);
    let before = frames.usage();
    let blocks = frames.hand_over(early).unwrap().unwrap();
    assert_eq!(frames.usage().used, 21);
    frames.sound();
    frames.free_range(blocks).unwrap();
    assert_eq!(frames.usage(), before);
}

#[test]
fn early_frames_are_in_one_zone_or_there_are_none() {
    let plan = Plan::apart(map(&[usable(NORMAL - 1000, NORMAL + 500)]));
    assert_eq!(plan.early_frames(500).unwrap().take(500), Some(range(0, 500)));
    let mut early = plan.early_frames(501).unwrap();
    assert_eq!(early.take(1000), Some(PfnRange::new(Pfn::new(NORMAL - 1000), Pfn::new(NORMAL))));
    assert_eq!(early.take(1), None);
    assert!(plan.early_frames(1001).is_none());
}

#[test]
fn what_was_not_taken_need_not_be_handed_over_and_what_was_given_out_cannot() {
    let plan = Plan::new(map(&ram())).unwrap();
    let frames = allocator(&plan);
    assert!(frames.hand_over(plan.early_frames(100).unwrap()).unwrap().is_none());
    assert_eq!(frames.usage().used, 0);
    let mut early = plan.early_frames(100).unwrap();
    let taken = early.take(3).unwrap();
    frames.take_range(PfnRange::of(taken.start, Order::ZERO), Gfp::KERNEL).unwrap();
    assert!(matches!(frames.hand_over(early), Err(RangeError::Busy(pfn)) if pfn == taken.start));
}

#[test]
fn every_frame_has_a_word_of_the_kernels_own() {
    let plan = Plan::new(map(&ram())).unwrap().with_words().unwrap();
    let frames = allocator(&plan);
    let all = || ram().into_iter().flat_map(|region| region.start / FRAME_SIZE..region.end / FRAME_SIZE).map(Pfn::new);
    for (nth, pfn) in all().enumerate() {
        assert_eq!(frames.word(pfn).unwrap().swap(nth, Relaxed), 0, "{pfn}");
    }
    // No other wrote there, and nothing that the allocator does.
    while frames.take(Order::ZERO, Gfp::KERNEL | Gfp::MEMALLOC | Gfp::NOWARN).is_ok() {}
    frames.sound();
    assert!(all().enumerate().all(|(nth, pfn)| frames.word(pfn).unwrap().load(Relaxed) == nth));
    assert!(frames.word(Pfn::new(0)).is_none() && frames.word(Pfn::new(NORMAL + (1 << 19))).is_none());
}

#[test]
fn words_are_metadata_as_all_is() {
    let (with, without) = (|plan: Plan<'static>| plan.with_words(), |plan: Plan<'static>| plan);
    let apart = Plan::apart(map(&ram()));
    let pageblocks = ZoneKind::ALL.map(|kind| allocator(&apart).free_blocks(kind).pageblocks.iter().sum::<u64>());
    let more = with(apart).unwrap().metadata_words() - without(apart).metadata_words();
    // Memory is planned up to the bounds of blocks of two pageblocks.
    let least = pageblocks.iter().sum::<u64>() as usize * 512 * size_of::<usize>() / 8;
    assert!((least..=least * 2).contains(&more), "{more} words for {pageblocks:?} pageblocks");
    assert!(with(apart).unwrap().metadata().is_empty());
    assert_eq!(with(with(apart).unwrap()).unwrap().metadata_words(), with(apart).unwrap().metadata_words());

    let plan = Plan::new(map(&ram())).unwrap().with_words().unwrap();
    let frames = allocator(&plan);
    let total = ram().iter().map(|region| (region.end - region.start) / FRAME_SIZE).sum::<u64>();
    assert_eq!(frames.usage().total, total - plan.metadata().frames());
    assert_eq!(plan.metadata_words(), (plan.metadata().frames() * FRAME_SIZE) as usize / 8);
    assert!(allocator(&apart).word(Pfn::new(NORMAL)).is_none(), "none were planned");
    let tiny = Plan::new(map(&[usable(NORMAL, NORMAL + 1)])).unwrap();
    assert!(matches!(tiny.with_words(), Err(SetupError::NoRoomForMetadata { .. })));
}

#[test]
fn metadata_of_another_size_or_in_a_wrong_place_is_refused() {
    let plan = Plan::apart(map(&ram()));
    let planned = plan.metadata_words();
    let mut metadata = vec![0_u64; planned + 1];
    for given in [planned - 1, planned + 1] {
        let error = over_numbers::<SingleCpu>(&plan, &mut metadata[..given], &[]).err();
        assert_eq!(error, Some(SetupError::WrongMetadataSize { planned, given }));
        let text = format!("the metadata has {given} words instead of the planned {planned}");
        assert_eq!(error.unwrap().to_string(), text);
    }
    let frames: PageAllocator<'_, SingleCpu> = over_numbers(&plan, &mut metadata[1..], &[]).unwrap();
    assert_eq!(frames.profile(), Profile::X86_64);
}

#[test]
fn no_early_frames_are_none_and_hand_nothing_over() {
    let mut none = EarlyFrames::none();
    assert_eq!((none.take(1), none.taken().frames()), (None, 0));
    let frames = allocator(&Plan::apart(map(&ram())));
    let before = frames.usage();
    assert!(frames.hand_over(none).unwrap().is_none());
    assert_eq!(frames.usage(), before);
}
