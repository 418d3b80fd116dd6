//! An engine whose store has one log for everything: what is embedded, and a server alone.

use std::sync::Arc;

use crate::accounts::SharedAccounts;
use crate::disk_space::DiskSpace;
use crate::engine::{Engine, Foundation};
use crate::error::StorageError;
use crate::log_clock::LogClock;
use crate::machine::{Scope, StateMachine};
use crate::progress::Progress;
use crate::store::{OrderedStore, StoreError};
use crate::writer::{Observer, OnFailure, Writer};

/// The engine, and what it stands on.
pub(crate) struct Standalone<S> {
    pub(crate) engine: Arc<Engine<S>>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) accounts: Arc<SharedAccounts>,
    pub(crate) disk: Arc<DiskSpace>,
}

impl<S: OrderedStore> Standalone<S> {
    /// Starts the writer on a store.
    pub(crate) fn start(
        store: Arc<S>,
        disk: DiskSpace,
        observer: Observer,
        on_failure: OnFailure,
    ) -> Result<Self, StorageError> {
        let machine = StateMachine::open(Arc::clone(&store))?;
        let (catalog, accounts) = (machine.catalog(), machine.accounts());
        let progress = Arc::new(Progress::at(machine.applied().timestamp));
        let log_clock = Arc::new(LogClock::after(machine.applied().timestamp));
        let disk = Arc::new(disk);
        let writer = Writer::start(
            machine,
            Arc::clone(&disk),
            Arc::clone(&progress),
            Arc::clone(&log_clock),
            observer,
            on_failure,
        )
        .map_err(|error| StoreError::Engine(format!("the writer's thread cannot be started: {error}")))?;
        let writer = Arc::new(writer);
        let engine = Engine::on(Foundation {
            store,
            scope: Scope::Storage,
            proposer: Arc::clone(&writer) as _,
            local: Arc::clone(&writer) as _,
            catalog,
            progress,
            log_clock,
        });
        Ok(Self {
            engine: Arc::new(engine),
            writer,
            accounts,
            disk,
        })
    }

    /// Takes no more writes, ends all subscriptions, and commits what waits.
    pub(crate) fn close(&self) {
        self.engine.progress.close();
        self.writer.close();
        self.engine.close();
    }
}
