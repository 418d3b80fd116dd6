# shellcheck shell=bash
# Each machine has a cgroup: the kubelet's root, and a leaf `system` for the
# machine's own processes. cgroup v1 (one tree per controller, perhaps an empty
# v2 tree beside them) and v2 alone.

cgroup_v2() { [[ $(stat -fc %T /sys/fs/cgroup) == cgroup2fs ]]; }

cgroup_trees() {
    if cgroup_v2; then
        echo /sys/fs/cgroup
    else
        awk '$2 ~ "^/sys/fs/cgroup/" && $3 ~ /^cgroup2?$/ { print $2 }' /proc/mounts
    fi
}

cgroup_create() { # MACHINE
    local tree path part controller
    for tree in $(cgroup_trees); do
        path=$tree
        for part in "$CGROUP" "$1" system; do
            # v2: children get a controller only when their parent hands it on.
            # Not every one can be (the kubelet names what it misses).
            for controller in $(cat "$path/cgroup.controllers" 2>/dev/null); do
                { echo "+$controller" >"$path/cgroup.subtree_control"; } 2>/dev/null || true
            done
            mkdir -p "$path/$part"
            # v1: a new cpuset is empty, and nothing may run in an empty one.
            if [[ -e $path/cpuset.cpus && -e $path/cpuset.mems ]] && ! cgroup_v2; then
                cat "$path/cpuset.cpus" >"$path/$part/cpuset.cpus"
                cat "$path/cpuset.mems" >"$path/$part/cpuset.mems"
            fi
            path+=/$part
        done
    done
}

# Moves the calling shell (and what it starts) into MACHINE's leaf.
cgroup_join() { # MACHINE
    local tree
    for tree in $(cgroup_trees); do
        echo "$BASHPID" >"$tree/$CGROUP/$1/system/cgroup.procs"
    done
}

cgroup_pids() { # [MACHINE]
    local tree
    for tree in $(cgroup_trees); do
        [[ ! -d $tree/$CGROUP/${1:-} ]] || find "$tree/$CGROUP/${1:-}" -name cgroup.procs -exec cat {} + 2>/dev/null
    done | sort -u
}

# Ends what is left in MACHINE's cgroup and removes it; nothing when it is gone.
cgroup_remove() { # [MACHINE]
    local pid tree tries
    for ((tries = 0; tries < 50; tries++)); do
        for pid in $(cgroup_pids "${1:-}"); do
            kill -9 "$pid" 2>/dev/null || true
        done
        for tree in $(cgroup_trees); do
            [[ ! -d $tree/$CGROUP/${1:-} ]] || find "$tree/$CGROUP/${1:-}" -depth -type d -exec rmdir {} + 2>/dev/null || true
        done
        cgroup_exists "${1:-}" || return 0
        sleep 0.1
    done
    fail "cgroup $CGROUP/${1:-} cannot be removed; processes in it: $(cgroup_pids "${1:-}" | tr '\n' ' ')"
}

cgroup_exists() { # [MACHINE]
    local tree
    for tree in $(cgroup_trees); do
        [[ ! -d $tree/$CGROUP/${1:-} ]] || return 0
    done
    return 1
}
