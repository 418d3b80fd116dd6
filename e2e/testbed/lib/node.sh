# shellcheck shell=bash
# A node: one machine with containerd, kubelet and kube-proxy.

node_start() { # N
    node_files "$1"
    machine_start "node$1"
    node_connect "$1"
    touch "$STATE/node$1/online"
}

node_files() { # N
    local n=$1 name=node$1 kube
    local dir=$STATE/$name
    kube=$(dirname "$(program kube kube)")
    mkdir -p "$dir/disk"
    certificate "$name" "system:node:$name" system:nodes "IP:$(node_ip "$n"),DNS:$name"
    kubeconfig "$name" >"$dir/kubelet.kubeconfig"
    kubeconfig proxy >"$dir/proxy.kubeconfig"
    echo "nameserver $CONTROL_IP" >"$dir/resolv.conf"
    node_containerd "$n" "$dir"
    node_kubelet "$name" "$dir" | write_file "$dir/kubelet.yaml"

    service "$name" containerd containerd --config "$dir/containerd.toml"
    BEFORE="$(printf '%q ' bash "$HERE/lib/import-images.sh" "$STATE/images" "$dir/disk/imported")" \
        service "$name" kubelet "$kube/kubelet" --config "$dir/kubelet.yaml" --kubeconfig "$dir/kubelet.kubeconfig" \
        --hostname-override "$name" --node-ip "$(node_ip "$n")" \
        --node-labels "topology.kubernetes.io/region=testbed,topology.kubernetes.io/zone=z$n"
    # The machine's connection table is not this node's to size.
    service "$name" kube-proxy "$kube/kube-proxy" --kubeconfig "$dir/proxy.kubeconfig" --hostname-override "$name" \
        --cluster-cidr "$POD_NET" --conntrack-max-per-core 0 \
        --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249
}

node_containerd() { # N DIR
    write_file "$2/cni/10-pods.conflist" <<EOT
{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "/run/cni-addresses",
        "ranges": [[{"subnet": "$(node_pods "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
EOT
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE no sandbox starts otherwise.
    write_file "$2/containerd.toml" <<EOT
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/pliantdb/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$2/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
EOT
}

node_kubelet() { # NAME DIR
    cat <<EOT
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {x509: {clientCAFile: "$STATE/pki/ca.crt"}, webhook: {enabled: true}, anonymous: {enabled: false}}
authorization: {mode: Webhook}
tlsCertFile: $STATE/pki/$1.crt
tlsPrivateKeyFile: $STATE/pki/$1.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [$CONTROL_IP]
clusterDomain: cluster.local
resolvConf: $2/resolv.conf
# cgroups: a root of its own, no systemd, and v1 is still fine
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/$1
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
# all nodes share one disk: none of them may evict for what the others use
evictionHard: {"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%"}
imageGCHighThresholdPercent: 100
volumePluginDir: /var/lib/kubelet/volume-plugins
# notice a dead node soon
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
EOT
}

node_ready() { # N
    [[ $(kubectl get node "node$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

node_command() { # stop|start|cut|heal N, or: exec N COMMAND...
    local what=${1:-} n=${2:-}
    if [[ ! $n =~ ^[0-9]{1,2}$ ]] || ((n < 1 || n > NODES)); then
        fail "node: give a number from 1 to $NODES"
    fi
    if [[ $what == start ]]; then
        ! machine_alive "node$n" || fail "node$n runs already"
        node_start "$n"
        route_services
        wait_for 60 "node$n becoming Ready" "$STATE/logs/node$n-kubelet.log" node_ready "$n"
        say "node$n is Ready"
        return
    fi
    machine_alive "node$n" || fail "node$n is switched off; 'testbed --name $NAME node start $n' starts it"
    case $what in
    stop)
        machine_kill "node$n"
        wait_for 10 "end of node$n's network" /dev/null node_disconnected "$n"
        route_services
        say "node$n is switched off; Kubernetes notices within 25 s"
        ;;
    cut)
        on_network control ip link set "node$n" down
        route_services
        say "node$n is cut off; Kubernetes notices within 25 s"
        ;;
    heal)
        on_network control ip link set "node$n" up
        route_services
        say "node$n is connected again"
        ;;
    exec) on_machine "node$n" "${@:3}" || exit ;;
    *) fail "node: stop, start, cut, heal or exec, not '$what'" ;;
    esac
}

node_disconnected() { ! node_connected "$1"; } # N
