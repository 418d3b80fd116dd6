//! Changes of the key-value store.

use pliantdb_core::{
    Expiry, KeyAction, KeyCondition, KeyName, KeyOutcome, KeyStatus, NamespaceName, Number, Rejection,
    Timestamp,
};

use super::Applying;
use crate::catalog::DatabaseEntry;
use crate::error::StorageError;
use crate::keys;
use crate::records::{self, StoredValue};
use crate::store::OrderedStore;

impl<S: OrderedStore> Applying<'_, S> {
    pub(super) fn change_key(
        &mut self,
        database: DatabaseEntry,
        namespace: &NamespaceName,
        name: &KeyName,
        action: &KeyAction,
        time: Timestamp,
    ) -> Result<KeyOutcome, StorageError> {
        let key = keys::value(database, namespace, name);
        self.scope.extent(database).check(&key)?;
        let stored = self.pending.get(&key, records::decode_value)?;
        let before = stored.clone().filter(|value| !value.has_expired(time.millis()));
        let expires = |expiry: Expiry| match expiry {
            Expiry::Never => None,
            Expiry::Keep => before.as_ref().and_then(|before| before.expires),
            Expiry::After(lifetime) => {
                let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
                Some(time.millis().saturating_add(lifetime)).filter(|expires| *expires != u64::MAX)
            }
        };
        let after = match action {
            KeyAction::Set {
                value,
                expiry,
                condition,
            } if holds(condition, before.as_ref()) => Some(StoredValue {
                expires: expires(*expiry),
                body: value.clone(),
            }),
            KeyAction::Increment { by } => {
                let not_countable = |reason: &str| Rejection::NotCountable {
                    namespace: namespace.clone(),
                    key: name.clone(),
                    reason: reason.to_owned(),
                };
                let number = match &before {
                    Some(value) => Number::from_json(value.body.as_str())
                        .ok_or_else(|| not_countable("its value is not a number"))?,
                    None => Number::Integer(0),
                };
                let sum = number
                    .plus(*by)
                    .ok_or_else(|| not_countable("the sum is out of range"))?;
                Some(StoredValue {
                    expires: expires(Expiry::Keep),
                    body: sum.to_json(),
                })
            }
            KeyAction::Expire { expiry } => before.clone().map(|value| StoredValue {
                expires: expires(*expiry),
                body: value.body,
            }),
            KeyAction::Delete { condition } if holds(condition, before.as_ref()) => None,
            KeyAction::Set { .. } | KeyAction::Delete { .. } => before.clone(),
        };
        let status = match (&before, &after) {
            (before, after) if before == after => match action {
                KeyAction::Set { condition, .. } if before.is_some() && holds(condition, before.as_ref()) => {
                    KeyStatus::Updated
                }
                _ => KeyStatus::Unchanged,
            },
            (None, _) => KeyStatus::Created,
            (Some(_), Some(_)) => KeyStatus::Updated,
            (Some(_), None) => KeyStatus::Deleted,
        };
        let old_expiry = stored.as_ref().and_then(|stored| stored.expires);
        let new_expiry = after.as_ref().and_then(|after| after.expires);
        if stored != after {
            if let Some(millis) = old_expiry.filter(|_| old_expiry != new_expiry) {
                self.pending
                    .delete_unread(keys::expiry(database, namespace, name, millis));
            }
            if let Some(millis) = new_expiry.filter(|_| old_expiry != new_expiry) {
                self.pending
                    .put_unread(keys::expiry(database, namespace, name, millis), Vec::new());
            }
            match &after {
                Some(value) => self.pending.put(key, records::encode_value(value)),
                None => self.pending.delete(key),
            }
        }
        Ok(KeyOutcome {
            status,
            previous: before.map(|value| value.body),
            current: after.map(|value| value.body),
        })
    }

    pub(super) fn expire_keys(
        &mut self,
        database: DatabaseEntry,
        names: &[(NamespaceName, KeyName)],
        time: Timestamp,
    ) -> Result<(), StorageError> {
        for (namespace, name) in names {
            let key = keys::value(database, namespace, name);
            self.scope.extent(database).check(&key)?;
            if let Some(value) = self.pending.get(&key, records::decode_value)?
                && let Some(millis) = value.expires.filter(|_| value.has_expired(time.millis()))
            {
                self.pending.delete(key);
                self.pending
                    .delete_unread(keys::expiry(database, namespace, name, millis));
            }
        }
        Ok(())
    }
}

fn holds(condition: &KeyCondition, value: Option<&StoredValue>) -> bool {
    match condition {
        KeyCondition::Always => true,
        KeyCondition::Present => value.is_some(),
        KeyCondition::Vacant => value.is_none(),
        KeyCondition::Equals(wanted) => value.is_some_and(|value| value.body == *wanted),
    }
}
