//! Threads: many at a time, many after another, and objects that outlive the thread that allocated them.

use std::sync::mpsc;
use std::thread;

use crate::contents::{Filled, Random};

pub fn run() {
    objects_wander();
    more_threads_than_arenas();
    threads_come_and_go();
    println!("threads do what they should");
}

/// Each thread fills objects, resizes some, and gives some to the next one, which checks and frees them.
fn objects_wander() {
    const THREADS: usize = 6;
    const STEPS: usize = 10_000;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel::<Filled>()).unzip();
    let mut senders: Vec<_> = senders.into_iter().map(Some).collect();
    senders.rotate_left(1);
    thread::scope(|scope| {
        for (number, (sender, receiver)) in senders.iter_mut().zip(receivers).enumerate() {
            let next = sender.take().expect("each sender is taken once");
            scope.spawn(move || {
                let mut random = Random::new(number as u64);
                let mut own = Vec::new();
                for step in 0..STEPS {
                    match random.below(8) {
                        0..4 => own.push(Filled::new(random.size(), step as u8)),
                        4 if !own.is_empty() => {
                            let place = random.below(own.len());
                            own[place].resize(random.size());
                        }
                        5 if !own.is_empty() => {
                            // The next one may have ended: then the object is freed here.
                            _ = next.send(own.swap_remove(random.below(own.len())));
                        }
                        6 => receiver.try_iter().for_each(drop),
                        _ if !own.is_empty() => drop(own.swap_remove(random.below(own.len()))),
                        _ => {}
                    }
                }
                drop(next);
                drop(own);
                receiver.iter().for_each(drop);
            });
        }
    });
}

/// More threads at once than can have what threads have each for themselves.
fn more_threads_than_arenas() {
    const THREADS: usize = 300;
    let (to_start, start) = mpsc::channel::<()>();
    drop(start);
    let barrier = std::sync::Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (barrier, to_start) = (&barrier, to_start.clone());
            scope.spawn(move || {
                let mut random = Random::new(number as u64);
                let early: Vec<_> = (0..50).map(|_| Filled::new(random.size(), number as u8)).collect();
                barrier.wait();
                drop(to_start);
                let late: Vec<_> = (0..50).map(|_| Filled::new(random.size(), number as u8)).collect();
                drop(early);
                barrier.wait();
                drop(late);
            });
        }
    });
}

/// Threads one after another, each of which leaves objects behind.
fn threads_come_and_go() {
    const THREADS: usize = 1000;
    let mut left = Vec::new();
    for number in 0..THREADS {
        let thread = thread::spawn(move || {
            let mut random = Random::new(number as u64);
            let mut objects: Vec<_> = (0..20).map(|_| Filled::new(random.size(), number as u8)).collect();
            objects.truncate(3);
            objects
        });
        left.extend(thread.join().expect("the thread ends well"));
    }
    left.iter().for_each(Filled::check);
}
