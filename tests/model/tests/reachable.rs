//! The first states of each small machine, breadth first: `make states` visits the others.

use bifolio::frame::Gfp;
use model::states::frames::{self, Shape};
use model::states::{explore, heap};

/// So many that it takes a second, all machines together.
const MOST: usize = 250;

/// Three frames, of which two are buddies: there are ten ways to have some of them allocated.
static THREE: Shape = Shape {
    name: "three frames",
    usable: &[((1 << 20) + 1, (1 << 20) + 4)],
    later: &[],
    cpus: 0,
    orders: (0, 1),
    gfps: &[Gfp::MEMALLOC.union(Gfp::NOWARN)],
    most: usize::MAX,
    isolated: &[],
    ranges: &[],
    counts: &[],
};

#[test]
fn the_states_of_three_frames_come_to_an_end() {
    let explored = explore(frames::Machine::new(&THREE), 100_000);
    println!("{explored:?}");
    assert_eq!(explored.left, 0, "something counts on, and makes each state another one");
    assert!(explored.states >= 10 && explored.steps > 2 * explored.states, "{explored:?}");
}

#[test]
fn in_the_first_states_of_small_machines_every_invariant_holds_whatever_is_done() {
    let mut steps = 0;
    for shape in frames::SHAPES {
        let explored = explore(frames::Machine::new(shape), MOST);
        println!("{}: {explored:?}", shape.name);
        assert!(explored.states > 30, "{}: the walk came to an early end", shape.name);
        steps += explored.steps;
    }
    assert!(steps > 10_000, "{steps} steps");
}

/// Room for two slabs of an object each, beside what describes them.
static TWO_SLABS: heap::Shape =
    heap::Shape { name: "two slabs", frames: 8, is_scarce: true, sizes: &[8192], most: usize::MAX };

#[test]
fn the_states_of_a_heap_of_two_slabs_come_to_an_end() {
    let explored = explore(heap::Machine::new(&TWO_SLABS), 100_000);
    println!("{explored:?}");
    assert_eq!(explored.left, 0, "something counts on, and makes each state another one");
    assert!(explored.states >= 16 && explored.steps > 2 * explored.states, "{explored:?}");
}

#[test]
fn in_the_first_states_of_small_heaps_every_invariant_holds_whatever_is_done() {
    let mut steps = 0;
    for shape in heap::SHAPES {
        let explored = explore(heap::Machine::new(shape), MOST);
        println!("{}: {explored:?}", shape.name);
        assert!(explored.states > 30, "{}: the walk came to an early end", shape.name);
        steps += explored.steps;
    }
    assert!(steps > 5_000, "{steps} steps");
}
