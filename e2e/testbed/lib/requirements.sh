# shellcheck shell=bash
# What the machine must bring: root, Debian packages, Go, kernel features.

# command:package, for everything that a Debian 12 may lack.
TESTBED_TOOLS=(
    containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins
    conntrack:conntrack iptables:iptables ip:iproute2 openssl:openssl jq:jq
    unshare:util-linux sysctl:procps modprobe:kmod
    buildah:buildah mmdebstrap:mmdebstrap
)

need_root() {
    [[ $(id -u) == 0 ]] || fail "'$1' makes namespaces and cgroups: run it as root"
}

need_go() {
    command -v go >/dev/null || fail "Go is missing: install Go 1.26 or newer and put it in PATH"
    local have
    have=$(go env GOVERSION)
    [[ $(printf '%s\n' go1.26 "$have" | sort -V | head -1) == go1.26 ]] ||
        fail "Go 1.26 or newer is needed, this is $have"
}

need_kernel() {
    # Harmless where they are built in or loaded already; what counts is the check below.
    modprobe -qa br_netfilter overlay veth bridge nf_conntrack nf_tables ip_tables xt_conntrack 2>/dev/null || true
    [[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]] ||
        fail "the kernel module br_netfilter is missing: Services would not work"
    grep -qw overlay /proc/filesystems || fail "the kernel lacks overlayfs: containers could not start"
    unshare --mount --net --pid --fork true 2>/dev/null ||
        fail "may not make namespaces here (unshare failed): CAP_SYS_ADMIN is needed"
    # Hidden inside the nodes by mounts of their own (lib/init.sh).
    case $CACHE/ in /run/* | /var/run/* | /var/lib/* | /var/log/* | /proc/* | /sys/*)
        fail "the cache is at $CACHE, which the nodes cannot see: set PLIANT_CACHE to a folder elsewhere" ;;
    esac
    local instances
    instances=$(cat /proc/sys/fs/inotify/max_user_instances)
    ((instances >= 128)) || fail "fs.inotify.max_user_instances is $instances: set it to 512 (sysctl -w)"
}
