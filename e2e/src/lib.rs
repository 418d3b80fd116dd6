//! What the end-to-end tests share: running the commands that users run, and waiting.
//!
//! The tests drive `kubectl`, `helm` and `curl` rather than libraries, because that is where users meet the
//! database. A test that cannot go on panics: it is a test.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod bed;
mod command;
mod database;
mod namespace;

pub use bed::{Bed, CALM, OperatorRestored};
pub use command::{Output, run, run_with_input, wait_for};
pub use database::Database;
pub use namespace::Namespace;
