# shellcheck shell=bash
# Installs the operator by Helm into whatever cluster $KUBECONFIG and $CONTEXT name.

OPERATOR_NAMESPACE=pliant-system

kubectl_() { "$KUBECTL" ${CONTEXT:+--context "$CONTEXT"} "$@"; }
helm_() { "$HELM_PROGRAM" ${CONTEXT:+--kube-context "$CONTEXT"} "$@"; }

# install_operator EXTRA_ARGUMENTS...: installs or upgrades, and waits until the operator is ready.
install_operator() {
    say "installing the operator by helm"
    # Only a namespace that this made is labelled; pods of the operator meet the restricted level.
    if ! kubectl_ get namespace "$OPERATOR_NAMESPACE" >/dev/null 2>&1; then
        kubectl_ create namespace "$OPERATOR_NAMESPACE" >/dev/null
        kubectl_ label namespace "$OPERATOR_NAMESPACE" pod-security.kubernetes.io/enforce=restricted >/dev/null
    fi
    if ! helm_ upgrade --install pliant-operator "$ROOT/helm/pliant-operator" \
        --namespace "$OPERATOR_NAMESPACE" --wait --timeout 3m "$@" >"$CACHE/helm.log" 2>&1; then
        tail -n 20 "$CACHE/helm.log" >&2
        kubectl_ -n "$OPERATOR_NAMESPACE" get pods >&2 || true
        kubectl_ -n "$OPERATOR_NAMESPACE" logs -l app.kubernetes.io/component=operator --tail 20 >&2 || true
        fail "the operator did not become ready: see above"
    fi
}

# wait_ready NAME SECONDS: until the PliantCluster is Ready; else shows why not.
wait_ready() {
    say "waiting until the PliantCluster $1 is Ready"
    kubectl_ wait --for=condition=Ready --timeout "${2}s" "pliantcluster/$1" >/dev/null && return
    kubectl_ describe pliantcluster "$1" | tail -n 40 >&2
    fail "the PliantCluster $1 is not Ready after $2 s: its conditions and events are above"
}
