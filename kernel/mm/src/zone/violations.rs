//! Tests of the checker: each rule is broken once, and it is that rule which it names.

use crate::sync::atomic::fixed::{AtomicU8, AtomicU16, AtomicU64};

use super::index::Bucket;
use super::states::Unity;
use super::{Extent, Shared, States, Zone, spans};
use crate::frame::{Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, ZoneKind};

const START: u64 = 1 << 20;

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn leak<T>(values: impl Iterator<Item = T>) -> &'static mut [T] {
    Box::leak(values.collect())
}

/// Eight pageblocks: 0 split by small blocks, 1 an allocated block, 2 and 3 one, 4 isolated, 5 kept, 6 and 7 free.
fn zone() -> Zone<'static> {
    let kind = ZoneKind::Normal;
    let ram = [PfnRange::new(Pfn::new(START), Pfn::new(START + 8 * PAGEBLOCK_FRAMES))];
    let extent = Extent::of(kind, ram.into_iter());
    let shared = Shared {
        words: leak((0..States::words_for(extent.pageblocks)).map(|_| AtomicU64::new(0))),
        wholes: leak((0..extent.pageblocks).map(|_| AtomicU16::new(0))),
        returning: leak((0..extent.pageblocks).map(|_| AtomicU8::new(0))),
    };
    let private = leak((0..Zone::private_words(&extent)).map(|_| 0));
    let mut zone = Zone::new(kind, extent, spans(kind, ram.into_iter()), private, shared);
    // The last frames are never added.
    zone.add(PfnRange::new(ram[0].start, Pfn::new(ram[0].end.number() - 5))).unwrap();
    let range = |pageblock: u64| {
        let start = Pfn::new(START + pageblock * PAGEBLOCK_FRAMES);
        PfnRange::new(start, start.offset(PAGEBLOCK_FRAMES))
    };
    let take = |zone: &mut Zone<'_>, range| {
        zone.isolate(range).unwrap();
        zone.take_isolated(range).unwrap();
        zone.unisolate(range);
    };
    take(&mut zone, PfnRange::new(range(0).start.offset(64), range(0).start.offset(68)));
    take(&mut zone, PfnRange::new(range(0).start.offset(101), range(0).start.offset(102)));
    take(&mut zone, range(1));
    take(&mut zone, PfnRange::new(range(2).start, range(3).end));
    take(&mut zone, PfnRange::new(range(5).start, range(5).start.offset(8)));
    zone.isolate(range(4)).unwrap();
    zone.managed *= 1000;
    zone.reserve_highatomic(range(5).start, order(3));
    zone.managed /= 1000;
    zone
}

/// Asserts that the checker names this rule once the zone is changed so, and none before.
#[track_caller]
fn violates(rule: &str, change: impl FnOnce(&mut Zone<'_>)) {
    let mut zone = zone();
    assert_eq!(zone.validate(), Ok(()));
    change(&mut zone);
    assert_eq!(zone.validate().unwrap_err().rule, rule);
}

#[test]
fn counts_that_are_off_by_one_are_named() {
    violates("the zone's count of free frames is their number", |zone| zone.free += 1);
    violates("the zone's count of frames that wait for a borrower is their number", |zone| zone.waiting += 1);
    violates("the zone's count of isolated frames is their number", |zone| zone.special.isolated -= 1);
    let rule = "the zone's count of free HighAtomic frames is their number";
    violates(rule, |zone| zone.special.free_highatomic -= 1);
    let rule = "the zone's count of HighAtomic pageblocks is their number";
    violates(rule, |zone| zone.special.reserved_highatomic += 1);
    violates("a managed frame is free or allocated", |zone| zone.managed += 1);
}

#[test]
fn extents_and_marks_out_of_order_are_named() {
    violates("managed frames are present", |zone| zone.extent.present = 1);
    violates("present frames are spanned", |zone| zone.extent.spanned = 1);
    violates("the watermarks rise", |zone| zone.watermarks.min = 1);
    violates("the watermarks rise", |zone| zone.watermarks.low = 1);
    let mut reserves = [0; ZoneKind::COUNT];
    reserves[ZoneKind::Normal.index()] = 1;
    let mut lower = zone();
    lower.kind = ZoneKind::Dma32;
    lower.protection = reserves;
    assert_eq!(lower.validate(), Ok(()));
    lower.protection = [0, 2, 1];
    assert_eq!(lower.validate().unwrap_err().rule, "the reserves rise with the requesting zone");
}

#[test]
fn a_pageblock_in_the_wrong_bucket_is_named() {
    let rule = "a pageblock is in the bucket of its mobility and largest free block, and in no other";
    let right = Bucket { mobility: Mobility::Movable, order: order(9) };
    violates(rule, |zone| zone.index.remove(right, 6));
    violates(rule, |zone| zone.index.insert(Bucket { mobility: Mobility::Unmovable, order: order(9) }, 6));
    violates(rule, |zone| zone.index.insert(Bucket { mobility: Mobility::Movable, order: order(3) }, 1));
    violates(rule, |zone| zone.summaries[0].set_mobility(Mobility::Reclaimable));
    violates(rule, |zone| zone.summaries[4].set_isolated(false));
}

#[test]
fn states_that_do_not_fit_their_summary_are_named() {
    violates("a pageblock's count of free frames is their number", |zone| zone.states.set_unity(6, Unity::Allocated));
    violates("a block of order 10 has two halves", |zone| zone.states.set_unity(3, Unity::Allocated));
    violates("a pageblock's largest free block is the largest there is", |zone| {
        zone.pageblock(6).set_largest(Some(order(8)));
    });
}

#[test]
fn a_frame_that_is_free_behind_the_zones_back_is_named() {
    violates("each word's summary is what the word holds", |zone| {
        zone.states.word(0, 1).release(1 << 37);
    });
    // As long as a word's largest block stays what it was, only the count tells.
    violates("a pageblock's count of free frames is their number", |zone| {
        zone.states.word(0, 1).allocate(1 << 5, 1 << 5);
    });
    violates("a frame inside a block has its head below it", |zone| zone.states.word(0, 0).allocate(1, 0));
}

#[test]
fn blocks_that_are_no_powers_of_two_are_named() {
    // The block of four frames in word 1 without its last frame is three.
    violates("a block is aligned to its size", |zone| zone.states.word(0, 1).allocate(0, 0b10));
}
