#!/usr/bin/env bash
# The first process of a machine: prepares its mounts, then keeps its services
# running, each restarted a second after it ends. It must itself never end.
#   init.sh MACHINE_DIR LOG_DIR
set -u
dir=$1 logs=$2
hostname "$(basename "$dir")"

# Volumes that the kubelet mounts later must appear in containers too.
mount --make-rshared /
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/sysctl

# A node's disk: everything that survives its power cut, at the usual places.
if [[ -d $dir/disk ]]; then
    mkdir -p "$dir/disk/lib" "$dir/disk/log"
    mount --bind "$dir/disk/lib" /var/lib
    mount --bind "$dir/disk/log" /var/log
fi

# The kubelet tunes the kernel (panic on oops, overcommit, …). These are not the
# node's but the whole computer's: it gets files of its own to write to.
for knob in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    [[ -e /proc/sys/$knob ]] || continue
    cat "/proc/sys/$knob" >"/run/sysctl/${knob//\//.}"
    mount --bind "/run/sysctl/${knob//\//.}" "/proc/sys/$knob"
done
ip link set lo up

touch "$dir/booted"
until [[ -e $dir/online ]]; do sleep 0.05; done # the network is made from outside

machine=$(basename "$dir")
keep_running() { # SERVICE
    exec >>"$logs/$machine-$(basename "$1").log" 2>&1 </dev/null
    while :; do
        printf '=== %(%F %T)T starting\n' -1
        "$1"
        printf '=== %(%F %T)T ended with status %s, starts again in 1 s\n' -1 $?
        sleep 1
    done
}
for file in "$dir"/services/*; do
    keep_running "$file" &
done
while :; do wait; sleep 1; done
