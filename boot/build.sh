#!/bin/sh
# Builds the kernel and the host program: silently when that is short, with cargo's progress when it is not.
set -eu
cd "$(dirname "$0")/.."

quiet=-q
if ! ls "${CARGO_TARGET_DIR:-target}"/debug/build/bootloader-*/out/bin/*.efi >/dev/null 2>&1; then
    echo "build: the first time, the boot loader's stages are built as well: about 3 min on two cores" >&2
    quiet=
fi
cargo build $quiet -p boot
cargo build $quiet -p kernel --target x86_64-unknown-none
