# shellcheck shell=bash
# One authority per testbed, and a certificate for each component, whose name
# and group are what Kubernetes knows it by.

pki_create() {
    local pki=$STATE/pki
    [[ ! -f $pki/complete ]] || return 0
    rm -rf "$pki"
    mkdir -p "$pki"
    chmod 700 "$pki"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
        -subj "/CN=testbed $NAME" -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
    openssl genrsa -out "$pki/service-accounts.key" 2048 2>/dev/null
    certificate apiserver kube-apiserver testbed \
        "IP:127.0.0.1,IP:$CONTROL_IP,IP:$SERVICE_API,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate admin admin system:masters
    certificate controllers system:kube-controller-manager testbed
    certificate scheduler system:kube-scheduler testbed
    certificate proxy system:kube-proxy testbed
    kubeconfig admin >"$KUBECONFIG"
    chmod 600 "$KUBECONFIG"
    touch "$pki/complete"
}

certificate() { # FILE NAME GROUP [ALTERNATIVE_NAMES]
    local file=$STATE/pki/$1
    [[ ! -f $file.crt ]] || return 0
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/O=$3/CN=$2" \
        -keyout "$file.key" -out "$file.csr" 2>/dev/null
    # Several nodes may be made at once: no serial file, each number is random.
    openssl x509 -req -in "$file.csr" -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" -days 365 \
        -set_serial "0x$(openssl rand -hex 8)" -out "$file.crt.new" \
        -extfile <(printf 'extendedKeyUsage=clientAuth,serverAuth\n%s' "${4:+subjectAltName=$4}") 2>/dev/null
    mv "$file.crt.new" "$file.crt"
    rm "$file.csr"
}

kubeconfig() { # CERTIFICATE: prints one that needs no other file
    local pki=$STATE/pki
    cat <<EOT
apiVersion: v1
kind: Config
clusters: [{name: $NAME, cluster: {server: "https://$CONTROL_IP:6443", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}}]
contexts: [{name: $NAME, context: {cluster: $NAME, user: $1}}]
current-context: $NAME
EOT
}
