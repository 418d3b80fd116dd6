//! The one thread that commits: group commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pliantdb_core::{ChangeOutcome, Clock, Command, KeyStatus, Operation, Outcome};

use crate::disk_space::DiskSpace;
use crate::error::StorageError;
use crate::log_clock::LogClock;
use crate::machine::{CommandResult, StateMachine};
use crate::progress::Progress;
use crate::proposer::{Done, LocalWriter, Proposer};
use crate::store::{Batch, OrderedStore, StoreError};

/// How many writes can wait for the writer; the next is refused, or blocks its caller.
pub const QUEUE_CAPACITY: usize = 4096;

/// The most commands in one batch.
const BATCH_COMMANDS: usize = 1024;
/// A batch takes no more commands when it has so many bytes.
const BATCH_BYTES: usize = 8 << 20;
/// More than a command adds to its bytes in the log and in a table.
const COMMAND_OVERHEAD: usize = 128;
/// How often it is tried whether writes can be taken again.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What the writer tells about a commit.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    /// The commands in the batch, rejected ones included.
    pub commands: usize,
    /// The documents and keys written or deleted.
    pub changes: usize,
    /// How long applying and syncing took.
    pub duration: Duration,
}

/// Hears of every commit, on the writer's thread.
pub(crate) type Observer = Box<dyn Fn(Commit) + Send>;

/// Hears, once, that the storage failed for good, on the writer's thread.
pub(crate) type OnFailure = Box<dyn FnOnce(StorageError) + Send>;

enum Request {
    /// To be stamped and applied.
    Operation { operation: Operation, done: Done },
    /// To be written as it is: what is local to this node and can be made anew.
    Local {
        batch: Batch,
        done: SyncSender<Result<(), StorageError>>,
    },
}

/// Hands operations to the writer thread.
pub(crate) struct Writer {
    /// `None` once closed.
    queue: RwLock<Option<SyncSender<Request>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Arc<Mutex<Option<StorageError>>>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start<S: OrderedStore>(
        machine: StateMachine<S>,
        disk: Arc<DiskSpace>,
        progress: Arc<Progress>,
        log_clock: Arc<LogClock>,
        observer: Observer,
        on_failure: OnFailure,
    ) -> std::io::Result<Self> {
        let (queue, requests) = sync_channel(QUEUE_CAPACITY);
        let health = Arc::new(Mutex::new(None));
        let clock = Clock::after(machine.applied().timestamp);
        let committer = Committer {
            machine,
            disk,
            progress,
            clock,
            log_clock,
            health: Arc::clone(&health),
            observer,
            no_room: None,
            is_refused: false,
            is_changed: true,
            room_made: None,
            on_failure: Some(on_failure),
            failed: None,
        };
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || committer.run(&requests))?;
        Ok(Self {
            queue: RwLock::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            health,
        })
    }

    /// Queues a request, waiting for room in the queue.
    fn send(&self, request: Request) -> Result<(), StorageError> {
        // The queue's lock must not be held while waiting, or closing would wait for it.
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = queue.ok_or(StorageError::Closed)?;
        queue.send(request).map_err(|_| StorageError::Closed)
    }

    /// Whether it is the writer's thread that asks, as in a callback.
    pub(crate) fn is_this_thread(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread
            .as_ref()
            .is_some_and(|thread| thread.thread().id() == std::thread::current().id())
    }

    /// Why writes are refused or fail at the moment.
    pub(crate) fn failure(&self) -> Option<StorageError> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes no more operations, commits those that wait, and ends the thread.
    pub(crate) fn close(&self) {
        *self.queue.write().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // When the last owner goes in a callback, this is the writer thread: it ends by itself.
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread panicked");
        }
    }
}

impl Proposer for Writer {
    fn try_submit(
        &self,
        operation: Operation,
        done: Done,
    ) -> Result<Result<(), (Operation, Done)>, StorageError> {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let queue = queue.as_ref().ok_or(StorageError::Closed)?;
        match queue.try_send(Request::Operation { operation, done }) {
            Ok(()) => Ok(Ok(())),
            Err(TrySendError::Full(Request::Operation { operation, done })) => Ok(Err((operation, done))),
            Err(TrySendError::Full(Request::Local { .. }) | TrySendError::Disconnected(_)) => {
                Err(StorageError::Closed)
            }
        }
    }

    fn submit(&self, operation: Operation, done: Done) -> Result<(), StorageError> {
        self.send(Request::Operation { operation, done })
    }
}

impl LocalWriter for Writer {
    fn write_local(&self, batch: Batch) -> Result<(), StorageError> {
        let (done, outcome) = sync_channel(1);
        self.send(Request::Local { batch, done })?;
        outcome.recv().map_err(|_| StorageError::Closed)?
    }
}

/// What the writer thread owns.
struct Committer<S> {
    machine: StateMachine<S>,
    disk: Arc<DiskSpace>,
    progress: Arc<Progress>,
    clock: Clock,
    log_clock: Arc<LogClock>,
    health: Arc<Mutex<Option<StorageError>>>,
    observer: Observer,
    /// Why the last group's writes were refused before they were tried.
    no_room: Option<StorageError>,
    /// Whether any write was refused for want of room since room was made: a large one may be when others are not.
    is_refused: bool,
    /// Whether anything was written since room was made, and when that was.
    is_changed: bool,
    room_made: Option<Instant>,
    on_failure: Option<OnFailure>,
    /// Set by a commit of which only recovery can tell what it left.
    failed: Option<StorageError>,
}

impl<S: OrderedStore> Committer<S> {
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let first = if self.is_healthy() || self.failed.is_some() {
                requests.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                requests.recv_timeout(PROBE_INTERVAL)
            };
            match first {
                Ok(first) => self.commit(gather(first, requests)),
                Err(RecvTimeoutError::Timeout) => self.probe(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Commits a group of requests with one sync, then answers each.
    fn commit(&mut self, requests: Vec<Request>) {
        if let Some(failed) = &self.failed {
            for request in requests {
                match request {
                    Request::Operation { done, .. } => tell(done, Err(failed.clone())),
                    Request::Local { done, .. } => drop(done.send(Err(failed.clone()))),
                }
            }
            return;
        }
        let mut room = self.disk.room(self.machine.store().unflushed());
        self.no_room = match &mut room {
            Ok(room) => room.take(0, false).err(),
            Err(error) => Some(error.clone()),
        };
        let (mut commands, mut waiting) = (
            Vec::with_capacity(requests.len()),
            Vec::with_capacity(requests.len()),
        );
        let mut locals = Vec::new();
        let now_ms = self.log_clock.now_ms();
        for request in requests {
            let (operation, done) = match request {
                Request::Operation { operation, done } => (operation, done),
                Request::Local { batch, done } => {
                    // Reads depend on it, and those go on when the disk is nearly full: it may use some of the reserve.
                    let taken = match &mut room {
                        Ok(room) => room.take(batch.size(), true),
                        Err(error) => Err(error.clone()),
                    };
                    match taken {
                        Ok(()) => locals.push((batch, done)),
                        // Fails only if the caller is gone.
                        Err(full) => drop(done.send(Err(full))),
                    }
                    continue;
                }
            };
            let frees = operation.frees();
            let taken = match &mut room {
                Ok(room) => room.take(operation.size() + COMMAND_OVERHEAD, frees),
                Err(error) => Err(error.clone()),
            };
            if let Err(full) = taken {
                self.is_refused = true;
                tell(done, Err(full));
                continue;
            }
            commands.push(Command::new(self.clock.next(now_ms), operation));
            waiting.push(done);
        }
        for (batch, done) in locals {
            // Fails only if the caller is gone.
            let _ = done.send(self.write_local(&batch));
        }
        if !commands.is_empty() {
            self.apply(&commands, waiting);
        } else if self.failed.is_none() {
            self.set_health(self.no_room.clone());
        }
        self.make_room();
    }

    /// Writes what is local.
    fn write_local(&mut self, batch: &Batch) -> Result<(), StorageError> {
        if let Some(failed) = self.failed.clone() {
            return Err(failed);
        }
        let written = self.machine.write_local(batch);
        if let Err(error @ StorageError::Commit(_)) = &written {
            self.fail(error.clone());
        }
        written
    }

    /// While there is no room for all: lets the store see to it, at most once in a while, and only after changes.
    fn make_room(&mut self) {
        let is_due = (self.no_room.is_some() || self.is_refused)
            && self.is_changed
            && self.room_made.is_none_or(|at| at.elapsed() >= PROBE_INTERVAL);
        if is_due {
            (self.is_changed, self.is_refused, self.room_made) = (false, false, Some(Instant::now()));
            if let Err(error) = self.machine.store().make_room() {
                tracing::debug!(%error, "no room could be made");
            }
        }
    }

    /// Applies commands as one batch, and answers each.
    fn apply(&mut self, commands: &[Command], waiting: Vec<Done>) {
        // One of those before it in the same group may have been the last.
        if let Some(failed) = self.failed.clone() {
            for done in waiting {
                tell(done, Err(failed.clone()));
            }
            return;
        }
        let start = Instant::now();
        match self.machine.apply(commands) {
            Ok(results) => {
                self.is_changed = true;
                // Deletes may go on while writes are refused.
                self.set_health(self.no_room.clone());
                let changed = commands.iter().zip(&results).filter(|(_, result)| result.is_ok());
                let changed = changed.filter_map(|(command, _)| command.operation.database());
                self.progress.advance(self.machine.synced(), changed);
                let changes = results.iter().map(changes).sum();
                let commit = Commit {
                    commands: commands.len(),
                    changes,
                    duration: start.elapsed(),
                };
                call(|| (self.observer)(commit));
                for (done, result) in waiting.into_iter().zip(results) {
                    tell(done, result.map_err(StorageError::from));
                }
            }
            // One document that cannot be read must not fail the writes of others that happen to come along.
            Err(StorageError::Store(_)) if commands.len() > 1 => {
                for (command, done) in commands.iter().zip(waiting) {
                    self.apply(std::slice::from_ref(command), vec![done]);
                }
            }
            Err(error) => {
                match &error {
                    // Nothing was written, and it may be that document only.
                    StorageError::Store(_) => self.probe(),
                    _ => self.fail(error.clone()),
                }
                for done in waiting {
                    tell(done, Err(error.clone()));
                }
            }
        }
    }

    /// Sees whether writes can be taken, without anyone writing: otherwise a node that is taken out of service for
    /// want of room would never learn that it is well again.
    fn probe(&mut self) {
        self.make_room();
        let room = self.disk.check(self.machine.store().unflushed());
        self.no_room = room.clone().err();
        match room.and_then(|()| self.machine.probe()) {
            Ok(()) => self.set_health(None),
            Err(error) => self.fail(error),
        }
    }

    /// Takes note of what keeps writes from being made.
    ///
    /// A full disk passes: RocksDB takes writes again when there is room, and what it could not write is gone with
    /// the log that it then drops. Any other failure of a write or a sync is for good: the kernel may have dropped
    /// the pages that it could not write, so a later success would mean nothing (as PostgreSQL learnt in 2018), and
    /// the log may hold a batch that this process takes for refused. Only reading the log anew tells what is stored.
    fn fail(&mut self, error: StorageError) {
        match error {
            StorageError::Commit(reason) if !matches!(reason, StoreError::NoSpace(_)) => {
                let failed = StorageError::Failed(reason);
                self.failed = Some(failed.clone());
                self.set_health(Some(failed.clone()));
                if let Some(on_failure) = self.on_failure.take() {
                    on_failure(failed);
                }
            }
            error => self.set_health(Some(error)),
        }
    }

    fn is_healthy(&self) -> bool {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    fn set_health(&self, failure: Option<StorageError>) {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*health, &failure) {
            (None, Some(error)) => tracing::error!(%error, "writes are refused"),
            (Some(_), None) => tracing::info!("writes are taken again"),
            _ => {}
        }
        *health = failure;
    }
}

/// Tells what an operation came to.
fn tell(done: Done, result: Result<Outcome, StorageError>) {
    call(|| done(result));
}

/// Calls what others have given. If it panics, that is its own affair: the writes of others wait for this thread.
fn call(given: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(given)).is_err() {
        tracing::error!("a callback panicked on the writer's thread");
    }
}

impl Request {
    /// About how many bytes it writes.
    fn size(&self) -> usize {
        match self {
            Self::Operation { operation, .. } => operation.size(),
            Self::Local { batch, .. } => batch.size(),
        }
    }
}

/// The first request and all that already wait behind it, as far as one batch goes.
fn gather(first: Request, requests: &Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.size();
    let mut group = vec![first];
    while group.len() < BATCH_COMMANDS && bytes < BATCH_BYTES {
        let Ok(next) = requests.try_recv() else { break };
        bytes += next.size();
        group.push(next);
    }
    group
}

/// How many documents and keys a command has changed.
fn changes(result: &CommandResult) -> usize {
    match result {
        Ok(Outcome::Transacted(changes)) => changes
            .iter()
            .filter(|change| !matches!(change, ChangeOutcome::Checked))
            .count(),
        Ok(Outcome::Key(key)) => usize::from(key.status != KeyStatus::Unchanged),
        Ok(Outcome::Done) | Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use pliantdb_core::{
        Body, DatabaseName, DocumentAction, DocumentChange, Precondition, SlotCount, Timestamp,
    };

    use super::*;
    use crate::memory::MemoryPlan;
    use crate::store::{BatchNumber, Durability, Holds, MemorySnapshot, MemoryStore};

    fn progress() -> Arc<Progress> {
        Arc::new(Progress::at(Timestamp::ZERO))
    }

    fn log_clock() -> Arc<LogClock> {
        Arc::new(LogClock::after(Timestamp::ZERO))
    }

    /// A store in which the document `damaged` cannot be read.
    #[derive(Default)]
    struct Damaged(MemoryStore);

    impl OrderedStore for Damaged {
        type Snapshot<'a> = MemorySnapshot;
        type Kept = MemorySnapshot;

        fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
            if key.ends_with(b"damaged") {
                return Err(StoreError::Corrupt("a test says so".to_owned()));
            }
            self.0.get(key, read)
        }

        fn snapshot(&self) -> MemorySnapshot {
            self.0.snapshot()
        }

        fn keep(holder: Arc<dyn Holds<Self>>) -> MemorySnapshot {
            holder.held().snapshot()
        }

        fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
            self.0.write(batch, durability)
        }

        fn sync(&self) -> Result<BatchNumber, StoreError> {
            self.0.sync()
        }

        fn written(&self) -> BatchNumber {
            self.0.written()
        }

        fn durable(&self) -> BatchNumber {
            self.0.durable()
        }
    }

    #[test]
    fn a_damaged_document_fails_its_own_writes_only() {
        let machine = StateMachine::open(Arc::new(Damaged::default())).unwrap();
        let disk = Arc::new(DiskSpace::of(
            std::env::temp_dir(),
            Some(0),
            MemoryPlan::for_limit(0),
        ));
        let writer = Writer::start(
            machine,
            disk,
            progress(),
            log_clock(),
            Box::new(|_| {}),
            Box::new(|_| {}),
        )
        .unwrap();
        let database = DatabaseName::default_database();
        let create = Operation::CreateDatabase {
            name: database.clone(),
            slots: SlotCount::default(),
        };
        writer.execute(create).unwrap();
        let (answers, answered) = channel();
        let ids = ["a", "damaged", "b", "c", "damaged", "d"];
        for id in ids {
            let answers = answers.clone();
            let (collection, id) = ("c".parse().unwrap(), id.parse().unwrap());
            let put = Operation::Transact {
                database: database.clone(),
                changes: vec![DocumentChange {
                    collection,
                    id,
                    precondition: Precondition::None,
                    action: DocumentAction::Put {
                        body: Body::parse(b"1".to_vec()).unwrap(),
                        emitted: Vec::new(),
                    },
                }],
            };
            writer
                .submit(put, Box::new(move |result| answers.send(result.is_ok()).unwrap()))
                .unwrap();
        }
        drop(answers);
        assert_eq!(answered.iter().collect::<Vec<_>>(), ids.map(|id| id != "damaged"));
        assert_eq!(writer.failure(), None, "the node goes on");
        writer.close();
    }

    /// A store whose next write fails with this.
    #[derive(Default)]
    struct Failing(MemoryStore, Mutex<Option<StoreError>>);

    impl OrderedStore for Failing {
        type Snapshot<'a> = MemorySnapshot;
        type Kept = MemorySnapshot;

        fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
            self.0.get(key, read)
        }

        fn snapshot(&self) -> MemorySnapshot {
            self.0.snapshot()
        }

        fn keep(holder: Arc<dyn Holds<Self>>) -> MemorySnapshot {
            holder.held().snapshot()
        }

        fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
            match self.1.lock().unwrap().take() {
                Some(error) => Err(error),
                None => self.0.write(batch, durability),
            }
        }

        fn sync(&self) -> Result<BatchNumber, StoreError> {
            self.0.sync()
        }

        fn written(&self) -> BatchNumber {
            self.0.written()
        }

        fn durable(&self) -> BatchNumber {
            self.0.durable()
        }
    }

    fn create(name: &str) -> Operation {
        Operation::CreateDatabase {
            name: name.parse().unwrap(),
            slots: SlotCount::default(),
        }
    }

    fn start(store: &Arc<Failing>) -> (Writer, Receiver<StorageError>) {
        let machine = StateMachine::open(Arc::clone(store)).unwrap();
        let disk = Arc::new(DiskSpace::of(
            std::env::temp_dir(),
            Some(0),
            MemoryPlan::for_limit(0),
        ));
        let (failures, failed) = channel();
        let on_failure = Box::new(move |error| failures.send(error).unwrap());
        let writer = Writer::start(
            machine,
            disk,
            progress(),
            log_clock(),
            Box::new(|_| {}),
            on_failure,
        )
        .unwrap();
        (writer, failed)
    }

    #[test]
    fn a_failed_write_is_the_last() {
        let store = Arc::new(Failing::default());
        let (writer, failed) = start(&store);
        writer.execute(create("a")).unwrap();
        let reason = StoreError::Engine("fsync: input/output error".to_owned());
        *store.1.lock().unwrap() = Some(reason.clone());
        assert_eq!(
            writer.execute(create("b")),
            Err(StorageError::Commit(reason.clone()))
        );
        let for_good = StorageError::Failed(reason);
        assert_eq!(failed.recv(), Ok(for_good.clone()));
        // The store would take writes again, and is not asked: longer than a probe would wait.
        std::thread::sleep(PROBE_INTERVAL + Duration::from_millis(200));
        assert_eq!(writer.execute(create("c")), Err(for_good.clone()));
        assert_eq!(writer.failure(), Some(for_good));
        writer.close();
        assert!(failed.recv().is_err(), "told once");
    }

    #[test]
    fn a_panicking_callback_is_its_own_affair() {
        let (writer, failed) = start(&Arc::new(Failing::default()));
        writer
            .submit(create("a"), Box::new(|_| panic!("a test says so")))
            .unwrap();
        writer.execute(create("b")).unwrap();
        writer.close();
        assert!(failed.recv().is_err());
    }

    #[test]
    fn a_full_disk_passes() {
        let store = Arc::new(Failing::default());
        let (writer, failed) = start(&store);
        let reason = StoreError::NoSpace("a test says so".to_owned());
        *store.1.lock().unwrap() = Some(reason.clone());
        assert_eq!(writer.execute(create("a")), Err(StorageError::Commit(reason)));
        writer.execute(create("a")).unwrap();
        assert_eq!(writer.failure(), None);
        writer.close();
        assert!(failed.recv().is_err());
    }
}
