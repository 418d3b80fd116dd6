//! The thread that writes the log: group commit over all groups.
//!
//! What waits is written as one batch with one sync. When something has come while the last sync ran, more than one is at
//! it, and those whose writes that sync made safe are about to write again: half as long as a sync takes is waited for
//! them. Without this a sync takes along what came by chance while the one before ran, and those who come a moment later
//! wait for a whole one: with 64 writers there were 51 to 65 syncs for 1,000 commits, and are 30 to 54, at the same rate
//! and the same latencies (docs/performance.md). Who writes alone never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use pliantdb_storage::store::{Batch, BatchNumber, Durability, OrderedStore, StoreError};

use crate::failure::Failure;
use crate::inbox::{Inbox, Incoming};

/// What waits is written as one batch until that has so many bytes.
const MERGED_BYTES: usize = 4 << 20;

/// The longest that others are waited for before a sync.
const MAX_PAUSE: Duration = Duration::from_millis(1);

/// What is to be written.
pub(crate) struct Write {
    pub(crate) number: u64,
    pub(crate) batch: Batch,
    pub(crate) must_sync: bool,
}

/// What was written to the log so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Batches of the node, each the work of one step.
    pub batches: u64,
    /// Writes to the store: what waited together is one.
    pub writes: u64,
    /// Writes that were synced.
    pub syncs: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// [`LogCounters`] that others can read meanwhile.
#[derive(Default)]
pub(crate) struct Counting {
    batches: AtomicU64,
    writes: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
}

impl Counting {
    pub(crate) fn counters(&self) -> LogCounters {
        LogCounters {
            batches: self.batches.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Writes what comes, in order, until nothing more can come: the node's thread has ended. After a failure nothing more is
/// written, and nothing more is said to be safe.
pub(crate) fn run<L: OrderedStore>(
    store: &Arc<L>,
    writes: &Receiver<Write>,
    inbox: &Inbox<L>,
    counting: &Counting,
) {
    let mut sync_takes = Duration::ZERO;
    while let Some(first) = next(writes, sync_takes) {
        let group = gather(first, writes);
        counting.batches.fetch_add(group.batches, Ordering::Relaxed);
        counting.writes.fetch_add(1, Ordering::Relaxed);
        counting
            .syncs
            .fetch_add(u64::from(group.must_sync), Ordering::Relaxed);
        let bytes = u64::try_from(group.batch.size()).unwrap_or(u64::MAX);
        counting.bytes.fetch_add(bytes, Ordering::Relaxed);
        let began = Instant::now();
        if let Err(error) = group.write(store.as_ref()) {
            return inbox.fail(Failure::Log(error));
        }
        if group.must_sync {
            // Of the last few: one may be slow by chance.
            sync_takes = (sync_takes * 7 + began.elapsed()) / 8;
        }
        if inbox.put(Incoming::Persisted(group.last)).is_err() {
            // What the node has still given is written, so that the next start finds it.
            continue;
        }
    }
}

/// The next that is to be written, once more may have come; `None` when nothing more can come.
fn next(writes: &Receiver<Write>, sync_takes: Duration) -> Option<Write> {
    match writes.try_recv() {
        Ok(first) => {
            thread::sleep((sync_takes / 2).min(MAX_PAUSE));
            Some(first)
        }
        Err(_) => writes.recv().ok(),
    }
}

/// What is written together.
struct Group {
    batch: Batch,
    batches: u64,
    last: u64,
    must_sync: bool,
}

impl Group {
    fn write(&self, store: &impl OrderedStore) -> Result<BatchNumber, StoreError> {
        let durability = match self.must_sync {
            true => Durability::Synced,
            false => Durability::Buffered,
        };
        store.write(&self.batch, durability)
    }
}

fn gather(first: Write, writes: &Receiver<Write>) -> Group {
    let mut group = Group {
        batch: first.batch,
        batches: 1,
        last: first.number,
        must_sync: first.must_sync,
    };
    while group.batch.size() < MERGED_BYTES
        && let Ok(next) = writes.try_recv()
    {
        group.batch.append(&next.batch);
        group.batches += 1;
        group.last = next.number;
        group.must_sync |= next.must_sync;
    }
    group
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use pliantdb_storage::store::{Fault, MemoryStore};

    use super::*;
    use crate::failure::Stopped;

    fn write(number: u64, must_sync: bool) -> Write {
        let mut batch = Batch::default();
        batch.put(number.to_be_bytes(), b"value");
        Write {
            number,
            batch,
            must_sync,
        }
    }

    fn give(writes: &Sender<Write>, all: impl IntoIterator<Item = Write>) {
        for write in all {
            writes.send(write).unwrap();
        }
    }

    /// What is said to be safe.
    fn safe(inbox: &Inbox<MemoryStore>) -> Vec<u64> {
        let mut incoming = Vec::new();
        inbox.take(&mut incoming, Duration::ZERO, Duration::ZERO).unwrap();
        let numbers = incoming.into_iter().map(|incoming| match incoming {
            Incoming::Persisted(number) => number,
            _ => panic!("something else"),
        });
        numbers.collect()
    }

    #[test]
    fn what_waits_is_written_in_order_with_one_sync() {
        let (store, inbox, counting) = (
            Arc::new(MemoryStore::default()),
            Inbox::new(1, 0),
            Counting::default(),
        );
        let (writes, to_write) = channel();
        give(&writes, [write(1, false), write(2, true), write(3, false)]);
        // A later value of the same key wins.
        let mut batch = Batch::default();
        batch.put(1u64.to_be_bytes(), b"later");
        give(
            &writes,
            [Write {
                number: 4,
                batch,
                must_sync: true,
            }],
        );
        drop(writes);
        run(&store, &to_write, &inbox, &counting);
        assert_eq!(safe(&inbox), [4]);
        let expected = LogCounters {
            batches: 4,
            writes: 1,
            syncs: 1,
            bytes: 4 * 13,
        };
        assert_eq!(counting.counters(), expected);
        assert_eq!(store.counters().syncs, 1);
        store.crash();
        let value = store.get(&1u64.to_be_bytes(), <[u8]>::to_vec).unwrap();
        assert_eq!(value.as_deref(), Some(&b"later"[..]));
    }

    #[test]
    fn what_needs_no_sync_gets_none() {
        let (store, inbox, counting) = (
            Arc::new(MemoryStore::default()),
            Inbox::new(1, 0),
            Counting::default(),
        );
        let (writes, to_write) = channel();
        give(&writes, [write(1, false), write(2, false)]);
        drop(writes);
        run(&store, &to_write, &inbox, &counting);
        assert_eq!(safe(&inbox), [2]);
        assert_eq!(
            (
                counting.counters().syncs,
                store.counters().syncs,
                store.unsynced()
            ),
            (0, 0, 1)
        );
    }

    #[test]
    fn after_a_failure_nothing_is_said_to_be_safe() {
        let (store, inbox, counting) = (
            Arc::new(MemoryStore::default()),
            Inbox::new(1, 0),
            Counting::default(),
        );
        let (writes, to_write) = channel();
        store.set_fault(Fault::NoSpace);
        give(&writes, [write(1, true)]);
        run(&store, &to_write, &inbox, &counting);
        store.set_fault(Fault::None);
        let ended = inbox.take(&mut Vec::new(), Duration::ZERO, Duration::ZERO);
        assert!(
            matches!(ended, Err(Stopped::Failed(Failure::Log(StoreError::NoSpace(_))))),
            "{ended:?}"
        );
        assert_eq!(store.written(), 0);
    }
}
