#!/bin/sh
# Gets a machine ready for Bifolio: the Rust toolchain, a C compiler to link with, QEMU and UEFI firmware.
#
#   boot/setup.sh                    gets everything ready and says so in one line
#   boot/setup.sh COMMAND [ARG...]   gets everything ready, then runs COMMAND with all of it first on PATH
#   boot/setup.sh --adopters ...     gets these ready and what `make adopters` boots with, then runs it
#   boot/setup.sh --browser ...      gets these ready and, if that can be had, Chromium, in which the explorer's page is tried
#   boot/setup.sh --link-toolchain   also lets rustup's own `cargo` use the compiler that was found
#
# What the system has is used as it is. Rust comes from rustup where that reaches its servers. Whatever is missing then is
# unpacked from Debian's packages under target/tools, for this checkout alone (boot/setup/debian.sh): nothing is installed
# or removed, nothing outside the checkout changes, and so root is not needed and nothing on the machine can be in the way.
#
# Each run looks at what is there (some tenths of a second) instead of remembering what it did, so it neither does anything twice nor
# overlooks that something went missing. docs/setup.md tells the same for people who would rather do it by hand.
# shellcheck disable=SC2086,SC2015,SC1091 # the lists of parts are words; `A && B || C` where C is an end
set -eu
cd "$(dirname "$0")/.."

release=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml) # 1.96.0
series=${release%.*}                                                  # 1.96
targets=$(sed -n 's/^targets *= *\[\(.*\)\]/\1/p' rust-toolchain.toml | tr -d '",') # of the kernel, and of the crate in a browser
rustup_home=${RUSTUP_HOME:-${HOME:-/root}/.rustup}
browsers=$(sed -n 's/^const NAMES: .*= \[\(.*\)\];/\1/p' boot/src/browser.rs | tr -d '",') # Chromium's names
tools=$PWD/target/tools # what was unpacked here, a directory for each part

say() { echo "setup: $*" >&2; }
stop() { say "$*"; exit 1; }

# step "what" "how long" COMMAND...: runs COMMAND with its output in a log, which is shown only when it fails.
# COMMAND stays in the foreground, so that Ctrl-C reaches all of it; the clock runs beside it.
step() {
    what=$1 expected=$2
    shift 2
    started=$(date +%s)
    ticker=
    if [ -t 2 ]; then
        tick &
        ticker=$!
    else
        say "$what ($expected) ..."
    fi
    status=0
    ("$@") >"$log" 2>&1 </dev/null || status=$?
    [ -z "$ticker" ] || stop_ticker
    if [ $status -eq 0 ]; then
        say "$what: done in $(($(date +%s) - started)) s"
    else
        say "$what: FAILED after $(($(date +%s) - started)) s, with"
        tail -n 20 "$log" | awk '{ print "    " $0 }' >&2 # ends the last line too
        # On a full disk there is no room for the message in the log either.
        df -Pk "$tools" | awk '$4 + 0 < 10000 && NR == 2 { print "setup: the disk is full at " $6; exit }' >&2
    fi
    return $status
}

tick() {
    while kill -0 $$ 2>/dev/null; do
        printf '\rsetup: %s (%s) ... %d s ' "$what" "$expected" $(($(date +%s) - started)) >&2
        sleep 1
    done
}

stop_ticker() {
    kill $ticker 2>/dev/null || true
    wait $ticker 2>/dev/null || true
    ticker=
    printf '\r\033[K' >&2
}

# Called before the first step.
prepare_steps() {
    mkdir -p "$tools" || stop "cannot write to $PWD/target, and a checkout that can be written to is what set-up needs"
    log=$tools/log.$$ ticker=
    trap 'rm -f "$log"' EXIT
    trap '[ -z "$ticker" ] || stop_ticker; stop "interrupted"' INT TERM HUP
}

# --- what is there -----------------------------------------------------------------------------------------------

# Looks for every part, puts what was unpacked here first on PATH, and leaves what is nowhere in $missing.
look() {
    missing=
    find_certificates || missing="$missing certificates"
    find_cc || missing="$missing cc"
    find_toolchain || missing="$missing rust"
    find_qemu || missing="$missing qemu"
    find_ovmf || missing="$missing ovmf"
    use chromium || : # what shows pages need not be there
    for part in $also; do
        "has_$part" || { use "$part" && "has_$part"; } || missing="$missing $part"
    done
}

# use PART: whether it was unpacked here; if so, its programs come first on PATH.
use() {
    [ -d "$tools/$1/bin" ] || return
    case :$PATH: in
    *":$tools/$1/bin:"*) ;;
    *) PATH=$tools/$1/bin:$PATH ;;
    esac
}

# What cargo knows servers by. Elsewhere than on Debian and its descendants, curl knows where the system has them.
find_certificates() {
    [ -z "${CARGO_HTTP_CAINFO:-}${SSL_CERT_FILE:-}" ] || return 0
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] && [ -e /etc/debian_version ] || return 0
    [ -e "$tools/certificates/bundle.crt" ] || return
    export CARGO_HTTP_CAINFO="$tools/certificates/bundle.crt" SSL_CERT_FILE="$tools/certificates/bundle.crt"
}

# A compiler can be there without what it takes to link, such as libc6-dev: only linking something shows it. Crates with C in
# them want an archiver too.
find_cc() { compiles || { use cc && compiles; }; }

compiles() { command -v ar >/dev/null && links cc; }

links() {
    command -v "$1" >/dev/null && mkdir -p target || return
    linked=0
    echo 'int main(void) { return 0; }' | "$1" -x c - -o target/.links.$$ 2>/dev/null || linked=1
    rm -f target/.links.$$
    return $linked
}

# The parts of the toolchain in the directory $1 that are missing, as words; nothing when it is complete.
# Leaves its version, sysroot and directory of LLVM tools in $version, $sysroot and $llvm.
inspect() {
    lacking=
    version=$("$1/rustc" -vV 2>/dev/null) || version=
    case $version in
    *"release: $series."*) ;;
    *) lacking="rustc $series" && return ;;
    esac
    sysroot=$("$1/rustc" --print sysroot)
    llvm=$sysroot/lib/rustlib/$(host_of "$version")/bin
    [ -x "$1/cargo" ] || lacking="$lacking cargo"
    [ -e "$sysroot/lib/rustlib/src/rust/library/core/Cargo.toml" ] || lacking="$lacking rust-src"
    [ -x "$1/cargo-fmt" ] && [ -x "$1/rustfmt" ] || lacking="$lacking rustfmt"
    [ -x "$1/cargo-clippy" ] && [ -x "$1/clippy-driver" ] || lacking="$lacking clippy"
    for tool in rust-lld llvm-objcopy llvm-objdump; do
        [ -x "$llvm/$tool" ] || lacking="$lacking $tool"
    done
    for target in $targets; do
        core_is_built || lacking="$lacking $target"
    done
}

host_of() { echo "$1" | sed -n 's/^host: //p'; }

# core for $target is either rustup's, or was built here by exactly this compiler, and as it is built now.
core_is_built() {
    [ -e "$sysroot/lib/rustlib/manifest-rust-std-$target" ] ||
        [ "$(core_by)" = "$(cat "$sysroot/lib/rustlib/$target/built-by" 2>/dev/null)" ]
}
core_by() { echo "$version, with bitcode"; }

# Chooses the toolchain: the first complete one of what PATH gives, what rustup keeps, /usr/bin, and what was unpacked here.
# rustup's proxies are looked through instead of asked: they would start a download of their own, or refuse.
find_toolchain() {
    on_path=$(command -v rustc) && on_path=${on_path%/rustc} || on_path=/usr/bin
    for bin in "$on_path" "$rustup_home/toolchains/$release"-*/bin /usr/bin "$tools/rust/bin"; do
        if [ -x "$bin/rustc" ] && [ ! -e "$bin/rustup" ] && inspect "$bin" && [ -z "$lacking" ]; then return 0; fi
    done
    return 1
}

# What `make adopters` needs beside: other processors, and a boot loader that makes an image for a BIOS.
has_qemu_riscv64() { qemu-system-riscv64 --version >/dev/null 2>&1; }
has_qemu_aarch64() { qemu-system-aarch64 --version >/dev/null 2>&1; }
has_grub() { grub-mkrescue --version >/dev/null 2>&1 && { [ -d /usr/lib/grub/i386-pc ] || [ -d "$tools/grub" ]; }; }

# What shows the explorer's page; CHROMIUM= names a program of the user's own.
has_chromium() {
    [ -z "${CHROMIUM:-}" ] || return 0
    for name in $browsers; do
        if "$name" --version >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

# QEMU= names a program of the user's own; the host program says what it thinks of that.
find_qemu() { [ -n "${QEMU:-}" ] || qemu_runs || { use qemu && qemu_runs; }; }

qemu_runs() {
    case ${BIFOLIO_DISPLAY_WINDOW:-} in
    1) qemu-system-x86_64 -display help 2>/dev/null | grep -qE '^(gtk|sdl|cocoa)' ;;
    *) qemu-system-x86_64 --version >/dev/null 2>&1 ;;
    esac
}

find_ovmf() {
    [ -z "${OVMF_CODE:-}${OVMF_VARS:-}" ] || return 0
    if ovmf_in "" >/dev/null; then return 0; fi
    pair=$(ovmf_in "$tools/ovmf/root") || return
    export OVMF_CODE="${pair%:*}" OVMF_VARS="${pair#*:}"
}

# The first readable pair of code and variables below the directory $1, in the places that the host program searches.
ovmf_in() {
    sed -n 's/^ *("\(\/.*\)", "\(\/.*\)"),$/\1 \2/p' boot/src/firmware.rs | {
        while read -r code variables; do
            if [ -r "$1$code" ] && [ -r "$1$variables" ]; then echo "$1$code:$1$variables" && exit 0; fi
        done
        exit 1
    }
}

# --- getting what is missing -------------------------------------------------------------------------------------

install_with_rustup() {
    for toolchain in "$rustup_home/toolchains/$release"-*; do
        if [ -L "$toolchain" ]; then # by link_toolchain: rustup would install through it
            say "not asking rustup, because $toolchain is a link to $(readlink "$toolchain"); rm it to change that"
            return 1
        fi
    done
    components=$(sed -n 's/^components *= *\[\(.*\)\]/\1/p' rust-toolchain.toml | tr -d '" ')
    # Explicit, so that it neither depends on RUSTUP_AUTO_INSTALL nor on what a given rustup reads from the file.
    set -- env RUST_BACKTRACE=0 rustup toolchain install "$release" --profile minimal --no-self-update \
        --component "$components" --target "$(echo $targets | tr ' ' ,)"
    # A network that swallows packets must not hold anybody for ever; one that refuses them fails within seconds.
    if command -v timeout >/dev/null; then set -- timeout 300 "$@"; fi
    step "letting rustup install Rust $release" "about 30 s; gives up after 5 min" "$@" && return 0
    say "rustup could not install it; looking for another way"
    return 1
}

# Everything that a person has to do when the machine cannot be set up from here.
tell_and_stop() { # $*: missing parts
    system=$( (. /etc/os-release && echo "$PRETTY_NAME") 2>/dev/null || uname -s)
    say "missing: $*"
    say "This is $system, without apt-get and dpkg-deb, by which they would be had. Install these and run it again:"
    say "    Rust     rustup, which fetches $release as rust-toolchain.toml says, given a network"
    say "    Fedora   dnf install gcc qemu-system-x86-core edk2-ovmf"
    say "    Arch     pacman -S gcc qemu-system-x86 edk2-ovmf"
    say "    macOS    xcode-select --install; brew install qemu     (brings the UEFI firmware)"
    say "The names of the packages are to the best of our knowledge."
    exit 1
}

get() { # $*: missing parts
    prepare_steps
    case " $* " in
    *" rust "*) if command -v rustup >/dev/null && install_with_rustup; then look; fi ;;
    esac
    [ -z "$missing" ] || unpack_privately $missing
    rm -f "$log" # by hand, since nothing is trapped any more once a command has taken this shell's place
}

# try PART: gets what is good to have. Where it cannot be had, that is said, and all else goes on.
try() {
    if "has_$1" || { use "$1" && "has_$1"; }; then return; fi
    did_something=$1
    (also=$1 missing=$1 && get "$1") || say "going on without $1"
    use "$1" || :
}

unpack_privately() { # $*: missing parts
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || tell_and_stop $missing
    . boot/setup/debian.sh
    lock
    look # again: who had the lock before may have done it all
    [ -z "$missing" ] || fetch $missing
    unlock
    look
    [ -z "$missing" ] || stop "still missing after set-up:$missing"
}

# --- the whole of it ---------------------------------------------------------------------------------------------

# Where there is no home to write to, cargo and temporary files make do with the checkout as well.
find_room() {
    cargo_home=${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}
    if [ -e "$cargo_home" ]; then room=$cargo_home; else room=${cargo_home%/*}; fi
    has_room "$room" || { cargo_home=$tools/cargo && export CARGO_HOME="$cargo_home"; }
    [ -w "${TMPDIR:-/tmp}" ] || { mkdir -p "$tools/tmp" && export TMPDIR="$tools/tmp"; }
}

# The crates that Bifolio is built and tested with are some 100 MB.
has_room() { [ -d "$1" ] && [ -w "$1" ] && df -Pk "$1" | awk 'NR == 2 { exit !($4 > 300000) }'; }

link_toolchain() {
    link=$rustup_home/toolchains/$release-$(host_of "$version")
    case $bin in
    "$rustup_home"/*) say "rustup has Rust $release already" && return ;;
    esac
    mkdir -p "$rustup_home/toolchains"
    ln -s "$sysroot" "$link"
    say "linked $link -> $sysroot; \`rm\` that link to undo it"
}

also= wished=
case ${1:-} in
--adopters) also='qemu_riscv64 qemu_aarch64 grub' && shift ;;
--browser) wished=chromium && shift ;;
esac
began=$(date +%s)
find_room
look
did_something=$missing
[ -z "$missing" ] || get $missing
for part in $wished; do
    try "$part"
done

case ${1:-} in
--link-toolchain) link_toolchain ;;
'')
    if [ -n "$did_something" ]; then
        say "ready after $(($(date +%s) - began)) s"
    else
        say "everything is there: $("$bin/rustc" -V) in $bin, QEMU, UEFI firmware"
    fi
    ;;
*)
    # `cargo fmt` looks into cargo's own bin directory first unless PATH names it; rustup's proxies may live there.
    unset RUSTUP_TOOLCHAIN
    PATH=$bin:$PATH:$cargo_home/bin exec "$@"
    ;;
esac
