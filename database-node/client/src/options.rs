//! How to talk to a server.

use std::path::PathBuf;
use std::time::Duration;

use pliantdb_core::protocol::Credentials;

/// How to talk to a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who the program is; without, nobody in particular.
    pub credentials: Option<Credentials>,
    /// By what the server is known. In browsers, it is the browser that decides.
    pub trust: Trust,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer is waited for, over all attempts; `None` for as long as it takes. What is asked with a time of
    /// its own to wait (a feed of changes) has that in addition.
    pub answer_timeout: Option<Duration>,
    /// Whether the client learns from a node of a cluster where the others are, and goes to them: to the one that leads a
    /// database to write, and to any when a node is lost. Without, it goes only where it was told to: for those who reach
    /// the nodes by other addresses than these have of each other.
    pub finds_nodes: bool,
}

impl Default for Options {
    /// Nobody in particular, a certificate that the system trusts, 10 s to connect and 30 s to answer; and it finds the nodes
    /// of a cluster.
    fn default() -> Self {
        Self {
            credentials: None,
            trust: Trust::System,
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Some(Duration::from_secs(30)),
            finds_nodes: true,
        }
    }
}

/// By what a server is known. There is no way to talk to just anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Its certificate leads to an authority that the system trusts, and has its name.
    System,
    /// Its certificate leads to one of the authorities in this PEM file, and has its name.
    Authorities(PathBuf),
    /// Its certificate is this one: the SHA-256 of it, in 64 hexadecimal digits, as the server shows it when it starts.
    Fingerprint(String),
}
