# shellcheck shell=bash
# OCI archives that every node holds; there is no registry.

# Keeps a copy of an archive under the reference that it carries, and beside it
# the image's digest: the archives of one image differ in time stamps only.
image_remember() { # ARCHIVE
    local archive=$1 reference digest file
    read -r reference digest < <(tar -xOf "$archive" index.json 2>/dev/null | jq -r '.manifests[0] |
        .annotations["org.opencontainers.image.ref.name"] + " " + .digest' 2>/dev/null) || true
    [[ $reference == */*:* ]] ||
        fail "$archive is no OCI archive with a full image name in it, like docker.io/pliantdb/pliant-node:dev" \
            "(buildah push IMAGE oci-archive:FILE:IMAGE makes one); the name found is '$reference'"
    file=$STATE/images/${reference//[^A-Za-z0-9._-]/_}.tar
    [[ "$(cat "$file.digest" 2>/dev/null)" != "$digest" ]] || return 0
    mkdir -p "$STATE/images"
    cp "$archive" "$file.new"
    mv "$file.new" "$file"
    echo "$digest" | write_file "$file.digest"
}

images_import() { # N
    on_machine "node$1" bash "$HERE/lib/import-images.sh" "$STATE/images" "$STATE/node$1/disk/imported"
}

bed_load() { # ARCHIVE...
    (($#)) || fail "load: name one or more OCI archives"
    need_root load
    need_bed
    lock_testbed
    local archive n
    for archive in "$@"; do
        [[ -f $archive ]] || fail "no such file: $archive"
        image_remember "$archive"
    done
    for ((n = 1; n <= NODES; n++)); do
        machine_alive "node$n" || continue # it imports them when it boots
        say "importing into node$n"
        images_import "$n" || fail "node$n could not import the images (see above)"
    done
}
