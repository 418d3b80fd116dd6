//! The Rust client of PliantDB servers and clusters.
//!
//! Everything that works with an embedded database works with a far one, for both are the same [`Connection`]:
//!
//! ```no_run
//! use pliantdb_client::{Client, Collection, Connection, Options, StorageConnection};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Collection)]
//! #[collection(name = "users")]
//! struct User {
//!     name: String,
//! }
//!
//! # fn main() -> Result<(), pliantdb_client::Error> {
//! let server = Client::connect("pliant://db.example.com", Options::default())?;
//! let database = server.database::<User>("default")?;
//! let ada = database.collection::<User>().insert(User { name: "Ada".to_owned() })?;
//! assert_eq!(database.collection::<User>().get(&ada.id)?.unwrap().contents.name, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! A connection that is lost is made anew, subscriptions with it; in a cluster to another node, if need be. What can be asked twice without harm is: reads, and
//! writes, which carry ids by which the server makes each of them once. What cannot (calls of APIs, messages, deletes by a
//! view) is [`Error::Disconnected`] when nobody knows whether it was done.
//!
//! - module [`address`] holds [`Address`], where a server is
//! - module [`options`] holds [`Options`], and how a server is trusted
//! - `link`: QUIC, WebSocket, and WebSocket in browsers; `session`: one connection
//! - `nodes`: the nodes of a cluster that are known, and which of them to ask
//! - module [`client`] holds [`AsyncClient`], which has one connection after the other, and several to a cluster
//! - module [`database`] holds [`AsyncRemoteDatabase`] with its subscriptions and snapshots
//! - module [`blocking`] holds [`Client`] and [`RemoteDatabase`], the same for programs that block; not in browsers
//!
//! Everything of `pliantdb-core` can be named as if it were here.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice))]

// The derives name this crate for those who depend on no other.
extern crate self as pliantdb_client;

pub mod address;
#[cfg(not(target_arch = "wasm32"))]
pub mod blocking;
pub mod client;
pub mod database;
mod link;
mod nodes;
pub mod options;
mod runtime;
mod session;

pub use address::{Address, InvalidAddress};
#[cfg(not(target_arch = "wasm32"))]
pub use blocking::{Client, RemoteDatabase, RemoteSnapshot, RemoteSubscription};
pub use client::AsyncClient;
pub use database::{AsyncRemoteDatabase, AsyncRemoteSnapshot, AsyncRemoteSubscription};
pub use options::{Options, Trust};
pub use pliantdb_core::protocol::{Credentials, Secret};
pub use pliantdb_core::*;

/// What asynchronous calls give.
pub type Future<T> = std::pin::Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send>>;
