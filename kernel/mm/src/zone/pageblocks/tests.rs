use super::super::violations::zone;
use super::*;

#[test]
fn a_pageblock_is_found_by_its_first_frame_if_requests_have_its_mobility() {
    let (mut zone, _) = zone();
    let at = |zone: &super::super::Zone<'_>, number, offset| {
        let blocks = zone.blocks();
        blocks.requested_at(blocks.start_of(number).offset(offset))
    };
    assert_eq!(at(&zone, 1, 0), Some((1, Mobility::Movable)));
    for offset in [1, 64, 511] {
        assert_eq!(at(&zone, 1, offset), None, "no pageblock begins there");
    }
    zone.retype(1, |header| header.set_mobility(Mobility::Unmovable));
    assert_eq!(at(&zone, 1, 0), Some((1, Mobility::Unmovable)));
    assert_eq!([4, 5].map(|number| at(&zone, number, 0)), [None; 2], "one is isolated, the other is kept");
    let locked = zone.blocks().lock(1);
    assert_eq!(at(&zone, 1, 0), None, "what it is may change now");
    drop(locked);
    let start = zone.blocks().start_of(0);
    let around = [start.number() - PAGEBLOCK_FRAMES, start.number() + 10 * PAGEBLOCK_FRAMES];
    assert_eq!(around.map(|number| zone.blocks().requested_at(Pfn::new(number))), [None; 2]);
    zone.withhold_wholes(true);
    assert_eq!(at(&zone, 1, 0), None, "others record what is done");
}
