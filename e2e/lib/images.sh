# shellcheck shell=bash
# The images of the two programs, named by what is in them.

IMAGES_FOLDER=$CACHE/images
REPOSITORY=docker.io/pliantdb

# tag_of PROGRAM: the version, and a mark of the very binary, so that a changed one never hides behind an old
# image of the same name.
tag_of() {
    local mark
    mark=$(sha256sum "$CARGO_TARGET_DIR/release/$1")
    echo "$(pliant_version)-${mark:0:12}"
}

# build_image PROGRAM: makes the archive unless it is there, and prints its path.
build_image() {
    local program=$1 tag archive
    tag=$(tag_of "$program")
    archive=$IMAGES_FOLDER/$program-$tag.tar
    if [[ ! -s $archive ]]; then
        say "building the image $program:$tag"
        mkdir -p "$IMAGES_FOLDER"
        find "$IMAGES_FOLDER" -maxdepth 1 -name "$program-*.tar" -mtime +7 -delete
        "$ROOT/e2e/images/build" "$program" "$CARGO_TARGET_DIR/release/$program" "$tag" "$archive" >&2
    fi
    echo "$archive"
}
