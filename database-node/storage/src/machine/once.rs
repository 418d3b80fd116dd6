//! Writes that are made once, however often they are asked for.

use pliantdb_core::{
    DatabaseName, Outcome, REQUEST_MEMORY, Rejection, RequestId, Timestamp, WriteAction,
};

use super::Applying;
use crate::error::StorageError;
use crate::store::OrderedStore;
use crate::{keys, records};

/// How long requests are remembered, in milliseconds.
pub(crate) const MEMORY_MS: u64 = REQUEST_MEMORY.as_millis() as u64;

impl<S: OrderedStore> Applying<'_, S> {
    /// Makes a write of a request, unless it was made before; gives what came of it then or now.
    pub(super) fn once(
        &mut self,
        database: &DatabaseName,
        id: RequestId,
        write: &WriteAction,
        time: Timestamp,
    ) -> Result<Outcome, StorageError> {
        let state = self.database(database)?;
        let now = time.millis();
        // Also of one that is still remembered: whether it is forgotten by now must make no difference.
        if id.millis().abs_diff(now) > MEMORY_MS {
            return Err(Rejection::RequestExpired { id, now }.into());
        }
        let request = keys::request(state.entry, id, write);
        if let Some(request) = &request
            && let Some(outcome) = self.pending.get(request, records::decode_outcome)?
        {
            return Ok(outcome);
        }
        let outcome = match write {
            WriteAction::Transact(changes) => Outcome::Transacted(self.transact(&state, changes, time)?),
            WriteAction::ChangeKey {
                namespace,
                key,
                action,
            } => Outcome::Key(self.change_key(state.entry, namespace, key, action, time)?),
        };
        if let Some(request) = request {
            self.pending.put(request, records::encode_outcome(&outcome)?);
        }
        Ok(outcome)
    }

    /// Forgets the requests that were made before a time in milliseconds, but none that is not refused by now.
    pub(super) fn forget_requests(
        &mut self,
        database: &DatabaseName,
        before: u64,
        time: Timestamp,
    ) -> Result<(), StorageError> {
        let entry = self.database(database)?.entry;
        let before = before.min(time.millis().saturating_sub(MEMORY_MS));
        for slot in entry.slots.slots() {
            self.pending
                .delete_range(keys::requests_before(entry.id, slot, before));
        }
        Ok(())
    }
}
