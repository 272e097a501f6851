//! Blocks with an owner.

use bifolio::allocator::OwnedFrames;
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, PfnRange, ZoneKind};
use kit::Raw;

use super::{NORMAL, order};
use kit::machine::{allocator, usable};
use kit::oracle::blocks;

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
fn a_block_outlives_its_handle_until_another_takes_charge_of_it() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let fresh = blocks(&frames);
    let block = frames.allocate_owned(order(3), Gfp::KERNEL).unwrap().into_block();
    let pfn = block.pfn();
    assert_eq!(frames.order_of(pfn), Ok(order(3)));
    let owned = OwnedFrames::from_block(&frames, block);
    assert_eq!((owned.pfn(), owned.order()), (pfn, order(3)));
    assert_eq!(owned.free(), Ok(()));
    assert_eq!(blocks(&frames), fresh);
}

#[test]
fn a_block_that_was_freed_by_its_number_is_reported() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let steal = || {
        let owned = frames.allocate_owned(Order::ZERO, Gfp::KERNEL).unwrap();
        frames.give(owned.pfn(), Order::ZERO).unwrap();
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
