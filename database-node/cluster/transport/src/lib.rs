//! Carries what the nodes of a cluster say to each other: over QUIC, with certificates on both sides.
//!
//! A node has one connection to each node to which it has something to say, made by itself; what the other says comes over
//! a connection that the other has made. So nobody has to agree which of two connections stays, each goes to the address
//! that its maker was told, and what one direction does not let through is no fault of the other.
//!
//! ```text
//!  node's thread --put--> outbox --take--> stream of control ---\
//!                           |  \---take--> stream of logs -------\
//!                           \------take--> stream of snapshots ---> connection ==> Handle::receive_sized
//!  tasks ------------------------------->  stream of a request --/
//! ```
//!
//! - module `certificates`: the authority of a cluster, a node's certificate, who is taken for a node
//! - module `joining`: tokens, and how a machine that has one gets a certificate
//! - module `network`: what a process starts, and [`Sender`], the transport of a driver
//! - module `hooks`: what is called when something comes
//! - module `dialling`: the connection that this node makes to another
//! - module `listening`: the connections that others make
//! - modules `hello`, `framing`, `codes`: what is said first, how it is said, and why it ends
//! - modules `outbox`, `writing`, `receiving`: envelopes on their way
//! - modules `requests` and `streaming`: questions beside the envelopes, with one answer or many
//! - module `seeds`: how a node that is to join finds others
//! - module `claims`: whether two processes are the same node
//! - modules `shared`, `remote`, `address`, `tls`, `explain`, `counters`

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

mod address;
mod certificates;
mod claims;
mod codes;
mod counters;
mod dialling;
mod explain;
mod framing;
mod hello;
mod hooks;
mod joining;
mod listening;
mod network;
mod outbox;
mod receiving;
mod remote;
mod requests;
mod seeds;
mod shared;
mod streaming;
mod tls;
mod writing;

pub use address::DEFAULT_PORT;
pub use certificates::{
    Authority, CertificateError, CertificateFiles, Credentials, Fingerprint, NODE_URI, NodeKey,
};
pub use counters::Counters;
pub use hooks::{Hooks, TransportEvent};
pub use joining::{Giver, JoinError, JoinToken, JoinTokens, MalformedToken, TokenError, obtain};
pub use network::{BindError, Network, Options, PeerStatus, Sender};
pub use requests::{MAX_REQUEST, RequestError};
pub use streaming::{Answers, Outlet, OutletError};
