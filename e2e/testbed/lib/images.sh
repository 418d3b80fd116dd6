# shellcheck shell=bash
# OCI archives that every node holds; there is no registry.

# Keeps a copy of an archive under the reference that it carries.
image_remember() { # ARCHIVE
    local archive=$1 reference file sum
    reference=$(tar -xOf "$archive" index.json 2>/dev/null |
        jq -re '.manifests[0].annotations["org.opencontainers.image.ref.name"]' 2>/dev/null) ||
        fail "$archive is no OCI archive with an image name in it (buildah push IMAGE oci-archive:FILE:IMAGE makes one)"
    [[ $reference == */*:* ]] ||
        fail "$archive names its image '$reference': a full name is needed, like docker.io/pliantdb/pliant-node:dev"
    file=$STATE/images/${reference//[^A-Za-z0-9._-]/_}.tar
    sum=$(sha256sum <"$archive")
    [[ "$(cat "$file.sha256" 2>/dev/null)" != "$sum" ]] || return 0
    mkdir -p "$STATE/images"
    cp "$archive" "$file.new"
    mv "$file.new" "$file"
    echo "$sum" | write_file "$file.sha256"
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
