//! A database as a replica of its group has it: everything that can be asked of an embedded one, on a state that the
//! group's log changes. And what the node of a replica does for it, which a storage does by itself.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pliantdb_core::{Error, Message};

use super::GroupState;
use crate::apis::Apis;
use crate::database::Database;
use crate::engine::{Engine, Foundation};
use crate::error::StorageError;
use crate::housekeeping;
use crate::machine::Scope;
use crate::proposer::Proposer;
use crate::storage::StateStore;
use crate::store::OrderedStore;

impl GroupState<StateStore> {
    /// The database of the shard, which must have all slots of it. Reads see what is applied here; what writes goes to the
    /// `proposer`, and can be read here when it is applied here. `apis` answers its custom APIs.
    ///
    /// It ends when this is dropped, as it must be before the replica is removed or replaced by a snapshot: whoever has the
    /// database, waits for it or reads it is told [`StorageError::Closed`], and never sees what another replica keeps in its
    /// place. Snapshots that were taken of it go on. Asked again while somebody has it, this gives the same database, with
    /// the `proposer` that it has.
    ///
    /// # Errors
    /// [`StorageError::InvalidShard`] of a part of a database, which cannot answer for the whole, and
    /// [`StorageError::InvalidApi`] for an API that cannot be registered.
    pub fn database(&self, proposer: Arc<dyn Proposer>, apis: Arc<Apis>) -> Result<Database, StorageError> {
        apis.check()?;
        let shard = self.shard();
        if shard.first_slot != 0 || shard.end_slot != shard.entry.slots.get() {
            return Err(StorageError::InvalidShard(format!(
                "the slots from {} up to, not including, {} are a part of the database {:?}, which has {} slots: a part \
                 does not answer for the whole",
                shard.first_slot,
                shard.end_slot,
                shard.database,
                shard.entry.slots.get()
            )));
        }
        let (name, id) = (shard.database.clone(), shard.entry.id);
        Ok(Database::alone(self.engine(proposer), apis, name, id))
    }
}

impl<S: OrderedStore> GroupState<S> {
    /// What answers for the database: one at a time, for two would make the same views.
    fn engine(&self, proposer: Arc<dyn Proposer>) -> Arc<Engine<S>> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engine.upgrade() {
            return engine;
        }
        let (group, extent) = (self.group, self.extent);
        let new = Arc::new(Engine::on(Foundation {
            store: Arc::clone(&self.store),
            scope: Scope::Shard { group, extent },
            proposer,
            local: Arc::clone(&self.beside) as _,
            catalog: Arc::clone(&self.catalog),
            progress: Arc::clone(&self.progress),
            log_clock: Arc::clone(&self.log_clock),
        }));
        *engine = Arc::downgrade(&new);
        new
    }
}

/// What a node does for a database of which it has a replica. A [`crate::Storage`] does so for its own.
impl Database {
    /// Gives a message that was published on another node to the subscribers of this one, and to nobody else; gives how many
    /// they are.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], and [`Error::Closed`] of a replica that is gone.
    pub fn deliver(&self, message: &Message) -> Result<u64, Error> {
        self.entry()?;
        self.engine.deliver(self.name(), message)
    }

    /// Brings what this node keeps beside the log up to date, so that the next queries need not: lazy views, and stored
    /// partial results. For every node, every few seconds.
    pub fn refresh(&self) {
        if self.entry().is_ok()
            && let Ok(state) = self.engine.state(self.name())
        {
            self.engine.refresh_eager_views(&state);
            self.engine.update_lazy_views(self.name(), &state);
        }
    }

    /// Whether a view is to be built whose code this process knows: then [`Database::tend`] is to be called soon, where the
    /// group is led.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], and [`Error::Closed`] of a replica that is gone.
    pub fn has_views_to_build(&self) -> Result<bool, Error> {
        self.entry()?;
        self.engine.builds_views(self.name())
    }

    /// Proposes what is due: the entries of views that are being built, the removal of what has expired, of changes that
    /// were kept for `retention`, and of requests that are refused by now. For the node that leads the group, every few
    /// seconds; it ends early when `is_wanted` says so.
    ///
    /// # Errors
    /// What a proposal came to; the rest is for the next time then.
    pub fn tend(&self, retention: Duration, is_wanted: &dyn Fn() -> bool) -> Result<(), StorageError> {
        self.entry()?;
        self.engine.build_views(is_wanted);
        let state = self.engine.state(self.name());
        let state = state.map_err(|_| StorageError::UnknownDatabase(self.name().clone()))?;
        housekeeping::propose_due(&self.engine, self.name(), &state, retention)
    }
}
