//! Several CPUs on one heap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bifolio::heap::HeapError;
use kit::{Random, Sound, scale};

use crate::objects::{Object, TestHeap, assert_empties, layout};
use crate::source::{Blocks, Thread};

/// Mostly small, now and then large.
fn size(random: &mut Random) -> usize {
    let shift = 3 + random.below(12);
    1 + random.index(1 << shift)
}

#[test]
fn threads_free_each_others_objects_while_others_shrink_and_err() {
    const STEPS: usize = scale::rounds(20_000);
    let heap = &TestHeap::new(Blocks::new(1 << 15));
    let done = &AtomicBool::new(false);
    let (to_second, from_first) = mpsc::channel::<Object>();
    let (to_first, from_second) = mpsc::channel::<Object>();
    let work = |seed: u64, give: mpsc::Sender<Object>, take: mpsc::Receiver<Object>| {
        Thread::become_cpu(seed as usize);
        let mut random = Random::new(seed);
        let mut objects = Vec::new();
        for step in 0..STEPS {
            match random.below(10) {
                0..5 => objects.push(Object::new(heap, layout(size(&mut random), 1 << random.below(8)), step as u8)),
                5..7 if !objects.is_empty() => {
                    let index = random.index(objects.len());
                    // The other thread may be through already.
                    if let Err(mpsc::SendError(object)) = give.send(objects.swap_remove(index)) {
                        object.free(heap);
                    }
                }
                7 if !objects.is_empty() => {
                    let index = random.index(objects.len());
                    assert!(objects[index].resize(heap, size(&mut random)));
                }
                8 => take.try_iter().for_each(|object| object.free(heap)),
                _ if !objects.is_empty() => {
                    let index = random.index(objects.len());
                    objects.swap_remove(index).free(heap);
                }
                _ => {}
            }
        }
        drop(give);
        objects.into_iter().for_each(|object| object.free(heap));
        take.iter().for_each(|object| object.free(heap));
    };
    thread::scope(|scope| {
        let first = scope.spawn(move || work(1, to_second, from_second));
        let second = scope.spawn(move || work(2, to_first, from_first));
        let disturber = scope.spawn(move || {
            // Beyond those that can have an arena of their own.
            Thread::become_cpu(1000);
            // At least once: the others may be through before this thread runs at all.
            loop {
                heap.shrink();
                let kept = Object::new(heap, layout(640, 8), 1);
                let layout = kept.layout;
                let inside = kept.address.map_addr(|address| address.checked_add(8).unwrap());
                // SAFETY: no object starts here.
                let error = unsafe { heap.free(inside, layout) }.unwrap_err();
                assert!(matches!(error, HeapError::Interior { offset: 8, .. }), "{error}");
                kept.free(heap);
                heap.sound();
                if done.load(Ordering::Relaxed) {
                    return;
                }
                // The locks spin: do not keep a core from those that are to be disturbed.
                thread::sleep(Duration::from_micros(200));
            }
        });
        let ends = [first.join(), second.join()];
        done.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(Result::unwrap);
        disturber.join().unwrap();
    });
    assert_empties(heap);
}
