# shellcheck shell=bash
# The wires. A bridge in the control plane's namespace is the switch; this host
# has one cable to it (interface pliantI), every node has one. Nothing is
# forwarded or translated to the outside, and no setting of this host changes.

# What is not there (a machine that is down) must be an error at once, and
# never be looked for outside: less preferred routes that lead nowhere.
dead_ends() { # replace|del
    local net
    for net in "$MACHINE_NET" "$POD_NET" "$SERVICE_NET"; do
        ip route "$1" unreachable "$net" metric 9999
    done
}

# Hardware addresses stay the same, as those of real machines do: the others
# would go on sending to the old one for half a minute. (A bridge without one
# of its own has that of a port, and another when the port goes.)
hardware() { printf '02:00:c6:12:%02x:%02x' "$INDEX" "$1"; } # LAST_BYTE

switch_connect() {
    local pid
    pid=$(machine_pid control)
    on_network control ip link add br0 address "$(hardware 2)" type bridge
    on_network control ip addr add "$CONTROL_IP/24" dev br0
    on_network control ip link set br0 up
    # What crosses the switch is not the control plane's to filter.
    on_network control sysctl -qw net.bridge.bridge-nf-call-iptables=0
    ip link add "$LINK" type veth peer name host netns "$pid"
    ip link set "$LINK" alias "PliantDB testbed $NAME"
    on_network control ip link set host master br0 up
    ip addr add "$HOST_IP/24" dev "$LINK"
    ip link set "$LINK" up
}

node_connected() { on_network control ip link show "node$1"; } >/dev/null 2>&1 # N

node_connect() { # N
    local n=$1 other pid
    pid=$(machine_pid "node$n")
    on_network control ip link add "node$n" type veth peer name eth0 address "$(hardware $((10 + n)))" netns "$pid"
    on_network control ip link set "node$n" master br0 up
    on_network "node$n" ip addr add "$(node_ip "$n")/24" dev eth0
    on_network "node$n" ip link set eth0 up
    on_network "node$n" sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
    # No way out, but Service addresses need some route before they are translated.
    on_network "node$n" ip route replace "$SERVICE_NET" dev eth0
    for ((other = 1; other <= MAX_NODES; other++)); do
        ((other == n)) ||
            on_network "node$n" ip route replace "$(node_pods "$other")" via "$(node_ip "$other")"
    done
    ip route replace "$(node_pods "$n")" via "$(node_ip "$n")"
    on_network control ip route replace "$(node_pods "$n")" via "$(node_ip "$n")"
}

node_reachable() { # N: runs, and its cable is in
    machine_alive "node$1" && [[ $(on_network control ip link show "node$1" 2>/dev/null) == *[\<,]UP[,\>]* ]]
}

service_route() { ip route show exact "$SERVICE_NET" type unicast; }

# Service addresses lead to one living node, whose kube-proxy passes them on.
# Stays with the present node as long as it lives.
route_services() {
    local n now gateway=
    now=$(service_route)
    for ((n = NODES; n >= 1; n--)); do
        node_reachable "$n" || continue
        gateway=$(node_ip "$n")
        [[ $now != *" via $gateway "* ]] || return 0
    done
    if [[ -n $gateway ]]; then
        ip route replace "$SERVICE_NET" via "$gateway"
        on_network control ip route replace "$SERVICE_NET" via "$gateway"
    elif [[ -n $now ]]; then
        ip route del "$SERVICE_NET" dev "$LINK"
        on_network control ip route del "$SERVICE_NET"
    fi
}
