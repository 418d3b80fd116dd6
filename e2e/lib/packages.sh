# shellcheck shell=bash
# Debian packages that are missing.

# need_packages COMMAND:PACKAGE...: installs the packages whose command (or file) is missing.
need_packages() {
    local pair missing=() log
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || [[ -e ${pair%%:*} ]] || missing+=("${pair#*:}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || fail "missing, and this is no Debian to install them on: ${missing[*]}"
    [[ $(id -u) == 0 ]] || fail "missing: ${missing[*]}. Run this as root, or first: sudo apt-get install ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    log=$(mktemp)
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "could not install: ${missing[*]} (the end of $log is above)"
    fi
    rm -f "$log"
}
