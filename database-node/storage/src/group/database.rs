//! A database as a replica of its group has it: everything that can be asked of an embedded one, on a state that the
//! group's log changes.

use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::{
    Connection, DatabaseName, Error, Inbox, Message, Request, RequestId, Response, Schema, Step, Subscriber,
    TopicPattern, converse,
};

use super::GroupState;
use crate::engine::{Engine, Foundation};
use crate::error::StorageError;
use crate::housekeeping;
use crate::log_clock::LogClock;
use crate::machine::Scope;
use crate::proposer::Proposer;
use crate::store::OrderedStore;

/// A database as a replica has it. Reads see what is applied here; what writes goes to the [`Proposer`], and can be read
/// here when the replica has applied it. It ends with the [`GroupState`] that it is of.
pub struct ReplicaDatabase<S> {
    name: DatabaseName,
    engine: Arc<Engine<S>>,
}

impl<S> Clone for ReplicaDatabase<S> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            engine: Arc::clone(&self.engine),
        }
    }
}

impl<S: OrderedStore> GroupState<S> {
    /// The database of the shard, when it has all slots of it; `None` of a part, which cannot answer for the whole.
    #[must_use]
    pub fn database(&self, proposer: Arc<dyn Proposer>) -> Option<ReplicaDatabase<S>> {
        let shard = self.shard();
        if shard.first_slot != 0 || shard.end_slot != shard.entry.slots.get() {
            return None;
        }
        let (group, extent) = (self.group, self.extent);
        let engine = Engine::on(Foundation {
            store: Arc::clone(&self.store),
            scope: Scope::Shard { group, extent },
            proposer,
            local: Arc::clone(&self.beside) as _,
            catalog: Arc::clone(&self.catalog),
            progress: Arc::clone(&self.progress),
            log_clock: Arc::new(LogClock::after(self.position().timestamp)),
        });
        Some(ReplicaDatabase {
            name: shard.database.clone(),
            engine: Arc::new(engine),
        })
    }
}

impl<S: OrderedStore> ReplicaDatabase<S> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DatabaseName {
        &self.name
    }

    /// Lets it be used with the schema `X`, which is proposed if the database has another. `()` changes nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a schema that contradicts itself, and what the proposal comes to.
    pub fn define_schema<X: Schema>(&self) -> Result<(), Error> {
        self.engine.define_schema::<X>(&self.name).map(|_| ())
    }

    /// Answers a request, waiting as long as it takes. One to write is carried out once if it has an id.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn execute(&self, request: Request, id: Option<RequestId>) -> Result<Response, Error> {
        self.engine.execute(&self.name, request, id)
    }

    /// Brings what this node keeps beside the log up to date, so that the next queries need not: lazy views, and stored
    /// partial results. For every node, every few seconds.
    pub fn refresh(&self) {
        for (name, state) in self.engine.databases() {
            self.engine.refresh_eager_views(&state);
            self.engine.update_lazy_views(&name, &state);
        }
    }

    /// Proposes what is due: the entries of views that are being built, the removal of what has expired, of changes that
    /// were kept for `retention`, and of requests that are refused by now. For the node that leads the group, every few
    /// seconds; it ends early when `is_wanted` says so.
    ///
    /// # Errors
    /// What a proposal came to; the rest is for the next time then.
    pub fn tend(&self, retention: Duration, is_wanted: &dyn Fn() -> bool) -> Result<(), StorageError> {
        self.engine.build_views(is_wanted);
        for (name, state) in self.engine.databases() {
            housekeeping::propose_due(&self.engine, &name, &state, retention)?;
        }
        Ok(())
    }
}

impl<S: OrderedStore> Connection for ReplicaDatabase<S> {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = ReplicaSubscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        converse(first, next, |request| self.execute(request, None))
    }

    /// To the messages that are published on this node.
    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<ReplicaSubscription, Error> {
        let id = self.engine.entry(&self.name)?.id;
        Ok(ReplicaSubscription(self.engine.broker.subscribe(id, patterns?)))
    }
}

/// Receives the messages of a [`ReplicaDatabase`], blocking.
pub struct ReplicaSubscription(Arc<Inbox>);

impl<S: OrderedStore> Subscriber<ReplicaDatabase<S>> for ReplicaSubscription {
    fn receive(&self) -> Result<Message, Error> {
        self.0.receive()
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        self.0.try_receive()
    }
}
