#!/bin/sh
# Builds the host program and the kernel, and says before it starts when that will take long.
set -eu
cd "$(dirname "$0")/.."

if ! ls "${CARGO_TARGET_DIR:-target}"/debug/build/bootloader-*/out/bin/*.efi >/dev/null 2>&1; then
    echo "build: the first time, the boot loader's stages are built as well: about 4 min on two cores" >&2
fi
cargo build -p boot
cargo build -p kernel --target x86_64-unknown-none
