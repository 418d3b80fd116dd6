//! Nodes that run in this process, on stores in memory and on disk.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod cluster;
mod failing;
mod three_nodes;
