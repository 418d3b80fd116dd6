//! Drives one [`pliantdb_cluster::Node`] in a process, with threads and real stores. A server stands on it.
//!
//! The core takes one input at a time and says what is to be done. Here three threads do it:
//!
//! ```text
//!               asks, envelopes, ticks
//!                        |
//!   Persisted  ------> node <------  Done
//!       |             |  |  |             |
//!      log  <- Persist   |   Run ->    applier
//!   (one sync for all    |           (state of the shards)
//!    that waits)    Send, Reply, Event
//! ```
//!
//! Each queue keeps its order. Nothing waits for a disk but the threads of the two stores, and the node's when it reads old
//! entries of the log. What a thread waits with is held by nobody else: no lock is held while something is written, read,
//! sent or told.
//!
//! - module `driver`: a node that runs, and its end
//! - module `handle`: what can be asked of it
//! - module `inbox`: what waits for the node
//! - module `turns`: the thread of the node
//! - module `log_writer`: the thread that writes the log, with group commit over all groups
//! - module `tasks`: the thread of the applier
//! - module `clock`, `failure`, `transport`

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

mod clock;
mod driver;
mod failure;
mod handle;
mod inbox;
mod log_writer;
mod standings;
mod tasks;
mod transport;
mod turns;

pub use driver::{Driver, Options};
pub use failure::{Failure, OpenError, Stopped};
pub use handle::{Handle, Known};
pub use log_writer::LogCounters;
pub use transport::Transport;
pub use turns::TurnCounters;
