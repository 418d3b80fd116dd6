//! Seeds, their repetition, and the known mistakes.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "tests")]

mod mistakes;
mod replay;
mod seeds;
