//! Collections of typed documents.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::schema::Views;
use crate::{Id, Revision, View};

/// A type whose values are the documents of a collection. Derive it:
///
/// ```
/// use pliantdb_core::Collection;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Collection)]
/// #[collection(name = "users")]
/// struct User {
///     name: String,
/// }
///
/// /// Its own number is its id, so no two can have the same.
/// #[derive(Serialize, Deserialize, Collection)]
/// #[collection(name = "invoices", id = u64, natural_id = number)]
/// struct Invoice {
///     number: u64,
/// }
///
/// /// Can be found by its title, which no two can share.
/// #[derive(Serialize, Deserialize, Collection)]
/// #[collection(name = "pages", named_by = title)]
/// struct Page {
///     title: String,
/// }
/// ```
///
/// Documents are kept as JSON, as `serde_json` writes the type.
pub trait Collection: Serialize + DeserializeOwned + Send + Sync + Sized + 'static {
    /// The type of its ids.
    type Id: Id;
    /// Its name.
    const NAME: &'static str;

    /// The id that the document has by itself; `None` for one that is generated.
    fn natural_id(&self) -> Option<Self::Id> {
        None
    }

    /// Lists its views.
    fn views(views: &mut Views<Self>);
}

/// A collection whose documents have a name that no two share.
pub trait Named: Collection {
    /// The unique view by that name.
    type ByName: View<Collection = Self, Key = String, Value = ()>;
}

/// A document as it is stored, typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T: Collection> {
    /// Its id.
    pub id: T::Id,
    /// The write that produced it.
    pub revision: Revision,
    /// What it holds.
    pub contents: T,
}
