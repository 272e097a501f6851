//! What cargo checks: one list, of which the whole suite, its quick part and `lints` take what is theirs.

use super::compiler::{Compiler, THIRTY_TWO_BITS};
use super::times::Part;

/// The target of what boots.
pub(super) const GUEST: &str = "x86_64-unknown-none";

/// The target of what runs in a browser.
const BROWSER: &str = "wasm32-unknown-unknown";

/// Something that cargo checks.
pub(super) struct Check {
    pub(super) title: &'static str,
    pub(super) part: Part,
    pub(super) compiler: Compiler,
    pub(super) arguments: &'static [&'static str],
}

const fn check(title: &'static str, part: Part, arguments: &'static [&'static str]) -> Check {
    Check { title, part, compiler: Compiler::Project, arguments }
}

/// A check of the crate as somebody else builds it.
const fn elsewhere(title: &'static str, compiler: Compiler, arguments: &'static [&'static str]) -> Check {
    Check { title, part: Part::Elsewhere, compiler, arguments }
}

pub(super) const FORMAT: &[Check] = &[check("format", Part::Format, &["fmt", "--all", "--check"])];

/// What has to be without a warning.
#[rustfmt::skip]
pub(super) const LINTS: &[Check] = &[
    check("lints", Part::Lints, &["clippy", "--all-targets", "--", "-D", "warnings"]),
    check("lints of what boots", Part::Lints, &[
        "clippy", "-p", "kernel", "-p", "stress", "-p", "framework", "-p", "booted", "-p", "specimens", "-p", "bench-kernel",
        "-p", "lab-kernel", "-p", "lab-specimens-booted", "--target", GUEST, "--bins", "--lib", "--tests", "--", "-D", "warnings",
    ]),
    check("lints of adopters' kernels", Part::Lints, &[
        "clippy", "-p", "adopter-bootloader", "-p", "adopter-multiboot2", "-p", "adopter-limine", "-p", "adopter-x86_64-smp",
        "-p", "guides", "--target", GUEST,
        "--", "-D", "warnings",
    ]),
    // As it runs in a browser: with pointers of 32 bits.
    check("lints of what runs in a browser", Part::Lints, &[
        "clippy", "-p", "bifolio", "-p", "trace", "-p", "replay", "-p", "explorer", "--target", BROWSER, "--", "-D", "warnings",
    ]),
    // By itself and without unwinding, as it is built.
    check("lints of C's malloc", Part::Lints, &[
        "clippy", "-p", "malloc", "--profile", "preloaded", "--", "-D", "warnings",
    ]),
    // Whether they are fast is `make bench`'s to say; that they build is looked after here.
    check("lints of the benchmarks and of what looks for races", Part::Lints, &[
        "clippy", "-p", "bench", "-p", "workloads", "-p", "recorder", "-p", "concurrency", "-p", "planted", "--all-targets",
        "--", "-D", "warnings",
    ]),
];

/// The tests that run on the host.
pub(super) const TESTS: &[Check] = &[
    check("host tests", Part::Tests, &["test", "--no-fail-fast"]),
    // What the tools find is `make concurrency`'s to say; that what they are to find has its place in the sources, this.
    check("mistakes planted by make concurrency", Part::Tests, &["test", "-p", "concurrency", "--bin", "concurrency"]),
    check("mistakes planted in one build", Part::Tests, &["test", "-p", "planted"]),
];

/// The tests of the crate that all is about.
pub(super) const TESTS_OF_BIFOLIO: &[Check] =
    &[check("tests of bifolio", Part::Tests, &["test", "-p", "bifolio", "--no-fail-fast"])];

/// The tests of the host program, most of which boot machines: many at a time, since they are run beside busy processes, which
/// would leave a ninth of the host to two.
#[rustfmt::skip]
pub(super) const TESTS_OF_BOOT: &[Check] = &[
    check("tests of the host program", Part::Tests, &["test", "-p", "boot", "--no-fail-fast", "--", "--test-threads=8"]),
];

pub(super) const DOCUMENTATION: &[Check] = &[
    check("documentation", Part::Documentation, &["doc", "--no-deps"]),
    check(
        "documentation of what boots",
        Part::Documentation,
        &["doc", "--no-deps", "-p", "kernel", "-p", "stress", "-p", "framework", "--target", GUEST],
    ),
];

/// The crate as others build it: with fewer features and with more, and by compilers that are not ours. Those have a directory
/// of their own to build in, since they would build everything anew in turn.
#[rustfmt::skip]
pub(super) const ELSEWHERE: &[Check] = &[
    // With 64 bits and with 32, with atomics of 64 bits and without them; the last cannot even compare and swap, and a kernel for it says
    // that no other CPU is there. (Those of browsers are among the lints: theirs is a library that the compiler comes with. Two more of
    // 64 bits are what adopters' kernels are for.)
    elsewhere("other processors", Compiler::WithCore, &[
        "check", "-p", "bifolio", "-Zbuild-std=core", "--target-dir", "target/elsewhere",
        "--target", "i686-unknown-linux-gnu", "--target", "armv7a-none-eabi",
        "--target", "thumbv7m-none-eabi", "--target", "riscv32imac-unknown-none-elf", "--target", "thumbv6m-none-eabi",
        "--config", "target.thumbv6m-none-eabi.rustflags=['--cfg=portable_atomic_unsafe_assume_single_core']",
    ]),
    elsewhere("page frames alone", Compiler::Project, &[
        "clippy", "-p", "bifolio", "--no-default-features", "--", "-D", "warnings",
    ]),
    elsewhere("page frames and heap", Compiler::Project, &["clippy", "-p", "bifolio", "--", "-D", "warnings"]),
    elsewhere("all features", Compiler::Project, &["clippy", "-p", "bifolio", "--all-features", "--", "-D", "warnings"]),
    elsewhere("the oldest compiler", Compiler::Oldest, &[
        "check", "-p", "bifolio", "--all-features", "--target-dir", "target/oldest",
    ]),
    elsewhere("the oldest compiler, page frames alone", Compiler::Oldest, &[
        "check", "-p", "bifolio", "--no-default-features", "--target-dir", "target/oldest",
    ]),
    elsewhere("tests with pointers of 32 bits", Compiler::ThirtyTwoBits, &[
        "test", "-p", "bifolio", "--tests", "--target", THIRTY_TWO_BITS,
    ]),
    elsewhere("adopters' kernels for other processors", Compiler::WithCore, &[
        "clippy", "-p", "adopter-device-tree", "-p", "adopter-device-tree-smp", "-Zbuild-std=core,alloc", "--target-dir", "target/elsewhere",
        "--target", "riscv64gc-unknown-none-elf", "--target", "aarch64-unknown-none", "--", "-D", "warnings",
    ]),
    elsewhere("an adopter's kernel that UEFI starts", Compiler::WithCore, &[
        "clippy", "-p", "adopter-uefi", "-Zbuild-std=core,alloc", "--target-dir", "target/elsewhere",
        "--target", "x86_64-unknown-uefi", "--", "-D", "warnings",
    ]),
    // The loader of the second is not to be had from Debian: it is built, and not booted.
    elsewhere("adopters' kernels that GRUB and Limine boot", Compiler::Project, &[
        "build", "-p", "adopter-multiboot2", "-p", "adopter-limine", "--target", GUEST,
    ]),
];
