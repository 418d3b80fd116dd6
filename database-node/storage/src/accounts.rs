//! The users, roles and API keys of a storage, as they are now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use pliantdb_core::access::{Account, Accounts, ApiKey, Permission, User};
use pliantdb_core::{Order, RoleName};

use crate::keys;
use crate::records::{self, corrupt};
use crate::store::{Cursor, KeyRange, Snapshot, StoreError};

/// The users, roles and API keys of a storage. They change as commands are applied; whoever has looked at them can tell
/// cheaply whether they have changed since.
#[derive(Debug, Default)]
pub struct SharedAccounts {
    version: AtomicU64,
    current: RwLock<Arc<Accounts>>,
}

impl SharedAccounts {
    /// They, as of version 0.
    #[must_use]
    pub fn new(accounts: Accounts) -> Self {
        Self {
            version: AtomicU64::new(0),
            current: RwLock::new(Arc::new(accounts)),
        }
    }

    /// How often they have changed since the storage was opened.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// They as they are now, and of which version that is.
    #[must_use]
    pub fn current(&self) -> (u64, Arc<Accounts>) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (self.version(), Arc::clone(&current))
    }

    /// Puts others in their place: for whoever keeps a copy of those that are decided on elsewhere.
    pub fn replace(&self, accounts: Accounts) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(accounts);
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

/// Reads them all.
pub(crate) fn read(snapshot: &impl Snapshot) -> Result<Accounts, StoreError> {
    let mut accounts = Accounts::default();
    let mut cursor = snapshot.scan(KeyRange::prefixed(&keys::ACCOUNTS), Order::Ascending)?;
    while let Some((key, value)) = cursor.entry() {
        let rest = key.get(keys::ACCOUNTS.len()..).unwrap_or_default();
        match decode(rest, value)? {
            Record::User(name, user) => accounts.insert_user(name, user),
            Record::Role(name, permissions) => accounts.insert_role(name, permissions),
            Record::ApiKey(name, key) => accounts.insert_key(name, key),
        }
        cursor.advance()?;
    }
    Ok(accounts)
}

/// What is stored of an account; `None` when it is to be removed.
pub(crate) fn encode(accounts: &Accounts, account: &Account) -> Result<Option<Vec<u8>>, StoreError> {
    match account {
        Account::User(name) => accounts.user(name).map(records::encode_user),
        Account::Role(name) => accounts.made_role(name).map(records::encode_role),
        Account::ApiKey(name) => accounts.key(name).map(records::encode_api_key),
    }
    .transpose()
}

/// An account as it is stored.
pub(crate) enum Record {
    User(pliantdb_core::UserName, User),
    Role(RoleName, Vec<Permission>),
    ApiKey(pliantdb_core::ApiKeyName, ApiKey),
}

/// An account, from its record and what follows the prefix in its key.
pub(crate) fn decode(rest: &[u8], value: &[u8]) -> Result<Record, StoreError> {
    let (kind, name) = rest
        .split_first()
        .ok_or_else(|| corrupt("account", "its key is cut short"))?;
    let name = str::from_utf8(name).map_err(|error| corrupt("account", error))?;
    let invalid = |error| corrupt("account", error);
    match *kind {
        keys::USER => Ok(Record::User(
            name.parse().map_err(invalid)?,
            records::decode_user(value)?,
        )),
        keys::ROLE => Ok(Record::Role(
            name.parse().map_err(invalid)?,
            records::decode_role(value)?,
        )),
        keys::API_KEY => Ok(Record::ApiKey(
            name.parse().map_err(invalid)?,
            records::decode_api_key(value)?,
        )),
        kind => Err(corrupt("account", format_args!("there is no kind {kind}"))),
    }
}
