# shellcheck shell=bash
# How this project is built: one cache outside the clone, one compiler cache for the storage engine's C++.

CACHE=${PLIANT_CACHE:-$HOME/.cache/pliantdb}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# command:package, for everything that a Debian 12 with git, Rust, Go and a C compiler may lack. The file of
# libclang stands for its package, which has no command.
BUILD_TOOLS=(c++:g++ ccache:ccache /usr/lib/llvm-14/lib/libclang.so:libclang-dev curl:curl jq:jq)

# Clones share the target folder, one at a time: what comes from the registry is built once for all of them. Give
# a clone a CARGO_TARGET_DIR of its own to work in two at once.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
export CCACHE_DIR=$CACHE/ccache CCACHE_MAXSIZE=5G
export CC="ccache cc" CXX="ccache c++"

need_rust() {
    command -v cargo >/dev/null || fail "Rust is missing: install Rust $(rust_version) or newer (https://rustup.rs)"
    local have
    have=$(rustc --version | cut -d' ' -f2)
    [[ $(printf '%s\n' "$(rust_version)" "$have" | sort -V | head -1) == "$(rust_version)" ]] ||
        fail "Rust $(rust_version) or newer is needed, this is $have: rustup update"
    claim_target
}

# Cargo tells by time stamps whether a crate must be built again, and takes the crates of two clones for the same.
# So what the last clone built of this workspace is removed when another takes the folder over; what comes from
# the registry stays.
claim_target() {
    local owner=$CARGO_TARGET_DIR/.clone profile
    mkdir -p "$CARGO_TARGET_DIR"
    [[ -f $owner && $(<"$owner") == "$ROOT" ]] && return
    for profile in dev release; do
        (cd "$ROOT" && cargo clean --quiet --profile "$profile" --workspace)
    done
    echo "$ROOT" >"$owner"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

pliant_version() { sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml"; }

# The two programs, as they go into the images.
build_programs() {
    say "building the operator and the node (the storage engine takes ten minutes the first time)"
    (cd "$ROOT" && cargo build --quiet --release --locked -p pliant-operator -p pliantdb-server) ||
        fail "the build failed: its messages are above"
}
