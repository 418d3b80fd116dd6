//! The PliantDB server.
//!
//! The binary `pliant-node` is a thin wrapper; whoever embeds the server does the same:
//! [`config::Settings`] → [`Server::builder`] → [`Server::run`].
//!
//! - module [`config`]: every setting, from flags, variables and a file
//! - module [`certificate`]: what a node is known by; module [`backup_place`]: where backups go
//! - module [`encryption`]: where the master key comes from
//! - module [`logging`]: where the log goes, and `traces`: where spans do
//! - `cluster`: the node as a member of a cluster
//! - [`Server`]: listeners, start and shutdown; below it the state that requests share, the metrics, the memory that
//!   requests may take
//! - `databases`: those that are served, wherever they are; `executor`: carrying out a request by one that is here
//! - `dispatch`: the one place that carries out what is asked (`goes_on`: also when nobody waits for it any more); `access`: who may ask it; `accounts`: users,
//!   roles and API keys; `audit`: what is remembered of all that; `schemas`: the views' code
//! - `quic`, `websocket`: two doors, and `conversation`, what goes on behind both; `certificate`: what they are known by
//! - [`Local`]: the databases for the program that the server is part of
//! - `connections`, `http`: the third, with its routes, one file for each concern

mod access;
mod accounts;
mod allowance;
mod app;
mod audit;
pub mod backup_place;
pub mod certificate;
mod cluster;
pub mod config;
mod connections;
mod conversation;
mod databases;
mod dispatch;
pub mod encryption;
mod executor;
mod goes_on;
mod http;
mod local;
pub mod logging;
mod metrics;
mod quic;
mod request_memory;
mod schemas;
mod server;
mod token;
mod traces;
mod websocket;

pub use access::{AccessError, JwksError};
pub use audit::AuditError;
pub use certificate::CertificateError;
pub use cluster::{ClusterError, JOIN_TOKEN_VARIABLE, JoinTokenError};
pub use local::{Local, LocalDatabase, LocalSnapshot, LocalSubscription};
pub use pliantdb_storage::*;
pub use server::{Addresses, Builder, Embedded, Server, StartError};
pub use token::TokenError;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The README, and the part of the guide that needs a server, whose code is tested here.
#[cfg(doctest)]
mod documentation {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/guide/11-server.md")]
    mod server {}
}
