//! Reading what was changed, in the order of the commits.

use pliantdb_core::{
    ChangesPage, CommittedTransaction, DatabaseName, Error, FeedCursor, FeedStart, Order, Timestamp,
};

use crate::catalog::{DatabaseEntry, Makeup};
use crate::keys::{self, Space};
use crate::merge::Merged;
use crate::records::{self, corrupt};
use crate::store::{KeyRange, Snapshot, StoreError};

/// The changes of a database after a time, up to another.
pub(crate) struct Changes<'s, S: Snapshot + 's>(Merged<'s, S>);

impl<'s, S: Snapshot> Changes<'s, S> {
    pub(crate) fn between(
        snapshot: &'s S,
        database: DatabaseEntry,
        after: Timestamp,
    ) -> Result<Self, StoreError> {
        let bases = database
            .slots
            .slots()
            .map(|slot| keys::space(database.id, slot, Space::Changes, 0));
        let first = after.bits().saturating_add(1).to_be_bytes();
        let of = |base: &[u8]| KeyRange {
            start: [base, &first].concat(),
            ..KeyRange::prefixed(base)
        };
        Merged::scan(snapshot, bases, of, Order::Ascending).map(Self)
    }

    /// The next transaction, whole.
    pub(crate) fn next(&mut self) -> Result<Option<CommittedTransaction>, StoreError> {
        let mut transaction: Option<CommittedTransaction> = None;
        while let Some((key, value)) = self.0.entry()? {
            let timestamp = key
                .split_first_chunk()
                .ok_or_else(|| corrupt("change", "its key is cut short"))?
                .0;
            let timestamp = Timestamp::from_bits(u64::from_be_bytes(*timestamp));
            let transaction = transaction.get_or_insert_with(|| CommittedTransaction {
                timestamp,
                changes: Vec::new(),
            });
            if transaction.timestamp != timestamp {
                break;
            }
            transaction.changes.push(records::decode_change(value)?);
            self.0.advance()?;
        }
        Ok(transaction)
    }
}

/// A page of at most `limit` transactions from where a feed is to begin, `now` being how far the snapshot has come.
pub(crate) fn read(
    snapshot: &impl Snapshot,
    name: &DatabaseName,
    database: DatabaseEntry,
    makeup: &Makeup,
    from: &FeedStart,
    now: Timestamp,
    limit: usize,
) -> Result<ChangesPage, Error> {
    let after = match from {
        FeedStart::Oldest => Timestamp::from_bits(makeup.changes_from.bits().saturating_sub(1)),
        FeedStart::Now => {
            let next = FeedCursor::new(database.id.get(), now);
            let transactions = Vec::new();
            return Ok(ChangesPage { transactions, next });
        }
        FeedStart::After(cursor) if cursor.database() != database.id.get() => {
            return Err(Error::invalid(format_args!(
                "the cursor {cursor} is one of another database, or of one that had the name {name:?} before"
            )));
        }
        FeedStart::After(cursor) => cursor.after(),
    };
    page(snapshot, database, makeup, after, now, limit)
}

/// A page of at most `limit` transactions after `after`, `now` being how far the snapshot has come.
fn page(
    snapshot: &impl Snapshot,
    database: DatabaseEntry,
    makeup: &Makeup,
    after: Timestamp,
    now: Timestamp,
    limit: usize,
) -> Result<ChangesPage, Error> {
    // What was committed at exactly `changes_from` is still there.
    if after.bits().saturating_add(1) < makeup.changes_from.bits() {
        return Err(Error::CursorExpired);
    }
    let read = || {
        let mut changes = Changes::between(snapshot, database, after)?;
        let mut transactions = Vec::new();
        while transactions.len() < limit.max(1) {
            match changes.next()? {
                Some(transaction) => transactions.push(transaction),
                None => break,
            }
        }
        Ok::<_, StoreError>(transactions)
    };
    let transactions = read().map_err(|error| Error::Storage(error.to_string()))?;
    // With a full page there may be more before `now`; and what was committed since then may be on it.
    let last = transactions.last().map_or(after, |last| last.timestamp);
    let next = match transactions.len() >= limit.max(1) {
        true => last,
        false => now.max(last),
    };
    Ok(ChangesPage {
        next: FeedCursor::new(database.id.get(), next),
        transactions,
    })
}
