//! What is asked and answered, whichever the door.

use std::sync::Arc;

use super::Shared;
use super::http::HttpClient;
use super::remote::RemoteClient;
use crate::history::{Door, Kind};

/// The database that is used.
pub const DATABASE: &str = "default";
/// The collection of documents that are written over and over.
pub const DOCUMENTS: &str = "documents";
/// The collection of documents that are written once.
pub const LEDGER: &str = "ledger";
/// The namespace of numbers.
pub const NUMBERS: &str = "numbers";

/// What must hold for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Always,
    /// There is no such document.
    Absent,
    /// It is at this revision.
    At(String),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Read a document.
    Get {
        /// Its id.
        id: String,
    },
    /// Write a document.
    Put {
        /// Its id.
        id: String,
        /// What is in it.
        value: i64,
        /// What must hold.
        when: When,
    },
    /// Delete a document.
    Delete {
        /// Its id.
        id: String,
        /// What must hold.
        when: When,
    },
    /// Read a number.
    Read {
        /// Its key.
        key: String,
    },
    /// Set a number.
    Set {
        /// Its key.
        key: String,
        /// To this.
        value: i64,
    },
    /// Add to a number.
    Add {
        /// Its key.
        key: String,
        /// This.
        by: i64,
    },
    /// Write new documents of the ledger in one transaction.
    Append {
        /// Their ids.
        ids: Vec<String>,
        /// What is in each.
        value: i64,
    },
}

impl Ask {
    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Get { .. } => Kind::Get,
            Self::Put { .. } => Kind::Put,
            Self::Delete { .. } => Kind::Delete,
            Self::Read { .. } => Kind::Read,
            Self::Set { .. } => Kind::Set,
            Self::Add { .. } => Kind::Add,
            Self::Append { .. } => Kind::Append,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The document's revision and what is in it, if there is one.
    Document(Option<(String, i64)>),
    /// The document has this revision now.
    Written(String),
    /// The document is gone.
    Deleted,
    /// There was none to delete.
    Missing,
    /// What had to hold did not; the revision, if there is a document.
    Conflict(Option<String>),
    /// The number, if there is one; or the sum.
    Number(Option<i64>),
    /// The number is set.
    Done,
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It may have been done, and why nobody knows.
    Unknown(String),
    /// It was not done, and why.
    Failed(String),
}

/// A client by one of the doors.
pub enum Client {
    /// By HTTP.
    Http(HttpClient),
    /// By WebSocket or QUIC.
    Remote(RemoteClient),
}

impl Client {
    /// One that begins at a node.
    #[must_use]
    pub fn new(shared: &Arc<Shared>, door: Door, node: usize) -> Self {
        match door {
            Door::Http => Self::Http(HttpClient::new(Arc::clone(shared), node)),
            Door::WebSocket | Door::Quic => Self::Remote(RemoteClient::new(Arc::clone(shared), door, node)),
        }
    }

    /// The node that is asked.
    #[must_use]
    pub fn node(&self) -> usize {
        match self {
            Self::Http(client) => client.node(),
            Self::Remote(client) => client.node(),
        }
    }

    /// Asks, again and elsewhere as the door allows.
    ///
    /// # Errors
    /// [`Trouble`], after the clients' patience.
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        match self {
            Self::Http(client) => client.ask(ask).await,
            Self::Remote(client) => client.ask(ask).await,
        }
    }
}
