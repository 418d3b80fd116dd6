# shellcheck shell=bash
# A machine (`control`, `node1`, …) is a process that is the first of its own
# PID, network, mount, UTS and IPC namespaces. The end of that process ends every
# other in there and unmounts everything: a power cut, and nothing is left over.

process_started() { # PID: when, in the kernel's ticks
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The second field is the name in brackets and may hold spaces.
    read -ra stat <<<"${stat##*) }"
    [[ ${stat[0]} != [ZX] ]] || return 1 # dead, only its parent has not looked yet
    echo "${stat[19]}"
}

# The process that holds MACHINE's namespaces open, if it is still the one that
# we started: a number alone may be another's after a crash or a reboot.
machine_holder() { # MACHINE
    local pid started boot
    [[ -f $STATE/$1/holder ]] || return 1
    read -r pid started boot _ <"$STATE/$1/holder"
    [[ $boot == "$(</proc/sys/kernel/random/boot_id)" && $(process_started "$pid") == "$started" ]] || return 1
    echo "$pid"
}

machine_alive() { machine_pid "$1" >/dev/null; } # MACHINE

machine_pid() { # MACHINE: its first process, as seen from here
    local first
    machine_holder "$1" >/dev/null || return 1
    read -r _ _ _ first <"$STATE/$1/holder"
    [[ -n $first ]] && echo "$first"
}

# service MACHINE NAME COMMAND...: what the machine runs; $BEFORE is done first.
service() {
    local file=$STATE/$1/services/$2
    shift 2
    { printf '#!/usr/bin/env bash\n%s\nexec' "${BEFORE:-}" && printf ' %q' "$@" && echo; } | write_file "$file"
    chmod +x "$file"
}

machine_start() { # MACHINE
    local dir=$STATE/$1 pid
    mkdir -p "$STATE/logs"
    rm -f "$dir/online" "$dir/booted"
    cgroup_create "$1"
    (
        exec 7>&- 8>&- 9>&- # a lock is not for the machine to hold
        cgroup_join "$1"
        exec setsid unshare --mount --uts --ipc --net --pid --fork --kill-child=KILL --mount-proc \
            bash "$HERE/lib/init.sh" "$dir" "$STATE/logs"
    ) </dev/null >"$STATE/logs/$1.log" 2>&1 &
    pid=$!
    disown "$pid"
    pid="$pid $(process_started "$pid") $(</proc/sys/kernel/random/boot_id)"
    echo "$pid" >"$dir/holder"
    # Its namespaces are there only once its first process says so.
    wait_for 10 "start of machine $1" "$STATE/logs/$1.log" test -e "$dir/booted"
    echo "$pid $(pgrep -P "${pid%% *}")" >"$dir/holder"
}

machine_kill() { # MACHINE
    local pid
    # The first process first: whatever the other does, this ends them all.
    if pid=$(machine_pid "$1"); then kill -9 "$pid" 2>/dev/null || true; fi
    if pid=$(machine_holder "$1"); then kill -9 "$pid" 2>/dev/null || true; fi
    cgroup_remove "$1"
    rm -f "$STATE/$1/holder" "$STATE/$1/booted"
}

# Runs a command in the machine's network only, with this host's files.
on_network() { # MACHINE COMMAND...
    local pid
    pid=$(machine_pid "$1") || return 1
    shift
    nsenter --target "$pid" --net "$@"
}

# Runs a command as if on the machine.
on_machine() { # MACHINE COMMAND...
    local pid
    pid=$(machine_pid "$1") || return 1
    shift
    nsenter --target "$pid" --net --mount --pid --uts --ipc -- "$@"
}
