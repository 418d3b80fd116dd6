//! Transactions: changes of several documents, of several collections, that happen together or not at all.

use crate::documents::{body, collection, put};
use crate::{
    Change, ChangeAction, ChangeOutcome, Collection, Connection, Error, Id, Precondition, Request, Response,
    Stored,
};

/// Changes that are made together or not at all. Each sees those before it.
///
/// ```
/// # use pliantdb_core::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
/// # #[collection(name = "users", views = [ByCountry])]
/// # struct User { name: String, country: String }
/// # impl User {
/// #     fn new(name: &str, country: &str) -> Self { Self { name: name.to_owned(), country: country.to_owned() } }
/// # }
/// # #[derive(View)]
/// # #[view(collection = User, name = "by-country", key = String, value = u64, reduce)]
/// # struct ByCountry;
/// # impl Map for ByCountry {
/// #     fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) { emit.entry(user.country.clone(), 1); }
/// # }
/// # impl Reduce for ByCountry {
/// #     fn reduce(counts: &[u64]) -> u64 { counts.iter().sum() }
/// # }
/// # fn main() -> Result<(), Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let database = pliantdb_storage::Database::open::<User>(directory.path())?;
/// let users = database.collection::<User>();
/// let (ada, alan) = (users.insert(User::new("Ada", "UK"))?, users.insert(User::new("Alan", "UK"))?);
/// let mut moved = ada.clone();
/// moved.contents.country = "IT".to_owned();
/// Transaction::new()
///     .update(&moved)
///     .delete(&alan)
///     .insert(&User::new("Konrad", "DE"))
///     .insert_as(&"kurt".parse().unwrap(), &User::new("Kurt", "AT"))
///     .check_absent::<User>(&"nobody".parse().unwrap())
///     .apply(&database)?;
/// assert_eq!(users.list().count()?, 3);
///
/// let refused = Transaction::new().insert(&User::new("Grace", "US")).check_current(&ada).apply(&database);
/// assert!(refused.is_err(), "Ada was changed since");
/// assert_eq!(users.list().count()?, 3, "nothing of it was done");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Or what is wrong with one of them.
    changes: Result<Vec<Change>, Error>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    /// A transaction without any change.
    #[must_use]
    pub fn new() -> Self {
        Self {
            changes: Ok(Vec::new()),
        }
    }

    /// Writes a new document, under its natural id or else one that is made for it.
    #[must_use]
    pub fn insert<T: Collection>(self, contents: &T) -> Self {
        self.with::<T>(|| {
            let id = contents.natural_id().map(|id| id.to_document_id()).transpose();
            Ok(ChangeAction::Insert {
                id: id.map_err(Error::invalid)?,
                body: body(contents)?,
            })
        })
    }

    /// Writes a new document under this id.
    #[must_use]
    pub fn insert_as<T: Collection>(self, id: &T::Id, contents: &T) -> Self {
        self.with::<T>(|| put(id, contents, Precondition::Absent))
    }

    /// Writes a document under this id, whether there is one or not.
    #[must_use]
    pub fn overwrite<T: Collection>(self, id: &T::Id, contents: &T) -> Self {
        self.with::<T>(|| put(id, contents, Precondition::None))
    }

    /// Writes a document that was read and changed, unless someone else has changed it since.
    #[must_use]
    pub fn update<T: Collection>(self, document: &Stored<T>) -> Self {
        let precondition = Precondition::Revision(document.revision);
        self.with::<T>(|| put(&document.id, &document.contents, precondition))
    }

    /// Deletes a document that was read, unless someone else has changed it since.
    #[must_use]
    pub fn delete<T: Collection>(self, document: &Stored<T>) -> Self {
        let precondition = Precondition::Revision(document.revision);
        self.with::<T>(|| {
            let id = document.id.to_document_id().map_err(Error::invalid)?;
            Ok(ChangeAction::Delete { id, precondition })
        })
    }

    /// Deletes the document with this id, which must exist.
    #[must_use]
    pub fn delete_by_id<T: Collection>(self, id: &T::Id) -> Self {
        self.with::<T>(|| {
            let id = id.to_document_id().map_err(Error::invalid)?;
            Ok(ChangeAction::Delete {
                id,
                precondition: Precondition::Exists,
            })
        })
    }

    /// Requires that a document is as it was read.
    #[must_use]
    pub fn check_current<T: Collection>(self, document: &Stored<T>) -> Self {
        self.check::<T>(&document.id, Precondition::Revision(document.revision))
    }

    /// Requires that there is a document with this id.
    #[must_use]
    pub fn check_exists<T: Collection>(self, id: &T::Id) -> Self {
        self.check::<T>(id, Precondition::Exists)
    }

    /// Requires that there is no document with this id.
    #[must_use]
    pub fn check_absent<T: Collection>(self, id: &T::Id) -> Self {
        self.check::<T>(id, Precondition::Absent)
    }

    /// Makes the changes, all or none, and gives what came of each, in order.
    pub fn apply<C: Connection>(self, connection: &C) -> C::Output<Vec<ChangeOutcome>> {
        connection.ask(self.changes.map(Request::Transact), |answer| match answer {
            Response::Transacted(outcomes) => Ok(outcomes),
            _ => Err(Error::unexpected_answer()),
        })
    }

    fn check<T: Collection>(self, id: &T::Id, precondition: Precondition) -> Self {
        self.with::<T>(|| {
            let id = id.to_document_id().map_err(Error::invalid)?;
            Ok(ChangeAction::Check { id, precondition })
        })
    }

    fn with<T: Collection>(mut self, action: impl FnOnce() -> Result<ChangeAction, Error>) -> Self {
        if let Ok(changes) = &mut self.changes {
            match collection::<T>().and_then(|collection| {
                Ok(Change {
                    collection,
                    action: action()?,
                })
            }) {
                Ok(change) => changes.push(change),
                Err(error) => self.changes = Err(error),
            }
        }
        self
    }
}
