//! Tests of the real `pliant-node`, each with processes of its own on free ports.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod access;
mod accounts;
mod apis;
mod bad_input;
mod certificates;
mod cli;
mod cluster;
mod databases;
mod documents;
mod doors;
mod durability;
mod feed;
mod key_values;
mod limits;
mod listing;
mod maintenance;
mod messages;
mod node;
mod openapi;
mod operations;
mod permissions;
mod raw_quic;
mod readme;
mod served;
mod shutdown;
mod startup;
mod traces;
mod transactions;
mod views;
