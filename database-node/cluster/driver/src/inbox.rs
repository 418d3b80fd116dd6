//! What waits for the node, in the order in which it came.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pliantdb_cluster::applier::Done;
use pliantdb_cluster::node::{Answer, FoundError, Room};
use pliantdb_cluster::wire::Envelope;
use pliantdb_cluster::{Node, node};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::failure::{Failure, Stopped};

/// Does something with the node on its thread.
pub(crate) type Call<L> = Box<dyn FnOnce(&mut Node<L>) + Send>;

/// Something for the node.
pub(crate) enum Incoming<L: pliantdb_storage::store::OrderedStore> {
    Ask(node::Ask, Asker),
    Receive(Envelope),
    Persisted(u64),
    Done(Done),
    Space(Room),
    Found {
        cluster: u128,
        token: u128,
        done: oneshot::Sender<Result<(), FoundError>>,
    },
    Call(Call<L>),
}

/// Who waits for an answer, and the place that this takes.
pub(crate) struct Asker {
    waiter: Waiter,
    place: OwnedSemaphorePermit,
}

/// Who is told the answer.
pub(crate) enum Waiter {
    /// A task or a thread, which hears of the end when this is dropped.
    Task(oneshot::Sender<Answer>),
    /// Whoever is to be called.
    Call(Answering),
}

/// Calls somebody once, at the latest when it is dropped: with `None` then, for no answer will come.
pub(crate) struct Answering(Option<Box<dyn FnOnce(Option<Answer>) + Send>>);

impl Asker {
    pub(crate) fn new(waiter: Waiter, place: OwnedSemaphorePermit) -> Self {
        Self { waiter, place }
    }

    pub(crate) fn answer(self, answer: Answer) {
        let Self { waiter, place } = self;
        // Before others are told, so that those who ask again at once find a place.
        drop(place);
        match waiter {
            Waiter::Task(waiting) => {
                // Fails only when nobody waits any more.
                let _ = waiting.send(answer);
            }
            Waiter::Call(mut answering) => answering.call(Some(answer)),
        }
    }
}

impl Answering {
    pub(crate) fn new(call: impl FnOnce(Option<Answer>) + Send + 'static) -> Self {
        Self(Some(Box::new(call)))
    }

    fn call(&mut self, answer: Option<Answer>) {
        if let Some(call) = self.0.take()
            // If it panics, that is its own affair: others wait for this thread.
            && catch_unwind(AssertUnwindSafe(|| call(answer))).is_err()
        {
            tracing::error!("a callback panicked on the thread of the node");
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.call(None);
    }
}

/// The node's thread takes all that waits at once, so that it costs others little.
pub(crate) struct Inbox<L: pliantdb_storage::store::OrderedStore> {
    state: Mutex<State<L>>,
    is_filled: Condvar,
    max_envelopes: usize,
    max_envelope_bytes: usize,
}

struct State<L: pliantdb_storage::store::OrderedStore> {
    waiting: Vec<Incoming<L>>,
    envelopes: usize,
    /// Of all envelopes that wait.
    envelope_bytes: usize,
    /// Of the envelopes that found no room.
    dropped: u64,
    /// How many of what waits are no writes.
    urgent: usize,
    /// For what the node's thread has to be woken.
    awaits: Awaits,
    ended: Option<Stopped>,
}

/// What the node's thread waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Awaits {
    /// It does something.
    #[default]
    Nothing,
    /// For anything but another write.
    Urgent,
    Anything,
}

impl<L: pliantdb_storage::store::OrderedStore> Incoming<L> {
    fn is_write(&self) -> bool {
        matches!(self, Self::Ask(node::Ask::Write { .. }, _))
    }
}

impl<L: pliantdb_storage::store::OrderedStore> Inbox<L> {
    pub(crate) fn new(max_envelopes: usize, max_envelope_bytes: usize) -> Self {
        let state = State {
            waiting: Vec::new(),
            envelopes: 0,
            envelope_bytes: 0,
            dropped: 0,
            urgent: 0,
            awaits: Awaits::Nothing,
            ended: None,
        };
        Self {
            state: Mutex::new(state),
            is_filled: Condvar::new(),
            max_envelopes,
            max_envelope_bytes,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in; when the node has ended, it is dropped.
    pub(crate) fn put(&self, incoming: Incoming<L>) -> Result<(), Stopped> {
        let mut state = self.state();
        if let Some(ended) = &state.ended {
            let ended = ended.clone();
            drop(state);
            return Err(ended);
        }
        let is_urgent = !incoming.is_write();
        state.waiting.push(incoming);
        self.wake(state, is_urgent);
        Ok(())
    }

    /// Puts an envelope of so many bytes in, or drops it when too many wait, or too large ones. The first that waits may
    /// have any size.
    pub(crate) fn receive(&self, envelope: Envelope, bytes: usize) {
        let mut state = self.state();
        let fits = state.envelope_bytes.saturating_add(bytes) <= self.max_envelope_bytes;
        if state.envelopes >= self.max_envelopes || !(fits || state.envelopes == 0) {
            state.dropped += 1;
            return;
        }
        if state.ended.is_none() {
            state.envelopes += 1;
            state.envelope_bytes += bytes;
            state.waiting.push(Incoming::Receive(envelope));
            self.wake(state, true);
        }
    }

    fn wake(&self, mut state: MutexGuard<'_, State<L>>, is_urgent: bool) {
        state.urgent += usize::from(is_urgent);
        let is_awaited = match state.awaits {
            Awaits::Nothing => false,
            Awaits::Urgent => is_urgent,
            Awaits::Anything => true,
        };
        if is_awaited {
            state.awaits = Awaits::Nothing;
        }
        drop(state);
        if is_awaited {
            self.is_filled.notify_one();
        }
    }

    /// Takes all that waits into an empty buffer. Waits for something for at most so long; and when there are only writes, for
    /// anything else or more of them for at most `gather` more.
    pub(crate) fn take(
        &self,
        into: &mut Vec<Incoming<L>>,
        wait: Duration,
        gather: Duration,
    ) -> Result<(), Stopped> {
        let mut state = self.state();
        if state.waiting.is_empty() && state.ended.is_none() && !wait.is_zero() {
            state.awaits = Awaits::Anything;
            let waited = self.is_filled.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !gather.is_zero() && !state.waiting.is_empty() && state.urgent == 0 && state.ended.is_none() {
            state.awaits = Awaits::Urgent;
            let waited = self.is_filled.wait_timeout(state, gather);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.awaits = Awaits::Nothing;
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        mem::swap(&mut state.waiting, into);
        (state.envelopes, state.envelope_bytes, state.urgent) = (0, 0, 0);
        Ok(())
    }

    /// Ends the node: nothing is taken any more, and nothing that is put in is done. The first reason counts.
    pub(crate) fn end(&self, reason: Stopped) {
        let mut state = self.state();
        state.ended.get_or_insert(reason);
        // Those who wait for answers are told when this is dropped.
        let waiting = mem::take(&mut state.waiting);
        self.wake(state, true);
        drop(waiting);
    }

    /// Why the node has ended, or is about to.
    pub(crate) fn ended(&self) -> Option<Stopped> {
        self.state().ended.clone()
    }

    /// How many envelopes found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    pub(crate) fn fail(&self, failure: Failure) {
        self.end(Stopped::Failed(failure));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    use pliantdb_cluster::NodeId;
    use pliantdb_cluster::wire::Peer;
    use pliantdb_storage::store::MemoryStore;

    use super::*;

    fn envelope() -> Envelope {
        let peer = Peer::Node(NodeId::FIRST);
        Envelope {
            cluster: 1,
            from: peer,
            to: peer,
            messages: Vec::new(),
        }
    }

    #[test]
    fn what_is_put_in_comes_out_in_order_and_at_once() {
        let inbox = Arc::new(Inbox::<MemoryStore>::new(2, 100));
        let putting = Arc::clone(&inbox);
        let thread = thread::spawn(move || {
            for number in 0..1000 {
                putting.put(Incoming::Persisted(number)).unwrap();
            }
        });
        let (mut all, mut incoming) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while all.len() < 1000 {
            inbox
                .take(&mut incoming, Duration::from_secs(60), Duration::ZERO)
                .unwrap();
            all.extend(incoming.drain(..).map(|incoming| match incoming {
                Incoming::Persisted(number) => number,
                _ => panic!("something else"),
            }));
        }
        thread.join().unwrap();
        assert!(all.into_iter().eq(0..1000) && began.elapsed() < Duration::from_secs(60));
        // Nothing comes.
        inbox
            .take(&mut incoming, Duration::from_millis(10), Duration::ZERO)
            .unwrap();
        assert!(incoming.is_empty());
    }

    #[test]
    fn envelopes_that_find_no_room_are_dropped_and_counted() {
        let inbox = Inbox::<MemoryStore>::new(2, 100);
        let mut incoming = Vec::new();
        for _ in 0..5 {
            inbox.receive(envelope(), 10);
        }
        inbox.take(&mut incoming, Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!((incoming.len(), inbox.dropped()), (2, 3));
        incoming.clear();
        inbox.receive(envelope(), 10);
        inbox.take(&mut incoming, Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(incoming.len(), 1);
    }

    #[test]
    fn envelopes_are_bounded_in_bytes_but_for_the_first() {
        let inbox = Inbox::<MemoryStore>::new(10, 100);
        let mut incoming = Vec::new();
        let taken = [500, 1, 500].map(|bytes| {
            inbox.receive(envelope(), bytes);
            inbox.dropped()
        });
        assert_eq!(taken, [0, 1, 2]);
        inbox.take(&mut incoming, Duration::ZERO, Duration::ZERO).unwrap();
        incoming.clear();
        let taken = [60, 60, 40].map(|bytes| {
            inbox.receive(envelope(), bytes);
            inbox.dropped()
        });
        assert_eq!(taken, [2, 3, 3]);
        inbox.take(&mut incoming, Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(incoming.len(), 2);
    }

    #[test]
    fn the_first_reason_to_end_counts_and_wakes() {
        let inbox = Arc::new(Inbox::<MemoryStore>::new(2, 100));
        let failure = Failure::Core("broken".to_owned());
        let waiting = Arc::clone(&inbox);
        let thread =
            thread::spawn(move || waiting.take(&mut Vec::new(), Duration::from_secs(600), Duration::ZERO));
        thread::sleep(Duration::from_millis(20));
        inbox.fail(failure.clone());
        inbox.end(Stopped::ByOwner);
        assert_eq!(thread.join().unwrap(), Err(Stopped::Failed(failure.clone())));
        assert_eq!(
            inbox.put(Incoming::Persisted(1)),
            Err(Stopped::Failed(failure.clone()))
        );
        assert_eq!(inbox.ended(), Some(Stopped::Failed(failure)));
    }

    fn write() -> Incoming<MemoryStore> {
        let ask = node::Ask::Write {
            group: pliantdb_core::GroupId::new(1),
            operation: pliantdb_core::Operation::write(
                "first".parse().unwrap(),
                pliantdb_core::WriteAction::Transact(Vec::new()),
                None,
            ),
        };
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let place = places.try_acquire_owned().unwrap();
        Incoming::Ask(ask, Asker::new(Waiter::Call(Answering::new(|_| {})), place))
    }

    #[test]
    fn writes_wait_for_others_and_for_nothing_else() {
        let inbox = Arc::new(Inbox::<MemoryStore>::new(2, 100));
        inbox.put(write()).unwrap();
        let putting = Arc::clone(&inbox);
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            putting.put(write()).unwrap();
            thread::sleep(Duration::from_millis(50));
            putting.put(Incoming::Persisted(1)).unwrap();
        });
        let mut incoming = Vec::new();
        let (wait, gather) = (Duration::from_secs(60), Duration::from_secs(60));
        inbox.take(&mut incoming, wait, gather).unwrap();
        assert_eq!(incoming.len(), 3);
        thread.join().unwrap();
        // No longer than that.
        incoming.clear();
        inbox.put(write()).unwrap();
        inbox
            .take(&mut incoming, wait, Duration::from_millis(20))
            .unwrap();
        assert_eq!(incoming.len(), 1);
    }
}
