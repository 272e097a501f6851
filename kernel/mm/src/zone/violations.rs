//! Tests of the checker: each rule is broken once, and it is that rule which it names.

use super::header::Header;
use super::{Pageblock, Zone, spans};
use crate::frame::{FRAME_SIZE, Mobility, Order, PAGEBLOCK_FRAMES, Pfn, PfnRange, Profile, ZoneKind};
use crate::per_cpu::PerCpuPages;
use crate::sync::atomic::AtomicU64;

const START: u64 = 1 << 20;

fn order(order: u8) -> Order {
    Order::new(order).unwrap()
}

fn leak<T>(values: impl Iterator<Item = T>) -> &'static mut [T] {
    Box::leak(values.collect())
}

/// The zone's RAM: ten pageblocks.
const RAM: PfnRange = PfnRange::new(Pfn::new(START), Pfn::new(START + 10 * PAGEBLOCK_FRAMES));

/// A zone of which nothing is managed yet, and the pages of two CPUs.
fn empty() -> (Zone<'static>, &'static [PerCpuPages]) {
    let kind = ZoneKind::Normal;
    let range = Profile::X86_64.range(kind);
    let pageblocks = spans(range, [RAM].into_iter()).map(|span| span.pageblocks).sum();
    let blocks = leak((0..pageblocks).map(|_| Pageblock::default()));
    let dirty = Box::leak(Box::new(AtomicU64::new(0)));
    let private = leak((0..Zone::private_words(1, pageblocks)).map(|_| 0));
    let pages: &[PerCpuPages] = leak((0..2).map(|_| PerCpuPages::new()));
    (Zone::new(kind, range, [RAM].into_iter(), blocks, dirty, private, pages), pages)
}

/// A zone, and the pages of two CPUs: pageblock 0 is split by small blocks, 1 an allocated block, 2 and 3 one, 4 is isolated, 5
/// kept, 6 free, and of 7 a word is lent to the first CPU. In 8 and 9 a block of order 0 was freed since the zone looked.
pub(super) fn zone() -> (Zone<'static>, &'static [PerCpuPages]) {
    let (mut zone, pages) = empty();
    // The last frames are never added.
    zone.add(PfnRange::new(RAM.start, Pfn::new(RAM.end.number() - 5))).unwrap();
    let part = |pageblock: u64, from: u64, to: u64| {
        let start = Pfn::new(START + pageblock * PAGEBLOCK_FRAMES);
        PfnRange::new(start.offset(from), start.offset(to))
    };
    let range = |pageblock| part(pageblock, 0, PAGEBLOCK_FRAMES);
    let take = |zone: &mut Zone<'_>, range| {
        zone.isolate(range).unwrap();
        zone.take_free(range, None).unwrap();
        zone.unisolate(range).unwrap();
    };
    take(&mut zone, part(0, 64, 68));
    take(&mut zone, part(0, 101, 102));
    take(&mut zone, range(1));
    take(&mut zone, PfnRange::new(range(2).start, range(3).end));
    take(&mut zone, part(5, 0, 8));
    zone.isolate(range(4)).unwrap();
    zone.stats.managed *= 1000;
    zone.reserve_highatomic(range(5).start, order(3));
    zone.stats.managed /= 1000;
    for pageblock in [8, 9] {
        take(&mut zone, part(pageblock, 0, 100));
        let pfn = part(pageblock, 96, 97).start;
        let (block, _) = zone.blocks.lock_at(pfn).expect("there is RAM");
        assert!(zone.blocks.free(block, pfn, order(2), None).is_some());
    }
    take(&mut zone, part(9, 256, 260));
    let mut block = zone.blocks.lock(7);
    zone.split_whole(&mut block);
    let (word, heads, _) = block.lend(1);
    zone.stats.allocated += 64;
    zone.file(&mut block);
    pages[0].batch(order(1), Mobility::Movable).begin(range(7).start.offset(word as u64 * 64), heads);
    drop(block);
    (zone, pages)
}

/// Asserts that the checker names this rule once the zone is changed so, and none before.
#[track_caller]
fn violates(rule: &str, change: impl FnOnce(&mut Zone<'_>)) {
    let (mut zone, pages) = zone();
    assert_eq!(zone.validate(), Ok(()));
    assert_eq!(zone.validate_per_cpu(pages), Ok(()));
    change(&mut zone);
    assert_eq!(zone.validate().unwrap_err().rule, rule);
}

/// Changes the header of a pageblock.
fn header(zone: &Zone<'_>, number: usize, change: impl FnOnce(&mut Header)) {
    change(&mut zone.blocks.lock(number).header);
}

#[test]
fn counts_that_are_off_by_one_are_named() {
    violates("the zone's count of free frames is that of its pageblocks", |zone| zone.stats.free += 1);
    violates("the zone's count of isolated frames is that of its pageblocks", |zone| zone.stats.isolated -= 1);
    let rule = "the zone's count of free HighAtomic frames is that of its pageblocks";
    violates(rule, |zone| zone.stats.free_highatomic -= 1);
    let rule = "the zone's count of HighAtomic pageblocks is their number";
    violates(rule, |zone| zone.stats.reserved_highatomic += 1);
    violates("a managed frame is free or in use", |zone| zone.stats.managed += 1);
}

#[test]
fn extents_and_marks_out_of_order_are_named() {
    violates("managed frames are present", |zone| zone.stats.present = 1);
    violates("present frames are spanned", |zone| zone.stats.spanned = 1);
    violates("the watermarks rise", |zone| zone.stats.watermarks.min = 1);
    violates("the watermarks rise", |zone| zone.stats.watermarks.low = 1);
    let mut reserves = [0; ZoneKind::COUNT];
    reserves[ZoneKind::Normal.index()] = 1;
    let (mut lower, _) = zone();
    lower.stats.kind = ZoneKind::Dma32;
    lower.stats.protection = reserves;
    assert_eq!(lower.validate(), Ok(()));
    lower.stats.protection = [0, 2, 1];
    assert_eq!(lower.validate().unwrap_err().rule, "the reserves rise with the requesting zone");
}

#[test]
fn a_pageblock_in_the_wrong_bucket_is_named() {
    let rule = "a pageblock is in the bucket of its mobility and level, and in no other";
    violates(rule, |zone| zone.index.remove(Mobility::Movable, 8, 0));
    violates(rule, |zone| zone.index.insert(Mobility::Unmovable, 8, 0));
    violates(rule, |zone| zone.index.insert(Mobility::Movable, 3, 1));
    violates(rule, |zone| header(zone, 0, |header| header.set_mobility(Mobility::Reclaimable)));
    let rule = "a pageblock that is free as a whole is so among those of its mobility, and of no other";
    violates(rule, |zone| header(zone, 6, |header| header.set_mobility(Mobility::Reclaimable)));
    violates(rule, |zone| header(zone, 4, |header| header.set_isolated(false)));
    violates("each level of the index says what the level below holds", |zone| zone.index.forget_levels());
}

#[test]
fn a_pageblock_that_is_two_things_is_named() {
    violates("a pageblock whose words speak is nothing as a whole", |zone| {
        zone.wholes.set_allocated(0, Order::PAGEBLOCK)
    });
    let rule = "a pageblock of one piece has no bucket, and counts nothing";
    violates(rule, |zone| header(zone, 6, |header| header.set_level(3)));
}

#[test]
fn a_header_that_does_not_fit_the_words_is_named() {
    let rule = "a pageblock's count of free frames is their number";
    violates(rule, |zone| header(zone, 0, |header| header.set_free(header.free() - 1)));
    let rule = "a zone counts no frame as free that is not";
    violates(rule, |zone| header(zone, 8, |header| header.set_counted(header.free() + 1)));
    let rule = "a pageblock's level is that of no larger block than there is";
    violates(rule, |zone| header(zone, 9, |header| header.set_level(9)));
    let rule = "a pageblock that is not dirty is counted and filed";
    violates(rule, |zone| {
        zone.settle_all();
        header(zone, 0, |header| header.set_stale(3));
    });
    violates(rule, |zone| header(zone, 8, |header| header.set_dirty(false)));
    violates("the level of a word that is not stale is that of its largest block", |zone| {
        header(zone, 8, Header::clear_stale);
    });
}

#[test]
fn a_list_that_has_lost_a_pageblock_is_named() {
    let rule = "a dirty pageblock is in the list of those once";
    violates(rule, |zone| assert!(zone.blocks.take_dirty().is_some()));
    violates(rule, |zone| {
        zone.settle_all();
        header(zone, 0, |header| header.set_dirty(true));
    });
    violates(rule, |zone| zone.blocks.lock(8).set_next(9));
    // It goes round in a circle.
    violates(rule, |zone| zone.blocks.lock(8).set_next(8));
    let (zone, _) = zone();
    zone.blocks.lock(8).set_next(8);
    let text = format!("at address {:#x} it does not hold that {rule}", START * FRAME_SIZE);
    assert_eq!(zone.validate().map_err(|violation| violation.to_string()), Err(text));
}

#[test]
fn frames_that_changed_behind_the_zones_back_are_named() {
    let rule = "a pageblock's count of free frames is their number";
    violates(rule, |zone| zone.blocks.lock(0).word(1).allocate(1 << 5, 1 << 5));
    violates("a frame inside a block has its head below it", |zone| zone.blocks.lock(0).word(0).allocate(1, 0));
    // The block of four frames in word 1 without its last frame is three.
    violates("a block is aligned to its size", |zone| zone.blocks.lock(0).word(1).allocate(0, 0b10));
}

#[test]
fn loans_that_do_not_fit_are_named() {
    let per_cpu = |rule: &str, change: fn(&Zone<'_>, &[PerCpuPages])| {
        let (zone, pages) = zone();
        change(&zone, pages);
        assert_eq!(zone.validate_per_cpu(pages).unwrap_err().rule, rule);
    };
    per_cpu("a block that a CPU's pages have is lent by its zone", |zone, _| {
        zone.blocks.lock(7).word(0).lend(1 << 4, false);
    });
    per_cpu("a block is lent to one CPU's pages, once", |zone, pages| {
        pages[1].batch(order(1), Mobility::Movable).begin(zone.blocks.start_of(7), 0b100);
    });
    per_cpu("a block is lent to one CPU's pages, once", |zone, pages| {
        let (stack, place) = pages[1].room_for(order(1), Mobility::Movable.index()).unwrap();
        pages[1].push(stack, place, zone.blocks.start_of(7));
    });
}
