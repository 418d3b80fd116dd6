//! Members of clusters, as processes would be them: each with a directory and a socket of its own.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod databases;
mod forming;
mod full_disk;
mod growing;
mod machines;
mod renewing;
mod states;
