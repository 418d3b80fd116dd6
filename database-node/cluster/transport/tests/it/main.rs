//! Nodes that speak over sockets of this machine.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod certificates;
mod envelopes;
mod joining;
mod machines;
mod plain;
mod relay;
mod requests;
mod three_nodes;
