# shellcheck shell=bash
# The whole testbed: up, down, status.

kubectl() { KUBECONFIG=$KUBECONFIG "$(dirname "$(program kube kube)")/kubectl" --request-timeout=10s "$@"; }

bed_up() { # [--nodes N]
    local wanted=0 n
    while (($#)); do
        case $1 in
        --nodes) wanted=${2:-} && shift 2 ;;
        --nodes=*) wanted=${1#*=} && shift ;;
        *) fail "up: unknown argument $1" ;;
        esac
    done
    [[ $wanted =~ ^([0-9]|1[0-5])$ ]] || fail "up: --nodes takes a number from 1 to $MAX_NODES"
    need_root up
    need_packages "${TESTBED_TOOLS[@]}"
    need_kernel
    build_all
    identity || true # checks the name
    lock_testbed
    allocate_index
    ((wanted || NODES)) || wanted=3
    if ((NODES > wanted && wanted)); then say "it has $NODES nodes already and keeps them"; fi
    if ((wanted > NODES)); then NODES=$wanted && echo "$NODES" | write_file "$STATE/nodes"; fi

    dead_ends replace
    pki_create
    local archive
    for archive in "${IMAGES[@]}"; do image_remember "$archive"; done
    if ! machine_alive control || [[ ! -e $STATE/control/online ]]; then
        machine_kill control
        control_start
    fi
    control_ready
    for ((n = 1; n <= NODES; n++)); do
        if machine_alive "node$n" && [[ -e $STATE/node$n/online ]]; then
            on_network control ip link set "node$n" up
            images_import "$n"
        else
            say "starting node$n"
            machine_kill "node$n"
            node_start "$n"
        fi
    done
    route_services
    wait_for 30 "start of DNS" "$STATE/logs/control-coredns.log" dns_ready
    for ((n = 1; n <= NODES; n++)); do
        wait_for 90 "node$n becoming Ready" "$STATE/logs/node$n-kubelet.log" node_ready "$n"
    done
    say "testbed $NAME is up: $NODES nodes, KUBECONFIG=$KUBECONFIG"
}

bed_down() {
    need_root down
    identity || { say "there is no testbed $NAME" && return; }
    lock_testbed
    say "ending testbed $NAME"
    local dir mount
    for dir in "$STATE"/node* "$STATE/control"; do
        [[ ! -d $dir ]] || machine_kill "$(basename "$dir")"
    done
    cgroup_remove
    # With the namespace of its other end the cable disappears, and the routes with it.
    ! ip link show "$LINK" >/dev/null 2>&1 || ip link del "$LINK" 2>/dev/null || true
    dead_ends del 2>/dev/null || true
    # None is expected here: all were made in namespaces that are gone.
    while read -r mount; do
        umount -l "$mount" || fail "cannot unmount $mount"
    done < <(awk -v state="$STATE/" 'index($5, state) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    rm -rf --one-file-system "$STATE"
    say "testbed $NAME is gone"
}

bed_status() {
    identity || { echo "there is no testbed $NAME"; return 1; }
    local n log
    printf 'testbed     %s (number %s)\n' "$NAME" "$INDEX"
    printf 'kubeconfig  %s\n' "$KUBECONFIG"
    printf 'API server  https://%s:6443, DNS %s, this host %s on %s\n' "$CONTROL_IP" "$CONTROL_IP" "$HOST_IP" "$LINK"
    printf 'pods        %s, reached directly\n' "$POD_NET"
    printf 'Services    %s, reached %s\n' "$SERVICE_NET" "$(service_route | awk '{print $2, $3; f=1} END {if (!f) print "not at all: no living node"}')"
    printf 'logs        %s/logs\n' "$STATE"
    printf 'audit log   %s/audit.log\n' "$STATE"
    printf '%-11s %s\n' control "$(machine_alive control && echo "running, process $(machine_pid control)" || echo stopped)"
    for ((n = 1; n <= NODES; n++)); do
        printf '%-11s %s, %s\n' "node$n" "$(node_ip "$n")" "$(
            if ! machine_alive "node$n"; then
                echo "switched off"
            elif [[ $(id -u) != 0 ]]; then
                echo "running"
            elif ! node_reachable "$n"; then
                echo "cut off"
            else
                echo "running, process $(machine_pid "node$n")"
            fi
        )"
    done
    ! machine_alive control || kubectl get nodes || true
    for log in "$STATE"/logs/*-*.log; do # what is not as calm as it should be
        n=$(grep -c '^=== .* starts again' "$log" 2>/dev/null) || continue
        printf 'restarted   %s times: %s\n' "$n" "$log"
    done
}
