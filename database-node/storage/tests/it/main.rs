//! Tests of the storage from outside, in one binary because linking RocksDB takes long.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "tests"
)]

mod accounts;
mod backup;
mod check;
mod crash;
mod damaged_files;
mod determinism;
mod dump;
mod embedded;
mod encryption;
mod features_model;
mod full_disk;
mod groups;
mod killed;
mod killed_stores;
mod lazy_views;
mod listing;
mod model;
mod once;
mod s3;
mod snapshots;
mod store;
mod torn_log;
mod waiting;
