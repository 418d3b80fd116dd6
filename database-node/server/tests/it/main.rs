//! Tests of the real `pliant-node`, each with processes of its own on free ports.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod access;
mod accounts;
mod bad_input;
mod documents;
mod doors;
mod durability;
mod listing;
mod maintenance;
mod node;
mod operations;
mod permissions;
mod shutdown;
mod startup;
