//! The custom resources of PliantDB as Rust types.
