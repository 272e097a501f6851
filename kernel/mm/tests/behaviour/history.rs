//! What a report of a bad free tells where operations are recorded: the last on that frame.

use bifolio::allocator::{Call, Event, PageAllocator, Recorder, Recording};
use bifolio::error::FreeError;
use bifolio::frame::{Gfp, Order, Pfn};
use kit::Raw;
use kit::machine::{SingleCpu, allocator, usable};

use super::{NORMAL, order};

struct Nobody;

impl Recorder for Nobody {
    fn take(&self, _: &[Event]) {}
}

fn recorded() -> (PageAllocator<'static, SingleCpu>, &'static Recording<'static>) {
    let mut frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let recording: &Recording<'_> = Box::leak(Box::new(Recording::new(&Nobody)));
    frames.record(recording);
    (frames, recording)
}

/// What was asked of a frame last and returned, the latest first.
fn last(frames: &PageAllocator<'_, SingleCpu>, pfn: Pfn) -> Vec<(Call, Option<u64>)> {
    frames.report(&FreeError::AlreadyFree(pfn)).last.calls().map(|past| (past.call, past.returned)).collect()
}

#[test]
fn a_double_free_is_reported_with_the_last_operations_on_the_frame_and_no_others() {
    let (frames, recording) = recorded();
    let pfn = frames.take(order(3), Gfp::KERNEL).unwrap();
    let beside = frames.take(order(3), Gfp::KERNEL).unwrap();
    frames.give(pfn, order(3)).unwrap();
    frames.give(beside, order(3)).unwrap();
    let error = frames.give(pfn, order(3)).unwrap_err();
    let free = Call::Free { pfn, order: order(3) };
    let allocate = Call::Allocate { order: order(3), gfp: Gfp::KERNEL };
    let expected = [(free, None), (free, Some(0)), (allocate, Some(pfn.number()))];
    for _ in 0..2 {
        assert_eq!(last(&frames, pfn), expected);
        assert_eq!(last(&frames, pfn.offset(7)), expected, "the block is it all");
        assert_eq!(last(&frames, pfn.offset(8)).len() + last(&frames, pfn.offset(0_u64.wrapping_sub(1))).len(), 2);
        // What the recorder was told is not forgotten by that.
        recording.flush::<SingleCpu>();
    }
    let lines = [
        format!("{error}"),
        "last operations there, the latest first:".into(),
        format!("CPU 0: {free:?} -> refused"),
        format!("CPU 0: {free:?} -> 0x0"),
        format!("CPU 0: {allocate:?} -> {pfn}"),
    ];
    assert_eq!(frames.report(&error).to_string(), lines.join("\n"));
}

#[test]
fn of_many_operations_the_last_are_told_in_their_order_and_those_before_are_forgotten() {
    let (frames, recording) = recorded();
    let other = frames.take(order(5), Gfp::KERNEL).unwrap();
    let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    frames.give(pfn, Order::ZERO).unwrap();
    let order_of = |(call, _)| if let Call::Free { order, .. } = call { Some(order.get()) } else { None };
    for nth in 0..300 {
        if nth % 97 == 0 {
            recording.flush::<SingleCpu>();
        }
        frames.give(pfn, order((nth % 4) as u8)).unwrap_err();
        let frees: Vec<_> = last(&frames, pfn).into_iter().filter_map(order_of).collect();
        let expected: Vec<_> = (0..=nth).rev().map(|nth| (nth % 4) as u8).chain([0]).take(8).collect();
        assert_eq!(frees, expected, "{nth}");
    }
    for _ in 0..200 {
        frames.give(other, Order::ZERO).unwrap_err();
    }
    assert_eq!(last(&frames, pfn), []);
}

#[test]
fn without_recording_a_report_is_the_error() {
    let frames = allocator(&[usable(NORMAL, NORMAL + 4096)]);
    let pfn = frames.take(Order::ZERO, Gfp::KERNEL).unwrap();
    frames.give(pfn, Order::ZERO).unwrap();
    let error = frames.give(pfn, Order::ZERO).unwrap_err();
    assert_eq!(frames.report(&error).to_string(), error.to_string());
}
