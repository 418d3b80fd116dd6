# shellcheck shell=bash
# The control plane: one machine with etcd, API server, controllers, scheduler,
# volume provisioner and DNS.

control_start() {
    control_services
    say "starting the control plane"
    machine_start control
    switch_connect
    local n
    for ((n = 1; n <= NODES; n++)); do # whose cables hung on the switch that died
        ! machine_alive "node$n" || node_connect "$n"
    done
    touch "$STATE/control/online"
}

control_services() {
    local pki=$STATE/pki conf=$STATE/control kube
    kube=$(dirname "$(program kube kube)")
    mkdir -p "$conf"
    kubeconfig controllers >"$conf/controllers.kubeconfig"
    kubeconfig scheduler >"$conf/scheduler.kubeconfig"
    cp "$HERE/manifests/audit-policy.yaml" "$conf/audit-policy.yaml"
    write_file "$conf/Corefile" <<EOT
.:53 {
    bind $CONTROL_IP
    errors
    ready 127.0.0.1:8181
    loadbalance
    kubernetes cluster.local in-addr.arpa {
        kubeconfig $KUBECONFIG $NAME
        pods insecure
        ttl 5
    }
}
EOT
    # It is a test cluster: a lost etcd write after a crash of the host is no loss.
    service control etcd "$kube/etcd" --name control --data-dir "$conf/etcd" --unsafe-no-fsync \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
    service control kube-apiserver "$kube/kube-apiserver" \
        --etcd-servers http://127.0.0.1:2379 --advertise-address "$CONTROL_IP" --secure-port 6443 \
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
        --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
        --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/service-accounts.key" \
        --service-account-signing-key-file "$pki/service-accounts.key" \
        --service-cluster-ip-range "$SERVICE_NET" --authorization-mode Node,RBAC --allow-privileged \
        --enable-admission-plugins NodeRestriction \
        --audit-policy-file "$conf/audit-policy.yaml" --audit-log-path "$STATE/audit.log" --audit-log-maxsize 1000
    # A node that is silent for 12 s is NotReady. (The folder: it would make one in /usr.)
    service control kube-controller-manager "$kube/kube-controller-manager" \
        --kubeconfig "$conf/controllers.kubeconfig" --leader-elect=false --use-service-account-credentials \
        --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --flex-volume-plugin-dir "$conf/volume-plugins" --node-monitor-period 2s --node-monitor-grace-period 12s
    service control kube-scheduler "$kube/kube-scheduler" --kubeconfig "$conf/scheduler.kubeconfig" --leader-elect=false
    service control volume-provisioner "$kube/volume-provisioner" --kubeconfig "$KUBECONFIG" \
        --host-directory "$STATE/{node}/disk/lib/volumes" --node-directory /var/lib/volumes
    service control coredns "$(program coredns coredns)" -conf "$conf/Corefile"
}

api_ready() { kubectl get --raw /readyz; }

control_ready() {
    wait_for 90 "answer of the API server" "$STATE/logs/control-kube-apiserver.log" api_ready
    local manifest
    for manifest in "$HERE"/manifests/cluster/*.yaml; do
        wait_for 20 "apply of $(basename "$manifest")" "$STATE/logs/control-kube-apiserver.log" \
            kubectl apply -f "$manifest"
    done
}

dns_ready() { on_network control "$(command -v bash)" -c 'exec 3<>/dev/tcp/127.0.0.1/8181 && printf "GET /ready HTTP/1.0\r\n\r\n" >&3 && grep -q "200 OK" <&3'; }
