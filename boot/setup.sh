#!/bin/sh
# Gets a machine ready for Bifolio: the Rust toolchain, QEMU and UEFI firmware.
#
#   boot/setup.sh                    gets everything ready and says so in one line
#   boot/setup.sh COMMAND [ARG...]   gets everything ready, then runs COMMAND with that toolchain first on PATH
#   boot/setup.sh --link-toolchain   also lets rustup's own `cargo` use Debian's compiler
#
# Why it is needed at all: rust-toolchain.toml is enough where rustup reaches its servers. Where it does not, Debian 12's
# security suite ships the same release, but without a prebuilt core for x86_64-unknown-none and with LLVM's tools
# elsewhere than Rust's own build has them. This script closes those gaps once, so that plain cargo commands are the
# same on both.
#
# Each run looks at what is there (about 0.1 s) instead of remembering what it did, so it neither does anything twice nor
# overlooks that something went missing. docs/setup.md tells the same for people who would rather do it by hand.
# shellcheck disable=SC2086 # the lists of parts and of packages are words
set -eu
cd "$(dirname "$0")/.."

release=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml) # 1.96.0
series=${release%.*}                                                  # 1.96
target=x86_64-unknown-none
rustup_home=${RUSTUP_HOME:-${HOME:-/root}/.rustup}
llvm=/usr/lib/llvm-22/bin # of the LLVM that Debian's rustc 1.96 is built on

say() { echo "setup: $*" >&2; }
stop() { say "$*"; exit 1; }

# step "what" "how long" COMMAND...: runs COMMAND with its output in a log, which is shown only when it fails.
step() {
    what=$1 expected=$2
    shift 2
    started=$(date +%s)
    "$@" >"$scratch/log" 2>&1 </dev/null &
    job=$!
    if [ -t 2 ]; then
        while kill -0 $job 2>/dev/null; do
            printf '\rsetup: %s (%s) ... %d s ' "$what" "$expected" $(($(date +%s) - started)) >&2
            sleep 1
        done
        printf '\r\033[K' >&2
    else
        say "$what ($expected) ..."
    fi
    status=0
    wait $job || status=$?
    job=
    if [ $status -eq 0 ]; then
        say "$what: done in $(($(date +%s) - started)) s"
    else
        say "$what: FAILED after $(($(date +%s) - started)) s, with"
        tail -n 20 "$scratch/log" | sed 's/^/    /' >&2
    fi
    return $status
}

# Called before the first step. The shell makes background jobs deaf to Ctrl-C, so it is passed on.
prepare_steps() {
    scratch=$(mktemp -d)
    job=
    trap 'rm -rf "$scratch"' EXIT
    trap '[ -z "$job" ] || kill $job; echo >&2; stop "interrupted"' INT TERM
}

# --- what is there -----------------------------------------------------------------------------------------------

# The parts of the toolchain in the directory $1 that are missing, as words; nothing when it is complete.
# Leaves its version, sysroot and directory of LLVM tools in $version, $sysroot and $tools.
inspect() {
    missing=
    version=$("$1/rustc" -vV 2>/dev/null) || version=
    case $version in
    *"release: $series."*) ;;
    *) missing="rustc cargo rust-src rustfmt clippy lld objcopy objdump target" && return ;;
    esac
    sysroot=$("$1/rustc" --print sysroot)
    tools=$sysroot/lib/rustlib/$(echo "$version" | sed -n 's/^host: //p')/bin
    [ -x "$1/cargo" ] || missing="$missing cargo"
    [ -e "$sysroot/lib/rustlib/src/rust/library/core/Cargo.toml" ] || missing="$missing rust-src"
    [ -x "$1/cargo-fmt" ] && [ -x "$1/rustfmt" ] || missing="$missing rustfmt"
    [ -x "$1/cargo-clippy" ] && [ -x "$1/clippy-driver" ] || missing="$missing clippy"
    [ -x "$tools/rust-lld" ] || missing="$missing lld"
    [ -x "$tools/llvm-objcopy" ] || missing="$missing objcopy"
    [ -x "$tools/llvm-objdump" ] || missing="$missing objdump"
    core_is_built || missing="$missing target"
}

# core for the kernel's target is either rustup's, or was built here by exactly this compiler.
core_is_built() {
    [ -e "$sysroot/lib/rustlib/manifest-rust-std-$target" ] ||
        [ "$version" = "$(cat "$sysroot/lib/rustlib/$target/built-by" 2>/dev/null)" ]
}

# Chooses the toolchain: the first complete one of what PATH gives, what rustup keeps, and /usr/bin; true if there is one.
# rustup's proxies are looked through instead of asked: they would start a download of their own, or refuse.
find_toolchain() {
    on_path=$(command -v rustc) && on_path=${on_path%/rustc} || on_path=/usr/bin
    for bin in "$on_path" "$rustup_home/toolchains/$release"-*/bin /usr/bin; do
        if [ -x "$bin/rustc" ] && [ ! -e "$bin/rustup" ] && inspect "$bin" && [ -z "$missing" ]; then return 0; fi
    done
    bin=/usr/bin # what Debian's packages will complete
    inspect $bin
    return 1
}

# What is missing besides the toolchain, each looked for on its own.
find_rest() {
    rest=
    command -v cc >/dev/null || rest="$rest cc"
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ ! -e /etc/debian_version ] || rest="$rest certificates"
    command -v qemu-system-x86_64 >/dev/null || rest="$rest qemu"
    firmware_is_there || rest="$rest ovmf"
    [ "${BIFOLIO_WINDOW:-0}" != 1 ] || window_is_there || rest="$rest qemu-window"
}

# The places are those that the host program searches.
firmware_is_there() {
    [ -z "${OVMF_CODE:-}" ] || return 0
    sed -n 's/^ *("\(\/.*\)", "\(\/.*\)"),$/\1 \2/p' boot/src/firmware.rs | {
        while read -r code variables; do
            if [ -r "$code" ] && [ -r "$variables" ]; then exit 0; fi
        done
        exit 1
    }
}

window_is_there() { qemu-system-x86_64 -display help 2>/dev/null | grep -qE '^(gtk|sdl|cocoa)'; }

# --- getting what is missing -------------------------------------------------------------------------------------

has_rustup() { command -v rustup >/dev/null; }

install_with_rustup() {
    for toolchain in "$rustup_home/toolchains/$release"-*; do
        if [ -L "$toolchain" ]; then # by link_toolchain: rustup would install through it into /usr
            say "not asking rustup, because $toolchain is a link to $(readlink "$toolchain"); rm it to change that"
            return 1
        fi
    done
    components=$(sed -n 's/^components *= *\[\(.*\)\]/\1/p' rust-toolchain.toml | tr -d '" ')
    # Explicit, so that it neither depends on RUSTUP_AUTO_INSTALL nor on what a given rustup reads from the file.
    set -- rustup toolchain install "$release" --profile minimal --no-self-update \
        --component "$components" --target "$target"
    # A network that swallows packets must not hold anybody for ever; one that refuses them fails within seconds.
    if command -v timeout >/dev/null; then set -- timeout 300 "$@"; fi
    step "letting rustup install Rust $release" "about 30 s; gives up after 5 min" "$@" && return 0
    say "rustup could not install it; looking for another way"
    return 1
}

is_debian_12() { (. /etc/os-release && [ "$ID" = debian ] && [ "$VERSION_ID" = 12 ]) 2>/dev/null; }

# What goes in front of a command to run it as root; fails without the right to.
find_root() {
    as_root=
    [ "$(id -u)" = 0 ] || { as_root='sudo -n' && $as_root true 2>/dev/null; }
}

# The Debian packages for the missing parts $*.
debian_packages() {
    for part; do
        case $part in
        rustc) echo rustc-web gcc libc6-dev ;;
        cargo) echo cargo-web ;;
        rust-src) echo rust-web-src ;;
        rustfmt) echo rustfmt-web ;;
        clippy) echo rust-web-clippy ;;
        lld) [ -x $llvm/lld ] || echo lld-22 ;;
        objcopy | objdump) [ -x "$llvm/llvm-$part" ] || echo llvm-22 ;;
        cc) echo gcc libc6-dev ;;
        certificates) echo ca-certificates ;;
        qemu) echo qemu-system-x86 ;;
        ovmf) echo ovmf ;;
        qemu-window) echo qemu-system-gui ;;
        esac
    done | tr ' ' '\n' | sort -u | xargs
}

install_with_apt() { # $*: missing parts
    packages=$(debian_packages "$@")
    [ -n "$packages" ] || return 0
    apt_get="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
    step "reading Debian's package lists" "about 10 s" $apt_get update || exit 1
    case $packages in
    *rustc-web*) debian_has_the_release ;;
    esac
    # --no-remove: a compiler that somebody chose to install is not ours to throw out.
    step "installing $packages" "about 2 min, 2 GB on disk" \
        $apt_get install -y --no-install-recommends --no-remove $packages ||
        stop "apt-get could not install them (were packages in the way, such as Debian's own rustc, cargo or rustup?)"
}

# Stops before anything is installed when the security suite has moved on to another compiler, or is not among the sources.
debian_has_the_release() {
    candidate=$(apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
    case $candidate in
    "$series".*) return ;;
    esac
    say "Debian offers rustc-web ${candidate:-(none)} here, and Bifolio is pinned to Rust $release. Nothing was installed."
    if apt-cache policy | grep -q bookworm-security; then
        stop "Its security suite has moved on. Install rustup, which fetches the pinned release, and run this again."
    fi
    stop "Add the suite bookworm-security, which has it, to apt's sources (or install rustup), and run this again."
}

# Debian's Rust looks for LLVM's tools where Rust's own distribution has them.
link_llvm_tools() {
    $as_root mkdir -p "$tools"
    $as_root ln -sfn $llvm/lld "$tools/rust-lld"
    $as_root ln -sfn $llvm/llvm-objcopy "$tools/llvm-objcopy"
    $as_root ln -sfn $llvm/llvm-objdump "$tools/llvm-objdump"
}

# What `rustup target add` would have fetched: core, alloc and compiler_builtins for the kernel's target, in the sysroot.
build_core() {
    crate=$scratch/sysroot built=$scratch/built home=$sysroot/lib/rustlib/$target
    mkdir -p "$crate/src" "$built/lib"
    printf '[package]\nname = "sysroot"\nedition = "2024"\n[profile.release]\ndebug = 1\n' >"$crate/Cargo.toml"
    echo '#![no_std]' >"$crate/src/lib.rs"
    # From its own directory, so that it is not built with the flags of this repository's .cargo/config.toml.
    step "building core and alloc for $target" "1 to 2 min, once per compiler" \
        env -C "$crate" PATH="$bin:$PATH" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$crate/target" \
        cargo build --release --target $target -Zbuild-std=core,alloc -Zbuild-std-features=compiler-builtins-mem || exit 1
    for library in core alloc compiler_builtins; do
        cp "$crate/target/$target/release/deps/lib$library"-*.rlib "$built/lib/"
    done
    echo "$version" >"$built/built-by"
    chmod -R a+rX "$built"
    $as_root rm -rf "$home"
    $as_root mkdir "$home"
    $as_root cp -R "$built/lib" "$home/"
    $as_root cp "$built/built-by" "$home/" # last: it vouches for the rest
}

complete_debian() {
    inspect /usr/bin
    case " $missing " in
    *" rustc "*) stop "apt-get installed a compiler that is not $series: $(/usr/bin/rustc -V 2>&1)" ;;
    *" lld "* | *" objcopy "* | *" objdump "*) link_llvm_tools && inspect /usr/bin ;;
    esac
    case $missing in
    " target") build_core ;;
    esac
}

# Everything that a person has to do when the machine cannot be set up from here.
tell_and_stop() { # $*: missing parts
    say "missing: $*"
    if is_debian_12; then
        say "Installing needs root, and you are $(id -un) without passwordless sudo. As root, run once:"
        packages=$(debian_packages "$@")
        case " $* " in
        # core for the kernel's target comes from no package.
        *" target "*)
            say "    make -C '$PWD' setup"
            say "It installs with apt-get: ${packages:-nothing}"
            say "and puts core and alloc for $target, built from source, into /usr/lib/rustlib"
            ;;
        *) say "    apt-get update && apt-get install --no-install-recommends $packages" ;;
        esac
        exit 1
    fi
    system=$( (. /etc/os-release && echo "$PRETTY_NAME") 2>/dev/null || uname -s)
    say "This is $system; only Debian 12 is set up automatically. Install these and run it again:"
    say "    Rust     rustup, which fetches $release as rust-toolchain.toml says, given a network"
    say "    Debian   apt-get install gcc libc6-dev ca-certificates qemu-system-x86 ovmf     (Ubuntu: the same)"
    say "    Fedora   dnf install gcc qemu-system-x86-core edk2-ovmf"
    say "    Arch     pacman -S gcc qemu-system-x86 edk2-ovmf"
    say "    macOS    xcode-select --install; brew install qemu     (brings the UEFI firmware)"
    exit 1
}

# --- the whole of it ---------------------------------------------------------------------------------------------

link_toolchain() {
    link=$rustup_home/toolchains/$release-$(echo "$version" | sed -n 's/^host: //p')
    case $bin in
    "$rustup_home"/*) say "rustup has Rust $release already" && return ;;
    esac
    mkdir -p "$rustup_home/toolchains"
    ln -s "$sysroot" "$link"
    say "linked $link -> $sysroot; \`rm\` that link to undo it"
}

began=$(date +%s)
did_something=
missing_toolchain=
find_toolchain || missing_toolchain=$missing
find_rest
if [ -n "$missing_toolchain$rest" ]; then
    did_something=yes
    prepare_steps
    can_install=
    if is_debian_12 && find_root; then can_install=yes; fi
    # rustup first, except where /usr/bin has a compiler of the release that Debian's packages can complete.
    case $missing_toolchain:$can_install in
    : | " "*:yes) ;;
    *) if has_rustup && install_with_rustup && find_toolchain; then missing_toolchain=; fi ;;
    esac
    if [ -n "$missing_toolchain$rest" ]; then
        [ -n "$can_install" ] || tell_and_stop $missing_toolchain $rest
        install_with_apt $missing_toolchain $rest
        if [ -n "$missing_toolchain" ]; then complete_debian; fi
    fi
    find_toolchain || stop "still missing after set-up:$missing"
    find_rest
    [ -z "$rest" ] || stop "still missing after set-up:$rest"
fi

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
    PATH=$bin:$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin exec "$@"
    ;;
esac
