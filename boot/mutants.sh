#!/bin/sh
# Has cargo-mutants plant one mistake after another in the crate bifolio, and its tests look for each. `SAMPLE=60` is so many of
# them, at random; `FILES="buddy.rs frame.rs"` those of these files alone. What survives is listed at the end, and in
# target/mutants.out.
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo-mutants >/dev/null 2>&1; then
    echo "cargo-mutants is not on this machine. Install it with \`cargo install --locked cargo-mutants\`" >&2
    exit 1
fi
set -- --package bifolio --output target --no-shuffle --baseline=run --timeout-multiplier 5 --cap-lints=true
for file in ${FILES:-}; do
    set -- "$@" --file "kernel/mm/src/$file"
done
[ -z "${SAMPLE:-}" ] || set -- "$@" --sharding round-robin --shard "0/$(
    total=$(cargo mutants --list "$@" 2>/dev/null | wc -l)
    echo $((total > SAMPLE ? (total + SAMPLE - 1) / SAMPLE : 1))
)"
exec cargo mutants "$@"
