//! Schemas: the collections and views that a program expects of a database.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{
    Collection, CollectionName, Document, DocumentId, Emit, Error, Id, InvalidName, Map, SchemaName, Stored,
    ViewDefinition, ViewEntry, ViewName, ViewPolicy,
};

/// What a program expects of a database. Derive it; every [`Collection`] is one of its own, and so is `()`, which
/// expects nothing: a database of any collections, without views.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize, pliantdb_core::Collection)]
/// # #[collection(name = "users")]
/// # struct User {}
/// # #[derive(Serialize, Deserialize, pliantdb_core::Collection)]
/// # #[collection(name = "orders")]
/// # struct Order {}
/// #[derive(pliantdb_core::Schema)]
/// #[schema(name = "shop", collections = [User, Order])]
/// struct Shop;
/// ```
pub trait Schema: 'static {
    /// Its name; `None` expects nothing and changes nothing.
    const NAME: Option<&'static str>;

    /// Lists its collections.
    fn collections(collections: &mut Collections);
}

impl Schema for () {
    const NAME: Option<&'static str> = None;

    fn collections(_: &mut Collections) {}
}

/// Takes the collections of a schema.
#[derive(Default)]
pub struct Collections {
    list: Vec<Result<CollectionSchema, InvalidSchema>>,
}

impl Collections {
    /// Adds a collection with its views.
    pub fn add<T: Collection>(&mut self) {
        self.list.push(CollectionSchema::of::<T>());
    }
}

/// Takes the views of a collection.
pub struct Views<T> {
    list: Vec<Result<ViewSchema, InvalidSchema>>,
    collection: PhantomData<T>,
}

impl<T: Collection> Views<T> {
    /// Adds a view.
    pub fn add<V: Map<Collection = T>>(&mut self) {
        self.list.push(ViewSchema::of::<V>());
    }
}

/// A schema that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchema {
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Two collections of one name.
    #[error("two collections of the schema are called {0:?}; give each a name of its own")]
    CollectionTwice(CollectionName),
    /// Two views of one name.
    #[error("two views of the collection {collection:?} are called {view}; give each a name of its own")]
    ViewTwice {
        /// The collection.
        collection: CollectionName,
        /// The views' name.
        view: ViewName,
    },
}

/// A schema at work: how to read and map the documents of each collection, without knowing its types.
///
/// ```
/// # #[derive(serde::Serialize, serde::Deserialize, pliantdb_core::Collection)]
/// # #[collection(name = "users")]
/// # struct User { name: String }
/// use pliantdb_core::Schematic;
///
/// let schematic = Schematic::of::<User>().unwrap();
/// assert!(schematic.collection(&"users".parse().unwrap()).is_some());
/// assert_eq!(schematic.views().count(), 0);
/// ```
#[derive(Debug, Default)]
pub struct Schematic {
    name: Option<SchemaName>,
    collections: BTreeMap<CollectionName, CollectionSchema>,
}

impl Schematic {
    /// That of `S`.
    ///
    /// # Errors
    /// [`InvalidSchema`] when names cannot be names, or are not unique.
    pub fn of<S: Schema + ?Sized>() -> Result<Self, InvalidSchema> {
        let mut found = Collections::default();
        S::collections(&mut found);
        let mut collections = BTreeMap::new();
        for collection in found.list {
            let collection = collection?;
            if let Some(twice) = collections.insert(collection.name.clone(), collection) {
                return Err(InvalidSchema::CollectionTwice(twice.name));
            }
        }
        let name = S::NAME.map(str::parse).transpose()?;
        Ok(Self { name, collections })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Option<&SchemaName> {
        self.name.as_ref()
    }

    /// What it says of a collection.
    #[must_use]
    pub fn collection(&self, name: &CollectionName) -> Option<&CollectionSchema> {
        self.collections.get(name)
    }

    /// All its views.
    pub fn views(&self) -> impl Iterator<Item = &ViewSchema> {
        self.collections.values().flat_map(|collection| &collection.views)
    }
}

/// What a schema says of one collection.
pub struct CollectionSchema {
    name: CollectionName,
    views: Vec<ViewSchema>,
    read: fn(&Document) -> Result<TypedDocument, Error>,
    check_id: fn(&CollectionName, &DocumentId, &TypedDocument) -> Result<(), Error>,
}

/// A [`Stored`] of a type that only its collection's schema knows.
pub struct TypedDocument(Box<dyn Any>);

impl CollectionSchema {
    fn of<T: Collection>() -> Result<Self, InvalidSchema> {
        let name: CollectionName = T::NAME.parse()?;
        let mut found = Views::<T> {
            list: Vec::new(),
            collection: PhantomData,
        };
        T::views(&mut found);
        let views = found.list.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        for view in &views {
            if !names.insert(&view.definition.name) {
                return Err(InvalidSchema::ViewTwice {
                    collection: name,
                    view: view.definition.name.clone(),
                });
            }
        }
        Ok(Self {
            name,
            views,
            read: |document| Ok(TypedDocument(Box::new(typed::<T>(document)?))),
            check_id: |name, id, document| match document.0.downcast_ref::<Stored<T>>() {
                Some(document) => check_natural_id(name, id, &document.contents),
                None => Ok(()),
            },
        })
    }

    /// Its views.
    #[must_use]
    pub fn views(&self) -> &[ViewSchema] {
        &self.views
    }

    /// The view of that name.
    #[must_use]
    pub fn view(&self, name: &ViewName) -> Option<&ViewSchema> {
        self.views.iter().find(|view| view.definition.name == *name)
    }

    /// Reads a document as the collection's type.
    ///
    /// # Errors
    /// [`Error::OtherType`] when its id or body is not of that type.
    pub fn read(&self, document: &Document) -> Result<TypedDocument, Error> {
        (self.read)(document)
    }

    /// As [`CollectionSchema::read`], of a document that is to be written.
    ///
    /// # Errors
    /// [`Error::OtherNaturalId`] too, when its contents have another id.
    pub fn admit(&self, document: &Document) -> Result<TypedDocument, Error> {
        let typed = self.read(document)?;
        (self.check_id)(&self.name, &document.id, &typed)?;
        Ok(typed)
    }
}

impl fmt::Debug for CollectionSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CollectionSchema({:?}, {} views)", self.name, self.views.len())
    }
}

/// Reads a document as a type.
///
/// # Errors
/// [`Error::OtherType`].
pub(crate) fn typed<T: Collection>(document: &Document) -> Result<Stored<T>, Error> {
    let other = |reason: String| match T::NAME.parse() {
        Ok(collection) => Error::OtherType {
            collection,
            id: document.id.clone(),
            reason,
        },
        Err(error) => Error::invalid(error),
    };
    Ok(Stored {
        id: T::Id::from_document_id(&document.id).map_err(|error| other(error.to_string()))?,
        revision: document.revision,
        contents: document.body.read().map_err(|error| other(error.to_string()))?,
    })
}

/// Whether what is to be written under an id has that id by its contents, or none.
///
/// # Errors
/// [`Error::OtherNaturalId`], and [`Error::Invalid`] when the contents' id cannot be one.
pub(crate) fn check_natural_id<T: Collection>(
    collection: &CollectionName,
    id: &DocumentId,
    contents: &T,
) -> Result<(), Error> {
    let natural = contents.natural_id().map(|natural| natural.to_document_id());
    match natural.transpose().map_err(Error::invalid)? {
        Some(natural) if natural != *id => Err(Error::OtherNaturalId {
            collection: collection.clone(),
            id: id.clone(),
            natural,
        }),
        _ => Ok(()),
    }
}

/// Reduces JSON values to one.
type ReduceJson = fn(&[&[u8]]) -> Result<Vec<u8>, String>;

/// A view at work.
pub struct ViewSchema {
    definition: ViewDefinition,
    map: fn(&TypedDocument) -> Result<Vec<ViewEntry>, String>,
    reduce: Option<ReduceJson>,
}

impl ViewSchema {
    fn of<V: Map>() -> Result<Self, InvalidSchema> {
        Ok(Self {
            definition: ViewDefinition {
                collection: V::Collection::NAME.parse()?,
                name: V::NAME.parse()?,
                version: V::VERSION,
                policy: V::POLICY,
                reduces: V::REDUCE.is_some(),
            },
            map: |document| match document.0.downcast_ref() {
                Some(document) => Emit::<V>::of(document),
                None => Err("the document was read as that of another collection".to_owned()),
            },
            reduce: V::REDUCE.map(|_| reduce_json::<V> as ReduceJson),
        })
    }

    /// What the state machine needs to know of it.
    #[must_use]
    pub fn definition(&self) -> &ViewDefinition {
        &self.definition
    }

    /// Whether its entries change with the documents, in the same transaction.
    #[must_use]
    pub fn is_eager(&self) -> bool {
        self.definition.policy != ViewPolicy::Lazy
    }

    /// What a document emits to it.
    ///
    /// # Errors
    /// What is wrong with an entry: too long a key, or a value that is not JSON; or that the map panicked.
    pub fn map(&self, document: &TypedDocument) -> Result<Vec<ViewEntry>, String> {
        // Threads that others depend on call it. Nothing of ours is left half done when it unwinds.
        catch_unwind(AssertUnwindSafe(|| (self.map)(document)))
            .unwrap_or_else(|_| Err("its map panicked".to_owned()))
    }

    /// One JSON value for several; `None` if the view does not reduce.
    ///
    /// # Errors
    /// Why a value cannot be read or written.
    #[must_use]
    pub fn reduce(&self, values: &[&[u8]]) -> Option<Result<Vec<u8>, String>> {
        let caught = |reduce: ReduceJson| catch_unwind(AssertUnwindSafe(|| reduce(values)));
        self.reduce
            .map(|reduce| caught(reduce).unwrap_or_else(|_| Err("its reduce panicked".to_owned())))
    }
}

impl fmt::Debug for ViewSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewSchema({:?})", self.definition)
    }
}

fn reduce_json<V: Map>(values: &[&[u8]]) -> Result<Vec<u8>, String> {
    let Some(reduce) = V::REDUCE else {
        return Err("the view has no reduce".to_owned());
    };
    let values = values.iter().map(|value| serde_json::from_slice(value));
    let values = values
        .collect::<Result<Vec<V::Value>, _>>()
        .map_err(|error| error.to_string())?;
    serde_json::to_vec(&reduce(&values)).map_err(|error| error.to_string())
}
