//! Each request for frames that a workload makes, refused once: nothing is lost, nothing breaks, and the first state is back.

use bifolio::allocator::PerCpuPages;
use bifolio::heap::{Heap, HeapFrames};
use kit::Sound;
use kit::everything::Everything;

use crate::objects::CPUS;
use crate::runs::Runs;
use crate::source::Thread;

/// Does everything with requests refused, so many behind so many that are served, and asserts that the first state is back.
/// Returns how many were refused.
fn run(heap: &Heap<Runs, Thread, CPUS>, everything: &mut Everything, served: usize, refused: usize) -> usize {
    let frames = &heap.source().frames;
    let before = heap.source().blocks();
    Thread::begin_faults(served, refused);
    everything.run(frames, heap, |work| {
        Thread::become_cpu(1);
        work();
        Thread::become_cpu(0);
    });
    let were_refused = Thread::end_faults();
    let what = format!("{refused} refused behind {served}");
    // The last one of these is what failed.
    println!("{what}");
    heap.sound();
    heap.shrink();
    frames.drain();
    assert_eq!(heap.frames(), HeapFrames::default(), "{what}");
    assert_eq!(heap.source().blocks(), before, "{what}");
    frames.sound();
    were_refused
}

fn heap() -> Heap<Runs, Thread, CPUS> {
    let heap = Heap::new(Runs::with_pages(Box::leak(Box::new([const { PerCpuPages::new() }; 2]))));
    heap.source().most_in_a_row.set(16);
    heap
}

#[test]
fn everything_leaves_nothing_behind() {
    assert_eq!(run(&heap(), &mut Everything::new(), 0, 0), 0);
}

/// Refuses `refused` requests from the n-th on, for each n until all are served. Returns n then.
fn refuse_each(refused: usize) -> usize {
    let heap = heap();
    let mut everything = Everything::new();
    assert_eq!(run(&heap, &mut everything, 0, 0), 0);
    (0..).find(|served| run(&heap, &mut everything, *served, refused) == 0).expect("the workload has an end")
}

#[test]
#[cfg_attr(miri, ignore = "does everything four hundred times")]
fn each_request_for_frames_can_fail_alone() {
    let requests = refuse_each(1);
    println!("{requests} requests for frames, each refused alone");
    assert!(requests > 400, "{requests} requests");
}

#[test]
#[cfg_attr(miri, ignore = "does everything four hundred times")]
fn all_requests_for_frames_can_fail_from_any_on() {
    let requests = refuse_each(usize::MAX);
    println!("{requests} requests for frames, all refused from each on");
    assert!(requests > 400, "{requests} requests");
}
