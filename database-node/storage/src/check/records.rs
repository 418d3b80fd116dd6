//! Checking one record after another.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use pliantdb_core::{
    Body, CollectionName, DatabaseName, DocumentId, KeyName, NamespaceName, Slot, SlotCount, Timestamp,
};

use super::{CheckReport, CheckedDatabase, Fault};
use crate::accounts;
use crate::catalog::DatabaseEntry;
use crate::inspect::{self, Place};
use crate::keys::{self, Space};
use crate::records;
use crate::store::{EncryptedStore, RocksStore};

/// What was read so far. Records come in the order of their keys: those of the directory first.
pub(super) struct Records<'a> {
    store: &'a EncryptedStore<RocksStore>,
    pub(super) report: CheckReport,
    databases: BTreeMap<u32, (DatabaseEntry, CheckedDatabase)>,
    unknown: BTreeMap<u32, u64>,
    /// The time of the last commit.
    applied: Option<Timestamp>,
}

impl<'a> Records<'a> {
    pub(super) fn new(store: &'a EncryptedStore<RocksStore>) -> Self {
        Self {
            store,
            report: CheckReport::default(),
            databases: BTreeMap::new(),
            unknown: BTreeMap::new(),
            applied: None,
        }
    }

    /// Takes a record as it is on the disk.
    pub(super) fn take(&mut self, key: &[u8], stored: &[u8]) {
        if self.store.is_encrypted() && key.starts_with(&keys::DATA_KEYS) {
            // Opening the store has read it.
            return;
        }
        let checked = match (Place::of(key), self.store.decrypt(key, stored)) {
            (None, _) => Err("it is no key of PliantDB".to_owned()),
            (Some(_), Err(error)) => Err(error.to_string()),
            (Some((0, place)), Ok(value)) => self.directory(place, &value),
            (Some((number, place)), Ok(value)) => self.of_database(number, place, key, &value),
        };
        if let Err(reason) = checked {
            let fault = self.fault(key, reason);
            self.report.add(fault);
        }
    }

    pub(super) fn finish(mut self) -> CheckReport {
        for (number, records) in &self.unknown {
            self.report.add(Fault::NoSuchDatabase {
                number: *number,
                records: *records,
            });
        }
        self.report.databases = self.databases.into_values().map(|(_, checked)| checked).collect();
        self.report.databases.sort_by(|a, b| a.name.cmp(&b.name));
        self.report
    }

    /// The first key that each slot of each database can have.
    pub(super) fn slot_starts(&self) -> impl Iterator<Item = Vec<u8>> {
        self.databases.values().flat_map(|(entry, _)| {
            let slots = entry.slots.slots().chain([Slot::LOCAL]);
            slots.map(|slot| [&entry.id.get().to_be_bytes()[..], &slot.get().to_be_bytes()].concat())
        })
    }

    /// What a key stands for, in words.
    pub(super) fn describe(&self, key: &[u8]) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match Place::of(key) {
            Some((number, Place::Document { collection, id, .. })) => format!(
                "the document {:?} of the collection {:?} of the database {:?}",
                text(id),
                text(collection),
                self.name(number)
            ),
            _ if key.is_empty() => "the beginning".to_owned(),
            _ => format!("the key \"{}\"", key.escape_ascii()),
        }
    }

    fn name(&self, number: u32) -> String {
        match self.databases.get(&number) {
            Some((_, checked)) => checked.name.as_str().to_owned(),
            None => format!("with the number {number}"),
        }
    }

    fn fault(&self, key: &[u8], reason: String) -> Fault {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let escaped = key.escape_ascii().to_string();
        match Place::of(key) {
            None | Some((0, _)) => Fault::Directory { key: escaped, reason },
            Some((number, Place::Document { collection, id, .. })) => Fault::Document {
                database: self.name(number),
                collection: text(collection),
                id: text(id),
                reason,
            },
            Some((number, Place::Value { namespace, key, .. })) => Fault::Value {
                database: self.name(number),
                namespace: text(namespace),
                key: text(key),
                reason,
            },
            Some((number, _)) => Fault::Record {
                database: self.name(number),
                key: escaped,
                reason,
            },
        }
    }

    fn directory(&mut self, place: Place<'_>, value: &[u8]) -> Result<(), String> {
        let Place::Meta { kind, rest } = place else {
            return Ok(());
        };
        let kind = [0, 0, 0, 0, kind];
        let checked = match kind {
            keys::APPLIED => {
                records::decode_applied(value).map(|applied| self.applied = Some(applied.timestamp))
            }
            keys::DATABASES => match inspect::database(rest, value) {
                Ok((name, entry)) => return self.database(name, entry),
                Err(error) => Err(error),
            },
            keys::MAKEUPS => records::decode_makeup(value).map(drop),
            keys::ACCOUNTS => accounts::decode(rest, value).map(drop),
            keys::LAST_DATABASE => records::decode_last_database(value).map(drop),
            keys::LAZY_VIEWS => records::decode_lazy_view(value).map(drop),
            _ => return Err("there is no such kind of record".to_owned()),
        };
        checked.map_err(|error| error.to_string())
    }

    fn database(&mut self, name: DatabaseName, entry: DatabaseEntry) -> Result<(), String> {
        let (number, new) = (entry.id.get(), name.clone());
        let checked = CheckedDatabase {
            name,
            documents: 0,
            values: 0,
            others: 0,
            bytes: 0,
        };
        match self.databases.insert(number, (entry, checked)) {
            None => Ok(()),
            Some((_, other)) => Err(format!(
                "{new:?} has the number {number}, as the database {:?} has",
                other.name
            )),
        }
    }

    fn of_database(&mut self, number: u32, place: Place<'_>, key: &[u8], value: &[u8]) -> Result<(), String> {
        let Some((entry, counts)) = self.databases.get_mut(&number) else {
            *self.unknown.entry(number).or_default() += 1;
            return Ok(());
        };
        counts.bytes += (key.len() + value.len()) as u64;
        let (count, slots) = match place {
            Place::Document { .. } => (&mut counts.documents, entry.slots),
            Place::Value { .. } => (&mut counts.values, entry.slots),
            Place::Meta { .. } | Place::Other { .. } => (&mut counts.others, entry.slots),
        };
        check(place, slots, value, self.applied)?;
        *count += 1;
        Ok(())
    }
}

/// Whether a record can be read, and lies where it belongs.
fn check(place: Place<'_>, slots: SlotCount, value: &[u8], applied: Option<Timestamp>) -> Result<(), String> {
    let in_slot = |found: u16, shard_key: &[u8]| match slots.slot_of(shard_key).get() {
        right if right == found => Ok(()),
        right => Err(format!("it lies in slot {found}, and belongs into {right}")),
    };
    match place {
        Place::Document { slot, collection, id } => {
            parse::<CollectionName>(collection)?;
            parse::<DocumentId>(id)?;
            in_slot(slot, id)?;
            let (revision, body) = records::decode_document(value).map_err(|error| error.to_string())?;
            Body::parse(body.into_bytes()).map_err(|error| error.to_string())?;
            match applied {
                Some(applied) if revision.timestamp() > applied => {
                    Err(format!("its revision {revision} is later than the last commit"))
                }
                _ => Ok(()),
            }
        }
        Place::Value { slot, namespace, key } => {
            parse::<NamespaceName>(namespace)?;
            parse::<KeyName>(key)?;
            in_slot(slot, &[namespace, &[0], key].concat())?;
            let stored = records::decode_value(value).map_err(|error| error.to_string())?;
            Body::parse(stored.body.into_bytes()).map_err(|error| error.to_string())?;
            Ok(())
        }
        Place::Other { space } => {
            let checked = match space {
                space if space == Space::Changes as u8 => records::decode_change(value).map(drop),
                space if space == Space::Emitted as u8 => records::decode_emitted(value).map(drop),
                space if space == Space::Owners as u8 => records::decode_owner(value).map(drop),
                space if space == Space::Partials as u8 => records::decode_partial(value).map(drop),
                space if space == Space::Requests as u8 => records::decode_outcome(value).map(drop),
                space
                    if [Space::Entries, Space::Stale, Space::Expiries]
                        .iter()
                        .any(|known| space == *known as u8) =>
                {
                    Ok(())
                }
                _ => return Err(format!("there is no kind {space} of records")),
            };
            checked.map_err(|error| error.to_string())
        }
        Place::Meta { .. } => Ok(()),
    }
}

fn parse<T: FromStr<Err: Display>>(bytes: &[u8]) -> Result<T, String> {
    let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: T::Err| error.to_string())
}
