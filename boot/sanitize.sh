#!/bin/sh
# Runs the tests of the crate bifolio with AddressSanitizer, and the inputs of the fuzzer's corpora, built apart from all else. Arguments
# are for `cargo test`.
set -eu
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
if ! ls "$(rustc --print sysroot)/lib/rustlib/$host/lib/"librustc*_rt.asan.a >/dev/null 2>&1; then
    echo "not run: AddressSanitizer does not come with this compiler; with rustup's it does"
    exit 0
fi
export RUSTFLAGS="-Zsanitizer=address"
unset CARGO_ENCODED_RUSTFLAGS
# Only with a target named are programs that cargo itself runs built without it.
exec cargo test --package bifolio --package fuzz --tests --no-fail-fast --target "$host" --target-dir target/sanitize "$@"
