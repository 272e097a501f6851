# The part of boot/setup.sh that unpacks what is missing from Debian's packages, for this checkout alone. Not run by itself.
#
# apt resolves and fetches, from the machine's own sources and with its own signatures, but with a state of its own in
# which nothing is installed: what is installed, held or broken on the machine cannot be in the way. Each part gets a
# directory target/tools/PART with `root`, the packages' files, and `bin`, links to the programs that are wanted. It is made
# as PART.new and renamed when it is complete and has been tried: a directory that is there can be believed.
#
# The machine's own libc and its loader run all of it. Programs find their other libraries by a path relative to
# themselves that is written into them (DT_RPATH, which libraries inherit), so a checkout can be moved, and no variable is
# handed on to programs of the machine that they start.
# shellcheck shell=sh
# shellcheck disable=SC2154,SC2086,SC2046,SC2016,SC1091,SC2015 # variables of boot/setup.sh; lists are words; formats are apt's
apt=$tools/apt
security=

# The lock of all that writes to target/tools; a process that is killed gives it up.
lock() {
    exec 9>"$tools/lock"
    command -v flock >/dev/null || return 0
    flock -n 9 || { say "another set-up is at work in this checkout; waiting for it" && flock 9; }
}

unlock() { exec 9>&-; }

fetch() { # $*: missing parts, in an order in which each finds what it needs
    trap 'rm -rf "$log" "$apt" "$tools"/*.new "$tools"/*.old' EXIT
    step "reading the package lists of apt's sources" "about 5 s" read_lists || stop "apt-get cannot read its sources"
    case " $* " in
    *" rust "*) ensure_release ;;
    esac
    for part; do
        step "getting $(packages "$part" | xargs) for target/tools/$part" "about $(seconds "$part") s" make_part "$part" ||
            { repeat_complaints && stop "there is no $part yet; nothing outside of this checkout was changed"; }
        look
    done
    rm -rf "$apt"
}

packages() {
    case $1 in
    rust)
        echo rustc-web cargo-web rust-web-src rustfmt-web rust-web-clippy
        # LLVM's linker and tools are those of the LLVM that the compiler is built on.
        apt_cache depends rust-web-llvm | sed -n 's/.*Depends: llvm-\([0-9]*\)$/llvm-\1 lld-\1/p'
        ;;
    cc) echo gcc libc6-dev ;;
    certificates) echo ca-certificates ;;
    grub) echo grub-pc-bin grub-common xorriso ;;
    qemu_riscv64) echo qemu-system-misc opensbi ;;
    qemu_aarch64) echo qemu-system-arm ;;
    qemu) echo qemu-system-x86 && [ "${BIFOLIO_DISPLAY_WINDOW:-}" != 1 ] || echo qemu-system-gui ;;
    ovmf) echo ovmf ;;
    chromium) echo chromium-headless-shell fonts-dejavu-core ;;
    esac
}

seconds() {
    case $1 in
    rust) echo 90 ;;
    *) echo 10 ;;
    esac
}

# --- apt ---------------------------------------------------------------------------------------------------------

# What they say is read, so they say it in English.
apt_get() { LC_ALL=C apt-get -c "$apt/conf" "$@"; }
apt_cache() { LC_ALL=C apt-cache -c "$apt/conf" "$@" 2>/dev/null; }

# Reads the lists of all sources. A broken source that is not needed does not matter, so whether there is anything by the
# name of the packages is what counts.
read_lists() {
    configure || return
    if apt_get update 2>"$apt/complaints"; then return; fi
    cat "$apt/complaints"
    apt_cache show ovmf >/dev/null
}

# What apt had to say about its sources, once it turns out that they do not have everything.
repeat_complaints() { sed 's/^/    /' "$apt/complaints" >&2; }

# The file with options is read last, after the machine's own: it undoes those that would act outside of the checkout or
# fetch what nobody reads.
configure() {
    rm -rf "$apt" && mkdir -p "$apt/state" "$apt/cache" "$apt/sources" || return
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -r "$list" ] || cp "$list" "$apt/sources/$(echo "$list" | tr / _)" || return
    done
    if [ -n "$security" ]; then echo "$security" >"$apt/sources/setup-security.list"; fi
    # Where the security suite has moved on to another release and the main one has not, this finds the one that fits.
    printf 'Package: rustc-web cargo-web rust-web-* rustfmt-web libstd-rust-web-*\nPin: version %s.*\nPin-Priority: 1001\n\n' \
        "$series" >"$apt/preferences"
    [ ! -r /etc/apt/preferences ] || cat /etc/apt/preferences >>"$apt/preferences"
    claim_installed || return
    cat >"$apt/conf" <<CONF
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Cache::archives "archives";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt/sources";
Dir::Etc::Preferences "$apt/preferences";
Acquire::AllowInsecureRepositories "false";
Acquire::GzipIndexes "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
#clear APT::Update;
#clear AptCli::Hooks;
#clear DPkg;
CONF
}

# What apt is to take for installed: the libc that will run it all, so that nothing is fetched which needs a newer one, and
# for each part but cc that part. `hold` keeps apt from fetching another instead.
claim_installed() {
    libc=$(getconf GNU_LIBC_VERSION) || return
    : >"$apt/nothing-installed"
    for package in libc6=${libc#* }-99 libc6-dev=99:1 gcc=99:1 binutils=99:1; do
        printf 'Package: %s\nStatus: hold ok installed\nArchitecture: %s\nMulti-Arch: same\nMaintainer: none\nVersion: %s\n' \
            ${package%=*} "$(dpkg --print-architecture)" ${package#*=}
        case $package in
        libc6-dev=*) echo 'Provides: libc-dev' ;;
        gcc=*) echo 'Provides: c-compiler' ;;
        esac
        echo
    done >"$apt/status"
}

# Makes sure of the compiler before anything is fetched. Its suite need not be among the sources of a new machine.
ensure_release() {
    offered=$(offered_release)
    case $offered in
    "$series".*) return ;;
    esac
    if [ -z "$security" ] && add_security_suite; then
        step "reading those of the security suite beside them" "about 5 s" read_lists || stop "apt-get cannot read it"
        ensure_release
        return
    fi
    repeat_complaints
    system=$( (. /etc/os-release && echo "$PRETTY_NAME") 2>/dev/null)
    say "Bifolio is pinned to Rust $release, and this system ($system) offers ${offered:-none}, as rustc-web. Nothing was changed."
    stop "Add a suite that has it to apt's sources (Debian: the release's security suite), or install rustup, and run this again."
}

offered_release() { apt_cache policy rustc-web | sed -n 's/^ *Candidate: //p' | grep -v '^(none)$'; }

# Leaves in $security the security suite beside Debian's own, on the same server and with the same keys, if there is one
# to be beside.
add_security_suite() {
    codename=$( (. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") 2>/dev/null) || return
    security=$(apt_get indextargets 'Created-By: Packages' --format '$(REPO_URI) $(RELEASE) $(SIGNED_BY)' |
        awk -v suite="$codename" '$2 == suite && $1 ~ /\/debian\/?$/ {
            sub("/debian/?$", "/debian-security", $1)
            if ($3 !~ /^\//) $3 = ""
            print "deb", ($3 == "" ? "" : "[signed-by=" $3 "]"), $1, suite "-security main"
            exit
        }')
    [ -n "$security" ]
}

# --- a part --------------------------------------------------------------------------------------------------------

make_part() { # PART
    rm -rf "$tools/$1.new" "$apt/cache/archives"
    mkdir -p "$tools/$1.new/bin" "$apt/cache/archives/partial" || return
    new=$(cd "$tools/$1.new" && pwd -P) root=$new/root
    download "$1" &&
        unpack "$1" &&
        find_libraries &&
        "finish_$1" &&
        take_place "$1"
}

download() { # PART
    if [ "$1" = cc ]; then status=nothing-installed; else status=status; fi
    # patchelf writes the paths of libraries into programs.
    apt_get -o Dir::State::status="$apt/$status" install -y --download-only --no-install-recommends \
        $(packages "$1") patchelf
}

unpack() { # PART
    merge "$root" && { [ "$1" != cc ] || merge "$new/sysroot"; } || return
    for deb in "$apt"/cache/archives/*.deb; do
        name=${deb##*/}
        name=${name%%_*}
        echo "${deb##*/}" >>"$new/packages"
        case $1:$name in
        # What programs are linked with. The libc among it must not be found by the programs here, which run on another.
        cc:libc6 | cc:libc6-dev | cc:linux-libc-dev | cc:libcrypt* | cc:libnsl* | cc:libtirpc*) extract "$new/sysroot" ;;
        cc:libgcc-s1) extract "$new/sysroot" && extract "$root" ;;
        *) extract "$root" ;;
        esac && rm "$deb" || return
    done
}

# In Debian /bin, /lib and so on are links into /usr, which not every package knows and none brings.
merge() { # ROOT
    for directory in bin sbin lib lib64; do
        mkdir -p "$1/usr/$directory" && ln -s usr/$directory "$1/$directory" || return
    done
}

extract() { # ROOT; $deb
    # Of Rust's sources, what rustup's rust-src has as well: the library.
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$1" --keep-directory-symlink --no-same-owner --no-same-permissions \
        --no-wildcards-match-slash --exclude='./usr/src/rustc-*/src' --exclude='./usr/src/rustc-*/compiler' \
        --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale
}

# Sets $libraries, and corrects those of them that look for others in a place of their own, and would not look further.
find_libraries() {
    # Firmware for other processors has a directory of that kind too.
    libraries=$(find "$root"/usr/lib/*-linux-gnu* -maxdepth 1 -name 'lib*.so*' | head -n 1)
    libraries=${libraries%/*}
    find "$root/usr/lib" -name '*.so*' -type f | while read -r library; do
        if [ -n "$(patch_elf --print-rpath "$library" 2>/dev/null)" ]; then point_to_libraries "$library" || exit; fi
    done
}

patch_elf() { LD_LIBRARY_PATH=$libraries "$root/usr/bin/patchelf" "$@"; }

point_to_libraries() { # FILE
    up=$(dirname "${1#"$root"/}" | sed 's/[^/][^/]*/../g')
    own=$(patch_elf --print-rpath "$1" | sed "s#\(^\|:\)/#\1\$ORIGIN/$up/#g") # a place in /usr is one of the root's too
    patch_elf --force-rpath --set-rpath "${own:+$own:}\$ORIGIN/$up/${libraries#"$root"/}" "$1"
}

# Has these programs of the packages find their libraries.
settle() { # PROGRAM...
    for file; do
        point_to_libraries "$(readlink -f "$file")" || return
    done
}

take_place() { # PART
    rm -rf "$tools/$1.old"
    [ ! -e "$tools/$1" ] || mv "$tools/$1" "$tools/$1.old" || return
    mv "$new" "$tools/$1" && rm -rf "$tools/$1.old"
}

# --- what is particular to each --------------------------------------------------------------------------------------

finish_certificates() {
    rmdir "$new/bin"
    cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$new/bundle.crt"
}

finish_ovmf() { rmdir "$new/bin" && ovmf_in "$root"; }

# The fonts of the packages, for programs that draw text. They are few, and looked through anew each time.
name_fonts() { echo '<fontconfig><dir prefix="relative">usr/share/fonts</dir></fontconfig>' >"$root/fonts.conf"; }

finish_qemu() { finish_emulator x86_64 -nic user -device VGA; }
finish_qemu_riscv64() { finish_emulator riscv64 -machine virt -nic none; }
finish_qemu_aarch64() { finish_emulator aarch64 -machine virt -nic none; }

# Of this processor; with these arguments for its first start.
finish_emulator() { # PROCESSOR ARG...
    program=qemu-system-$1
    shift
    settle "$root/usr/bin/$program" || return
    name_fonts || return
    # Debian 12's looks for its data relative to itself, Debian 13's does not.
    wrap $program <<'QEMU' && qemu_starts "$@"
export QEMU_MODULE_DIR="$(echo "$root"/usr/lib/*-linux-gnu*/qemu)"
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_FILE="$root/fonts.conf" # without a font its window is 32767 pixels high
exec "$root/usr/bin/${0##*/}" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"
QEMU
}

# It draws text in the fonts that it came with, so a picture is the same whatever the machine has.
finish_chromium() {
    settle "$root/usr/lib/chromium/chromium-headless-shell" || return
    name_fonts || return
    wrap chromium-headless-shell <<'CHROMIUM' && "$new/bin/chromium-headless-shell" --no-sandbox --dump-dom 'data:text/html,it%20runs' | grep 'it runs'
export FONTCONFIG_FILE="$root/fonts.conf"
exec "$root/usr/lib/chromium/chromium-headless-shell" "$@"
CHROMIUM
}

finish_grub() {
    settle "$root/usr/bin/grub-mkrescue" "$root/usr/bin/xorriso" || return
    wrap grub-mkrescue <<'GRUB' && "$new/bin/grub-mkrescue" --version
export PATH="$root/usr/bin:$PATH"
exec "$root/usr/bin/grub-mkrescue" --directory="$root/usr/lib/grub/i386-pc" "$@"
GRUB
}

# With a machine, so that firmware and the modules of devices are looked for.
qemu_starts() { # ARG...
    echo quit | "$new/bin/$program" -S -display none -monitor stdio "$@"
}

# wrap PROGRAM <TEXT: makes a program of TEXT, in which $root is the packages' files wherever the checkout is.
wrap() {
    { printf '#!/bin/sh\nroot=${0%%/*}/../root\n' && cat; } >"$new/bin/$1" && chmod +x "$new/bin/$1"
}

finish_cc() {
    settle "$root/usr/bin/gcc" "$root/usr/bin/as" "$root/usr/bin/ld" "$root/usr/bin/ar" \
        "$root"/usr/lib*/gcc/*/*/cc1 "$root"/usr/lib*/gcc/*/*/collect2 "$root"/usr/lib*/gcc/*/*/lto-wrapper || return
    ln -s ../root/usr/bin/ar "$new/bin/" && "$new/bin/ar" --version || return
    wrap cc <<'CC' && links "$new/bin/cc"
exec "$root/usr/bin/gcc" --sysroot="$root/../sysroot" -B"$root/usr/bin/" "$@"
CC
}

finish_rust() {
    for program in rustc rustdoc cargo rustfmt cargo-fmt cargo-clippy clippy-driver; do
        settle "$root/usr/bin/$program" && ln -s ../root/usr/bin/$program "$new/bin/" || return
    done
    inspect "$new/bin"
    case $lacking in
    rustc*) "$new/bin/rustc" -vV && return 1 ;; # why it does not run, or that it is another
    esac
    link_llvm_tools && build_cores && inspect "$new/bin" && [ -z "$lacking" ]
}

# Debian's compiler looks for LLVM's tools where Rust's own distribution has them.
link_llvm_tools() {
    mkdir -p "$llvm" || return
    place=$(echo "$root"/usr/lib/llvm-*/bin)
    for tool in lld llvm-objcopy llvm-objdump llvm-profdata llvm-cov; do
        settle "$place/$tool" && ln -sfn "../../..${place#"$root/usr/lib"}/$tool" "$llvm/$tool" || return
    done
    mv "$llvm/lld" "$llvm/rust-lld"
}

# What `rustup target add` would have fetched: core, alloc and compiler_builtins for each target, in the sysroot.
build_cores() {
    for target in $targets; do
        build_core || return
    done
}

build_core() {
    crate=$new/core home=$sysroot/lib/rustlib/$target
    mkdir -p "$crate/src" "$home/lib" || return
    printf '[package]\nname = "core-for-%s"\nedition = "2024"\n[workspace]\n[profile.release]\ndebug = 1\n' $target >"$crate/Cargo.toml"
    echo '#![no_std]' >"$crate/src/lib.rs"
    source=$sysroot/lib/rustlib/src/rust commit=$(echo "$version" | sed -n 's/^commit-hash: //p')
    # Flags of its own, instead of those of this repository's .cargo/config.toml, and paths as in rustup's build.
    # With bitcode, as rustup's has it: the explorer's page is optimised together with it when it is linked.
    # The crates that the library needs come with it, so no network is needed.
    separator=$(printf '\037')
    flags="-Cembed-bitcode=yes$separator--remap-path-prefix=$source=/rustc/$commit"
    flags="$flags$separator--remap-path-prefix=$(cd "$source" && pwd -P)=/rustc/$commit"
    (cd "$crate" && PATH=$new/bin:$PATH RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$crate/target CARGO_ENCODED_RUSTFLAGS="$flags" \
        cargo build --offline --release --target $target -Zbuild-std=core,alloc -Zbuild-std-features=compiler-builtins-mem \
        --config 'source.crates-io.replace-with="library"' --config "source.library.directory='$source/library/vendor'") || return
    for library in core alloc compiler_builtins; do
        cp "$crate/target/$target/release/deps/lib$library"-*.rlib "$home/lib/" || return
    done
    # What was built with another core does not go with this one, and cargo does not notice.
    rm -rf "${tools%/tools}/$target"
    core_by >"$home/built-by" && rm -rf "$crate"
}
