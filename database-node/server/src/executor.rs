//! Carrying out a request by a database that is here.

use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::{Error, FeedStart, Request, RequestId, Response};
use pliantdb_storage::AsyncDatabase;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The most bytes of documents in one answer; a client that asks for more is told where to go on.
pub(crate) const MAX_PAGE_BYTES: usize = 16 << 20;

/// Carries out requests by databases that are here.
pub(crate) struct Executor {
    metrics: Arc<Metrics>,
    /// Keeps the storage's queue from overflowing: who cannot enter waits here, in order, and without a thread.
    writes: Arc<Semaphore>,
    /// Cancelled when the server stops: then nobody waits for changes any more.
    stopping: CancellationToken,
}

impl Executor {
    pub(crate) fn new(metrics: Arc<Metrics>, stopping: CancellationToken) -> Self {
        Self {
            metrics,
            writes: Arc::new(Semaphore::new(pliantdb_storage::QUEUE_CAPACITY)),
            stopping,
        }
    }

    /// Whether the server stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Carries a request out; one to write once, if it has an id.
    ///
    /// # Errors
    /// Any [`Error`].
    pub(crate) async fn carry_out(
        &self,
        database: &AsyncDatabase,
        request: Request,
        id: Option<RequestId>,
    ) -> Result<Response, Error> {
        if let Request::Changes { from, limit, wait } = request {
            return self.changes(database, from, limit, wait).await;
        }
        let request = match request {
            // One document may be as large as it is.
            Request::Get { collection, ids } if ids.len() > 1 => {
                let found = database.get_multiple_within(collection, ids, MAX_PAGE_BYTES);
                return found.await?.map(Response::Documents).ok_or_else(too_large);
            }
            request if !request.is_write() => return database.execute(bounded(request)).await,
            request => request,
        };
        let _waiting = self.metrics.write_waits();
        let _place = self.writes.acquire().await.map_err(|_| Error::Closed)?;
        match id {
            Some(id) => database.execute_once(id, request).await,
            None => database.execute(request).await,
        }
    }

    /// Reads a feed. Who waits for changes is told that there are none when the server stops, and where to go on.
    async fn changes(
        &self,
        database: &AsyncDatabase,
        from: FeedStart,
        limit: usize,
        wait: Duration,
    ) -> Result<Response, Error> {
        let read = |from, wait| database.execute(Request::Changes { from, limit, wait });
        let now = read(from, Duration::ZERO).await?;
        let next = match &now {
            Response::Changes(page) if page.transactions.is_empty() && !wait.is_zero() => page.next,
            _ => return Ok(now),
        };
        tokio::select! {
            later = read(FeedStart::After(next), wait) => later,
            () = self.stopping.cancelled() => Ok(now),
        }
    }
}

/// A request whose answer is of a bounded size, as far as the request says it.
pub(crate) fn bounded(mut request: Request) -> Request {
    match &mut request {
        Request::List { listing, .. } => listing.max_bytes = listing.max_bytes.min(MAX_PAGE_BYTES),
        Request::ListKeys { listing, .. } => listing.max_bytes = listing.max_bytes.min(MAX_PAGE_BYTES),
        _ => {}
    }
    request
}

pub(crate) fn too_large() -> Error {
    Error::Invalid(format!(
        "the documents have more than {MAX_PAGE_BYTES} bytes together, which is the most of an answer: ask for fewer at once"
    ))
}
