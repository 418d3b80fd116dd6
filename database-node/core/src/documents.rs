//! The documents of a collection, typed.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use crate::schema::{check_natural_id, typed};
use crate::{
    Body, Change, ChangeAction, ChangeOutcome, Collection, CollectionName, Connection, Document, DocumentId,
    Error, Id, KeySelection, Listing, Named, Order, Precondition, Query, Rejection, Request, Response,
    Revision, Step, Stored, View,
};

/// The documents of a collection: [`Connection::collection`].
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
/// let mut ada = users.insert(User::new("Ada", "UK"))?;
/// assert_eq!(users.get(&ada.id)?, Some(ada.clone()));
///
/// ada.contents.country = "IT".to_owned();
/// ada.revision = users.update(&ada)?;
/// let moved = users.modify(&ada.id, |user| user.country = "FR".to_owned())?.unwrap();
/// assert!(users.update(&ada).is_err(), "it was changed since it was read");
///
/// users.insert_as(&"alan".parse().unwrap(), User::new("Alan", "UK"))?;
/// users.overwrite(&"alan".parse().unwrap(), User::new("Alan", "US"))?;
/// assert_eq!(users.get_multiple(&["alan".parse().unwrap(), ada.id.clone()])?.len(), 2);
///
/// users.delete(&moved)?;
/// users.delete_by_id(&"alan".parse().unwrap())?;
/// assert_eq!(users.list().count()?, 0);
/// # Ok(())
/// # }
/// ```
pub struct Documents<'c, C, T> {
    connection: &'c C,
    collection: PhantomData<T>,
}

impl<'c, C: Connection, T: Collection> Documents<'c, C, T> {
    pub(crate) fn new(connection: &'c C) -> Self {
        Self {
            connection,
            collection: PhantomData,
        }
    }

    /// Reads a document; `None` when there is none.
    pub fn get(&self, id: &T::Id) -> C::Output<Option<Stored<T>>> {
        let request = get::<T>(std::slice::from_ref(id));
        self.connection
            .ask(request, |answer| Ok(documents(answer)?.pop()))
    }

    /// Reads documents; those that do not exist are left out.
    pub fn get_multiple(&self, ids: &[T::Id]) -> C::Output<Vec<Stored<T>>> {
        self.connection.ask(get::<T>(ids), documents)
    }

    /// Lists documents in the order of their ids, at first all of them.
    #[must_use]
    pub fn list(&self) -> List<'c, C, T> {
        List {
            connection: self.connection,
            listing: Ok(Listing {
                limit: usize::MAX,
                ..Listing::default()
            }),
            most: usize::MAX,
            collection: PhantomData,
        }
    }

    /// Writes a new document, under its natural id or else one that is made for it.
    pub fn insert(&self, contents: T) -> C::Output<Stored<T>> {
        let id = contents.natural_id().map(|id| id.to_document_id()).transpose();
        let action = id.map_err(Error::invalid).and_then(|id| {
            let body = body(&contents)?;
            Ok(ChangeAction::Insert { id, body })
        });
        self.write(action, contents)
    }

    /// Writes a new document under this id.
    pub fn insert_as(&self, id: &T::Id, contents: T) -> C::Output<Stored<T>> {
        self.put(id, contents, Precondition::Absent)
    }

    /// Writes a document under this id, whether there is one or not.
    pub fn overwrite(&self, id: &T::Id, contents: T) -> C::Output<Stored<T>> {
        self.put(id, contents, Precondition::None)
    }

    /// Writes a document that was read and changed, and gives its new revision. It is rejected when someone else has
    /// changed it since. A natural id stays what it is ([`Error::OtherNaturalId`]).
    pub fn update(&self, document: &Stored<T>) -> C::Output<Revision> {
        let action = put(
            &document.id,
            &document.contents,
            Precondition::Revision(document.revision),
        );
        self.connection
            .ask(action.and_then(|action| transact::<T>(action)), |answer| {
                written(answer).map(|(_, revision)| revision)
            })
    }

    /// Reads a document, lets `change` change it, and writes it; again, when someone else was faster. `None` when there
    /// is no such document.
    pub fn modify(
        &self,
        id: &T::Id,
        mut change: impl FnMut(&mut T) + Send + 'static,
    ) -> C::Output<Option<Stored<T>>>
    where
        T: Collection,
    {
        let first = get::<T>(std::slice::from_ref(id));
        let again = first.clone();
        let mut writing: Option<Stored<T>> = None;
        self.connection.converse(first, move |answer| {
            let step = || -> Result<ControlFlow<Option<Stored<T>>, Request>, Error> {
                if let Some(mut document) = writing.take() {
                    return match answer {
                        Err(Error::Rejected(Rejection::PreconditionFailed { .. })) => {
                            again.clone().map(ControlFlow::Continue)
                        }
                        answer => {
                            document.revision = written(answer?)?.1;
                            Ok(ControlFlow::Break(Some(document)))
                        }
                    };
                }
                let Some(mut document) = documents::<T>(answer?)?.pop() else {
                    return Ok(ControlFlow::Break(None));
                };
                change(&mut document.contents);
                let revision = Precondition::Revision(document.revision);
                let request = transact::<T>(put(&document.id, &document.contents, revision)?)?;
                writing = Some(document);
                Ok(ControlFlow::Continue(request))
            };
            match step() {
                Ok(ControlFlow::Continue(request)) => Step::Ask(request),
                Ok(ControlFlow::Break(document)) => Step::Done(Ok(document)),
                Err(error) => Step::Done(Err(error)),
            }
        })
    }

    /// Deletes a document that was read. It is rejected when someone else has changed it since.
    pub fn delete(&self, document: &Stored<T>) -> C::Output<()> {
        self.remove(&document.id, Precondition::Revision(document.revision))
    }

    /// Deletes the document with this id, which must exist.
    pub fn delete_by_id(&self, id: &T::Id) -> C::Output<()> {
        self.remove(id, Precondition::Exists)
    }

    fn remove(&self, id: &T::Id, precondition: Precondition) -> C::Output<()> {
        let id = id.to_document_id().map_err(Error::invalid);
        let request = id.and_then(|id| transact::<T>(ChangeAction::Delete { id, precondition }));
        self.connection.ask(request, |_| Ok(()))
    }

    fn put(&self, id: &T::Id, contents: T, precondition: Precondition) -> C::Output<Stored<T>> {
        self.write(put(id, &contents, precondition), contents)
    }

    fn write(&self, action: Result<ChangeAction, Error>, contents: T) -> C::Output<Stored<T>> {
        self.connection.ask(action.and_then(transact::<T>), |answer| {
            let (id, revision) = written(answer)?;
            let id = T::Id::from_document_id(&id).map_err(Error::invalid)?;
            Ok(Stored {
                id,
                revision,
                contents,
            })
        })
    }
}

impl<C: Connection, T: Named> Documents<'_, C, T> {
    /// Reads the document of this name; `None` when there is none.
    pub fn by_name(&self, name: &str) -> C::Output<Option<Stored<T>>> {
        let request = collection::<T>().and_then(|collection| {
            let query = Query {
                collection,
                view: T::ByName::NAME.parse()?,
                keys: KeySelection::These(vec![crate::Key::encoded(&name.to_owned())]),
                order: Order::Ascending,
                limit: Some(1),
                after: None,
                freshness: crate::Freshness::Current,
            };
            Ok(Request::Query {
                query,
                with_documents: true,
            })
        });
        self.connection.ask(request, |answer| match answer {
            Response::Rows(mut rows) => rows.documents.pop().map(read::<T>).transpose(),
            _ => Err(Error::unexpected_answer()),
        })
    }
}

/// A listing of documents: [`Documents::list`].
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
/// for id in ["a1", "a2", "b1"] {
///     users.insert_as(&id.parse().unwrap(), User::new(id, "UK"))?;
/// }
/// assert_eq!(users.list().prefix("a").all()?.len(), 2);
/// assert_eq!(users.list().descending().limit(1).all()?[0].id.as_str(), "b1");
/// assert_eq!(users.list().after(&"a1".parse().unwrap()).all()?.len(), 2);
/// assert_eq!(users.list().count()?, 3);
/// # Ok(())
/// # }
/// ```
pub struct List<'c, C, T> {
    connection: &'c C,
    listing: Result<Listing, Error>,
    most: usize,
    collection: PhantomData<T>,
}

impl<C: Connection, T: Collection> List<'_, C, T> {
    /// Only ids whose text begins with this.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        self.with(|listing| listing.prefix = prefix.to_owned())
    }

    /// Only ids behind this one, in the order of the listing.
    #[must_use]
    pub fn after(mut self, id: &T::Id) -> Self {
        match id.to_document_id() {
            Ok(id) => self.with(|listing| listing.after = Some(id)),
            Err(error) => {
                self.listing = Err(Error::invalid(error));
                self
            }
        }
    }

    /// From the last to the first.
    #[must_use]
    pub fn descending(self) -> Self {
        self.with(|listing| listing.order = Order::Descending)
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.most = limit;
        self
    }

    /// How many there are, however many may be asked for. It looks at the id of each.
    pub fn count(self) -> C::Output<u64> {
        let request = self.listing.and_then(|listing| {
            Ok(Request::Count {
                collection: collection::<T>()?,
                listing,
            })
        });
        self.connection.ask(request, |answer| match answer {
            Response::Count(count) => Ok(count),
            _ => Err(Error::unexpected_answer()),
        })
    }

    /// The documents. They are read in pages, each from a moment of its own.
    pub fn all(self) -> C::Output<Vec<Stored<T>>> {
        let most = self.most;
        let request = |listing| {
            let collection = collection::<T>()?;
            Ok(Request::List { collection, listing })
        };
        let mut listing = self.listing.clone().unwrap_or_default();
        let first = self
            .listing
            .and_then(|first| request(Listing { limit: most, ..first }));
        self.connection.collect(first, move |answer, found| {
            let Response::Page(page) = answer else {
                return Err(Error::unexpected_answer());
            };
            for document in page.documents {
                found.push(read::<T>(document)?);
            }
            listing.after = page.next;
            listing.limit = most.saturating_sub(found.len());
            match listing.after.is_some() && listing.limit > 0 {
                true => request(listing.clone()).map(Some),
                false => Ok(None),
            }
        })
    }

    fn with(mut self, set: impl FnOnce(&mut Listing)) -> Self {
        if let Ok(listing) = &mut self.listing {
            set(listing);
        }
        self
    }
}

pub(crate) fn collection<T: Collection>() -> Result<CollectionName, Error> {
    Ok(T::NAME.parse()?)
}

pub(crate) fn body<T: Collection>(contents: &T) -> Result<Body, Error> {
    Body::of(contents).map_err(Error::invalid)
}

pub(crate) fn put<T: Collection>(
    id: &T::Id,
    contents: &T,
    precondition: Precondition,
) -> Result<ChangeAction, Error> {
    let id = id.to_document_id().map_err(Error::invalid)?;
    check_natural_id(&collection::<T>()?, &id, contents)?;
    Ok(ChangeAction::Put {
        id,
        body: body(contents)?,
        precondition,
    })
}

/// A document as its type.
pub(crate) fn read<T: Collection>(document: Document) -> Result<Stored<T>, Error> {
    typed(&document)
}

fn get<T: Collection>(ids: &[T::Id]) -> Result<Request, Error> {
    let ids = ids.iter().map(|id| id.to_document_id().map_err(Error::invalid));
    Ok(Request::Get {
        collection: collection::<T>()?,
        ids: ids.collect::<Result<_, _>>()?,
    })
}

fn transact<T: Collection>(action: ChangeAction) -> Result<Request, Error> {
    let collection = collection::<T>()?;
    Ok(Request::Transact(vec![Change { collection, action }]))
}

fn documents<T: Collection>(answer: Response) -> Result<Vec<Stored<T>>, Error> {
    match answer {
        Response::Documents(documents) => documents.into_iter().map(read::<T>).collect(),
        _ => Err(Error::unexpected_answer()),
    }
}

fn written(answer: Response) -> Result<(DocumentId, Revision), Error> {
    match answer {
        Response::Transacted(mut outcomes) => match outcomes.pop() {
            Some(ChangeOutcome::Written { id, revision, .. }) => Ok((id, revision)),
            _ => Err(Error::unexpected_answer()),
        },
        _ => Err(Error::unexpected_answer()),
    }
}
