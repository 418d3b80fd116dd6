//! What programs ask of a database and what it answers: the same whether it is embedded or far away.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ApiName, Body, ChangeOutcome, CollectionName, Document, DocumentId, FeedCursor, KeyAction, KeyName,
    KeyOutcome, NamespaceName, Precondition, Revision, Timestamp, Topic, ViewName,
};

/// Something to do in one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Reads documents by id. [`Response::Documents`]: those that exist, in the order of the ids asked for.
    Get {
        /// The collection.
        collection: CollectionName,
        /// The ids.
        ids: Vec<DocumentId>,
    },
    /// Reads documents in the order of their ids. [`Response::Page`].
    List {
        /// The collection.
        collection: CollectionName,
        /// Which of them.
        listing: Listing,
    },
    /// Counts documents. [`Response::Count`].
    Count {
        /// The collection.
        collection: CollectionName,
        /// Which of them, however many and large they are.
        listing: Listing,
    },
    /// Changes documents, all or none. [`Response::Transacted`].
    Transact(Vec<Change>),
    /// Reads entries of a view. [`Response::Rows`].
    Query {
        /// Which of them.
        query: Query,
        /// Whether to read their documents too.
        with_documents: bool,
    },
    /// Reduces entries of a view to one value. [`Response::Groups`], of one group without a key.
    Reduce(Query),
    /// Reduces the entries of each key. [`Response::Groups`], in the order of the keys.
    ReduceGrouped(Query),
    /// Deletes the documents behind entries of a view. [`Response::Count`].
    DeleteMatching(Query),
    /// How a view is doing. [`Response::ViewStatus`].
    ViewStatus {
        /// The collection.
        collection: CollectionName,
        /// The view.
        view: ViewName,
    },
    /// Reads a key. [`Response::Value`].
    GetKey {
        /// The namespace.
        namespace: NamespaceName,
        /// The key.
        key: KeyName,
    },
    /// Reads keys in order. [`Response::Keys`].
    ListKeys {
        /// The namespace.
        namespace: NamespaceName,
        /// Which of them.
        listing: KeyListing,
    },
    /// Changes a key. [`Response::Key`].
    ChangeKey {
        /// The namespace.
        namespace: NamespaceName,
        /// The key.
        key: KeyName,
        /// What to do with it.
        action: KeyAction,
    },
    /// Sends a message to all who subscribe to its topic now. [`Response::Count`]: how many.
    Publish(Message),
    /// Reads what was changed. [`Response::Changes`].
    Changes {
        /// From where on.
        from: FeedStart,
        /// At most so many transactions.
        limit: usize,
        /// How long to wait for the first, if there is none yet.
        wait: Duration,
    },
    /// Calls a custom API. [`Response::Called`].
    Call {
        /// The API.
        api: ApiName,
        /// The request, as JSON.
        body: Body,
    },
}

/// What came of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Documents.
    Documents(Vec<Document>),
    /// A page of documents.
    Page(Page),
    /// What came of each change.
    Transacted(Vec<ChangeOutcome>),
    /// Entries of a view.
    Rows(Rows),
    /// Reduced values.
    Groups(Vec<Group>),
    /// How a view is doing.
    ViewStatus(ViewStatus),
    /// How many.
    Count(u64),
    /// The value of a key, if it has one.
    Value(Option<Body>),
    /// A page of keys.
    Keys(KeyPage),
    /// What came of a change of a key.
    Key(KeyOutcome),
    /// Changes.
    Changes(ChangesPage),
    /// The answer of a custom API, as JSON, or its error, as JSON.
    Called(Result<Body, Body>),
}

/// One change of a transaction, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The collection.
    pub collection: CollectionName,
    /// What to do in it.
    pub action: ChangeAction,
}

/// What to do with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeAction {
    /// Writes a new document.
    Insert {
        /// Its id; without one, it is given one that sorts after those given before.
        id: Option<DocumentId>,
        /// Its content.
        body: Body,
    },
    /// Writes a document.
    Put {
        /// Its id.
        id: DocumentId,
        /// Its content.
        body: Body,
        /// What must hold before.
        precondition: Precondition,
    },
    /// Deletes a document, which must exist.
    Delete {
        /// Its id.
        id: DocumentId,
        /// What must hold before.
        precondition: Precondition,
    },
    /// Changes nothing: only what must hold counts.
    Check {
        /// The document's id.
        id: DocumentId,
        /// What must hold.
        precondition: Precondition,
    },
}

/// Which way to go through what is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Order {
    /// From the first to the last.
    #[default]
    Ascending,
    /// From the last to the first.
    Descending,
}

/// Which documents of a collection to list, in the order of their ids' bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Only ids that begin with this.
    pub prefix: String,
    /// Only ids behind this one in the order of the listing; it need not exist: the `next` of the page before.
    pub after: Option<DocumentId>,
    /// Which way.
    pub order: Order,
    /// At most so many documents.
    pub limit: usize,
    /// At most so many bytes of bodies and ids, unless the first document alone has more.
    pub max_bytes: usize,
    /// A first document with a larger body is not read: the page is empty then, and [`Page::too_large`] says its size.
    /// For who must have room before reading.
    pub max_first: usize,
}

impl Default for Listing {
    /// The first 100 documents, or 4 MiB.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            after: None,
            order: Order::Ascending,
            limit: 100,
            max_bytes: 4 << 20,
            max_first: usize::MAX,
        }
    }
}

/// A page of a listing, from one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The documents, by id.
    pub documents: Vec<Document>,
    /// The last id on the page when there are more: the `after` of the next page.
    pub next: Option<DocumentId>,
    /// The bytes of the first document's id and body, when that is why the page is empty ([`Listing::max_first`]).
    pub too_large: Option<usize>,
}

/// Which keys of a namespace to list, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyListing {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys behind this one in the order of the listing; it need not exist: the `next` of the page before.
    pub after: Option<KeyName>,
    /// Which way.
    pub order: Order,
    /// At most so many keys.
    pub limit: usize,
    /// At most so many bytes of keys and values, unless the first alone has more.
    pub max_bytes: usize,
}

impl Default for KeyListing {
    /// The first 100 keys, or 4 MiB.
    fn default() -> Self {
        Self {
            prefix: String::new(),
            after: None,
            order: Order::Ascending,
            limit: 100,
            max_bytes: 4 << 20,
        }
    }
}

/// A page of keys, from one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPage {
    /// The keys with their values, in the order of the listing.
    pub keys: Vec<(KeyName, Body)>,
    /// The last key on the page when there are more: the `after` of the next page.
    pub next: Option<KeyName>,
}

/// Which entries of a view to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The view's collection.
    pub collection: CollectionName,
    /// The view.
    pub view: ViewName,
    /// Which keys.
    pub keys: KeySelection,
    /// Which way.
    pub order: Order,
    /// At most so many entries.
    pub limit: Option<usize>,
    /// Only entries behind this one: the [`Rows::next`] of the page before.
    pub after: Option<RowCursor>,
    /// How up to date the view must be.
    pub freshness: Freshness,
}

/// Which keys of a view, encoded as [`crate::Key`] says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeySelection {
    /// All.
    #[default]
    All,
    /// From the first of these, inclusive, to the second, exclusive. Neither need be a whole key.
    Range(Vec<u8>, Option<Vec<u8>>),
    /// These, in the order of the view and each once.
    These(Vec<Vec<u8>>),
}

/// How up to date a view must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Freshness {
    /// It shows everything that was committed before the query began. One that is being built is waited for.
    #[default]
    Current,
    /// As it is: nothing is waited for, and changes that it does not show yet are left out. While a new version is built,
    /// the one before answers, as it was when it was last kept up to date; [`ViewStatus`] tells.
    Stale,
}

/// A place in a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCursor(pub Vec<u8>);

/// Entries of a view, from one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The entries, in the order of the query.
    pub rows: Vec<RawRow>,
    /// Where the next page begins, if there are more.
    pub next: Option<RowCursor>,
}

/// An entry of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawRow {
    /// The key, encoded.
    pub key: Vec<u8>,
    /// The document that emitted it.
    pub id: DocumentId,
    /// The value, as JSON.
    pub value: Vec<u8>,
    /// The document, if asked for.
    pub document: Option<Document>,
}

/// A reduced value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The key, encoded, or nothing if it is the value of them all.
    pub key: Vec<u8>,
    /// The value, as JSON.
    pub value: Vec<u8>,
}

/// How a view is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ViewStatus {
    /// It has every document.
    Ready,
    /// It is being built.
    Building {
        /// Documents looked at so far.
        documents: u64,
        /// Slots of the database that are done.
        slots_done: u16,
        /// Slots that it has.
        slots: u16,
        /// Whether the version before answers meanwhile ([`Freshness::Stale`]).
        serves_previous: bool,
    },
    /// It could not be built, and why.
    Failed(String),
}

/// A message that is sent to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The topic.
    pub topic: Topic,
    /// What is sent, as JSON.
    pub payload: Body,
}

/// Where a feed of changes begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FeedStart {
    /// With the oldest change that is kept.
    #[default]
    Oldest,
    /// With what is committed from now on.
    Now,
    /// After what was read before.
    After(FeedCursor),
}

/// What was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesPage {
    /// Transactions in the order of their commits, each whole.
    pub transactions: Vec<CommittedTransaction>,
    /// Where to go on.
    pub next: FeedCursor,
}

/// A transaction that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedTransaction {
    /// When. It is the revision of the documents that it wrote.
    pub timestamp: Timestamp,
    /// What it changed, in order.
    pub changes: Vec<ChangedDocument>,
}

impl CommittedTransaction {
    /// The revision of the documents that it wrote.
    #[must_use]
    pub fn revision(&self) -> Revision {
        Revision::at(self.timestamp)
    }
}

/// A document that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedDocument {
    /// The collection.
    pub collection: CollectionName,
    /// The document.
    pub id: DocumentId,
    /// How.
    pub kind: ChangeKind,
}

/// How a document was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It did not exist before.
    Inserted,
    /// It existed, and was written.
    Updated,
    /// It is gone.
    Deleted,
}
