//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pliantdb_core::{ChangeOutcome, DatabaseName, Outcome, Request};
use pliantdb_storage::{QUEUE_CAPACITY, Storage, StorageError};
use tokio::sync::{AcquireError, Semaphore, oneshot};

use crate::config::Settings;
use crate::http::Problem;
use crate::metrics::Metrics;
use crate::request_memory::{RequestMemory, Reserved};
use crate::token::TokenFile;

/// The state behind every route.
pub(crate) struct App {
    pub(crate) storage: Storage,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) token: Option<TokenFile>,
    pub(crate) max_body_size: usize,
    pub(crate) request_timeout: Duration,
    /// Whether the admin listener, too, asks for the token.
    pub(crate) protect_admin: bool,
    stopping: AtomicBool,
    /// Keeps the storage's queue from overflowing: who cannot enter waits here, in order.
    writes: Arc<Semaphore>,
    memory: RequestMemory,
}

impl App {
    pub(crate) fn new(
        storage: Storage,
        metrics: Arc<Metrics>,
        token: Option<TokenFile>,
        settings: &Settings,
    ) -> Self {
        Self {
            storage,
            metrics,
            token,
            max_body_size: settings.max_body_size,
            request_timeout: settings.request_timeout,
            protect_admin: !settings.admin_listen.ip().is_loopback(),
            stopping: AtomicBool::new(false),
            writes: Arc::new(Semaphore::new(QUEUE_CAPACITY)),
            memory: RequestMemory::new(pliantdb_storage::memory::limit()),
        }
    }

    /// From now on the server is not ready.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Reserves memory for `copies` of a body or an answer. Waits in line when requests take all they may.
    pub(crate) async fn reserve(&self, bytes: usize, copies: usize) -> Result<Reserved, Problem> {
        match tokio::time::timeout(self.request_timeout, self.memory.reserve(bytes, copies)).await {
            Ok(reserved) => reserved.map_err(|AcquireError { .. }| StorageError::Closed.into()),
            Err(_) => Err(Problem::busy(
                "requests in flight take all the memory they may; try again in a moment",
            )),
        }
    }

    /// Commits a transaction, and waits until it is on disk. Its memory is given back when it is done,
    /// even if the client is gone before.
    pub(crate) async fn commit(
        &self,
        database: &DatabaseName,
        transaction: Request,
        memory: Option<Reserved>,
    ) -> Result<Vec<ChangeOutcome>, Problem> {
        let operation = self.storage.get(database)?.operation(transaction)?;
        let commit = async {
            let place = Arc::clone(&self.writes).acquire_owned().await;
            let place = place.map_err(|AcquireError { .. }| StorageError::Closed)?;
            let (done, outcome) = oneshot::channel();
            self.storage.submit(operation, move |result| {
                drop((place, memory));
                // Fails only if the client is gone.
                let _ = done.send(result);
            })?;
            outcome.await.map_err(|_| StorageError::Closed)?
        };
        match tokio::time::timeout(self.request_timeout, commit).await {
            Ok(result) => match result? {
                Outcome::Transacted(outcomes) => Ok(outcomes),
                _ => Ok(Vec::new()),
            },
            Err(_) => Err(Problem::unknown_outcome()),
        }
    }

    /// Reads, on a thread that may wait for the disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Storage) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, Problem> {
        let storage = self.storage.clone();
        match tokio::task::spawn_blocking(move || read(&storage)).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(StorageError::Closed.into()),
        }
    }
}
