//! What runs at once, and what has come of it so far.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use load::{Failure, next_random};
use pliantdb_client::{AsyncClient, Connection, Options, StorageConnection, Transaction};
use tokio::task::JoinHandle;

use crate::node::Node;
use crate::schema::{Soak, THINGS, Thing, id};
use crate::{clients, http, rude};

/// How long a step may take; what takes longer hangs.
const STEP: Duration = Duration::from_secs(60);

/// So many failures are told; the others are counted.
const TOLD: usize = 20;

/// All of it.
pub struct Work {
    /// The addresses for clients, by QUIC and WebSocket.
    pub urls: [String; 2],
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
    end: Instant,
    /// So that no two draw the same numbers.
    next_seed: AtomicU64,
    done: Mutex<Done>,
}

/// What has been done.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Steps, by what they do.
    pub steps: BTreeMap<&'static str, u64>,
    /// Steps that failed, or hung.
    pub failures: u64,
    /// Why the first of them did.
    pub reasons: Vec<String>,
}

impl Work {
    /// For so long from now on.
    pub fn new(node: &Node, time: Duration) -> Arc<Self> {
        Arc::new(Self {
            urls: node.urls.clone(),
            http: node.http,
            quic: node.quic,
            end: Instant::now() + time,
            next_seed: AtomicU64::new(0),
            done: Mutex::default(),
        })
    }

    /// Whether the time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn done_so_far(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been done so far.
    pub fn done(&self) -> Done {
        self.done_so_far().clone()
    }

    /// Tells of a failure.
    pub fn failed(&self, what: &str, failure: &dyn std::fmt::Display) {
        let mut done = self.done_so_far();
        done.failures += 1;
        if done.reasons.len() < TOLD {
            let reason = format!("{what}: {failure}");
            eprintln!("{reason}");
            done.reasons.push(reason);
        }
    }

    /// Repeats a step until the time is over, each with another number that looks random.
    pub async fn repeat<F>(&self, what: &'static str, pause: Duration, mut step: impl FnMut(u64) -> F)
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let mut state = self.next_seed.fetch_add(1, Ordering::Relaxed);
        while !self.is_over() {
            match tokio::time::timeout(STEP, step(next_random(&mut state))).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => self.failed(what, &failure),
                Err(_) => self.failed(what, &format!("it took longer than {STEP:?}")),
            }
            *self.done_so_far().steps.entry(what).or_default() += 1;
            tokio::time::sleep(pause).await;
        }
    }
}

/// Writes what is there from the beginning.
pub async fn prepare(node: &Node) -> Result<(), Failure> {
    let [quic, _] = &node.urls;
    let client = AsyncClient::connect(quic, Options::default()).await?;
    let database = client.database::<Soak>("default").await?;
    for first in (0..THINGS).step_by(100) {
        let mut transaction = Transaction::new();
        for number in first..first + 100 {
            transaction = transaction.overwrite(&id(number), &Thing::new(number, number));
        }
        transaction.apply(&database).await?;
    }
    let found = database.collection::<Thing>().list().count().await?;
    match found == THINGS {
        true => Ok(()),
        false => Err(format!("{found} documents are there, not {THINGS}").into()),
    }
}

/// What runs.
pub struct Running(Vec<JoinHandle<()>>);

/// Starts all of it.
pub fn start(work: &Arc<Work>) -> Running {
    let mut running = Vec::new();
    clients::start(work, &mut running);
    http::start(work, &mut running);
    rude::start(work, &mut running);
    Running(running)
}

impl Running {
    /// Waits until the time is over, and all clients have gone.
    pub async fn end(self) {
        for task in self.0 {
            // One that panicked has told.
            let _ = task.await;
        }
    }
}
