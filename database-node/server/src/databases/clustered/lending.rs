//! Snapshots for nodes that have no replica of the database: one that has takes them, and reads from them for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pliantdb_cluster::NodeId;
use pliantdb_cluster_transport::RequestError;
use pliantdb_core::{Error, Request, Response};
use pliantdb_storage::AsyncDatabaseSnapshot;

use super::Clustered;
use super::between::{Product, Question, Told, answer_too_large};
use crate::databases::read_snapshot;

/// The most that are lent at once: each keeps what it reads from being given back.
const MOST: usize = 1024;

/// How long one is held whose number nobody may have heard.
const UNHEARD: Duration = Duration::from_secs(30);

/// The snapshots that this node has taken for others.
pub(super) struct Lent {
    snapshots: Mutex<Held>,
    /// How long one is held at most: whoever has it may be gone.
    lifetime: Duration,
}

#[derive(Default)]
struct Held {
    by_number: HashMap<u64, Loan>,
    last: u64,
    is_closed: bool,
}

struct Loan {
    snapshot: AsyncDatabaseSnapshot,
    taken: Instant,
    /// Whether whoever has asked for it has heard its number.
    is_heard: bool,
}

impl Lent {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            snapshots: Mutex::new(Held {
                // Nobody is to read another's by the number of one that was held before this node was started again.
                last: uuid::Uuid::now_v7().as_u64_pair().1 >> 1,
                ..Held::default()
            }),
            lifetime,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a snapshot for another node; gives the number that it is read by.
    ///
    /// # Errors
    /// [`Error::Unavailable`], and [`Error::Closed`].
    pub(super) fn insert(&self, snapshot: AsyncDatabaseSnapshot) -> Result<u64, Error> {
        self.let_go_of_old();
        let mut held = self.held();
        if held.is_closed {
            return Err(Error::Closed);
        }
        if held.by_number.len() >= MOST {
            return Err(Error::Unavailable(format!(
                "the node holds {MOST} snapshots for others, which is the most: end some, or ask a node that has a replica"
            )));
        }
        held.last += 1;
        let number = held.last;
        let loan = Loan {
            snapshot,
            taken: Instant::now(),
            is_heard: false,
        };
        held.by_number.insert(number, loan);
        Ok(number)
    }

    /// Notes that its number was heard; gives whether it is still there.
    pub(super) fn hold(&self, number: u64) -> bool {
        let mut held = self.held();
        let loan = held.by_number.get_mut(&number);
        loan.map(|loan| loan.is_heard = true).is_some()
    }

    /// Reads from one.
    pub(super) async fn read(&self, number: u64, request: Request) -> Result<Response, Error> {
        let snapshot = self
            .held()
            .by_number
            .get(&number)
            .map(|loan| loan.snapshot.clone());
        match snapshot {
            Some(snapshot) => read_snapshot(&snapshot, request).await,
            None => Err(gone(
                "it was held there for too long, or the node was started again",
            )),
        }
    }

    /// Lets go of one.
    pub(super) fn remove(&self, number: u64) -> Option<AsyncDatabaseSnapshot> {
        self.held().by_number.remove(&number).map(|loan| loan.snapshot)
    }

    /// Lets go of those that are too old.
    pub(super) fn let_go_of_old(&self) {
        let is_wanted = |loan: &Loan| {
            let most = if loan.is_heard {
                self.lifetime
            } else {
                UNHEARD.min(self.lifetime)
            };
            loan.taken.elapsed() < most
        };
        self.held().by_number.retain(|_, loan| is_wanted(loan));
    }

    /// Lets go of all, for good.
    pub(super) fn close(&self) {
        let mut held = self.held();
        held.is_closed = true;
        held.by_number.clear();
    }
}

/// A snapshot that another node holds for this one, until it is dropped.
pub(crate) struct Borrowed {
    cluster: Arc<Clustered>,
    node: NodeId,
    number: u64,
}

impl Borrowed {
    /// One that was taken just now: the node that holds it is told that it is wanted.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when that node is gone.
    pub(super) async fn new(cluster: Arc<Clustered>, node: NodeId, number: u64) -> Result<Self, Error> {
        let borrowed = Self {
            cluster,
            node,
            number,
        };
        let question = Question::HoldSnapshot { number };
        match borrowed.cluster.ask(node, &question, None).await {
            Ok(Told::Count(1)) => Ok(borrowed),
            Ok(_) => Err(gone("it has let go of it")),
            Err(error) => Err(gone(&error.to_string())),
        }
    }

    /// Reads from it.
    ///
    /// # Errors
    /// Any [`Error`]; [`Error::Unavailable`] when the node that holds it is not there.
    pub(crate) async fn read(&self, request: Request) -> Result<Response, Error> {
        let number = self.number;
        let question = Question::ReadSnapshot { number, request };
        match self.cluster.ask(self.node, &question, None).await {
            Ok(Told::Done(Ok(Product::Response(response)), _)) => Ok(response),
            Ok(Told::Done(Err(error), _)) => Err(error),
            Ok(Told::Later(reason)) => Err(gone(&reason)),
            Ok(_) => Err(Error::unexpected_answer()),
            Err(error @ RequestError::TooLarge { .. }) => Err(Error::invalid(error)),
            Err(RequestError::AnswerTooLarge { length, .. }) => Err(answer_too_large(length)),
            Err(error) => Err(gone(&error.to_string())),
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let (cluster, node) = (Arc::clone(&self.cluster), self.node);
        let question = Question::EndSnapshot { number: self.number };
        let ending = async move {
            // If that fails, the other node lets go of it by itself.
            let _ = cluster.ask(node, &question, None).await;
        };
        self.cluster.runtime.spawn(ending);
    }
}

fn gone(reason: &str) -> Error {
    Error::Unavailable(format!(
        "the node that holds the snapshot cannot read it: {reason}; take a new one"
    ))
}
