//! Blocks with an owner.

use bifolio::allocator::OwnedFrames;
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, PfnRange, ZoneKind};

use super::oracle::{allocator, blocks, usable};
use super::{NORMAL, order};

#[test]
fn a_block_is_freed_with_its_owner() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let owned = frames.allocate_owned(order(3), Gfp::KERNEL).unwrap();
    assert_eq!(frames.order_of(owned.pfn()), Ok(order(3)));
    assert_eq!((owned.order(), owned.range()), (order(3), PfnRange::new(owned.pfn(), owned.pfn().offset(8))));
    assert_eq!(format!("{owned:?}"), format!("OwnedFrames {{ pfn: {:?}, order: Order(3), .. }}", owned.pfn()));
    drop(owned);
    assert_eq!(blocks(&frames), fresh);
    assert_eq!(frames.stats().bad_drops, 0);
}

#[test]
fn a_raw_block_is_nobodys_until_somebody_takes_charge_of_it() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let raw = frames.allocate_owned(order(3), Gfp::KERNEL).unwrap().into_raw();
    assert_eq!(frames.order_of(raw), Ok(order(3)));
    let owned = OwnedFrames::from_raw(&frames, raw, order(3)).unwrap();
    assert_eq!(owned.pfn(), raw);
    assert_eq!(owned.free(), Ok(()));
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn nobody_takes_charge_of_what_is_not_there() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let pfn = frames.allocate(order(3), Gfp::KERNEL).unwrap();
    let before = blocks(&frames);
    let from_raw = |pfn, o| OwnedFrames::from_raw(&frames, pfn, order(o)).map(OwnedFrames::into_raw);
    let inside = pfn.offset(2);
    assert_eq!(from_raw(pfn, 2), Err(FreeError::WrongOrder { pfn, given: order(2), actual: order(3) }));
    assert_eq!(from_raw(inside, 1), Err(FreeError::Interior { pfn: inside, head: pfn, order: order(3) }));
    assert_eq!(from_raw(pfn.offset(8), 3), Err(FreeError::AlreadyFree(pfn.offset(8))));
    assert_eq!(blocks(&frames), before);
    frames.free(pfn, order(3)).unwrap();
    assert_eq!(from_raw(pfn, 3), Err(FreeError::AlreadyFree(pfn)));
}

#[test]
fn a_block_that_somebody_else_freed_is_reported() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let steal = || {
        let owned = frames.allocate_owned(Order::ZERO, Gfp::KERNEL).unwrap();
        frames.free(owned.pfn(), Order::ZERO).unwrap();
        owned
    };
    let owned = steal();
    let pfn = owned.pfn();
    assert_eq!(owned.free(), Err(FreeError::AlreadyFree(pfn)));
    assert_eq!(frames.stats().bad_drops, 0);
    drop(steal());
    assert_eq!(frames.stats().bad_drops, 1);
    assert_eq!(frames.zone(ZoneKind::Normal).free, frames.zone(ZoneKind::Normal).managed);
}
