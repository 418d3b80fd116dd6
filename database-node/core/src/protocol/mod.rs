//! What clients and servers say to each other, the same over QUIC and WebSocket.
//!
//! A client opens with a [`Hello`], the server answers with a [`Greeting`]. From then on the client sends [`FromClient`]
//! and the server [`FromServer`], in any order: each [`Question`] has a number of the client's choice, and whatever comes
//! of it carries that number. Messages are [`encode`]d as MessagePack; how they are told apart is the transport's matter:
//! - WebSocket: each is one binary message.
//! - QUIC: the client opens one bidirectional stream, on which each follows its length ([`Lane`]). A message of more than
//!   [`LANE_MESSAGE`] bytes travels on a unidirectional stream of its own, alone, and follows its length there too, so that
//!   small ones need not wait for it and whoever reads it has room for it before. Only messages to subscribers, whose order counts, stay on the lane whatever their size.

mod accounts;
mod encoding;
mod lane;
mod secret;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Consistency, DatabaseName, Error, Message, Position, Request, RequestId, Response, SchemaName, Schematic,
    TopicPattern, ViewDefinition,
};

pub use accounts::{AccountsAsk, AccountsReply, ApiKeyInfo, RoleInfo, UserInfo, WhoAmI};
pub use encoding::{Malformed, Sent, decode, encode};
pub use lane::{LANE_MESSAGE, LENGTH, Lane, TooLong, framed, length_of, prefix};
pub use secret::Secret;

/// The version of what is said here that this build speaks.
pub const PROTOCOL_VERSION: u16 = 3;

/// What QUIC connections agree on (RFC 7301).
pub const ALPN: &[u8] = b"pliantdb";

/// The subprotocol of WebSocket connections (RFC 6455).
pub const WEBSOCKET_PROTOCOL: &str = "pliantdb";

/// The path of WebSocket connections.
pub const WEBSOCKET_PATH: &str = "/v1/_websocket";

/// The longest first message of a client, in bytes: whoever sends it is not known yet.
pub const MAX_HELLO: usize = 16 << 10;

/// The longest message of a server, in bytes.
pub const MAX_ANSWER: usize = 256 << 20;

/// A client's first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The oldest version that the client speaks.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
    /// Who it is; without, whoever is nobody in particular.
    pub credentials: Option<Credentials>,
    /// What program it is, for logs.
    pub agent: String,
}

/// Who somebody is, and the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    /// A bearer token: a session's, an API key, or a JWT.
    Token(Secret),
    /// A user's name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// The server's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// The client may ask.
    Welcome(Welcome),
    /// It may not, and why; the connection ends.
    Refused(Error),
}

/// What a client needs to know of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version to speak: the newest that both know.
    pub version: u16,
    /// The time by the server's clock, in milliseconds since the Unix epoch: [`RequestId`]s are made by it.
    pub now_ms: u64,
    /// The longest message that the server takes, in bytes.
    pub max_message: u64,
    /// How many questions may wait for their answers at once; the server reads on when there are fewer.
    pub max_in_flight: u32,
    /// A token to come back with, when a password was given.
    pub session: Option<Secret>,
    /// What program the server is, for logs.
    pub agent: String,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are questions, which a box would only make slower"
)]
pub enum FromClient {
    /// Something to answer.
    Ask(Question),
    /// Ends what a question began: an answer is no longer waited for, a subscription or a snapshot no longer needed. One
    /// that is not known has ended by itself.
    Stop(u64),
}

/// Something to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number, which no other question of the connection has.
    pub number: u64,
    /// How long the answer is waited for.
    pub deadline: Option<Duration>,
    /// For a write: what tells it from every other, so that it is made once however often it is sent.
    pub request_id: Option<RequestId>,
    /// How fresh what is read has to be.
    pub consistency: Consistency,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// The names of all databases. [`Reply::Databases`].
    Databases,
    /// Creates a database. [`Reply::Database`].
    CreateDatabase {
        /// Its name.
        name: DatabaseName,
        /// The schema that it is to have, if any.
        schema: Option<SchemaOffer>,
    },
    /// Opens a database. [`Reply::Database`].
    OpenDatabase {
        /// Its name.
        name: DatabaseName,
        /// The schema that it is to have; `None` for the one it has.
        schema: Option<SchemaOffer>,
    },
    /// Deletes a database with everything in it. [`Reply::Done`].
    DeleteDatabase {
        /// Its name.
        name: DatabaseName,
    },
    /// Does something in a database. [`Reply::Response`].
    Request {
        /// Which.
        database: DatabaseHandle,
        /// What.
        request: Request,
    },
    /// Subscribes to messages. [`Reply::Done`], and [`FromServer::Message`]s under the question's number, of which the
    /// first may come before it, until [`FromClient::Stop`].
    Subscribe {
        /// Of which database.
        database: DatabaseHandle,
        /// To which topics.
        patterns: Vec<TopicPattern>,
    },
    /// Takes a snapshot, which has the question's number. [`Reply::Done`]; it is there until [`FromClient::Stop`].
    Snapshot {
        /// Of which database.
        database: DatabaseHandle,
    },
    /// Reads from a snapshot. [`Reply::Response`].
    RequestAt {
        /// Its number.
        snapshot: u64,
        /// What.
        request: Request,
    },
    /// Something about users, roles and API keys. [`Reply::Accounts`], or [`Reply::Done`].
    Accounts(AccountsAsk),
    /// Backs everything up, while reads and writes go on. [`Reply::Backup`].
    Backup {
        /// The place, as the server sees it: a directory, or the URL of an object store. The server's settings must allow
        /// it.
        to: String,
    },
    /// The nodes that can be asked, alike, and which of them leads a database: it needs to ask no other. [`Reply::Nodes`].
    Nodes {
        /// The database.
        database: Option<DatabaseName>,
    },
}

/// The nodes of a cluster. A server alone names none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// They, in the order of their names.
    pub nodes: Vec<NodeAddress>,
    /// The name of the one that leads the database, as far as is known.
    pub leader: Option<String>,
}

/// Where clients reach a node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// Its name.
    pub name: String,
    /// Its address for HTTP and WebSocket, as `http://host:port`.
    pub http: Option<String>,
    /// Its address for QUIC, as `host:port`.
    pub quic: Option<String>,
    /// The SHA-256 of the certificate that it made for itself, in hexadecimal digits; `None` for one of an authority.
    pub fingerprint: Option<String>,
}

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Its name.
    pub id: String,
    /// How many files it has.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them the place did not have yet.
    pub sent_files: u64,
    /// The bytes of those.
    pub sent_bytes: u64,
}

/// Which database is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DatabaseHandle {
    /// Its name.
    pub name: DatabaseName,
    /// Which one of that name, if there were several over time; `None` for the one of now.
    pub number: Option<u32>,
}

impl From<DatabaseName> for DatabaseHandle {
    /// The one of that name that is there now.
    fn from(name: DatabaseName) -> Self {
        Self { name, number: None }
    }
}

/// A schema as a client knows it: without the code of its views, which the server has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaOffer {
    /// Its name.
    pub name: SchemaName,
    /// Its views.
    pub views: Vec<ViewDefinition>,
}

impl SchemaOffer {
    /// That of a schema; `None` for that of `()`, which asks for nothing.
    #[must_use]
    pub fn of(schematic: &Schematic) -> Option<Self> {
        let views = schematic.views().map(|view| view.definition().clone());
        Some(Self {
            name: schematic.name()?.clone(),
            views: views.collect(),
        })
    }
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromServer {
    /// What came of a question.
    Answer {
        /// The question's number.
        number: u64,
        /// What came of it.
        result: Result<Reply, Error>,
        /// How far the database had come, where it has several replicas: to be given back as
        /// [`Consistency::AtLeast`] by whoever wants to see at least that.
        position: Option<Position>,
    },
    /// A message to a subscriber: [`Error::Lagged`] when some were dropped, and [`Error::Closed`], the last one, when the
    /// database is closed.
    Message {
        /// The number of the question that subscribed.
        number: u64,
        /// The message.
        message: Result<Message, Error>,
    },
    /// The server stops: it answers what it has, and takes no more questions.
    Leaving,
}

/// What comes of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// The names of all databases, in order.
    Databases(Vec<DatabaseName>),
    /// A database.
    Database(DatabaseHandle),
    /// What came of a request.
    Response(Response),
    /// Users, roles or API keys.
    Accounts(AccountsReply),
    /// A backup was made.
    Backup(BackupSummary),
    /// The nodes of the cluster.
    Nodes(Nodes),
}

impl Request {
    /// Whether it may be made again when nobody knows whether it was made: it changes nothing, or is a write that a
    /// [`RequestId`] keeps from being made twice.
    #[must_use]
    pub fn can_be_repeated(&self) -> bool {
        !matches!(
            self,
            Self::Publish(_) | Self::Call { .. } | Self::DeleteMatching(_)
        )
    }

    /// Whether it takes a [`RequestId`].
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Transact(_) | Self::ChangeKey { .. })
    }
}
