//! The store whose values are encrypted; keys are not.
//!
//! ```text
//! version   u8       1
//! key id    u16      of the data key, big-endian; from 1 in each database
//! nonce     24 bytes, random
//! value     XAES-256-GCM, with the version, the key id and the key of the value as associated data
//! tag       16 bytes
//! ```
//! The database, of which a data key is, are the first four bytes of a key. Data keys lie in the store below, wrapped
//! by the directory's key, under [`DATA_KEYS`]; nobody above sees that range.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use pliantdb_core::Order;

use super::{
    Batch, BatchNumber, Change, Cursor, Durability, Holds, KeyRange, OrderedStore, Snapshot, StoreError,
};
use crate::encryption::{OVERHEAD, SecretKey};
use crate::keys::DATA_KEYS;

/// The version that this build writes.
const VERSION: u8 = 1;
/// A version and a key id.
const HEADER: usize = 3;

/// An [`OrderedStore`] on another, with or without encryption of the values.
///
/// The first value of a database makes its data key, in the same batch; a batch that removes the whole range
/// of a database removes its data key. What then is left of it on the disk, or in copies of files, stays unreadable
/// as soon as the wrapped key is gone from there too.
pub struct EncryptedStore<S> {
    store: S,
    keys: Option<Keys>,
}

/// The data keys in use.
struct Keys {
    directory: SecretKey,
    /// Held for writing while a batch is written that adds or removes one.
    ring: RwLock<Arc<Ring>>,
}

/// The data key of each database.
type Ring = HashMap<DatabaseNumber, DataKey>;

/// The first four bytes of a key; of a shorter one, 0.
type DatabaseNumber = u32;

#[derive(Clone)]
struct DataKey {
    id: u16,
    key: SecretKey,
    /// Whether it is in the store. If the batch failed that was to put it there, it may be, and may not.
    stored: bool,
}

impl<S: OrderedStore> EncryptedStore<S> {
    /// `store`, as it is.
    pub fn plain(store: S) -> Self {
        Self { store, keys: None }
    }

    /// `store`, whose values are encrypted, or are to be if it is empty. `directory` is the key that wraps its data
    /// keys.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a data key cannot be unwrapped, and those of reading.
    pub fn open(store: S, directory: SecretKey) -> Result<Self, StoreError> {
        let mut ring = Ring::new();
        let snapshot = store.snapshot();
        let mut cursor = snapshot.scan(KeyRange::prefixed(&DATA_KEYS), Order::Ascending)?;
        while let Some((key, wrapped)) = cursor.entry() {
            let (database, id) = parse_record_key(key)?;
            let key = directory.unwrap(key, wrapped).map_err(|_| {
                StoreError::Corrupt(format!(
                    "data key {id} of database {database} cannot be unwrapped: it is damaged"
                ))
            })?;
            // In order of ids, so that the last counts.
            ring.insert(
                database,
                DataKey {
                    id,
                    key,
                    stored: true,
                },
            );
            cursor.advance()?;
        }
        drop(cursor);
        drop(snapshot);
        let keys = Some(Keys {
            directory,
            ring: RwLock::new(Arc::new(ring)),
        });
        Ok(Self { store, keys })
    }

    /// The store below, where the values are encrypted.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// Whether values are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.keys.is_some()
    }

    /// A value as it is in the store below, in plain.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it cannot be decrypted.
    pub fn decrypt<'v>(&self, key: &[u8], stored: &'v [u8]) -> Result<Cow<'v, [u8]>, StoreError> {
        let Some(keys) = &self.keys else {
            return Ok(Cow::Borrowed(stored));
        };
        let mut plain = Vec::new();
        unseal(&keys.ring(), key, stored, &mut plain)?;
        Ok(Cow::Owned(plain))
    }

    fn decrypting<'s>(&'s self, snapshot: impl FnOnce(&'s S) -> S::Snapshot<'s>) -> EncryptedSnapshot<'s, S> {
        // The same moment for both.
        let ring = self.keys.as_ref().map(Keys::ring);
        EncryptedSnapshot {
            snapshot: snapshot(&self.store),
            ring: ring.as_deref().map(Arc::clone),
        }
    }

    /// Gives the store below back.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.store
    }
}

impl Keys {
    fn ring(&self) -> RwLockReadGuard<'_, Arc<Ring>> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch with its values encrypted, and the data keys after it if they change.
    fn seal(&self, ring: &Ring, batch: &Batch) -> Result<(Batch, Option<Ring>), StoreError> {
        let mut sealed = Batch::default();
        let mut changed = None;
        for change in batch.changes() {
            match change {
                Change::Put(key, value) => {
                    refuse_reserved(key)?;
                    let database = database_of(key);
                    let now = changed.as_ref().unwrap_or(ring);
                    let data_key = match now.get(&database) {
                        Some(data_key) if data_key.stored => data_key.clone(),
                        unstored => {
                            let data_key = match unstored {
                                Some(data_key) => DataKey {
                                    stored: true,
                                    ..data_key.clone()
                                },
                                None => DataKey::generate()?,
                            };
                            let record = record_key(database, data_key.id);
                            let wrapped = self.directory.wrap(&record, &data_key.key);
                            sealed.put(record, wrapped.map_err(StoreError::Engine)?);
                            let changed = changed.get_or_insert_with(|| ring.clone());
                            changed.insert(database, data_key.clone());
                            data_key
                        }
                    };
                    sealed.put(key, data_key.seal(key, value)?);
                }
                Change::Delete(key) => {
                    refuse_reserved(key)?;
                    sealed.delete(key);
                }
                Change::DeleteRange(start, end) => {
                    let range = &KeyRange {
                        start: start.to_vec(),
                        end: end.map(<[u8]>::to_vec),
                    };
                    for part in without_reserved(range) {
                        sealed.delete_range(part);
                    }
                    let now = changed.as_ref().unwrap_or(ring);
                    let emptied: Vec<_> = now.keys().copied().filter(|n| covers(range, *n)).collect();
                    for database in emptied {
                        sealed.delete_range(KeyRange::prefixed(&record_prefix(database)));
                        changed.get_or_insert_with(|| ring.clone()).remove(&database);
                    }
                }
            }
        }
        Ok((sealed, changed))
    }
}

impl DataKey {
    fn generate() -> Result<Self, StoreError> {
        Ok(Self {
            id: 1,
            key: SecretKey::generate().map_err(StoreError::Engine)?,
            stored: true,
        })
    }

    fn seal(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut sealed = Vec::with_capacity(HEADER + value.len() + OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id.to_be_bytes());
        let context = [&sealed, key].concat();
        self.key
            .seal(&context, value, &mut sealed)
            .map_err(StoreError::Engine)?;
        Ok(sealed)
    }
}

/// Decrypts the value of `key` into `plain`.
fn unseal(ring: &Ring, key: &[u8], sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), StoreError> {
    let corrupt = |what: &str| {
        let key = key.escape_ascii();
        StoreError::Corrupt(format!("the encrypted value of the key \"{key}\" {what}"))
    };
    let (header, rest) = sealed
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| corrupt("is cut short"))?;
    let [version, high, low] = *header;
    if version > VERSION {
        return Err(StoreError::NewerRecord {
            kind: "encrypted value",
            found: version,
            supported: VERSION,
        });
    }
    let (database, id) = (database_of(key), u16::from_be_bytes([high, low]));
    let data_key = ring.get(&database).filter(|data_key| data_key.id == id);
    let data_key = data_key.ok_or_else(|| {
        corrupt(&format!(
            "needs data key {id} of database {database}, which is not there"
        ))
    })?;
    let context = [header, key].concat();
    data_key
        .key
        .unseal(&context, rest, plain)
        .map_err(|_| corrupt("is damaged, or was written for another key"))
}

fn database_of(key: &[u8]) -> DatabaseNumber {
    key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn record_prefix(database: DatabaseNumber) -> Vec<u8> {
    [&DATA_KEYS[..], &database.to_be_bytes()].concat()
}

fn record_key(database: DatabaseNumber, id: u16) -> Vec<u8> {
    [record_prefix(database).as_slice(), &id.to_be_bytes()].concat()
}

fn parse_record_key(key: &[u8]) -> Result<(DatabaseNumber, u16), StoreError> {
    match key.strip_prefix(&DATA_KEYS) {
        Some([a, b, c, d, e, f]) => Ok((u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*e, *f]))),
        _ => Err(StoreError::Corrupt(format!(
            "\"{}\" is not the key of a data key",
            key.escape_ascii()
        ))),
    }
}

fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(&DATA_KEYS)
}

fn refuse_reserved(key: &[u8]) -> Result<(), StoreError> {
    match is_reserved(key) {
        false => Ok(()),
        true => Err(StoreError::Engine(format!(
            "the key \"{}\" lies in the range of data keys",
            key.escape_ascii()
        ))),
    }
}

/// What of `range` lies before and behind the data keys.
fn without_reserved(range: &KeyRange) -> [KeyRange; 2] {
    let reserved = KeyRange::prefixed(&DATA_KEYS);
    let before = match &range.end {
        Some(end) => end.min(&reserved.start),
        None => &reserved.start,
    };
    let behind = reserved.end.as_ref().unwrap_or(&reserved.start);
    [
        KeyRange {
            start: range.start.clone(),
            end: Some(before.clone()),
        },
        KeyRange {
            start: range.start.clone().max(behind.clone()),
            end: range.end.clone(),
        },
    ]
}

/// Whether `range` holds every key of a database. Of the meta range, to which all shorter keys belong, it never does.
fn covers(range: &KeyRange, database: DatabaseNumber) -> bool {
    let whole = KeyRange::prefixed(&database.to_be_bytes());
    let to_the_end = match (&range.end, &whole.end) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(last)) => end >= last,
    };
    database > 0 && range.start <= whole.start && to_the_end
}

impl<S: OrderedStore> OrderedStore for EncryptedStore<S> {
    type Snapshot<'a> = EncryptedSnapshot<'a, S>;
    type Kept = KeptEncryptedSnapshot<S>;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        let Some(keys) = &self.keys else {
            return self.store.get(key, read);
        };
        if is_reserved(key) {
            return Ok(None);
        }
        let mut plain = Vec::new();
        // Value and data key as of the same moment.
        let ring = keys.ring();
        let found = self
            .store
            .get(key, |sealed| unseal(&ring, key, sealed, &mut plain))?;
        drop(ring);
        Ok(found.transpose()?.map(|()| read(&plain)))
    }

    fn get_cached<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<Option<T>>, StoreError> {
        let Some(keys) = &self.keys else {
            return self.store.get_cached(key, read);
        };
        if is_reserved(key) {
            return Ok(Some(None));
        }
        let mut plain = Vec::new();
        let ring = keys.ring();
        let found = self
            .store
            .get_cached(key, |sealed| unseal(&ring, key, sealed, &mut plain))?;
        drop(ring);
        let Some(found) = found else { return Ok(None) };
        Ok(Some(found.transpose()?.map(|()| read(&plain))))
    }

    fn snapshot(&self) -> EncryptedSnapshot<'_, S> {
        self.decrypting(S::snapshot)
    }

    fn keep(holder: Arc<dyn Holds<Self>>) -> KeptEncryptedSnapshot<S> {
        let below = Arc::new(Below(Arc::clone(&holder)));
        let keys = holder.held().keys.as_ref();
        // The same moment for both.
        let ring = keys.map(Keys::ring);
        KeptEncryptedSnapshot {
            snapshot: S::keep(below),
            ring: ring.as_deref().map(Arc::clone),
        }
    }

    fn snapshot_cached(&self) -> EncryptedSnapshot<'_, S> {
        self.decrypting(S::snapshot_cached)
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        let Some(keys) = &self.keys else {
            return self.store.write(batch, durability);
        };
        // Held until it is written, so that the keys stay that it is encrypted with.
        let ring = keys.ring();
        let (sealed, changed) = keys.seal(&ring, batch)?;
        if changed.is_none() {
            return self.store.write(&sealed, durability);
        }
        drop(ring);
        // Rare: once for each database. Nobody reads meanwhile, for the keys change with the values.
        let mut ring = keys.ring.write().unwrap_or_else(PoisonError::into_inner);
        let (sealed, changed) = keys.seal(&ring, batch)?;
        let written = self.store.write(&sealed, durability);
        let mut changed = changed.unwrap_or_else(|| Ring::clone(&ring));
        if written.is_err() {
            // The batch may come back after a crash: with a key that must be the one in use then, or without one that
            // must be there. So all stay, and each is stored again with the next value.
            changed.extend(
                ring.iter()
                    .map(|(database, data_key)| (*database, data_key.clone())),
            );
            changed.values_mut().for_each(|data_key| data_key.stored = false);
        }
        *ring = Arc::new(changed);
        written
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        self.store.sync()
    }

    fn unflushed(&self) -> u64 {
        self.store.unflushed()
    }

    fn make_room(&self) -> Result<(), StoreError> {
        self.store.make_room()
    }

    fn written(&self) -> BatchNumber {
        self.store.written()
    }

    fn durable(&self) -> BatchNumber {
        self.store.durable()
    }
}

/// Holds the store below an encrypted one.
struct Below<S>(Arc<dyn Holds<EncryptedStore<S>>>);

impl<S: OrderedStore> Holds<S> for Below<S> {
    fn held(&self) -> &S {
        &self.0.held().store
    }
}

/// An [`EncryptedStore`] as it was, which is kept open.
pub struct KeptEncryptedSnapshot<S: OrderedStore> {
    snapshot: S::Kept,
    ring: Option<Arc<Ring>>,
}

impl<S: OrderedStore> Snapshot for KeptEncryptedSnapshot<S> {
    type Cursor<'a> = EncryptedCursor<'a, <S::Kept as Snapshot>::Cursor<'a>>;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        get_decrypted(&self.snapshot, self.ring.as_deref(), key, read)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<Self::Cursor<'_>, StoreError> {
        EncryptedCursor::open(self.snapshot.scan(range, order)?, self.ring.as_deref())
    }
}

/// An [`EncryptedStore`] as it was.
pub struct EncryptedSnapshot<'s, S: OrderedStore + 's> {
    snapshot: S::Snapshot<'s>,
    ring: Option<Arc<Ring>>,
}

impl<'s, S: OrderedStore> Snapshot for EncryptedSnapshot<'s, S> {
    type Cursor<'a>
        = EncryptedCursor<'a, <S::Snapshot<'s> as Snapshot>::Cursor<'a>>
    where
        Self: 'a;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        get_decrypted(&self.snapshot, self.ring.as_deref(), key, read)
    }

    fn scan(&self, range: KeyRange, order: Order) -> Result<Self::Cursor<'_>, StoreError> {
        EncryptedCursor::open(self.snapshot.scan(range, order)?, self.ring.as_deref())
    }
}

/// Reads a value from a snapshot of the store below.
fn get_decrypted<T>(
    snapshot: &impl Snapshot,
    ring: Option<&Ring>,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, StoreError> {
    let Some(ring) = ring else {
        return snapshot.get(key, read);
    };
    if is_reserved(key) {
        return Ok(None);
    }
    let mut plain = Vec::new();
    let found = snapshot.get(key, |sealed| unseal(ring, key, sealed, &mut plain))?;
    Ok(found.transpose()?.map(|()| read(&plain)))
}

/// A position in an [`EncryptedSnapshot`].
pub struct EncryptedCursor<'a, C> {
    cursor: C,
    ring: Option<&'a Ring>,
    /// The value here, if it is encrypted below.
    plain: Vec<u8>,
}

impl<'a, C: Cursor> EncryptedCursor<'a, C> {
    /// At the first entry of a cursor of the store below.
    fn open(cursor: C, ring: Option<&'a Ring>) -> Result<Self, StoreError> {
        let mut cursor = Self {
            cursor,
            ring,
            plain: Vec::new(),
        };
        cursor.decrypt()?;
        Ok(cursor)
    }

    /// Takes the value here, or behind the data keys.
    fn decrypt(&mut self) -> Result<(), StoreError> {
        let Some(ring) = self.ring else { return Ok(()) };
        while self.cursor.entry().is_some_and(|(key, _)| is_reserved(key)) {
            self.cursor.advance()?;
        }
        match self.cursor.entry() {
            Some((key, sealed)) => unseal(ring, key, sealed, &mut self.plain),
            None => Ok(()),
        }
    }
}

impl<C: Cursor> Cursor for EncryptedCursor<'_, C> {
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.cursor.entry()?;
        Some((key, if self.ring.is_some() { &self.plain } else { value }))
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.cursor.advance()?;
        self.decrypt()
    }
}
