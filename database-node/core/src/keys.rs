//! The key-value store of a namespace, typed.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Body, Connection, Error, Expiry, KeyAction, KeyCondition, KeyListing, KeyName, KeyOutcome, KeyStatus,
    NamespaceName, Number, Order, Request, Response,
};

/// The key-value store of a namespace: [`Connection::key_value`]. A value is anything that serde can write as JSON.
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
/// use std::time::Duration;
///
/// let keys = database.key_value("demo");
/// keys.set("color", &"green")?;
/// assert_eq!(keys.get::<String>("color")?.as_deref(), Some("green"));
/// keys.set_for("soon gone", &1, Duration::from_secs(60))?;
/// assert_eq!(keys.increment("hits", 2)?, Number::Integer(2));
/// let first = keys.set_with("lock", &"me", Expiry::After(Duration::from_secs(9)), KeyCondition::Vacant)?;
/// let second = keys.set_with("lock", &"you", Expiry::Never, KeyCondition::Vacant)?;
/// assert_eq!((first.status, second.status), (KeyStatus::Created, KeyStatus::Unchanged));
/// assert!(keys.compare_and_set("color", &"green", &"blue")?);
/// assert_eq!(keys.list().prefix("h").all::<u32>()?.len(), 1);
/// keys.expire("hits", Expiry::After(Duration::from_secs(9)))?;
/// assert_eq!(keys.delete("color")?.previous.unwrap().as_str(), "\"blue\"");
/// # Ok(())
/// # }
/// ```
pub struct KeyValue<'c, C> {
    connection: &'c C,
    namespace: Result<NamespaceName, Error>,
}

impl<'c, C: Connection> KeyValue<'c, C> {
    pub(crate) fn new(connection: &'c C, namespace: &str) -> Self {
        let namespace = namespace.parse().map_err(Error::from);
        Self {
            connection,
            namespace,
        }
    }

    /// Reads a value; `None` when there is none, or it has expired.
    pub fn get<T: DeserializeOwned + Send + 'static>(&self, key: &str) -> C::Output<Option<T>> {
        let request = self
            .address(key)
            .map(|(namespace, key)| Request::GetKey { namespace, key });
        self.connection.ask(request, |answer| match answer {
            Response::Value(value) => value
                .map(|value| value.read().map_err(Error::invalid))
                .transpose(),
            _ => Err(Error::unexpected_answer()),
        })
    }

    /// Lists keys with their values in the order of the keys, at first all of them.
    #[must_use]
    pub fn list(&self) -> KeyList<'c, C> {
        KeyList {
            connection: self.connection,
            namespace: self.namespace.clone(),
            listing: Ok(KeyListing::default()),
            most: usize::MAX,
        }
    }

    /// Sets a value, for good.
    pub fn set<T: Serialize>(&self, key: &str, value: &T) -> C::Output<KeyOutcome> {
        self.set_with(key, value, Expiry::Never, KeyCondition::Always)
    }

    /// Sets a value until it expires.
    pub fn set_for<T: Serialize>(&self, key: &str, value: &T, time: Duration) -> C::Output<KeyOutcome> {
        self.set_with(key, value, Expiry::After(time), KeyCondition::Always)
    }

    /// Sets a value if a condition holds. The outcome says whether it did, and what the value was before.
    pub fn set_with<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        expiry: Expiry,
        condition: KeyCondition,
    ) -> C::Output<KeyOutcome> {
        let action = Body::of(value)
            .map_err(Error::invalid)
            .map(|value| KeyAction::Set {
                value,
                expiry,
                condition,
            });
        self.change(key, action)
    }

    /// Sets a value if it is `expected` now; gives whether it was.
    pub fn compare_and_set<T: Serialize>(&self, key: &str, expected: &T, value: &T) -> C::Output<bool> {
        let action = Body::of(expected).and_then(|expected| {
            Ok(KeyAction::Set {
                value: Body::of(value)?,
                expiry: Expiry::Keep,
                condition: KeyCondition::Equals(expected),
            })
        });
        let request = self.request(key, action.map_err(Error::invalid));
        self.connection.ask(request, |answer| {
            outcome(answer).map(|outcome| outcome.status == KeyStatus::Updated)
        })
    }

    /// Adds to a number, which is 0 if there is none, and gives the sum. It is one step, whoever else counts.
    pub fn increment(&self, key: &str, by: impl Into<Number>) -> C::Output<Number> {
        let request = self.request(key, Ok(KeyAction::Increment { by: by.into() }));
        self.connection.ask(request, |answer| {
            let current = outcome(answer)?.current.ok_or_else(Error::unexpected_answer)?;
            Number::from_json(current.as_str()).ok_or_else(Error::unexpected_answer)
        })
    }

    /// Sets when a value expires.
    pub fn expire(&self, key: &str, expiry: Expiry) -> C::Output<KeyOutcome> {
        self.change(key, Ok(KeyAction::Expire { expiry }))
    }

    /// Removes a value. The outcome says whether there was one, and which.
    pub fn delete(&self, key: &str) -> C::Output<KeyOutcome> {
        self.change(
            key,
            Ok(KeyAction::Delete {
                condition: KeyCondition::Always,
            }),
        )
    }

    fn change(&self, key: &str, action: Result<KeyAction, Error>) -> C::Output<KeyOutcome> {
        self.connection.ask(self.request(key, action), outcome)
    }

    fn request(&self, key: &str, action: Result<KeyAction, Error>) -> Result<Request, Error> {
        let (namespace, key) = self.address(key)?;
        Ok(Request::ChangeKey {
            namespace,
            key,
            action: action?,
        })
    }

    fn address(&self, key: &str) -> Result<(NamespaceName, KeyName), Error> {
        Ok((self.namespace.clone()?, key.parse().map_err(Error::invalid)?))
    }
}

/// A listing of keys: [`KeyValue::list`].
///
/// ```
/// # use pliantdb_core::*;
/// # fn main() -> Result<(), Error> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let database = pliantdb_storage::Database::open::<()>(directory.path())?;
/// let keys = database.key_value("demo");
/// for (key, value) in [("a1", 1), ("a2", 2), ("b1", 3)] {
///     keys.set(key, &value)?;
/// }
/// let first = keys.list().prefix("a").limit(1).all::<u32>()?;
/// assert_eq!(first[0].0.as_str(), "a1");
/// let rest = keys.list().prefix("a").after("a1").all::<u32>()?;
/// assert_eq!(rest.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [2]);
/// assert_eq!(keys.list().descending().limit(1).all::<u32>()?[0].1, 3);
/// # Ok(())
/// # }
/// ```
pub struct KeyList<'c, C> {
    connection: &'c C,
    namespace: Result<NamespaceName, Error>,
    listing: Result<KeyListing, Error>,
    most: usize,
}

impl<C: Connection> KeyList<'_, C> {
    /// Only keys that begin with this.
    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        self.with(|listing| listing.prefix = prefix.to_owned())
    }

    /// Only keys behind this one, in the order of the listing; it need not exist.
    #[must_use]
    pub fn after(mut self, key: &str) -> Self {
        match key.parse::<KeyName>() {
            Ok(key) => self.with(|listing| listing.after = Some(key)),
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

    /// The keys with their values. They are read in pages, each from a moment of its own.
    pub fn all<T: DeserializeOwned + Send + 'static>(self) -> C::Output<Vec<(KeyName, T)>> {
        let most = self.most;
        let (namespace, listing) = (self.namespace, self.listing);
        let first = namespace.and_then(|namespace| Ok((namespace, listing?)));
        let first = first.map(|(namespace, listing)| {
            let limit = most;
            let listing = KeyListing { limit, ..listing };
            Request::ListKeys { namespace, listing }
        });
        let again = first.clone();
        self.connection.collect(first, move |answer, found| {
            let Response::Keys(page) = answer else {
                return Err(Error::unexpected_answer());
            };
            for (key, value) in page.keys {
                found.push((key, value.read().map_err(Error::invalid)?));
            }
            let mut next = again.clone()?;
            if let Request::ListKeys { listing, .. } = &mut next {
                listing.after = page.next;
                listing.limit = most.saturating_sub(found.len());
                if listing.after.is_some() && listing.limit > 0 {
                    return Ok(Some(next));
                }
            }
            Ok(None)
        })
    }

    fn with(mut self, set: impl FnOnce(&mut KeyListing)) -> Self {
        if let Ok(listing) = &mut self.listing {
            set(listing);
        }
        self
    }
}

fn outcome(answer: Response) -> Result<KeyOutcome, Error> {
    match answer {
        Response::Key(outcome) => Ok(outcome),
        _ => Err(Error::unexpected_answer()),
    }
}
