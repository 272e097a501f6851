#!/bin/sh
# Checks the machine that `make run` was asked for, before anything is installed or built for it.
#
# Reads BIFOLIO_MEM, BIFOLIO_SMP, BIFOLIO_FIRMWARE, BIFOLIO_PARALLEL, BIFOLIO_WINDOW, BIFOLIO_GDB and BIFOLIO_TIMEOUT, which
# the Makefile sets from MEM=, SMP=, FIRMWARE=, PARALLEL=, DISPLAY_WINDOW=, GDB= and TIMEOUT=. The limits are those of QEMU and the firmware.
set -eu

wrong() {
    echo "make: $*" >&2
    exit 2
}

is_number() {
    case $1 in
    '' | *[!0-9]* | 0?* | ?????????*) return 1 ;;
    esac
}

case $BIFOLIO_FIRMWARE in
bios) least=24 ;;
uefi) least=48 ;;
*) wrong "FIRMWARE=$BIFOLIO_FIRMWARE: must be bios or uefi" ;;
esac

digits=${BIFOLIO_MEM%[KMGT]}
is_number "$digits" && [ "$digits" != "$BIFOLIO_MEM" ] ||
    wrong "MEM=$BIFOLIO_MEM: must be a whole number with a unit, K, M, G or T, such as 512M or 6G"
case $BIFOLIO_MEM in
*K) mib=$((digits / 1024)) ;;
*M) mib=$digits ;;
*G) mib=$((digits * 1024)) ;;
*T) mib=$((digits * 1024 * 1024)) ;;
esac
[ "$mib" -ge $least ] || wrong "MEM=$BIFOLIO_MEM: too little to boot; ${least}M is the least with FIRMWARE=$BIFOLIO_FIRMWARE"
[ "$mib" -le 4194304 ] || wrong "MEM=$BIFOLIO_MEM: too much; 4T is the most"

is_number "$BIFOLIO_SMP" && [ "$BIFOLIO_SMP" -ge 1 ] && [ "$BIFOLIO_SMP" -le 64 ] ||
    wrong "SMP=$BIFOLIO_SMP: must be a number of CPUs from 1 to 64"

case $BIFOLIO_TIMEOUT in
'') ;;
*) is_number "$BIFOLIO_TIMEOUT" && [ "$BIFOLIO_TIMEOUT" -ge 1 ] ||
    wrong "TIMEOUT=$BIFOLIO_TIMEOUT: must be a whole number of seconds, at least 1" ;;
esac

case $BIFOLIO_PARALLEL in '' | 0 | 1) ;; *) wrong "PARALLEL=$BIFOLIO_PARALLEL: must be 1 or 0" ;; esac
case $BIFOLIO_WINDOW in '' | 0 | 1) ;; *) wrong "DISPLAY_WINDOW=$BIFOLIO_WINDOW: must be 1 or 0" ;; esac
case $BIFOLIO_GDB in '' | 0 | 1) ;; *) wrong "GDB=$BIFOLIO_GDB: must be 1 or 0" ;; esac

if [ "$BIFOLIO_WINDOW" = 1 ] && [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    wrong "DISPLAY_WINDOW=1: there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)"
fi
