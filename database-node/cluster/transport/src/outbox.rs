//! What waits to be sent to one peer: bounded in bytes, and never waited for.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pliantdb_cluster::wire::Message;
use pliantdb_cluster::wire::raft::Body;
use tokio::sync::Notify;

use crate::counters::{Counting, Dropped};

/// About how many bytes go in one envelope, if no single message has more.
const BATCH: usize = 256 << 10;

/// What waits behind what: each class goes by a stream of its own, and only within it the order is kept. Consensus takes
/// that, and an order that is not kept costs time where one message builds on another: those are in one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// What is small and tells who is there, leads and votes; and answers.
    Control,
    /// What replicates logs.
    Log,
    /// Of snapshots.
    Bulk,
}

impl Class {
    /// All, the most urgent first.
    pub(crate) const ALL: [Self; 3] = [Self::Control, Self::Log, Self::Bulk];

    fn of(message: &Message) -> Self {
        match message {
            Message::Fetch(_) | Message::Chunk(_) => Self::Bulk,
            Message::Raft(message) => match message.body {
                Body::Append { .. } | Body::Snapshot { .. } => Self::Log,
                _ => Self::Control,
            },
            _ => Self::Control,
        }
    }
}

/// How many bytes may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) control: usize,
    pub(crate) log: usize,
    pub(crate) bulk: usize,
}

/// What waits for one peer.
pub(crate) struct Outbox {
    bounds: Bounds,
    state: Mutex<State>,
    filled: Lanes<Notify>,
}

#[derive(Default)]
struct State {
    /// While there is no way to the peer nothing is put in: when there is one again, it would be old.
    is_closed: bool,
    lanes: Lanes<Lane>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<(Message, usize)>,
    bytes: usize,
}

/// Something for each class.
#[derive(Default)]
struct Lanes<T> {
    control: T,
    log: T,
    bulk: T,
}

impl<T> Lanes<T> {
    fn of(&self, class: Class) -> &T {
        match class {
            Class::Control => &self.control,
            Class::Log => &self.log,
            Class::Bulk => &self.bulk,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Control => &mut self.control,
            Class::Log => &mut self.log,
            Class::Bulk => &mut self.bulk,
        }
    }
}

impl Bounds {
    fn of(self, class: Class) -> usize {
        match class {
            Class::Control => self.control,
            Class::Log => self.log,
            Class::Bulk => self.bulk,
        }
    }
}

impl Outbox {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
            filled: Lanes::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts messages in, or drops those that do not fit; the first that waits may have any size.
    pub(crate) fn put(&self, messages: Vec<Message>, counting: &Counting) {
        let mut filled = Lanes::default();
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            return counting.dropped(Dropped::NoConnection, messages.len());
        }
        for message in messages {
            let (class, size) = (Class::of(&message), size_of(&message));
            let lane = state.lanes.of_mut(class);
            let fits = lane.bytes.saturating_add(size) <= self.bounds.of(class);
            if !fits && !lane.waiting.is_empty() {
                counting.dropped(Dropped::Full, 1);
                continue;
            }
            lane.bytes += size;
            lane.waiting.push_back((message, size));
            *filled.of_mut(class) = true;
        }
        drop(state);
        for class in Class::ALL {
            if *filled.of(class) {
                self.filled.of(class).notify_one();
            }
        }
    }

    /// Waits until something of a class waits. One task at a time may do so for each class.
    pub(crate) async fn filled(&self, class: Class) {
        while self.state().lanes.of(class).waiting.is_empty() {
            self.filled.of(class).notified().await;
        }
    }

    /// Waits until anything waits; nobody else may wait at the same time.
    pub(crate) async fn filled_with_any(&self) {
        tokio::select! {
            () = self.filled(Class::Control) => {}
            () = self.filled(Class::Log) => {}
            () = self.filled(Class::Bulk) => {}
        }
    }

    /// Takes what goes into the next envelope: of what follows each other one message.
    pub(crate) fn take(&self, class: Class) -> Vec<Message> {
        let mut taken: Vec<Message> = Vec::new();
        let mut bytes = 0;
        let mut state = self.state();
        let lane = state.lanes.of_mut(class);
        while let Some((_, size)) = lane.waiting.front() {
            if bytes + size > BATCH && !taken.is_empty() {
                break;
            }
            bytes += size;
            if let Some((message, size)) = lane.waiting.pop_front() {
                lane.bytes = lane.bytes.saturating_sub(size);
                let message = match (taken.last_mut(), message) {
                    (Some(Message::Raft(last)), Message::Raft(next)) => {
                        last.take_in(next, BATCH as u64).map(Message::Raft)
                    }
                    (_, message) => Some(message),
                };
                taken.extend(message);
            }
        }
        if lane.waiting.is_empty() {
            // One burst must not hold its memory for ever.
            lane.waiting.shrink_to(64);
        }
        taken
    }

    /// From now on, something can be put in.
    pub(crate) fn open(&self) {
        self.state().is_closed = false;
    }

    /// From now on, nothing can be put in; what waits is dropped.
    pub(crate) fn close(&self, counting: &Counting) {
        let mut state = self.state();
        state.is_closed = true;
        let waited = std::mem::take(&mut state.lanes);
        drop(state);
        let waited = Class::ALL.map(|class| waited.of(class).waiting.len());
        counting.dropped(Dropped::NoConnection, waited.iter().sum());
    }

    /// How many bytes wait.
    pub(crate) fn bytes(&self) -> usize {
        let state = self.state();
        Class::ALL.map(|class| state.lanes.of(class).bytes).iter().sum()
    }
}

/// About how many bytes a message has, without encoding it: that is not for the node's thread.
fn size_of(message: &Message) -> usize {
    /// Of what has no bytes of any length in it.
    const FIXED: usize = 256;
    /// Of what stands in a list.
    const ITEM: usize = 32;
    FIXED
        + match message {
            Message::Raft(message) => match &message.body {
                Body::Append { entries, .. } => entries.iter().map(|entry| entry.payload.len() + ITEM).sum(),
                _ => 0,
            },
            Message::Chunk(chunk) => chunk.chunk.as_ref().map_or(0, |chunk| {
                chunk.bytes.len() + chunk.next.as_ref().map_or(0, Vec::len)
            }),
            Message::Fetch(fetch) => fetch.after.len(),
            Message::Report(report) => report.replicas.len() * FIXED,
            Message::Join(join) => {
                let attributes = join.attributes.iter();
                join.name.len()
                    + attributes
                        .map(|(name, value)| name.len() + value.len() + ITEM)
                        .sum::<usize>()
            }
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use pliantdb_cluster::wire::{Beat, FetchedChunk, SentChunk};
    use pliantdb_core::GroupId;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        control: 1000,
        log: 1000,
        bulk: 10_000,
    };

    fn beat(lost: u64) -> Message {
        Message::Beat(Beat { process: 1, lost })
    }

    fn chunk(bytes: usize) -> Message {
        Message::Chunk(FetchedChunk {
            group: GroupId::new(1),
            snapshot: 1,
            number: 0,
            chunk: Some(SentChunk {
                bytes: vec![0; bytes],
                next: None,
            }),
        })
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_the_rest_keeps_its_order() {
        let (outbox, counting) = (Outbox::new(BOUNDS), Counting::default());
        outbox.put((0..5).map(beat).collect(), &counting);
        // Chunks take no place of others.
        outbox.put(vec![chunk(1 << 20), chunk(1)], &counting);
        assert_eq!(outbox.take(Class::Control), [beat(0), beat(1), beat(2)]);
        assert_eq!(outbox.take(Class::Bulk), [chunk(1 << 20)]);
        assert_eq!((outbox.take(Class::Control), outbox.bytes()), (Vec::new(), 0));
        assert_eq!(counting.counters().dropped_full, 3);
    }

    #[test]
    fn what_goes_together_is_bounded() {
        let bounds = Bounds {
            bulk: 10 << 20,
            ..BOUNDS
        };
        let (outbox, counting) = (Outbox::new(bounds), Counting::default());
        outbox.put((0..5).map(|_| chunk(100 << 10)).collect(), &counting);
        let taken: Vec<_> = (0..4).map(|_| outbox.take(Class::Bulk).len()).collect();
        assert_eq!(taken, [2, 2, 1, 0]);
    }

    #[test]
    fn nothing_waits_for_a_peer_to_which_there_is_no_way() {
        let (outbox, counting) = (Outbox::new(BOUNDS), Counting::default());
        outbox.put(vec![beat(0)], &counting);
        outbox.close(&counting);
        outbox.put(vec![beat(1)], &counting);
        outbox.open();
        outbox.put(vec![beat(2)], &counting);
        assert_eq!(outbox.take(Class::Control), [beat(2)]);
        assert_eq!(counting.counters().dropped_no_connection, 2);
    }
}
