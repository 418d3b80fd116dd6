# shellcheck shell=bash
# A testbed's name stands for an index; from it follow all names and addresses.
#
# 198.18.0.0/15 is set aside for test benches (RFC 2544): no real network uses it.
#   198.18.I.0/24            machines: .1 this host, .2 control plane, .10+N node N
#   198.18.(64+4*I).0/22     Services
#   198.19.(16*I).0/20       pods, a /24 per node

MAX_BEDS=16

identity() {
    [[ $NAME =~ ^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
        fail "'$NAME' is no name for a testbed: 1 to 32 of a-z, 0-9 and -"
    STATE=$BEDS/$NAME
    [[ -f $STATE/index ]] || return 1
    INDEX=$(<"$STATE/index")
    LINK=pliant$INDEX
    CGROUP=pliant-testbed-$INDEX
    MACHINE_NET=198.18.$INDEX.0/24
    HOST_IP=198.18.$INDEX.1
    CONTROL_IP=198.18.$INDEX.2
    SERVICE_NET=198.18.$((64 + 4 * INDEX)).0/22
    SERVICE_API=198.18.$((64 + 4 * INDEX)).1
    POD_NET=198.19.$((16 * INDEX)).0/20
    KUBECONFIG=$STATE/kubeconfig
    NODES=$(cat "$STATE/nodes" 2>/dev/null || echo 0)
}

need_bed() { identity || fail "there is no testbed $NAME: start it with 'testbed --name $NAME up'"; }

node_ip() { echo "198.18.$INDEX.$((10 + $1))"; }
node_pods() { echo "198.19.$((16 * INDEX + $1)).0/24"; }

# Only one command at a time changes a testbed. The lock's file lies outside
# the state, which `down` deletes. Machines must not inherit descriptor 9.
lock_testbed() {
    mkdir -p "$BEDS/.locks"
    exec 9>"$BEDS/.locks/$NAME"
    flock -n 9 || { say "another command works on testbed $NAME: waiting for it" && flock 9; }
}

allocate_index() {
    identity && return
    mkdir -p "$BEDS/.locks"
    exec 7>"$BEDS/.locks/.indexes"
    flock 7
    local i used
    used=" $({ cat "$BEDS"/*/index 2>/dev/null || true; } | tr '\n' ' ') "
    for ((i = 0; i < MAX_BEDS; i++)); do
        [[ $used == *" $i "* ]] && continue
        # Taken by somebody with another cache folder, or by a real network.
        ip link show "pliant$i" >/dev/null 2>&1 && continue
        [[ -z $(ip route show to root "198.18.$i.0/24") ]] || continue
        echo "$i" | write_file "$STATE/index"
        break
    done
    exec 7>&-
    identity || fail "all $MAX_BEDS testbeds are in use (see $BEDS): end one with 'testbed --name NAME down'"
}
