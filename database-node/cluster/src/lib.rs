//! The core of a PliantDB cluster: consensus groups, membership, the change between one leader and quorum, failover.
//!
//! It is synchronous and does no I/O but reading its log: a driver tells a [`Node`] what happens and does what it says.
//! A server drives it with threads, disks and a network; a simulator drives hundreds of nodes through years of bad days
//! with a clock, disks and a network that it makes up.
//!
//! From the bottom up:
//! - module [`ids`]: what nodes, replicas, lives of groups and decisions are known by
//! - module [`timing`]: time as a node sees it, and leases
//! - module [`log`]: the logs of all groups, in one store
//! - module [`group`]: one replica of a group; who is in it, and how that changes
//! - module [`meta`]: what the meta group knows, and what follows from it
//! - module [`wire`]: what nodes say to each other
//! - module [`applier`]: the state of a node's shards
//! - module [`node`]: a node, with everything above
//! - module [`mistakes`]: known mistakes, for the simulator to find

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

pub mod applier;
#[cfg(feature = "mistakes")]
mod applier_mistakes;
pub mod group;
pub mod ids;
pub mod log;
pub mod meta;
pub mod mistakes;
pub mod node;
pub mod timing;
pub mod wire;

pub use applier::Applier;
pub use ids::{Epoch, Incarnation, LogPoint, NodeId, ReplicaId};
pub use meta::{META, Meta, Mode};
pub use node::{Input, Node, Output, Settings};
pub use timing::{Instant, Now, Timing};
