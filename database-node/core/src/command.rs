//! Commands: everything that changes state, as one value that can be logged, sent and applied anywhere.

use serde::{Deserialize, Serialize};

use crate::{Body, CollectionName, DatabaseName, DocumentId, Revision, SlotCount, Timestamp};

/// The version of the rules by which this build applies commands.
///
/// It is part of every command, and a state machine stops at one it does not know rather than apply it
/// differently from its peers.
///
/// Decoding a command checks the names and ids in it by [`crate::name`], [`crate::document_id`] and [`crate::slot`],
/// for keys are made of them. So those rules belong to the version: whoever tightens them raises it, and decodes
/// commands of the versions before by the rules before. Bodies are not checked again.
pub const APPLY_VERSION: u16 = 1;

/// One change, with everything that applying it needs: no clock is read and nothing is generated later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The rules to apply it by: [`APPLY_VERSION`] of whoever made it.
    pub version: u16,
    /// When it commits; greater than every earlier command's. It becomes the revision of what it writes.
    pub timestamp: Timestamp,
    /// What to do.
    pub operation: Operation,
}

impl Command {
    /// `operation`, stamped with the time of its commit.
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
    /// Writes a document whole: an insert, an overwrite or an update, as `precondition` says.
    Put {
        /// Which document.
        address: DocumentAddress,
        /// Its new content.
        body: Body,
        /// What must hold before.
        precondition: Precondition,
    },
    /// Deletes a document; rejected when there is none.
    Delete {
        /// Which document.
        address: DocumentAddress,
        /// What must hold before.
        precondition: Precondition,
    },
}

impl Operation {
    /// About how many bytes it adds to a batch, for bounding batches.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::CreateDatabase { name, .. } => name.as_str().len(),
            Self::Put { address, body, .. } => address.size() + body.as_str().len(),
            Self::Delete { address, .. } => address.size(),
        }
    }
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DocumentAddress {
    /// The database.
    pub database: DatabaseName,
    /// The collection in it. A collection exists as soon as it holds a document.
    pub collection: CollectionName,
    /// The id in that.
    pub id: DocumentId,
}

impl DocumentAddress {
    fn size(&self) -> usize {
        self.database.as_str().len() + self.collection.as_str().len() + self.id.as_str().len()
    }
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
    use super::{Command, DocumentAddress, Operation, Precondition};
    use crate::{Body, DatabaseName, Revision, SlotCount, Timestamp};

    #[test]
    fn survives_encoding() {
        let address = DocumentAddress {
            database: DatabaseName::default_database(),
            collection: "orders".parse().unwrap(),
            id: "a/1".parse().unwrap(),
        };
        let time = Timestamp::from_bits(7);
        for operation in [
            Operation::CreateDatabase {
                name: "other".parse().unwrap(),
                slots: SlotCount::default(),
            },
            Operation::Put {
                address: address.clone(),
                body: Body::parse(b"{\"a\":1}".to_vec()).unwrap(),
                precondition: Precondition::Revision(Revision::at(time)),
            },
            Operation::Delete {
                address,
                precondition: Precondition::Exists,
            },
        ] {
            let command = Command::new(time, operation);
            let bytes = postcard::to_stdvec(&command).unwrap();
            assert_eq!(postcard::from_bytes::<Command>(&bytes).unwrap(), command);
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
