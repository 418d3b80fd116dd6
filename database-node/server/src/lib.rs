//! The PliantDB server.
//!
//! The binary `pliant-node` is a thin wrapper; whoever embeds the server does the same:
//! [`config::Settings`] → [`Server::start`] → [`Server::run`].
//!
//! - module [`config`]: every setting, from flags, variables and a file
//! - module [`cli`]: the commands of `pliant-node`
//! - module [`encryption`]: where the master key comes from
//! - module [`logging`]: where the log goes
//! - [`Server`]: listeners, start and shutdown; below it the connections, the state that requests share,
//!   the token, the metrics, the memory that requests may take
//! - `http`: the routes, one file for each concern

mod app;
pub mod cli;
pub mod config;
mod connections;
pub mod encryption;
mod http;
pub mod logging;
mod metrics;
mod request_memory;
mod server;
mod token;

pub use server::{Server, StartError};
pub use token::TokenError;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
