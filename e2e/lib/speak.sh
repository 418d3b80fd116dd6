# shellcheck shell=bash
# How the commands speak: what is running, and how long it has taken so far.

TESTBED=${PLIANT_TESTBED:-pliant}

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}
