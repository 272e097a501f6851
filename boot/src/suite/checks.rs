//! What cargo checks: one list, of which the whole suite, its quick part and `lints` take what is theirs.

use super::times::Part;

/// The target of what boots.
pub(super) const GUEST: &str = "x86_64-unknown-none";

/// Something that cargo checks.
pub(super) struct Check {
    pub(super) title: &'static str,
    pub(super) part: Part,
    pub(super) arguments: &'static [&'static str],
}

const fn check(title: &'static str, part: Part, arguments: &'static [&'static str]) -> Check {
    Check { title, part, arguments }
}

pub(super) const FORMAT: &[Check] = &[check("format", Part::Format, &["fmt", "--all", "--check"])];

/// What has to be without a warning.
#[rustfmt::skip]
pub(super) const LINTS: &[Check] = &[
    check("lints", Part::Lints, &["clippy", "--all-targets", "--", "-D", "warnings"]),
    check("lints of what boots", Part::Lints, &[
        "clippy", "-p", "kernel", "-p", "stress", "-p", "framework", "-p", "booted", "-p", "specimens", "-p", "bench-kernel",
        "--target", GUEST, "--bins", "--lib", "--tests", "--", "-D", "warnings",
    ]),
    // By itself and without unwinding, as it is built.
    check("lints of C's malloc", Part::Lints, &[
        "clippy", "-p", "malloc", "--profile", "preloaded", "--", "-D", "warnings",
    ]),
    // Whether they are fast is `make bench`'s to say; that they build is looked after here.
    check("lints of the benchmarks and of what looks for races", Part::Lints, &[
        "clippy", "-p", "bench", "-p", "workloads", "-p", "recorder", "-p", "concurrency", "--all-targets",
        "--", "-D", "warnings",
    ]),
];

/// The tests that run on the host.
pub(super) const TESTS: &[Check] = &[
    check("host tests", Part::Tests, &["test", "--no-fail-fast"]),
    // What the tools find is `make concurrency`'s to say; that what they are to find has its place in the sources, this.
    check("mistakes planted by make concurrency", Part::Tests, &["test", "-p", "concurrency", "--bin", "concurrency"]),
];

/// The tests of the crate that all is about.
pub(super) const TESTS_OF_BIFOLIO: &[Check] =
    &[check("tests of bifolio", Part::Tests, &["test", "-p", "bifolio", "--no-fail-fast"])];

pub(super) const DOCUMENTATION: &[Check] = &[
    check("documentation", Part::Documentation, &["doc", "--no-deps"]),
    check(
        "documentation of what boots",
        Part::Documentation,
        &["doc", "--no-deps", "-p", "kernel", "-p", "stress", "-p", "framework", "--target", GUEST],
    ),
];
