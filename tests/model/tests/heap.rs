//! A million random operations on the heap, with contents checked. `make soak` does a hundred million.

use model::heap::{group, run};
use model::tally::Tally;

#[test]
fn a_million_random_operations_agree_with_the_oracle() {
    const ROUNDS: u64 = 20;
    let seed = std::env::var("SEED").ok().map_or(1, |seed| seed.parse().expect("SEED is a number"));
    let half = |first: u64| {
        let mut tally = Tally::default();
        for number in (first..ROUNDS).step_by(2) {
            tally += &run(seed, number, 50_000, |_| {});
        }
        tally
    };
    let tally = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut tally = half(0);
        tally += &other.join().expect("the other half found a difference");
        tally
    });
    println!("{tally}");
    // A run that has not seen them has shown nothing about them.
    for kind in ["double", "foreign", "interior", "wrong layout"] {
        assert!(tally.of(group::BAD_FREES, kind) > 1000, "{kind}");
    }
    for kind in ["overflow", "underflow", "write after free", "fail the nth"] {
        assert!(tally.of(group::PLANTED, kind) > 10, "{kind}");
    }
    for name in [
        "free of another CPU's",
        "reallocate in place",
        "shrink",
        "alloc",
        "allocate_bulk",
        "retire_cpu",
        "calloc",
        "realloc",
        "free_sized",
    ] {
        assert!(tally.of(group::OPERATIONS, name) > 100, "{name}");
    }
    assert!(tally.all(group::REFUSALS) > 1000);
    let ends = ["all free, every frame back", "all free, but what is frozen"].map(|end| tally.of(group::CHECKS, end));
    assert_eq!(ends.iter().sum::<u64>(), ROUNDS);
    assert!(ends[0] >= ROUNDS / 2);
}
