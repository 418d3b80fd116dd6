# shellcheck shell=bash
# How the commands speak: what is running, and how long it has taken so far.

TESTBED=${PLIANT_TESTBED:-pliant}

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }

# A command that fails inside $(…) ends that too; bash would otherwise go on there.
shopt -s inherit_errexit

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# stage NAME COMMAND...: runs the command in a shell of its own, in which any failure ends it. Call it as a
# plain statement: bash looks over failures inside everything that stands before `||`, `&&` or after `if`.
stage() {
    local name=$1 status
    shift
    say "$name"
    set +e
    (
        set -e
        "$@"
    )
    status=$?
    set -e
    ((status == 0)) || fail "$name failed: see above"
}
