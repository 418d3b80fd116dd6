//! The key-value store of a namespace, typed.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Body, Connection, Error, Expiry, KeyAction, KeyCondition, KeyName, KeyOutcome, KeyStatus, NamespaceName,
    Number, Request, Response,
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
/// assert_eq!(keys.list::<serde_json::Value>("h", 10)?.len(), 1);
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

    /// Reads up to `limit` keys that begin with `prefix`, in order, each with its value.
    pub fn list<T: DeserializeOwned + Send + 'static>(
        &self,
        prefix: &str,
        limit: usize,
    ) -> C::Output<Vec<(KeyName, T)>> {
        let request = self.namespace.clone().map(|namespace| Request::ListKeys {
            namespace,
            prefix: prefix.to_owned(),
            after: None,
            limit,
        });
        self.connection.ask(request, |answer| match answer {
            Response::Keys(keys) => {
                let read = |(key, value): (KeyName, Body)| Ok((key, value.read().map_err(Error::invalid)?));
                keys.into_iter().map(read).collect()
            }
            _ => Err(Error::unexpected_answer()),
        })
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

fn outcome(answer: Response) -> Result<KeyOutcome, Error> {
    match answer {
        Response::Key(outcome) => Ok(outcome),
        _ => Err(Error::unexpected_answer()),
    }
}
