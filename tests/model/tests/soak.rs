//! Two million random operations, ten machines. `make soak` does a hundred million.

use model::soak::{group, run};
use model::tally::Tally;

#[test]
fn two_million_random_operations_agree_with_the_oracle() {
    const ROUNDS: u64 = 20;
    let seed = std::env::var("SEED").ok().map_or(1, |seed| seed.parse().expect("SEED is a number"));
    // Two halves, since there are two threads on the smallest machine that this runs on.
    let half = |first: u64| {
        let mut tally = Tally::default();
        for number in (first..ROUNDS).step_by(2) {
            tally += &run(seed, number, 100_000, |_| {});
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
    for kind in ["double", "wrong order", "interior", "reserved", "out of range", "empty range"] {
        assert!(tally.of(group::BAD_FREES, kind) > 1000, "{kind}");
    }
    assert!(tally.of(group::REFUSALS, "allocate") > 10_000);
    assert!(tally.of(group::REFUSALS, "injected") > 100);
    let rare = [
        "split",
        "allocate_exact",
        "allocate_bulk",
        "free_range",
        "allocate_range",
        "isolate",
        "add",
        "shrink",
        "zero",
    ];
    for name in rare {
        assert!(tally.of(group::OPERATIONS, name) > 10, "{name}");
    }
    assert_eq!(tally.of(group::CHECKS, "all free, as at first"), ROUNDS);
}
