//! The thread of the node: it takes what has come, and hands out what is to be done.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use pliantdb_cluster::applier::Task;
use pliantdb_cluster::node::{Event, FoundError};
use pliantdb_cluster::{Input, Instant, Node, Output};
use pliantdb_storage::store::OrderedStore;
use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::failure::Failure;
use crate::handle::Known;
use crate::inbox::{Asker, Inbox, Incoming};
use crate::log_writer::Write;
use crate::standings::Standings;
use crate::transport::Transport;

/// So many inputs are taken at most before it is looked at what follows from them.
const MAX_TAKEN: u32 = 1024;

/// So long at most writes wait for others while something is being written to the log.
const GATHER: Duration = Duration::from_micros(300);

/// Hears what a node tells of, on its thread: it must not wait.
pub(crate) type OnEvent = Box<dyn FnMut(Event) + Send>;

/// What the node's thread has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnCounters {
    /// Inputs that the node was given.
    pub inputs: u64,
    /// How often it was looked at what follows from them.
    pub steps: u64,
    /// Envelopes that it has sent.
    pub sent: u64,
    /// Envelopes that came while too many waited, and were dropped.
    pub dropped: u64,
}

/// [`TurnCounters`] that others can read meanwhile.
#[derive(Default)]
pub(crate) struct Counting {
    inputs: AtomicU64,
    steps: AtomicU64,
    sent: AtomicU64,
}

impl Counting {
    pub(crate) fn counters(&self, dropped: u64) -> TurnCounters {
        TurnCounters {
            inputs: self.inputs.load(Ordering::Relaxed),
            steps: self.steps.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dropped,
        }
    }
}

/// What the node's thread owns.
pub(crate) struct Turns<L: OrderedStore, T> {
    pub(crate) node: Node<L>,
    pub(crate) clock: Clock,
    pub(crate) tick: Duration,
    pub(crate) ticked: Instant,
    pub(crate) inbox: Arc<Inbox<L>>,
    pub(crate) writes: Sender<Write>,
    pub(crate) tasks: Sender<Task>,
    pub(crate) transport: T,
    pub(crate) on_event: OnEvent,
    pub(crate) counting: Arc<Counting>,
    pub(crate) askers: Askers,
    /// Who has founded a cluster, until the batch of that number is safe.
    pub(crate) founder: Option<(u64, oneshot::Sender<Result<(), FoundError>>)>,
    /// The number of the last batch that is to be written.
    pub(crate) written: u64,
    /// The number of the last that is safe.
    pub(crate) persisted: u64,
    /// What others may go by without asking.
    pub(crate) standings: Arc<Standings>,
    /// What others are told that the node knows of the cluster.
    pub(crate) known: watch::Sender<Known>,
}

/// Who waits for an answer, by token.
#[derive(Default)]
pub(crate) struct Askers {
    waiting: HashMap<u64, Asker>,
    last: u64,
}

impl Askers {
    fn add(&mut self, asker: Asker) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, asker);
        self.last
    }
}

impl<L: OrderedStore, T: Transport> Turns<L, T> {
    /// Goes on until the node has ended. Those who wait for answers are then told, for what they wait with is dropped.
    pub(crate) fn run(mut self) {
        let mut incoming = Vec::new();
        loop {
            // Their sync waits for the one that is under way, and each that comes alone is a step of all nodes.
            let gather = match self.written > self.persisted {
                true => GATHER,
                false => Duration::ZERO,
            };
            if self.inbox.take(&mut incoming, self.until_tick(), gather).is_err() {
                return;
            }
            let mut taken = 0;
            for incoming in incoming.drain(..) {
                self.handle(incoming);
                taken += 1;
                if taken == MAX_TAKEN {
                    taken = 0;
                    self.give();
                }
            }
            let now = self.clock.now();
            if now.steady.since(self.ticked) >= self.tick {
                self.ticked = now.steady;
                for group in self.standings.take_read() {
                    self.node.was_read(group);
                }
                self.take(Input::Tick);
            }
            self.give();
        }
    }

    fn until_tick(&self) -> Duration {
        let since = self.clock.now().steady.since(self.ticked);
        self.tick.saturating_sub(since)
    }

    fn handle(&mut self, incoming: Incoming<L>) {
        match incoming {
            Incoming::Ask(ask, asker) => {
                let token = self.askers.add(asker);
                self.take(Input::Ask { token, ask });
            }
            Incoming::Receive(envelope) => self.take(Input::Receive(envelope)),
            Incoming::Persisted(number) => {
                self.persisted = number;
                self.take(Input::Persisted(number));
                if let Some((_, done)) = self.founder.take_if(|(awaited, _)| *awaited <= number) {
                    // Fails only when nobody waits any more.
                    let _ = done.send(Ok(()));
                }
            }
            Incoming::Done(done) => self.take(Input::Done(done)),
            Incoming::Space(room) => self.take(Input::Space(room)),
            Incoming::Found { cluster, token, done } => self.found(cluster, token, done),
            Incoming::Call(call) => call(&mut self.node),
        }
    }

    fn found(&mut self, cluster: u128, token: u128, done: oneshot::Sender<Result<(), FoundError>>) {
        if let Err(error) = self.node.found(cluster, token, self.clock.now()) {
            // Fails only when nobody waits any more.
            let _ = done.send(Err(error));
            return;
        }
        self.give();
        self.founder = Some((self.written, done));
    }

    fn take(&mut self, input: Input) {
        self.counting.inputs.fetch_add(1, Ordering::Relaxed);
        self.node.take(self.clock.now(), input);
    }

    fn give(&mut self) {
        self.counting.steps.fetch_add(1, Ordering::Relaxed);
        let now = self.clock.now();
        let outputs = self.node.give(now);
        // Before anybody is told anything.
        self.standings.publish(self.node.take_standings(now));
        // First, so that whoever is answered finds what it was answered.
        let applied = self.node.meta_applied();
        self.known.send_if_modified(|known| {
            let has_changed = known.applied != applied;
            if has_changed {
                known.meta = self.node.shared_meta();
                known.applied = applied;
            }
            has_changed
        });
        for output in outputs {
            match output {
                Output::Persist {
                    number,
                    batch,
                    must_sync,
                } => {
                    self.written = number;
                    let write = Write {
                        number,
                        batch,
                        must_sync,
                    };
                    // A thread that has ended has said why: the inbox tells it with the next turn.
                    let _ = self.writes.send(write);
                }
                Output::Run(task) => {
                    let _ = self.tasks.send(task);
                }
                Output::Send { to, envelope } => {
                    self.counting.sent.fetch_add(1, Ordering::Relaxed);
                    self.transport.send(to, envelope);
                }
                Output::Reply { token, answer } => {
                    if let Some(asker) = self.askers.waiting.remove(&token) {
                        asker.answer(answer);
                    }
                }
                Output::Event(event) => {
                    if let Event::LogFailed(error) = &event {
                        self.inbox.fail(Failure::Core(error.clone()));
                    }
                    (self.on_event)(event);
                }
            }
        }
    }
}
