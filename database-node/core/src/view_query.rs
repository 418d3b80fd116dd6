//! Queries of a view, typed.

use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::de::DeserializeOwned;

use crate::documents::{collection, read};
use crate::key::{behind, text_prefix};
use crate::{
    Collection, Connection, DocumentId, Error, Freshness, Group, Id, Key, KeySelection, Map, Order, Query,
    RawRow, Reduce, Request, Response, RowCursor, Rows, Stored, View, ViewStatus,
};

/// A query of a view: [`Connection::view`].
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
/// for (name, country) in [("Ada", "UK"), ("Alan", "UK"), ("Konrad", "DE"), ("Grace", "US")] {
///     database.collection::<User>().insert(User::new(name, country))?;
/// }
/// let view = || database.view::<ByCountry>();
/// let uk = "UK".to_owned();
/// assert_eq!(view().key(&uk).query()?.len(), 2);
/// assert_eq!(view().key_range("E".to_owned()..).reduce()?, 3);
/// assert_eq!(view().key_prefix("U").reduce_grouped()?, [("UK".to_owned(), 2), ("US".to_owned(), 1)]);
/// let (row, user) = view().descending().limit(1).query_with_documents()?.remove(0);
/// assert_eq!((row.key.as_str(), user.contents.name.as_str()), ("US", "Grace"));
///
/// let (rows, next) = view().limit(3).page()?;
/// assert_eq!(rows.len(), 3);
/// assert_eq!(view().after(next.unwrap()).query()?[0].key, "US");
///
/// assert_eq!(view().key(&uk).delete_documents()?, 2);
/// assert_eq!(view().status()?, ViewStatus::Ready);
/// # Ok(())
/// # }
/// ```
pub struct ViewQuery<'c, C, V> {
    connection: &'c C,
    query: Result<Query, Error>,
    view: PhantomData<V>,
}

/// An entry of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<K, V, I> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The id of the document that emitted it.
    pub id: I,
}

/// An entry of the view `V`.
pub type RowOf<V> = Row<<V as View>::Key, <V as View>::Value, <<V as View>::Collection as Collection>::Id>;

/// An entry of the view `V`, and the document that emitted it.
pub type RowWithDocument<V> = (RowOf<V>, Stored<<V as View>::Collection>);

/// A key of the view `V`, and the reduced value of its entries.
pub type GroupOf<V> = (<V as View>::Key, <V as View>::Value);

impl<'c, C: Connection, V: Map> ViewQuery<'c, C, V> {
    pub(crate) fn new(connection: &'c C) -> Self {
        let query = collection::<V::Collection>().and_then(|collection| {
            Ok(Query {
                collection,
                view: V::NAME.parse()?,
                keys: KeySelection::All,
                order: Order::Ascending,
                limit: None,
                after: None,
                freshness: Freshness::Current,
            })
        });
        Self {
            connection,
            query,
            view: PhantomData,
        }
    }

    /// Only entries with this key.
    #[must_use]
    pub fn key(self, key: &V::Key) -> Self {
        self.keys([key])
    }

    /// Only entries with one of these keys.
    #[must_use]
    pub fn keys<'k>(self, keys: impl IntoIterator<Item = &'k V::Key>) -> Self {
        let keys = keys.into_iter().map(Key::encoded).collect();
        self.with(|query| query.keys = KeySelection::These(keys))
    }

    /// Only entries with a key in this range.
    #[must_use]
    pub fn key_range(self, range: impl RangeBounds<V::Key>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(key) => Some(key.encoded()),
            Bound::Excluded(key) => behind(key.encoded()),
            Bound::Unbounded => Some(Vec::new()),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => behind(key.encoded()),
            Bound::Excluded(key) => Some(key.encoded()),
            Bound::Unbounded => None,
        };
        self.with(|query| {
            query.keys = match start {
                Some(start) => KeySelection::Range(start, end),
                None => KeySelection::These(Vec::new()),
            };
        })
    }

    /// From the last to the first.
    #[must_use]
    pub fn descending(self) -> Self {
        self.with(|query| query.order = Order::Descending)
    }

    /// At most so many entries.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        self.with(|query| query.limit = Some(limit))
    }

    /// Only entries behind this place: where a page ended.
    #[must_use]
    pub fn after(self, cursor: RowCursor) -> Self {
        self.with(|query| query.after = Some(cursor))
    }

    /// How up to date the view must be; [`Freshness::Current`] unless set.
    #[must_use]
    pub fn freshness(self, freshness: Freshness) -> Self {
        self.with(|query| query.freshness = freshness)
    }

    /// The entries.
    pub fn query(self) -> C::Output<Vec<RowOf<V>>> {
        self.collect(false, |rows, found| {
            for raw in rows.iter() {
                found.push(row::<V>(raw)?);
            }
            Ok(())
        })
    }

    /// The entries with their documents.
    pub fn query_with_documents(self) -> C::Output<Vec<RowWithDocument<V>>> {
        self.collect(true, |rows, found| {
            let documents = std::mem::take(&mut rows.documents);
            if documents.len() != rows.len() {
                return Err(Error::unexpected_answer());
            }
            for (raw, document) in rows.iter().zip(documents) {
                found.push((row::<V>(raw)?, read::<V::Collection>(document)?));
            }
            Ok(())
        })
    }

    /// As many entries as an answer holds, and where to go on if there are more.
    pub fn page(self) -> C::Output<(Vec<RowOf<V>>, Option<RowCursor>)> {
        let request = self.query.map(|query| Request::Query {
            query,
            with_documents: false,
        });
        self.connection.ask(request, |answer| match answer {
            Response::Rows(rows) => {
                let typed = rows.iter().map(row::<V>).collect::<Result<_, _>>()?;
                Ok((typed, rows.next))
            }
            _ => Err(Error::unexpected_answer()),
        })
    }

    /// Deletes the documents behind the entries, and gives how many they were. Those that are changed meanwhile stay.
    pub fn delete_documents(self) -> C::Output<u64> {
        self.connection
            .ask(self.query.map(Request::DeleteMatching), |answer| match answer {
                Response::Count(count) => Ok(count),
                _ => Err(Error::unexpected_answer()),
            })
    }

    /// How the view is doing.
    pub fn status(self) -> C::Output<ViewStatus> {
        let request = self.query.map(|query| Request::ViewStatus {
            collection: query.collection,
            view: query.view,
        });
        self.connection.ask(request, |answer| match answer {
            Response::ViewStatus(status) => Ok(status),
            _ => Err(Error::unexpected_answer()),
        })
    }

    /// Collects all pages.
    fn collect<T: Send + 'static>(
        self,
        with_documents: bool,
        read: impl Fn(&mut Rows, &mut Vec<T>) -> Result<(), Error> + Send + 'static,
    ) -> C::Output<Vec<T>> {
        let request = move |query| Request::Query {
            query,
            with_documents,
        };
        let first = self.query.clone().map(request);
        self.connection.collect(first, move |answer, found| {
            let Response::Rows(mut rows) = answer else {
                return Err(Error::unexpected_answer());
            };
            found.reserve(rows.len());
            read(&mut rows, found)?;
            if rows.next.is_none() {
                return Ok(None);
            }
            let mut rest = self.query.clone()?;
            rest.after = rows.next;
            rest.limit = rest.limit.map(|limit| limit.saturating_sub(found.len()));
            let is_more = rest.limit != Some(0);
            Ok(is_more.then(|| request(rest)))
        })
    }

    fn with(mut self, set: impl FnOnce(&mut Query)) -> Self {
        if let Ok(query) = &mut self.query {
            set(query);
        }
        self
    }
}

impl<C: Connection, V: Map + Reduce> ViewQuery<'_, C, V> {
    /// One value for all entries.
    pub fn reduce(self) -> C::Output<V::Value> {
        self.connection
            .ask(self.query.map(Request::Reduce), |answer| match answer {
                Response::Groups(mut groups) => match groups.pop() {
                    Some(group) => json(&group.value),
                    None => Err(Error::unexpected_answer()),
                },
                _ => Err(Error::unexpected_answer()),
            })
    }

    /// One value for each key, in the order of the keys.
    pub fn reduce_grouped(self) -> C::Output<Vec<GroupOf<V>>> {
        self.connection
            .ask(self.query.map(Request::ReduceGrouped), |answer| match answer {
                Response::Groups(groups) => {
                    let read = |group: Group| Ok((key::<V>(&group.key)?, json(&group.value)?));
                    groups.into_iter().map(read).collect()
                }
                _ => Err(Error::unexpected_answer()),
            })
    }
}

impl<V: View<Key = String>, C: Connection> ViewQuery<'_, C, V> {
    /// Only entries whose key begins with this text.
    #[must_use]
    pub fn key_prefix(mut self, prefix: &str) -> Self {
        if let Ok(query) = &mut self.query {
            let (start, end) = text_prefix(prefix);
            query.keys = KeySelection::Range(start, Some(end));
        }
        self
    }
}

fn row<V: Map>(raw: RawRow<'_>) -> Result<RowOf<V>, Error> {
    let id = str::from_utf8(raw.id).map_err(Error::invalid)?;
    let id: DocumentId = id.parse().map_err(Error::invalid)?;
    Ok(Row {
        key: key::<V>(raw.key)?,
        value: json(raw.value)?,
        id: Id::from_own(id).map_err(Error::invalid)?,
    })
}

fn key<V: View>(encoded: &[u8]) -> Result<V::Key, Error> {
    let mut rest = encoded;
    V::Key::decode(&mut rest).map_err(|error| {
        Error::invalid(format_args!(
            "the view {} holds other keys than its type says: {error}; raise its version when its types change",
            V::NAME
        ))
    })
}

fn json<T: DeserializeOwned>(value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| {
        Error::invalid(format_args!(
            "a view holds other values than its type says: {error}; raise its version when its types change"
        ))
    })
}
