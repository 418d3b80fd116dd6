//! Documents.

use serde::{Deserialize, Serialize};

use crate::{Body, DocumentId, Revision};

/// A document as it is stored: which one, which version of it, and its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its id within the collection.
    pub id: DocumentId,
    /// The write that produced it.
    pub revision: Revision,
    /// The JSON value.
    pub body: Body,
}
