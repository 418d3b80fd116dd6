//! Makes a process a member of a cluster: it opens the directory, gets certificates, listens to other nodes, founds a
//! cluster or joins one, and then keeps in step with what the cluster knows.
//!
//! - module `options`: what a member is started with
//! - module `directory`: what lies where
//! - module `certificates`: how it gets its certificate; module `giving`: with what it gives others theirs; module
//!   `renewing`: its certificate in time, and the authority on more than one node
//! - module `start`: from a directory to a node that runs
//! - module `member`: a member that runs, and its end
//! - module `events`: what has happened to it, counted
//! - module `following`: what it does when the cluster has changed
//! - module `changes`: changes of the cluster, asked of any node
//! - module `questions`: what nodes ask each other beside consensus
//! - module `room`: the room on its disk
//! - module `services`: what servers ask each other over it
//! - module `status`: how the cluster is

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

mod certificates;
mod changes;
mod directory;
mod events;
mod following;
mod giving;
mod member;
mod options;
mod questions;
mod renewing;
mod room;
mod services;
mod start;
mod status;

pub use certificates::has_certificate;
pub use changes::ChangeError;
pub use events::EventCounters;
pub use member::Member;
pub use options::{ADDRESS, Certificates, Formation, Options};
pub use room::DiskRoom;
pub use services::Services;
pub use start::StartError;
pub use status::{DatabaseStatus, NodeStatus, Status};
