# shellcheck shell=bash
# Shared by the image builders: buildah without a daemon, with a store of its
# own, so that nobody else's containers or images are touched.

# shellcheck source=../lib/speak.sh
source "$HERE/../lib/speak.sh"

CACHE=${PLIANT_CACHE:-$HOME/.cache/pliantdb}/images
SOURCE_URL=https://github.com/pliantdb/pliantdb
# One time stamp in all files makes the same content the same image.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$HERE" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH BUILDAH_ISOLATION=chroot

need() { # COMMAND...
    local tool
    [[ $(id -u) == 0 ]] || fail "building images needs root"
    for tool in "$@"; do
        command -v "$tool" >/dev/null ||
            fail "$tool is missing: apt-get install buildah mmdebstrap jq"
    done
}

image_tool() {
    # Or it makes a folder for networks, which no image here needs, in /etc.
    [[ -f $CACHE/containers.conf ]] ||
        printf '[network]\nnetwork_config_dir = "%s/networks"\n' "$CACHE" >"$CACHE/containers.conf"
    CONTAINERS_CONF=$CACHE/containers.conf buildah --root "$CACHE/store" --runroot "$CACHE/run" --storage-driver vfs "$@"
}

# One build at a time: the store is shared by all testbeds.
lock_store() {
    mkdir -p "$CACHE"
    exec 6>"$CACHE/lock"
    flock 6
}

# image_archive BASE REFERENCE OUT USER COPY... -- ENTRYPOINT...
#   BASE      a root file system (tar), or `scratch`
#   COPY      FROM=TO, a file of this machine and its place in the image
# $TITLE, $VERSION and $REVISION become OCI labels.
image_archive() {
    local base=$1 reference=$2 out=$3 user=$4 container pair
    shift 4
    container=$(image_tool from scratch)
    [[ $base == scratch ]] || image_tool add -q "$container" "$base" / >/dev/null
    while [[ $1 != -- ]]; do
        pair=$1
        image_tool copy -q --chmod 0755 "$container" "${pair%%=*}" "${pair#*=}" >/dev/null
        shift
    done
    shift
    image_tool config --user "$user" --env PATH=/usr/bin:/bin --workingdir / \
        --entrypoint "$(jq -cn '$ARGS.positional' --args "$@")" \
        --label "org.opencontainers.image.title=$TITLE" \
        --label "org.opencontainers.image.version=$VERSION" \
        --label "org.opencontainers.image.revision=$REVISION" \
        --label "org.opencontainers.image.source=$SOURCE_URL" \
        --label "org.opencontainers.image.licenses=$LICENSES" "$container"
    image_tool commit -q --rm --timestamp "$SOURCE_DATE_EPOCH" "$container" "$reference" >/dev/null
    mkdir -p "$(dirname "$out")"
    rm -f "$out.part"
    image_tool push -q --disable-compression=false "$reference" "oci-archive:$out.part:$reference"
    image_tool rmi -f "$reference" >/dev/null # the archive is the product; keep the store small
    mv "$out.part" "$out"
}
