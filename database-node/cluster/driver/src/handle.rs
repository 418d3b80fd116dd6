//! What can be asked of a node that runs.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pliantdb_cluster::node::{Answer, Ask, FoundError, Mark, Room};
use pliantdb_cluster::wire::{Envelope, Peer};
use pliantdb_cluster::{Meta, Node};
use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;
use tokio::sync::{Semaphore, TryAcquireError, oneshot, watch};

use crate::clock::Clock;
use crate::failure::{Failure, Stopped};
use crate::inbox::{Answering, Asker, Inbox, Incoming, Waiter};
use crate::log_writer::{self, LogCounters};
use crate::standings::Standings;
use crate::turns::{self, TurnCounters};

/// What a node knows of its cluster.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// It; `None` until it knows something.
    pub meta: Option<Arc<Meta>>,
    /// Up to which entry of the meta group's log that is applied.
    pub applied: u64,
}

/// A node that runs in this process. Clones are handles of the same; none of them keeps it running.
pub struct Handle<L: OrderedStore> {
    pub(crate) inbox: Arc<Inbox<L>>,
    /// How many more may ask.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) turns: Arc<turns::Counting>,
    pub(crate) log: Arc<log_writer::Counting>,
    pub(crate) known: watch::Receiver<Known>,
    pub(crate) standings: Arc<Standings>,
    pub(crate) clock: Clock,
}

impl<L: OrderedStore> Clone for Handle<L> {
    fn clone(&self) -> Self {
        Self {
            inbox: Arc::clone(&self.inbox),
            places: Arc::clone(&self.places),
            turns: Arc::clone(&self.turns),
            log: Arc::clone(&self.log),
            known: self.known.clone(),
            standings: Arc::clone(&self.standings),
            clock: self.clock,
        }
    }
}

impl<L: OrderedStore> Handle<L> {
    /// Asks the node something, and waits for the answer: at first for a place, when [`crate::Options::max_asks`] wait
    /// already. On a thread that may wait; tasks use [`Handle::ask_async`].
    ///
    /// # Errors
    /// [`Stopped`], when no answer will come.
    pub fn ask(&self, ask: Ask) -> Result<Answer, Stopped> {
        wait_for(self.ask_async(ask))
    }

    /// [`Handle::ask`] for tasks, of any runtime. What was asked goes on when the future is dropped after its first poll.
    ///
    /// # Errors
    /// As [`Handle::ask`].
    pub async fn ask_async(&self, ask: Ask) -> Result<Answer, Stopped> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        let place = place.map_err(|_| self.stopped())?;
        let asker = Asker::new(Waiter::Task(answer), place);
        self.inbox.put(Incoming::Ask(ask, asker))?;
        answered.await.map_err(|_| self.stopped())
    }

    /// The mark of everything that anybody was told of by now in a group which this node leads beyond doubt, if all of it is
    /// applied here: what is read of the replica here from now on is as if there were one copy. `None` when only the node can
    /// tell ([`Ask::Await`]).
    #[must_use]
    pub fn readable(&self, group: GroupId) -> Option<Mark> {
        let now = self.clock.now().steady;
        self.standings.read(group, |standing| standing.readable(now))
    }

    /// The same, whether it is applied here or not.
    #[must_use]
    pub fn told(&self, group: GroupId) -> Option<Mark> {
        let now = self.clock.now().steady;
        self.standings.read(group, |standing| standing.told(now))
    }

    /// Whether the replica of a group that is here is known to have a mark.
    #[must_use]
    pub fn has(&self, group: GroupId, mark: Mark) -> bool {
        self.standings
            .of(group)
            .is_some_and(|standing| standing.has(mark))
    }

    /// Asks the node something without waiting; `done` is called exactly once: with the answer, on the node's thread, where it
    /// must not wait, or when no answer will come, by whoever finds that out.
    ///
    /// # Errors
    /// What was asked and `done`, which was not called, when [`crate::Options::max_asks`] wait already.
    #[expect(clippy::result_large_err, reason = "given back as it came, and rarely")]
    pub fn try_ask<F>(&self, ask: Ask, done: F) -> Result<(), (Ask, F)>
    where
        F: FnOnce(Result<Answer, Stopped>) + Send + 'static,
    {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits) => return Err((ask, done)),
            Err(TryAcquireError::Closed) => {
                done(Err(self.stopped()));
                return Ok(());
            }
        };
        let inbox = Arc::clone(&self.inbox);
        let answering = Answering::new(move |answer| done(answer.ok_or_else(|| why_stopped(&inbox))));
        let asker = Asker::new(Waiter::Call(answering), place);
        // Whoever waits with what is dropped is told.
        let _ = self.inbox.put(Incoming::Ask(ask, asker));
        Ok(())
    }

    /// Gives the node an envelope that another has sent to it. It is dropped when [`crate::Options::max_envelopes`] wait
    /// already, or the node has ended.
    pub fn receive(&self, envelope: Envelope) {
        self.inbox.receive(envelope, 0);
    }

    /// [`Handle::receive`] of an envelope that had so many bytes on its way. It is dropped too when
    /// [`crate::Options::max_envelope_bytes`] wait already.
    pub fn receive_sized(&self, envelope: Envelope, bytes: usize) {
        self.inbox.receive(envelope, bytes);
    }

    /// Founds a cluster of this node alone, and waits until that is on the disk. `cluster` and `token` are drawn at random
    /// by the caller.
    ///
    /// # Errors
    /// [`Stopped`], and within it what [`Node::found`] says.
    pub fn found(&self, cluster: u128, token: u128) -> Result<Result<(), FoundError>, Stopped> {
        let (done, founded) = oneshot::channel();
        self.inbox.put(Incoming::Found { cluster, token, done })?;
        wait_for(founded).map_err(|_| self.stopped())
    }

    /// Asks nodes of a cluster to be one of them, until one answers: [`Node::join`]. That it has joined is an event. A node
    /// that was started again before it had joined is to ask with the same token.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn join(&self, token: u128, seeds: Vec<Peer>) -> Result<(), Stopped> {
        self.inbox
            .put(Incoming::Call(Box::new(move |node| node.join(token, seeds))))
    }

    /// Tells the node how much room there is on its disks; as long as it is not enough, now and then.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn set_room(&self, room: Room) -> Result<(), Stopped> {
        self.inbox.put(Incoming::Space(room))
    }

    /// Looks at the node, on its thread: that is to be quick.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Node<L>) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (done, seen) = oneshot::channel();
        let call = move |node: &mut Node<L>| {
            // Fails only when nobody waits any more.
            let _ = done.send(look(node));
        };
        self.inbox.put(Incoming::Call(Box::new(call)))?;
        wait_for(seen).map_err(|_| self.stopped())
    }

    /// What the node knows of its cluster, and when that changes.
    #[must_use]
    pub fn known(&self) -> watch::Receiver<Known> {
        self.known.clone()
    }

    /// Why the node could not go on, when it could not.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match self.inbox.ended() {
            Some(Stopped::Failed(failure)) => Some(failure),
            Some(Stopped::ByOwner) | None => None,
        }
    }

    /// What was written to the log so far.
    #[must_use]
    pub fn log_counters(&self) -> LogCounters {
        self.log.counters()
    }

    /// What the node's thread has done so far.
    #[must_use]
    pub fn turn_counters(&self) -> TurnCounters {
        self.turns.counters(self.inbox.dropped())
    }

    /// Why no answer will come.
    fn stopped(&self) -> Stopped {
        why_stopped(&self.inbox)
    }
}

fn why_stopped<L: OrderedStore>(inbox: &Inbox<L>) -> Stopped {
    inbox.ended().unwrap_or_else(|| match thread::panicking() {
        // The thread of the node, which is about to say so.
        true => Stopped::Failed(Failure::Panicked("core")),
        false => Stopped::ByOwner,
    })
}

/// Wakes a thread that waits for a future.
struct Waiting(Thread);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future, in which nothing needs a runtime.
fn wait_for<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Waiting(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
