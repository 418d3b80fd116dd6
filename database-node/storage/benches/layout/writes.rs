//! Writing in each layout: in bulk, durably through one committing thread, and the collection of garbage.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use pliantdb_core::Order;
use pliantdb_storage::store::{Batch, Cursor, Durability, OrderedStore, RocksStore, Snapshot};

use crate::layouts::{History, Layout, body, id, split_change};
use crate::{Failure, plan};

/// The most writes in one batch, as in the engine.
const BATCH: usize = 1024;

/// Writes documents `numbers` without syncing each batch; the timestamp of each is `first_timestamp` and up.
pub fn load(
    store: &RocksStore,
    layout: Layout,
    numbers: std::ops::Range<u64>,
    first_timestamp: u64,
) -> Result<(), Failure> {
    let mut batch = Batch::default();
    let end = numbers.end;
    for (number, timestamp) in numbers.zip(first_timestamp..) {
        write(store, layout, &mut batch, number, timestamp)?;
        if batch.len() >= BATCH || number + 1 == end {
            store.write(&std::mem::take(&mut batch), Durability::Buffered)?;
        }
    }
    Ok(())
}

/// One write as the engine does it: it looks up what it replaces.
fn write(
    store: &RocksStore,
    layout: Layout,
    batch: &mut Batch,
    number: u64,
    timestamp: u64,
) -> Result<(), Failure> {
    let id = id(number);
    let copies = layout.history != History::None;
    let before = store.get(&layout.document_key(&id), |record| match copies {
        true => record.to_vec(),
        false => record[..9].to_vec(),
    })?;
    layout.write(batch, &id, timestamp, &body(number, timestamp), before.as_deref());
    Ok(())
}

struct Request {
    number: u64,
    done: SyncSender<()>,
}

/// What a run of durable writes came to.
pub struct Durable {
    pub per_second: f64,
    pub wal_bytes_per_write: f64,
    pub syncs_per_1000_writes: f64,
}

/// Writes for a while from `clients` threads, each waiting for each of its writes. `number` tells the document of the
/// nth write of a client; no two clients may write the same.
pub fn durable(
    store: &RocksStore,
    layout: Layout,
    clients: u64,
    first_timestamp: u64,
    time: Duration,
    number: impl Fn(u64, u64) -> u64 + Sync,
) -> Result<Durable, Failure> {
    let before = store.stats();
    let (queue, requests) = sync_channel(4 * BATCH);
    let start = Instant::now();
    let written = thread::scope(|scope| {
        let writer = scope.spawn(move || commit(store, layout, &requests, first_timestamp));
        for client in 0..clients {
            let (queue, number) = (queue.clone(), &number);
            scope.spawn(move || {
                let (done, answers) = sync_channel(1);
                for nth in 0.. {
                    let request = Request {
                        number: number(client, nth),
                        done: done.clone(),
                    };
                    if start.elapsed() >= time || queue.send(request).is_err() || answers.recv().is_err() {
                        break;
                    }
                }
            });
        }
        drop(queue);
        writer.join()
    });
    let written = written.map_err(|_| Failure::from("the writer panicked"))??;
    let seconds = start.elapsed().as_secs_f64();
    let after = store.stats();
    Ok(Durable {
        per_second: written as f64 / seconds,
        wal_bytes_per_write: (after.wal_bytes - before.wal_bytes) as f64 / written as f64,
        syncs_per_1000_writes: 1000.0 * (after.wal_syncs - before.wal_syncs) as f64 / written as f64,
    })
}

/// The committing thread: all that waits goes into one synced batch.
fn commit(
    store: &RocksStore,
    layout: Layout,
    requests: &Receiver<Request>,
    first_timestamp: u64,
) -> Result<u64, Failure> {
    let mut timestamp = first_timestamp;
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        group.extend(requests.try_iter().take(BATCH - 1));
        let mut batch = Batch::default();
        for request in &group {
            write(store, layout, &mut batch, request.number, timestamp)?;
            timestamp += 1;
        }
        store.write(&batch, Durability::Synced)?;
        for request in group {
            // Fails only if the client is gone.
            let _ = request.done.send(());
        }
    }
    Ok(timestamp - first_timestamp)
}

/// Deletes the before-images that the change log names, one by one: how many.
pub fn collect_images(store: &RocksStore, layout: Layout) -> Result<u64, Failure> {
    let mut versions = 0;
    let snapshot = store.snapshot();
    for slot in layout.places() {
        let mut batch = Batch::default();
        let mut changes = snapshot.scan(layout.changes(slot), Order::Ascending)?;
        while let Some((key, entry)) = changes.entry() {
            let timestamp = key[7..]
                .first_chunk()
                .map_or(0, |bytes| u64::from_be_bytes(*bytes));
            // The kind tells whether the write replaced anything.
            if entry[0] == 1 {
                batch.delete(layout.history_key(split_change(entry).0, timestamp));
                versions += 1;
            }
            if batch.len() >= BATCH {
                store.write(&std::mem::take(&mut batch), Durability::Buffered)?;
            }
            changes.advance()?;
        }
        store.write(&batch, Durability::Buffered)?;
    }
    Ok(versions)
}

/// Brings all into one sorted run. The store's interface has no such thing, so it goes to RocksDB itself, with the
/// options that the store left in its directory.
pub fn compact(store: RocksStore, path: &Path) -> Result<RocksStore, Failure> {
    drop(store);
    let cache = rocksdb::Cache::new_lru_cache(plan().cache);
    let (mut options, families) = rocksdb::Options::load_latest(path, rocksdb::Env::new()?, true, cache)?;
    options.set_error_if_exists(false);
    rocksdb::DB::open_cf_descriptors(&options, path, families)?.compact_range::<&[u8], &[u8]>(None, None);
    Ok(RocksStore::open(path, plan())?)
}

/// Removes the change log and what else is ordered by time, with one range deletion for each slot.
pub fn collect_log(store: &RocksStore, layout: Layout) -> Result<(), Failure> {
    let mut batch = Batch::default();
    for slot in layout.places() {
        batch.delete_range(layout.ordered_by_time(slot));
    }
    store.write(&batch, Durability::Buffered)?;
    Ok(())
}
