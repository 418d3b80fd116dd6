# shellcheck shell=bash
# Where things live, and how to wait for them.

CACHE=${PLIANT_CACHE:-$HOME/.cache/pliantdb}
BUILDS=$CACHE/testbed
BEDS=$CACHE/testbeds
MAX_NODES=15 # what a testbed's pod network has room for

export LC_ALL=C # the order of files and the words of tools, the same everywhere

# wait_for SECONDS WHAT LOG COMMAND...: until COMMAND succeeds. When it never
# does, the end of LOG and WHAT stand on the screen and the script ends.
wait_for() {
    local limit=$1 what=$2 log=$3 began=$SECONDS told=$SECONDS
    shift 3
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS - began >= limit)); then
            say "gave up after ${limit} s: $what"
            if [[ -s $log ]]; then
                printf -- '--- the end of %s:\n' "$log" >&2
                tail -n 15 "$log" >&2
                printf -- '---\n' >&2
            fi
            fail "$what did not happen; look at the log above, then try 'testbed --name $NAME down' and 'up' again"
        fi
        if ((SECONDS - told >= 10)); then
            told=$SECONDS
            say "still waiting: $what"
        fi
        sleep 0.2
    done
}

# write_file FILE: standard input becomes FILE, at once or not at all.
write_file() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.new"
    mv "$1.new" "$1"
}
