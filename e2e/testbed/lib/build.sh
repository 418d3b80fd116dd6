# shellcheck shell=bash
# Builds the binaries and images once; they are kept by content, outside the clone.

# program DIR NAME: where the program NAME built from DIR is, or will be. The
# folder's name says what it was built from, so an old build is never mistaken.
program() {
    local key
    key=$(find "$HERE/$1" -maxdepth 1 -type f \( -name "go.*" -o -name "*.go" \) | sort | xargs cat | sha256sum)
    echo "$BUILDS/$1-${key:0:12}/$2"
}

version_of() { # DIR MODULE
    awk -v module="$2" '{ for (i = 1; i < NF; i++) if ($i == module) { print $(i + 1); exit } }' "$HERE/$1/go.mod"
}

build_program() { # DIR NAME PACKAGE LDFLAGS
    local out part
    out=$(program "$1" "$2")
    [[ -x $out ]] && return
    need_go
    say "building $2 (some minutes the first time)"
    part=$(dirname "$out")
    mkdir -p "$part"
    if ! (cd "$HERE/$1" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false \
        go build -trimpath -ldflags "-s -w $4" -o "$out.part" "$3") >"$part/build.log" 2>&1; then
        tail -n 15 "$part/build.log" >&2
        fail "could not build $2 (go build in $HERE/$1; its last lines are above)"
    fi
    mv "$out.part" "$out"
}

lock_builds() {
    mkdir -p "$BUILDS"
    exec 8>"$BUILDS/lock"
    flock -n 8 || { say "another testbed is building: waiting for it" && flock 8; }
}

build_helm() {
    build_program helm helm helm.sh/helm/v4/cmd/helm "-X helm.sh/helm/v4/internal/version.version=$(version_of helm helm.sh/helm/v4)"
}

build_all() {
    lock_builds
    local package=k8s.io/component-base/version kube name version
    kube=$(program kube kube)
    version=$(version_of kube k8s.io/kubernetes)
    build_program kube kube . "-X $package.gitVersion=$version -X $package.gitTreeState=clean \
        -X $package.gitMajor=1 -X $package.gitMinor=$(cut -d. -f2 <<<"$version")"
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl volume-provisioner; do
        ln -sfn kube "$(dirname "$kube")/$name"
    done
    build_program coredns coredns . ""
    build_helm
    build_images
    exec 8>&-
}

build_images() {
    local image
    for image in pause busybox; do
        IMAGES+=("$("$HERE/../images/testbed-image" "$image")")
    done
}
