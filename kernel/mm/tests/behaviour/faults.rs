//! Requests that are refused for a test's sake: each way to ask for frames, when its turn comes, and nothing changed.

use bifolio::allocator::{AllocError, PageAllocator};
use bifolio::error::{RangeError, ResizeError};
use bifolio::frame::{Gfp, Order};
use bifolio::sync::Faults;
use kit::machine::{allocator_with, usable};
use kit::oracle::blocks;
use kit::{Raw, Sound, Thread};

use super::{NORMAL, order, range};

type Frames = PageAllocator<'static, Thread>;

#[test]
fn so_many_are_served_and_so_many_refused() {
    let faults = Faults::new();
    let due = |count: usize| (0..count).map(|_| faults.is_due()).collect::<Vec<_>>();
    assert_eq!(due(2), [false; 2], "none is to be refused");
    faults.begin(1, 2);
    assert_eq!(due(5), [false, true, true, false, false]);
    assert_eq!((faults.end(), faults.end()), (2, 0));
    // What was left of one time does not count in the next.
    faults.begin(3, 9);
    assert_eq!(due(1), [false]);
    faults.begin(0, 1);
    assert_eq!((due(2), faults.end()), (vec![true, false], 1));
    assert_eq!(due(2), [false; 2]);
}

#[test]
fn each_way_to_ask_can_be_refused_and_nothing_has_changed() {
    const GFP: Gfp = Gfp::KERNEL;
    let frames: Frames = allocator_with(&[usable(NORMAL, NORMAL + 4096)], &[]);
    let grown = frames.take_exact(8, GFP).unwrap();
    let before = blocks(&frames);
    let refused = |way: &dyn Fn() -> bool| {
        Thread::begin_faults(0, 1);
        let was_refused = way();
        assert_eq!(Thread::end_faults(), 1);
        assert_eq!(blocks(&frames), before);
        was_refused
    };
    let out_of = |order| AllocError::OutOfMemory { order, gfp: GFP };
    assert!(refused(&|| frames.take(order(3), GFP) == Err(out_of(order(3)))));
    assert!(refused(&|| frames.take_exact(5, GFP) == Err(out_of(order(3)))));
    assert!(refused(&|| frames.take_exact(1 << 20, GFP) == Err(out_of(Order::MAX))));
    let no_run = AllocError::NoFreeRun { frames: 2000, gfp: GFP };
    assert!(refused(&|| frames.take_contiguous(2000, GFP) == Err(no_run)));
    let no_run = AllocError::NoFreeRun { frames: 3, gfp: GFP };
    assert!(refused(&|| frames.allocate_run(3, 1, GFP).err() == Some(no_run)));
    assert!(refused(&|| frames.take_range(range(1024, 1030), GFP) == Err(RangeError::Busy(range(1024, 1030).start))));
    let no_more = ResizeError::OutOfMemory { frames: 2, gfp: GFP };
    assert!(refused(&|| frames.regrow(grown, 10, GFP) == Err(no_more)));
    // To give frames up is no request.
    Thread::begin_faults(0, 1);
    let grown = frames.regrow(grown, 4, GFP).unwrap();
    frames.give_range(grown).unwrap();
    assert_eq!(Thread::end_faults(), 0);
    frames.sound();
}
