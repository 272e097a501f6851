#!/bin/sh
# Has Miri run tests of the crate bifolio: few by the rules of Stacked Borrows and by those of Tree Borrows, and more of them without
# either, on a processor of 32 bits and on one that has the highest byte first. Miri takes each step by hand, so they do a part of
# what they do elsewhere (tests/kit/src/scale.rs says which). What is printed is in target/miri.
set -eu
cd "$(dirname "$0")/.."

# Stable toolchains have no Miri.
nightly=nightly-2026-05-20
for home in "${RUSTUP_HOME:-${HOME:-/root}/.rustup}" "$PWD/target/tools/miri"; do
    for bin in "$home/toolchains/$nightly"-*/bin; do
        [ -x "$bin/miri" ] && [ -e "$bin/../lib/rustlib/src/rust/library/core/Cargo.toml" ] && break 2
    done
done
if [ ! -x "$bin/miri" ]; then
    echo "Miri is not on this machine. Install it with \`rustup toolchain install $nightly --profile minimal -c miri -c rust-src\`" >&2
    exit 1
fi
unset RUSTUP_TOOLCHAIN
# Where Miri puts core.
export PATH="$bin:$PATH" XDG_CACHE_HOME="$PWD/target/miri"
mkdir -p target/miri

# Page frames: blocks with an owner and without one, by way of a CPU's own pages and past them.
frames='owned:: a_block_that_is_dropped a_flag_that_the_fast_path of_many_frames'

# By either rules a step on a heap takes ten times as long, since a heap is one value of some thousand words that can change.
few='region::a_page_of_its_own region::what_is_debugged'
# `everything` uses all there is of page frames and heap.
more="$few faults:: region::what_takes_most large::what_was_cut debug::the_nth collections:: caches::a_constructor
    races::of_two_frees_of_an_own"

# Kernels of one CPU, with a heap in the memory that they see through a window: at an offset from physical addresses, so by number,
# of which rules of borrowing have little to say, and take minutes for it.
kernel='a_kernel_can_set frames_that what_debug what_is_made'

# tests FLAGS ARG...: those that are named, for $target and by $rules.
tests() {
    flags=$1 && shift
    # What a kernel has for good is left behind.
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks $flags $rules" \
        "$bin/cargo-miri" miri test --target "$target" --package bifolio "$@"
}

# run NAME TARGET RULES HEAP KERNEL: unit tests, those of page frames, and those of the heap and of kernels that are named. Says in a
# line what came of it, and if something failed, what was printed.
run() {
    name=$1 target=$2-unknown-linux-gnu rules=$3 heap=$4 kernels=$5
    log=target/miri/$2$3.log began=$(date +%s) failed=
    {
        # Whole zones, walked again and again, are nothing to do by hand.
        tests -Zmiri-strict-provenance --lib -- --skip zone::violations || failed=yes
        # shellcheck disable=SC2086 # a list
        tests -Zmiri-strict-provenance --test behaviour -- $frames || failed=yes
        # shellcheck disable=SC2086 # lists
        tests -Zmiri-strict-provenance --test heap -- $heap || failed=yes
        # shellcheck disable=SC2086 # a list
        [ -z "$kernels" ] || tests -Zmiri-permissive-provenance --test kernel -- $kernels || failed=yes
    } >"$log" 2>&1
    [ -z "$failed" ] || cat "$log"
    awk -v name="$name" -v seconds=$(($(date +%s) - began)) '
        /^test result:/ { passed += $4; failed += $6; left += $8 + $12 }
        END { printf "%s: %d passed, %d failed, %d not run, %d s\n", name, passed, failed, left, seconds }' "$log"
    [ -z "$failed" ]
}

for target in x86_64 i686 s390x; do
    "$bin/cargo-miri" miri setup --quiet --target "$target-unknown-linux-gnu"
done
# In pairs: a machine with two processors is busy for as long as it takes.
neither=-Zmiri-disable-stacked-borrows
{
    status=0
    run 'Stacked Borrows' x86_64 '' "$few" '' || status=1
    run '32 bits' i686 $neither "$more" "$kernel" || status=1
    exit $status
} &
status=0
run 'Tree Borrows' x86_64 -Zmiri-tree-borrows "$few" '' || status=1
run 'highest byte first' s390x $neither "$more" "$kernel" || status=1
wait $! || status=1
exit $status
