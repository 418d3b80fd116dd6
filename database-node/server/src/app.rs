//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pliantdb_core::Error;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::access::Access;
use crate::cluster::Cluster;
use crate::config::Settings;
use crate::databases::Databases;
use crate::dispatch::Dispatcher;
use crate::http::Problem;
use crate::metrics::Metrics;
use crate::request_memory::{RequestMemory, Reserved};
use crate::schemas::Schemas;

/// The state behind every door.
pub(crate) struct App {
    pub(crate) databases: Databases,
    /// The cluster that the node is of; `None` for one that is alone.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) max_body_size: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) request_timeout: Duration,
    /// How long a snapshot may live.
    pub(crate) snapshot_lifetime: Duration,
    /// How long a client may take to say who it is.
    pub(crate) header_timeout: Duration,
    /// Whether the admin listener, too, asks for the token.
    pub(crate) protect_admin: bool,
    pub(crate) websockets: WebSockets,
    access: Access,
    dispatcher: Arc<Dispatcher>,
    /// Whether others are to be asked, for it is about to stop.
    is_leaving: AtomicBool,
    stopping: CancellationToken,
    memory: RequestMemory,
}

/// The WebSocket connections, which HTTP no longer knows of.
pub(crate) struct WebSockets {
    open: TaskTracker,
    /// For the place that its listener had for a connection is free once it is a WebSocket.
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// One that is open, until this is dropped.
pub(crate) struct OpenWebSocket {
    _counted: TaskTrackerToken,
    _place: OwnedSemaphorePermit,
}

impl WebSockets {
    fn new(most: usize) -> Self {
        Self {
            open: TaskTracker::new(),
            places: Arc::new(Semaphore::new(most)),
            stop: CancellationToken::new(),
        }
    }

    /// Counts one more as open; `None` when there are as many as there may be.
    pub(crate) fn open(&self) -> Option<OpenWebSocket> {
        Some(OpenWebSocket {
            _place: Arc::clone(&self.places).try_acquire_owned().ok()?,
            _counted: self.open.token(),
        })
    }

    /// Cancelled when they are to end.
    pub(crate) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Ends them, and waits until they have.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        self.open.close();
        self.open.wait().await;
    }
}

impl App {
    pub(crate) fn new(
        databases: Databases,
        schemas: Arc<Schemas>,
        metrics: Arc<Metrics>,
        access: Access,
        memory_limit: u64,
        stopping: CancellationToken,
        settings: &Settings,
    ) -> Self {
        Self {
            dispatcher: Arc::new(Dispatcher::new(
                databases.clone(),
                schemas,
                settings.backup_places.clone(),
            )),
            cluster: databases.cluster().cloned(),
            databases,
            metrics,
            access,
            max_body_size: settings.max_body_size,
            max_in_flight: settings.max_in_flight,
            request_timeout: settings.request_timeout,
            snapshot_lifetime: settings.snapshot_lifetime,
            header_timeout: settings.header_timeout,
            protect_admin: !settings.admin_listen.ip().is_loopback(),
            websockets: WebSockets::new(settings.max_connections),
            is_leaving: AtomicBool::new(false),
            stopping,
            memory: RequestMemory::new(memory_limit),
        }
    }

    /// Who may do what.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Who carries out what is asked.
    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }

    /// From now on the server is not ready: others are to be asked, and whoever asks this one is still answered.
    pub(crate) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Whether others are to be asked.
    pub(crate) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }

    /// From now on nothing new is begun.
    pub(crate) fn stop(&self) {
        self.leave();
        self.stopping.cancel();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Resolves when the server stops.
    pub(crate) async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// The time that request ids are compared with, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.databases.now_ms()
    }

    /// Reserves memory for `copies` of a body or an answer. Waits in line when requests take all they may.
    ///
    /// # Errors
    /// [`Error::Busy`] when it waited too long.
    pub(crate) async fn reserve_memory(&self, bytes: usize, copies: usize) -> Result<Reserved, Error> {
        match tokio::time::timeout(self.request_timeout, self.memory.reserve(bytes, copies)).await {
            Ok(reserved) => reserved.map_err(|AcquireError { .. }| Error::Closed),
            Err(_) => Err(Error::Busy),
        }
    }

    /// As [`App::reserve_memory`], for who can wait as long as it takes.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub(crate) async fn wait_for_memory(&self, bytes: usize, copies: usize) -> Result<Reserved, Error> {
        let reserved = self.memory.reserve(bytes, copies).await;
        reserved.map_err(|AcquireError { .. }| Error::Closed)
    }

    /// As [`App::reserve_memory`], for HTTP.
    pub(crate) async fn reserve(&self, bytes: usize, copies: usize) -> Result<Reserved, Problem> {
        self.reserve_memory(bytes, copies)
            .await
            .map_err(|error| match error {
                Error::Busy => {
                    Problem::busy("requests in flight take all the memory they may; try again in a moment")
                }
                error => error.into(),
            })
    }
}
