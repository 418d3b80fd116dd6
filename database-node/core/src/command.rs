//! Commands: everything that changes state, as one value that can be logged, sent and applied anywhere.

use serde::{Deserialize, Serialize};

use crate::access::AccountsChange;
use crate::{
    Body, CollectionName, DatabaseName, DocumentId, KeyAction, KeyName, NamespaceName, RequestId, Revision,
    SchemaName, SlotCount, Timestamp, ViewDefinition, ViewId,
};

/// The version of the rules by which this build applies commands.
///
/// It is part of every command. A state machine applies commands of this version and of all before it, each by its own
/// rules, and stops at one of a later version rather than apply it differently from its peers.
///
/// Decoding a command checks the names and ids in it by [`crate::name`], [`crate::document_id`] and [`crate::slot`],
/// for keys are made of them. So those rules belong to the version: whoever tightens them raises it, and decodes
/// commands of the versions before by the rules before. Bodies are not checked again.
pub const APPLY_VERSION: u16 = 1;

/// One change, with everything that applying it needs: no clock is read and nothing is generated later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The rules to apply it by: at most [`APPLY_VERSION`] of whoever made it, and of everybody who is to apply it. It
    /// stays first in the encoding, where it can be read whatever follows.
    pub version: u16,
    /// When it commits; greater than every earlier command's. It becomes the revision of what it writes.
    pub timestamp: Timestamp,
    /// What to do.
    pub operation: Operation,
}

impl Command {
    /// `operation`, stamped with the time of its commit, by the rules of this build: for one that nobody else is to
    /// apply. The leader of a cluster writes the version that all nodes know.
    #[must_use]
    pub fn new(timestamp: Timestamp, operation: Operation) -> Self {
        Self {
            version: APPLY_VERSION,
            timestamp,
            operation,
        }
    }
}

/// What a command does. New kinds are added at the end: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Creates an empty database; rejected when the name is taken.
    CreateDatabase {
        /// Its name.
        name: DatabaseName,
        /// Its slots, fixed from now on.
        slots: SlotCount,
    },
    /// Deletes a database with everything in it.
    DeleteDatabase {
        /// Its name.
        name: DatabaseName,
    },
    /// Gives a database a schema: from now on it has these views and no others. A view that is new, or whose
    /// definition has changed, starts empty under a new [`ViewId`], and is to be built.
    DefineSchema {
        /// The database.
        database: DatabaseName,
        /// The schema's name.
        schema: SchemaName,
        /// Its views.
        views: Vec<ViewDefinition>,
    },
    /// Changes documents, all or none.
    Transact {
        /// The database.
        database: DatabaseName,
        /// The changes, each of which sees those before it.
        changes: Vec<DocumentChange>,
    },
    /// Adds documents to a view that is being built. Those that have changed since they were read are skipped:
    /// whoever changed them has brought their entries along.
    BuildView {
        /// The database.
        database: DatabaseName,
        /// The view.
        view: ViewId,
        /// Documents with what they emit.
        documents: Vec<IndexedDocument>,
        /// Whether these are the last: the view is then ready, and takes the place of its predecessor.
        is_last: bool,
    },
    /// Gives up on building a view; it has no entries from then on.
    FailView {
        /// The database.
        database: DatabaseName,
        /// The view.
        view: ViewId,
        /// Why.
        reason: String,
    },
    /// Reads and changes one key of the key-value store.
    ChangeKey {
        /// The database.
        database: DatabaseName,
        /// The key's namespace.
        namespace: NamespaceName,
        /// The key.
        key: KeyName,
        /// What to do with it.
        action: KeyAction,
    },
    /// Removes those of these keys that have expired by the command's time.
    ExpireKeys {
        /// The database.
        database: DatabaseName,
        /// The keys.
        keys: Vec<(NamespaceName, KeyName)>,
    },
    /// Forgets the changes that were committed before a time; feeds cannot begin before it any more.
    TrimChanges {
        /// The database.
        database: DatabaseName,
        /// The time of the first change to keep.
        before: Timestamp,
    },
    /// Writes, and remembers what came of it, so that the same request does not write again: it comes to the same. One
    /// that was rejected is not remembered.
    Once {
        /// The database.
        database: DatabaseName,
        /// The request, made at most [`crate::REQUEST_MEMORY`] before or after the command's time.
        id: RequestId,
        /// What it writes.
        write: WriteAction,
    },
    /// Forgets the requests that were made before a time, as far as they would be refused by now.
    ForgetRequests {
        /// The database.
        database: DatabaseName,
        /// The time of the first request to remember, in milliseconds since the Unix epoch.
        before: u64,
    },
    /// Changes users, roles or API keys.
    ChangeAccounts(AccountsChange),
}

impl Operation {
    /// A write, which is made once if it is of a request that may be sent again.
    #[must_use]
    pub fn write(database: DatabaseName, write: WriteAction, request: Option<RequestId>) -> Self {
        match (request, write) {
            (Some(id), write) => Self::Once { database, id, write },
            (None, WriteAction::Transact(changes)) => Self::Transact { database, changes },
            (
                None,
                WriteAction::ChangeKey {
                    namespace,
                    key,
                    action,
                },
            ) => Self::ChangeKey {
                database,
                namespace,
                key,
                action,
            },
        }
    }

    /// The database that it changes; `None` when it belongs to none.
    #[must_use]
    pub fn database(&self) -> Option<&DatabaseName> {
        let database = match self {
            Self::CreateDatabase { name, .. } | Self::DeleteDatabase { name } => name,
            Self::DefineSchema { database, .. }
            | Self::Transact { database, .. }
            | Self::BuildView { database, .. }
            | Self::FailView { database, .. }
            | Self::ChangeKey { database, .. }
            | Self::ExpireKeys { database, .. }
            | Self::TrimChanges { database, .. }
            | Self::Once { database, .. }
            | Self::ForgetRequests { database, .. } => database,
            Self::ChangeAccounts(_) => return None,
        };
        Some(database)
    }

    /// About how many bytes it adds to a batch, for bounding batches.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::CreateDatabase { name, .. } | Self::DeleteDatabase { name } => name.as_str().len(),
            Self::DefineSchema { views, .. } => views.len() * 64,
            Self::Transact { changes, .. } => size_of_changes(changes),
            Self::BuildView { documents, .. } => documents
                .iter()
                .map(|document| document.id.as_str().len() + size_of_entries(&document.entries))
                .sum(),
            Self::ChangeKey { key, action, .. } => size_of_key_change(key, action),
            Self::ExpireKeys { keys, .. } => keys.len() * 32,
            Self::FailView { reason, .. } => reason.len(),
            Self::TrimChanges { .. } | Self::ForgetRequests { .. } => 8,
            Self::Once { write, .. } => write.size() + write.remembered(),
            Self::ChangeAccounts(change) => change.size(),
        }
    }

    /// Whether it only takes away, so that it may use some of the room that is kept free on the disk.
    #[must_use]
    pub fn frees(&self) -> bool {
        match self {
            Self::DeleteDatabase { .. }
            | Self::ExpireKeys { .. }
            | Self::TrimChanges { .. }
            | Self::ForgetRequests { .. } => true,
            Self::Transact { changes, .. }
            | Self::Once {
                write: WriteAction::Transact(changes),
                ..
            } => changes
                .iter()
                .all(|change| matches!(change.action, DocumentAction::Delete | DocumentAction::Check)),
            Self::ChangeKey { action, .. }
            | Self::Once {
                write: WriteAction::ChangeKey { action, .. },
                ..
            } => matches!(action, KeyAction::Delete { .. }),
            Self::ChangeAccounts(change) => change.frees(),
            _ => false,
        }
    }
}

/// What can be written once, however often it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteAction {
    /// As [`Operation::Transact`].
    Transact(Vec<DocumentChange>),
    /// As [`Operation::ChangeKey`].
    ChangeKey {
        /// The key's namespace.
        namespace: NamespaceName,
        /// The key.
        key: KeyName,
        /// What to do with it.
        action: KeyAction,
    },
}

impl WriteAction {
    /// About how many bytes it adds to a batch.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Transact(changes) => size_of_changes(changes),
            Self::ChangeKey { key, action, .. } => size_of_key_change(key, action),
        }
    }

    /// About how many more bytes it takes to remember what came of it.
    fn remembered(&self) -> usize {
        64 + match self {
            Self::Transact(changes) => changes.iter().map(|change| change.id.as_str().len() + 16).sum(),
            // The key's value is part of the outcome.
            Self::ChangeKey { action, .. } => action.size(),
        }
    }
}

fn size_of_changes(changes: &[DocumentChange]) -> usize {
    changes.iter().map(DocumentChange::size).sum()
}

fn size_of_key_change(key: &KeyName, action: &KeyAction) -> usize {
    key.as_str().len() + action.size()
}

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentChange {
    /// The collection. It exists as soon as it holds a document.
    pub collection: CollectionName,
    /// The document's id in it.
    pub id: DocumentId,
    /// What must hold before.
    pub precondition: Precondition,
    /// What to do.
    pub action: DocumentAction,
}

impl DocumentChange {
    /// About how many bytes it adds to a batch.
    fn size(&self) -> usize {
        let address = self.collection.as_str().len() + self.id.as_str().len();
        // The feed of changes repeats the address.
        2 * address
            + match &self.action {
                DocumentAction::Put { body, emitted } | DocumentAction::Create { body, emitted } => {
                    let entries = emitted.iter().map(|emitted| size_of_entries(&emitted.entries));
                    body.as_str().len() + entries.sum::<usize>()
                }
                DocumentAction::Delete | DocumentAction::Check => 0,
            }
    }
}

/// What a change does to its document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DocumentAction {
    /// Writes it whole: an insert, an overwrite or an update, as the precondition says.
    Put {
        /// Its new content.
        body: Body,
        /// What that emits to each view that is kept up to date with the documents.
        emitted: Vec<Emitted>,
    },
    /// Deletes it; rejected when there is none.
    Delete,
    /// Leaves it as it is: the precondition is all that counts.
    Check,
    /// Writes a new document under an id that was generated for it, and looks nothing up: of the bits of such an id, 74
    /// are random, and the others are the time.
    Create {
        /// Its content.
        body: Body,
        /// As of [`DocumentAction::Put`].
        emitted: Vec<Emitted>,
    },
}

/// What a document emits to one view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emitted {
    /// The view.
    pub view: ViewId,
    /// The entries, in the order in which they were emitted.
    pub entries: Vec<ViewEntry>,
}

/// One entry of a view: an encoded [`crate::Key`] and a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEntry {
    /// The key.
    pub key: Vec<u8>,
    /// The value, as JSON.
    pub value: Vec<u8>,
}

fn size_of_entries(entries: &[ViewEntry]) -> usize {
    // The document's id is in each, and the key is kept twice.
    entries
        .iter()
        .map(|entry| 2 * entry.key.len() + entry.value.len() + 64)
        .sum()
}

/// A document and what it emits to a view that is being built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedDocument {
    /// Its id.
    pub id: DocumentId,
    /// The revision that the entries were made from.
    pub revision: Revision,
    /// What it emits.
    pub entries: Vec<ViewEntry>,
}

/// What must be true of the document before a write; if it is not, the write is rejected and changes
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Nothing.
    None,
    /// It does not exist (insert).
    Absent,
    /// It exists, whatever its revision.
    Exists,
    /// It exists at exactly this revision (update, careful delete).
    Revision(Revision),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyCondition, Number};

    #[test]
    fn survives_encoding() {
        let time = Timestamp::from_bits(7);
        let change = |action| DocumentChange {
            collection: "orders".parse().unwrap(),
            id: "a/1".parse().unwrap(),
            precondition: Precondition::Revision(Revision::at(time)),
            action,
        };
        let entries = vec![ViewEntry {
            key: vec![1],
            value: b"1".to_vec(),
        }];
        let put = DocumentAction::Put {
            body: Body::parse(b"{\"a\":1}".to_vec()).unwrap(),
            emitted: vec![Emitted {
                view: ViewId::FIRST,
                entries: entries.clone(),
            }],
        };
        let database = DatabaseName::default_database();
        for operation in [
            Operation::CreateDatabase {
                name: "other".parse().unwrap(),
                slots: SlotCount::default(),
            },
            Operation::DeleteDatabase {
                name: "other".parse().unwrap(),
            },
            Operation::Transact {
                database: database.clone(),
                changes: vec![
                    change(put),
                    change(DocumentAction::Delete),
                    change(DocumentAction::Check),
                ],
            },
            Operation::BuildView {
                database: database.clone(),
                view: ViewId::FIRST,
                documents: vec![IndexedDocument {
                    id: "a".parse().unwrap(),
                    revision: Revision::at(time),
                    entries,
                }],
                is_last: true,
            },
            Operation::TrimChanges {
                database: database.clone(),
                before: time,
            },
            Operation::Once {
                database: database.clone(),
                id: RequestId::new(7, 1),
                write: WriteAction::Transact(vec![change(DocumentAction::Delete)]),
            },
            Operation::ForgetRequests { database, before: 7 },
            Operation::ChangeAccounts(AccountsChange::SetRole {
                name: "clerk".parse().unwrap(),
                permissions: vec!["read on collection shop/orders".parse().unwrap()],
            }),
        ] {
            let command = Command::new(time, operation);
            let bytes = postcard::to_stdvec(&command).unwrap();
            assert_eq!(postcard::from_bytes::<Command>(&bytes).unwrap(), command);
            let (version, _) = postcard::take_from_bytes::<u16>(&bytes).unwrap();
            assert_eq!(version, APPLY_VERSION);
        }
    }

    /// They lie in logs.
    #[test]
    fn operations_are_encoded_as_they_always_were() {
        let database = DatabaseName::default_database();
        let write = || WriteAction::ChangeKey {
            namespace: "n".parse().unwrap(),
            key: "k".parse().unwrap(),
            action: KeyAction::Increment {
                by: Number::Integer(1),
            },
        };
        let id = RequestId::new(1, 2);
        let encoded = |operation: Operation| postcard::to_stdvec(&operation).unwrap();
        let write_alone = encoded(Operation::write(database.clone(), write(), None));
        assert_eq!(write_alone, b"\x06\x07default\x01n\x01k\x01\x00\x02");
        let once = encoded(Operation::write(database.clone(), write(), Some(id)));
        let parts = [
            &b"\x09\x07default\x10"[..],
            &id.to_bytes(),
            b"\x01\x01n\x01k\x01\x00\x02",
        ];
        assert_eq!(once, parts.concat());
        let forget = Operation::ForgetRequests { database, before: 5 };
        assert_eq!(encoded(forget), b"\x0a\x07default\x05");
    }

    #[test]
    fn what_is_written_once_is_as_large_and_frees_as_much_as_without() {
        let database = DatabaseName::default_database();
        let delete = || WriteAction::ChangeKey {
            namespace: "n".parse().unwrap(),
            key: "k".parse().unwrap(),
            action: KeyAction::Delete {
                condition: KeyCondition::Always,
            },
        };
        let change = |action| DocumentChange {
            collection: "c".parse().unwrap(),
            id: "1".parse().unwrap(),
            precondition: Precondition::None,
            action,
        };
        let put = || DocumentAction::Put {
            body: Body::parse(format!("\"{}\"", "a".repeat(1000)).into_bytes()).unwrap(),
            emitted: Vec::new(),
        };
        for (write, frees) in [
            (delete(), true),
            (WriteAction::Transact(vec![change(DocumentAction::Delete)]), true),
            (WriteAction::Transact(vec![change(put())]), false),
        ] {
            let alone = Operation::write(database.clone(), write.clone(), None);
            let once = Operation::write(database.clone(), write.clone(), Some(RequestId::new(1, 2)));
            assert_eq!((alone.frees(), once.frees()), (frees, frees));
            assert_eq!(alone.size(), write.size());
            assert!((alone.size() + 16..alone.size() + 200).contains(&once.size()));
        }
    }

    #[test]
    fn decoding_checks_names_and_takes_bodies_as_they_are() {
        let bytes = postcard::to_stdvec(&"_not a name").unwrap();
        assert!(postcard::from_bytes::<DatabaseName>(&bytes).is_err());
        let bytes = postcard::to_stdvec(&"{json of another day").unwrap();
        assert_eq!(
            postcard::from_bytes::<Body>(&bytes).unwrap().as_str(),
            "{json of another day"
        );
        assert!(postcard::from_bytes::<Body>(&[1, 0xff]).is_err(), "not UTF-8");
        assert!(postcard::from_bytes::<SlotCount>(&[0]).is_err());
    }
}
