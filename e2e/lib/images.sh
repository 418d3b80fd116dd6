# shellcheck shell=bash
# The images of the two programs, named by what is in them.

IMAGES_FOLDER=$CACHE/images

# The programs that go into the images, apart from the target folder that all clones share: a build elsewhere
# must not change them between naming and packing.
PROGRAMS_FOLDER=$CACHE/programs

# take_program PROGRAM: keeps a copy of what was just built, and prints its path, which carries its tag: the
# version, and a mark of the very binary, so that a changed one never hides behind an old image of its name.
take_program() {
    local copy mark
    mkdir -p "$PROGRAMS_FOLDER"
    copy=$(mktemp "$PROGRAMS_FOLDER/.copy.XXXXXX")
    install -m 0755 "$CARGO_TARGET_DIR/release/$1" "$copy"
    mark=$(sha256sum "$copy")
    mv "$copy" "$PROGRAMS_FOLDER/$1-$(pliant_version)-${mark:0:12}"
    find "$PROGRAMS_FOLDER" -maxdepth 1 -mtime +7 -delete
    echo "$PROGRAMS_FOLDER/$1-$(pliant_version)-${mark:0:12}"
}

# build_image PROGRAM: makes the archive of what was just built unless it is there. Sets IMAGE_TAG[PROGRAM] and
# IMAGE_ARCHIVE[PROGRAM].
declare -A IMAGE_TAG IMAGE_ARCHIVE
build_image() {
    local program=$1 binary tag archive
    binary=$(take_program "$program")
    tag=${binary##*/"$program"-}
    archive=$IMAGES_FOLDER/$program-$tag.tar
    if [[ ! -s $archive ]]; then
        say "building the image $program:$tag"
        mkdir -p "$IMAGES_FOLDER"
        find "$IMAGES_FOLDER" -maxdepth 1 -name "$program-*.tar" -mtime +7 -delete
        "$ROOT/e2e/images/build" "$program" "$binary" "$tag" "$archive" >&2
    fi
    IMAGE_TAG[$program]=$tag
    IMAGE_ARCHIVE[$program]=$archive
}
