#!/bin/sh
# Has cargo-semver-checks compare what the crate bifolio shows with what it showed at an earlier commit: what breaks those who use it
# is listed, with what of the version has to change. `BASE=v0.1.0` is that commit; else it is the last one with a tag.
set -eu
cd "$(dirname "$0")/.."

if ! command -v cargo-semver-checks >/dev/null 2>&1; then
    echo "cargo-semver-checks is not on this machine. Install it with \`cargo install --locked cargo-semver-checks\`" >&2
    exit 1
fi
base=${BASE:-$(git describe --tags --abbrev=0 2>/dev/null || true)}
if [ -z "$base" ]; then
    echo "nothing was released yet, so there is nothing to compare with. BASE=COMMIT names something" >&2
    exit 1
fi
exec cargo semver-checks --package bifolio --baseline-rev "$base"
