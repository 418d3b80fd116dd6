//! Views: what a program derives from the documents of a collection and wants kept in order.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Collection, CollectionName, Key, Stored, ViewEntry, ViewName};

/// A view of a collection: entries of a key and a value, in the order of the keys. Derive it, and implement [`Map`].
///
/// ```
/// use pliantdb_core::{Collection, DocumentId, Emit, Map, Reduce, View};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Collection)]
/// #[collection(name = "users", views = [ByCountry])]
/// struct User {
///     country: String,
/// }
///
/// /// Who lives where, and how many.
/// #[derive(View)]
/// #[view(collection = User, name = "by-country", key = String, value = u64, reduce)]
/// struct ByCountry;
///
/// impl Map for ByCountry {
///     fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
///         emit.entry(user.country.clone(), 1);
///     }
/// }
///
/// impl Reduce for ByCountry {
///     fn reduce(counts: &[u64]) -> u64 {
///         counts.iter().sum()
///     }
/// }
/// ```
pub trait View: Send + Sync + Sized + 'static {
    /// The collection that it is a view of.
    type Collection: Collection;
    /// What its entries are ordered by.
    type Key: Key;
    /// What is beside each key; kept as JSON.
    type Value: Serialize + DeserializeOwned + Send + 'static;
    /// Its name, unique in the collection.
    const NAME: &'static str;
    /// The version of what its map, reduce and types mean. Whoever changes them raises it, and the view is built anew.
    const VERSION: u64;
    /// When it is brought up to date, and whether keys are unique.
    const POLICY: ViewPolicy;
    /// [`Reduce::reduce`], if there is one.
    const REDUCE: Option<ReduceFn<Self::Value>>;
}

/// One value for several: [`Reduce::reduce`].
pub type ReduceFn<V> = fn(&[V]) -> V;

/// What a document emits to a view.
pub trait Map: View {
    /// Emits the entries of one document: none, one or several. The same document must always emit the same.
    ///
    /// The document's revision is not to be had: what is written is mapped before it is committed.
    fn map(id: &<Self::Collection as Collection>::Id, contents: &Self::Collection, emit: &mut Emit<Self>);
}

/// How values of a view come to one.
pub trait Reduce: View {
    /// One value for several: of entries, and also of what came of reducing others before. So it must not matter in
    /// which order they come, or in which groups. `values` may be empty.
    fn reduce(values: &[Self::Value]) -> Self::Value;
}

/// The most entries that a document can have in a view.
pub const MAX_ENTRIES: usize = 65_535;

/// Takes what a document emits.
pub struct Emit<V> {
    entries: Vec<ViewEntry>,
    fault: Option<String>,
    view: PhantomData<V>,
}

impl<V: View> Emit<V> {
    /// Adds an entry. A document can have up to [`MAX_ENTRIES`] in a view.
    pub fn entry(&mut self, key: V::Key, value: V::Value) {
        let key = key.encoded();
        if self.entries.len() == MAX_ENTRIES {
            self.fault = Some(format!("it emits more than {MAX_ENTRIES} entries"));
            return;
        }
        if key.len() > crate::key::MAX_KEY_LENGTH {
            let (length, most) = (key.len(), crate::key::MAX_KEY_LENGTH);
            self.fault = Some(format!("a key has {length} bytes, and {most} is the most"));
        }
        if crate::key::encoded_length(&key) != Some(key.len()) {
            let reason = "a key is not made of the types that keys are made of, or nested more than 8 deep";
            self.fault = Some(reason.to_owned());
        }
        match serde_json::to_vec(&value) {
            Ok(value) => self.entries.push(ViewEntry { key, value }),
            Err(error) => self.fault = Some(format!("a value cannot be written as JSON: {error}")),
        }
    }

    /// Runs the map of `V` over a document.
    ///
    /// # Errors
    /// What is wrong with a key or value that it emitted.
    pub(crate) fn of(document: &Stored<V::Collection>) -> Result<Vec<ViewEntry>, String>
    where
        V: Map,
    {
        let mut emit = Self {
            entries: Vec::new(),
            fault: None,
            view: PhantomData,
        };
        V::map(&document.id, &document.contents, &mut emit);
        match emit.fault {
            None => Ok(emit.entries),
            Some(fault) => Err(fault),
        }
    }
}

/// When a view is brought up to date, and whether its keys are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ViewPolicy {
    /// When it is queried. Writes cost nothing more.
    #[default]
    Lazy,
    /// With every write, in the same transaction.
    Eager,
    /// As eager, and a write is rejected when another document has the key.
    Unique,
}

/// What the state machine needs to know of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDefinition {
    /// Its collection.
    pub collection: CollectionName,
    /// Its name.
    pub name: ViewName,
    /// Its version.
    pub version: u64,
    /// Its policy.
    pub policy: ViewPolicy,
    /// Whether its values can be reduced.
    pub reduces: bool,
}

/// The number that stands for one version of a view in keys, from 1 in its database; never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ViewId(u32);

impl From<u32> for ViewId {
    fn from(id: u32) -> Self {
        Self(id)
    }
}

impl ViewId {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
