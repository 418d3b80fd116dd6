//! Raw RocksDB with the options of our store and the same group commit: clients hand their writes to one thread, which
//! syncs all that wait as one batch. Arguments: a directory that is not there yet, and `async` or `blocking`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use load::clients::{Run, tasks, threads};
use load::job::{Job, serve};
use load::{Failure, next_random, text};
use pliantdb_storage::memory::{self, MemoryPlan};
use pliantdb_storage::store::RocksStore;
use rocksdb::{Cache, DB, Env, Options, WriteBatch, WriteOptions};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The most writes in one batch, as in our writer.
const BATCH: usize = 1024;
/// What a key of our documents begins with: database, slot, space, collection.
const PREFIX: &[u8] = b"\0\0\0\x01\0\x06\x01plain\0";

struct Request {
    key: Vec<u8>,
    value: Vec<u8>,
    done: Done,
}

/// Who waits for a write.
enum Done {
    Thread(SyncSender<()>),
    Task(oneshot::Sender<()>),
}

struct Contender {
    db: Arc<DB>,
    queue: SyncSender<Request>,
    /// Numbers the inserts, far from those that are loaded.
    next: Arc<AtomicU64>,
    runtime: Option<Runtime>,
}

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-rocksdb DIRECTORY async|blocking";
    let (directory, door) = (
        std::env::args().nth(1).ok_or(usage)?,
        std::env::args().nth(2).ok_or(usage)?,
    );
    let db = Arc::new(open(Path::new(&directory))?);
    let (queue, requests) = sync_channel(pliantdb_storage::QUEUE_CAPACITY);
    let writer = std::thread::spawn({
        let db = Arc::clone(&db);
        move || commit(&db, &requests)
    });
    let contender = Contender {
        db,
        queue,
        next: Arc::new(AtomicU64::new(1 << 40)),
        runtime: (door == "async").then(Runtime::new).transpose()?,
    };
    let mut loaded = 0;
    serve(|job| match job {
        Job::Load { documents } => {
            loaded = documents;
            contender.load(documents).map(|()| None)
        }
        Job::Insert {
            clients,
            milliseconds,
        } => contender.insert(clients, milliseconds).map(Some),
        Job::Get {
            clients,
            milliseconds,
        } => contender.get(clients, milliseconds, loaded).map(Some),
        Job::LoadView { .. } | Job::View { .. } | Job::Reduce { .. } => Err("it has no views".into()),
    })?;
    drop(contender);
    writer.join().map_err(|_| "the writer panicked")?
}

/// With the options that our store leaves in its directory, and a cache of the same size.
fn open(directory: &Path) -> Result<DB, Failure> {
    let plan = MemoryPlan::for_limit(memory::limit());
    std::fs::create_dir_all(directory)?;
    drop(RocksStore::create(directory, plan)?);
    without_hints(directory)?;
    let cache = Cache::new_lru_cache(plan.cache);
    let (mut options, families) = Options::load_latest(directory, Env::new()?, false, cache)?;
    options.set_error_if_exists(false);
    Ok(DB::open_cf_descriptors(&options, directory, families)?)
}

/// Takes one option out: it makes keys that grow with time cheaper, and keys in random order, as here, dearer.
fn without_hints(directory: &Path) -> Result<(), Failure> {
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("OPTIONS-") {
            let options = std::fs::read_to_string(file.path())?;
            let is_kept = |line: &&str| {
                !line
                    .trim_start()
                    .starts_with("memtable_insert_with_hint_prefix_extractor=")
            };
            let kept: Vec<&str> = options.lines().filter(is_kept).collect();
            std::fs::write(file.path(), kept.join("\n") + "\n")?;
        }
    }
    Ok(())
}

/// The committing thread.
fn commit(db: &DB, requests: &Receiver<Request>) -> Result<(), Failure> {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    while let Ok(first) = requests.recv() {
        let mut batch = WriteBatch::default();
        let mut waiting = Vec::new();
        for Request { key, value, done } in std::iter::once(first).chain(requests.try_iter().take(BATCH - 1))
        {
            batch.put(key, value);
            waiting.push(done);
        }
        db.write_opt(batch, &synced)?;
        for done in waiting {
            // Fails only if the client is gone.
            match done {
                Done::Thread(done) => drop(done.send(())),
                Done::Task(done) => drop(done.send(())),
            }
        }
    }
    Ok(())
}

/// The key of a document. Their order is not that of the numbers.
fn key(number: u64) -> Vec<u8> {
    let id = format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    [PREFIX, id.as_bytes()].concat()
}

impl Contender {
    fn load(&self, documents: u64) -> Result<(), Failure> {
        let mut batch = WriteBatch::default();
        for number in 0..documents {
            batch.put(key(number), text(number, 256));
            if batch.len() == BATCH || number + 1 == documents {
                self.db.write(std::mem::take(&mut batch))?;
            }
        }
        Ok(self.db.flush()?)
    }

    fn insert(&self, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        match &self.runtime {
            Some(runtime) => runtime.block_on(tasks(clients, time, |client| {
                let (queue, next, value) = (
                    self.queue.clone(),
                    Arc::clone(&self.next),
                    text(client as u64, 256),
                );
                move || {
                    let (done, answer) = oneshot::channel();
                    let request = Request {
                        key: key(next.fetch_add(1, Ordering::Relaxed)),
                        value: value.as_bytes().to_vec(),
                        done: Done::Task(done),
                    };
                    let sent = queue.try_send(request);
                    async move {
                        sent.map_err(|_| "the queue is full")?;
                        Ok(answer.await?)
                    }
                }
            })),
            None => threads(clients, time, |client| {
                let value = text(client as u64, 256);
                let (done, answers) = sync_channel(1);
                move || {
                    let done = Done::Thread(done.clone());
                    let request = Request {
                        key: key(self.next.fetch_add(1, Ordering::Relaxed)),
                        value: value.as_bytes().to_vec(),
                        done,
                    };
                    self.queue.send(request).map_err(|_| "the writer is gone")?;
                    Ok(answers.recv()?)
                }
            }),
        }
    }

    fn get(&self, clients: usize, milliseconds: u64, loaded: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        match &self.runtime {
            Some(runtime) => runtime.block_on(tasks(clients, time, |client| {
                let (db, mut state) = (Arc::clone(&self.db), client as u64);
                move || {
                    let found = read(&db, next_random(&mut state) % loaded);
                    async move { found }
                }
            })),
            None => threads(clients, time, |client| {
                let mut state = client as u64;
                move || read(&self.db, next_random(&mut state) % loaded)
            }),
        }
    }
}

fn read(db: &DB, number: u64) -> Result<(), Failure> {
    // Copied out, as a document is.
    db.get(key(number))?.ok_or("a document is not there")?;
    Ok(())
}
