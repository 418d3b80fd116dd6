//! What commands come to.

use serde::{Deserialize, Serialize};

use crate::{CollectionName, DatabaseName, DocumentId, Precondition, Revision};

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The database now exists.
    DatabaseCreated,
    /// The document was written.
    Written {
        /// Its new revision.
        revision: Revision,
        /// Whether it did not exist before.
        created: bool,
    },
    /// The document is gone.
    Deleted,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// No database of that name.
    #[error("there is no database {database:?}")]
    UnknownDatabase {
        /// The name.
        database: DatabaseName,
    },
    /// The name is taken.
    #[error("the database {database:?} exists already")]
    DatabaseExists {
        /// The name.
        database: DatabaseName,
    },
    /// A delete found nothing.
    #[error("there is no document {id:?} in the collection {collection:?}")]
    UnknownDocument {
        /// The collection.
        collection: CollectionName,
        /// The id.
        id: DocumentId,
    },
    /// The precondition does not hold.
    #[error("the document {id:?} {}", conflict(.wanted, .current))]
    PreconditionFailed {
        /// The document's id.
        id: DocumentId,
        /// What the command asked for.
        wanted: Precondition,
        /// The document's revision, if it exists.
        current: Option<Revision>,
    },
}

fn conflict(wanted: &Precondition, current: &Option<Revision>) -> String {
    match (wanted, current) {
        (Precondition::Revision(wanted), Some(current)) => {
            format!("is not at revision {wanted}: its current revision is {current}; read it and decide anew")
        }
        (Precondition::Revision(wanted), None) => format!("is not at revision {wanted}: it does not exist"),
        (_, Some(current)) => format!("exists already, at revision {current}"),
        (_, None) => "does not exist".to_owned(),
    }
}
