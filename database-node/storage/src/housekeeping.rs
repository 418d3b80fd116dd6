//! What a storage does by itself: builds views, removes values that have expired and changes that are old enough, and
//! forgets requests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pliantdb_core::{DatabaseName, Operation, Order, Timestamp};

use crate::catalog::DatabaseState;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::feed::Changes;
use crate::keys;
use crate::machine::MEMORY_MS;
use crate::store::{Cursor, OrderedStore, Snapshot};
use crate::values;

/// How often it looks for what has expired.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often it forgets requests.
const FORGETTING: Duration = Duration::from_secs(60);
/// How many parts of their retention changes are removed in: it is exact to one such part.
const PARTS: u32 = 24;
/// At most so many values of a slot are removed by one command.
const EXPIRED: usize = 1000;
/// At most so many such commands at a time: the rest is removed the next time, and is not shown meanwhile.
const ROUNDS: usize = 100;

/// The thread that does it.
pub(crate) struct Housekeeper {
    wake: SyncSender<()>,
    is_stopped: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Housekeeper {
    pub(crate) fn start<S: OrderedStore>(
        engine: Arc<Engine<S>>,
        retention: Duration,
    ) -> std::io::Result<Self> {
        let (wake, woken) = sync_channel(1);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let thread = std::thread::Builder::new()
            .name("housekeeper".to_owned())
            .spawn(move || run(&engine, retention, &woken, &stopped))?;
        Ok(Self {
            wake,
            is_stopped,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Lets it look for views to build.
    pub(crate) fn wake(&self) {
        // It is awake already, or stopped.
        let _ = self.wake.try_send(());
    }

    /// Lets the thread end after the step that it is at.
    pub(crate) fn tell_to_stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends the thread, which finishes the step that it is at.
    pub(crate) fn stop(&self) {
        self.tell_to_stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the housekeeper panicked");
        }
    }
}

fn run<S: OrderedStore>(
    engine: &Engine<S>,
    retention: Duration,
    woken: &Receiver<()>,
    is_stopped: &AtomicBool,
) {
    let is_wanted = || !is_stopped.load(Ordering::Acquire);
    let trimming = (retention / PARTS).max(Duration::from_millis(10));
    let interval = INTERVAL.min(trimming);
    let (mut expired, mut trimmed, mut forgotten) = (Instant::now(), Instant::now(), Instant::now());
    while is_wanted() {
        engine.build_views(&is_wanted);
        match woken.recv_timeout(interval) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let tidy =
            |is_due: bool, tidy: &dyn Fn(&DatabaseName, &DatabaseState) -> Result<(), StorageError>| {
                for (name, state) in is_due.then(|| engine.databases()).into_iter().flatten() {
                    match tidy(&name, &state) {
                        // It was deleted meanwhile, or writes are not taken; there will be another time.
                        Ok(())
                        | Err(
                            StorageError::Rejected(_) | StorageError::Closed | StorageError::DiskFull { .. },
                        ) => {}
                        Err(error) => {
                            tracing::warn!(database = %name, %error, "what has expired was not removed");
                        }
                    }
                }
                is_due
            };
        if tidy(expired.elapsed() >= INTERVAL, &|name, state| {
            engine.refresh_eager_views(state);
            remove_expired(engine, name, state)
        }) {
            expired = Instant::now();
        }
        if tidy(trimmed.elapsed() >= trimming, &|name, state| {
            trim(engine, name, state, retention)
        }) {
            trimmed = Instant::now();
        }
        if tidy(forgotten.elapsed() >= FORGETTING, &|name, state| {
            forget(engine, name, state)
        }) {
            forgotten = Instant::now();
        }
    }
}

/// Proposes the removal of all that is due.
pub(crate) fn propose_due<S: OrderedStore>(
    engine: &Engine<S>,
    name: &DatabaseName,
    state: &DatabaseState,
    retention: Duration,
) -> Result<(), StorageError> {
    remove_expired(engine, name, state)?;
    trim(engine, name, state, retention)?;
    forget(engine, name, state)
}

fn remove_expired<S: OrderedStore>(
    engine: &Engine<S>,
    name: &DatabaseName,
    state: &DatabaseState,
) -> Result<(), StorageError> {
    for _ in 0..ROUNDS {
        let keys = values::expired(
            &engine.store.snapshot(),
            state.entry,
            engine.log_clock.now_ms(),
            EXPIRED,
        )?;
        let count = keys.len();
        if count > 0 {
            let database = name.clone();
            engine.propose(Operation::ExpireKeys { database, keys })?;
        }
        if count < EXPIRED {
            break;
        }
    }
    Ok(())
}

/// Removes the changes that are older than they must be kept, if there are any.
fn trim<S: OrderedStore>(
    engine: &Engine<S>,
    name: &DatabaseName,
    state: &DatabaseState,
    retention: Duration,
) -> Result<(), StorageError> {
    let retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
    let before = Timestamp::at_millis(engine.log_clock.now_ms().saturating_sub(retention));
    // Not over those that were removed, whose place may still be there to be stepped over.
    let before_first = Timestamp::from_bits(state.makeup.changes_from.bits().saturating_sub(1));
    let snapshot = engine.store.snapshot();
    let oldest = Changes::between(&snapshot, state.entry, before_first)?.next()?;
    drop(snapshot);
    if oldest.is_some_and(|oldest| oldest.timestamp < before) {
        // Or those that were not queried for so long would have to be built anew.
        engine.update_lazy_views(name, state);
        let database = name.clone();
        engine.propose(Operation::TrimChanges { database, before })?;
    }
    Ok(())
}

/// Forgets the requests that are refused by now, if there are any.
fn forget<S: OrderedStore>(
    engine: &Engine<S>,
    name: &DatabaseName,
    state: &DatabaseState,
) -> Result<(), StorageError> {
    let before = engine.log_clock.now_ms().saturating_sub(MEMORY_MS);
    let snapshot = engine.store.snapshot();
    for slot in state.entry.slots.slots() {
        let range = keys::requests_before(state.entry.id, slot, before);
        if snapshot.scan(range, Order::Ascending)?.entry().is_some() {
            let database = name.clone();
            engine.propose(Operation::ForgetRequests { database, before })?;
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use pliantdb_core::{
        Body, Change, ChangeAction, Command, Error, Expiry, FeedStart, KeyAction, KeyCondition, Number,
        Request, RequestId, Response, SlotCount, WriteAction,
    };

    use super::*;
    use crate::disk_space::DiskSpace;
    use crate::machine::StateMachine;
    use crate::memory::MemoryPlan;
    use crate::records;
    use crate::standalone::Standalone;
    use crate::store::MemoryStore;

    /// A day ahead of any wall that the tests will see.
    const AHEAD: u64 = 24 * 60 * 60 * 1000;

    fn start(store: &Arc<MemoryStore>) -> Arc<Engine<MemoryStore>> {
        let disk = DiskSpace::of(std::env::temp_dir(), Some(0), MemoryPlan::for_limit(0));
        let (observer, on_failure) = (Box::new(|_| {}), Box::new(|_| {}));
        let standalone = Standalone::start(Arc::clone(store), disk, observer, on_failure);
        standalone.unwrap().engine
    }

    #[test]
    fn forgets_requests_in_time_and_writes_nothing_when_there_are_none() {
        let (name, store) = (DatabaseName::default_database(), Arc::new(MemoryStore::default()));
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let mut machine = StateMachine::open(Arc::clone(&store)).unwrap();
        let mut apply = |millis, operation| {
            let command = Command::new(Timestamp::at_millis(millis), operation);
            machine.apply(&[command]).unwrap().remove(0).unwrap();
        };
        let create = Operation::CreateDatabase {
            name: name.clone(),
            slots: SlotCount::default(),
        };
        apply(wall, create);
        for millis in [wall + 1, wall + 2, wall + MEMORY_MS + 60_000] {
            let write = WriteAction::ChangeKey {
                namespace: "n".parse().unwrap(),
                key: format!("k{millis}").parse().unwrap(),
                action: KeyAction::Increment { by: Number::from(1) },
            };
            let id = RequestId::new(millis, millis.into());
            apply(millis, Operation::write(name.clone(), write, Some(id)));
        }
        let engine = start(&store);
        let state = engine.state(&name).unwrap();
        let remembered = || {
            let (snapshot, mut count) = (store.snapshot(), 0);
            for slot in state.entry.slots.slots() {
                let all = keys::requests_before(state.entry.id, slot, u64::MAX);
                let mut cursor = snapshot.scan(all, Order::Ascending).unwrap();
                while cursor.entry().is_some() {
                    count += 1;
                    cursor.advance().unwrap();
                }
            }
            count
        };
        let commands = || {
            let applied = store.get(&keys::APPLIED, records::decode_applied).unwrap();
            applied.unwrap().unwrap().index
        };
        assert_eq!((remembered(), commands()), (3, 4));
        for _ in 0..2 {
            forget(&engine, &name, &state).unwrap();
            assert_eq!(
                (remembered(), commands()),
                (1, 5),
                "the second time there is nothing to do"
            );
        }
        engine.close();
    }

    #[test]
    fn what_expires_does_so_after_a_wall_that_was_ahead() {
        let name = DatabaseName::default_database();
        let store = Arc::new(MemoryStore::default());
        let create = Operation::CreateDatabase {
            name: name.clone(),
            slots: SlotCount::default(),
        };
        let wall = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let ahead = Timestamp::at_millis(wall + AHEAD);
        let mut machine = StateMachine::open(Arc::clone(&store)).unwrap();
        machine.apply(&[Command::new(ahead, create)]).unwrap()[0]
            .clone()
            .unwrap();
        let engine = start(&store);
        let ask = |request: Request| engine.execute(&name, request, None);
        let (namespace, key) = ("n".parse().unwrap(), "k".parse().unwrap());
        let set = Request::ChangeKey {
            namespace,
            key,
            action: KeyAction::Set {
                value: Body::parse(b"1".to_vec()).unwrap(),
                expiry: Expiry::After(Duration::from_millis(300)),
                condition: KeyCondition::Always,
            },
        };
        let insert = || {
            let (collection, id, body) = ("c".parse().unwrap(), None, Body::parse(b"1".to_vec()).unwrap());
            let action = ChangeAction::Insert { id, body };
            Request::Transact(vec![Change { collection, action }])
        };
        let get = || Request::GetKey {
            namespace: "n".parse().unwrap(),
            key: "k".parse().unwrap(),
        };
        let stored_values = || {
            let state = engine.state(&name).unwrap();
            let far = values::expired(&store.snapshot(), state.entry, u64::MAX, 10);
            far.unwrap().len()
        };
        ask(insert()).unwrap();
        let page = |from| {
            ask(Request::Changes {
                from,
                limit: 10,
                wait: Duration::ZERO,
            })
        };
        let Ok(Response::Changes(first)) = page(FeedStart::Now) else {
            panic!()
        };
        ask(set).unwrap();
        assert!(matches!(ask(get()), Ok(Response::Value(Some(_)))));
        sleep(Duration::from_millis(400));
        assert!(matches!(ask(get()), Ok(Response::Value(None))), "it has expired");
        let tidy = |retention| {
            let state = engine.state(&name).unwrap();
            remove_expired(&engine, &name, &state).unwrap();
            trim(&engine, &name, &state, retention).unwrap();
        };
        assert_eq!(stored_values(), 1);
        tidy(Duration::from_secs(60));
        assert_eq!(stored_values(), 0, "it is removed");
        assert!(
            page(FeedStart::After(first.next)).is_ok(),
            "younger than it must be kept"
        );
        tidy(Duration::from_millis(100));
        assert_eq!(page(FeedStart::After(first.next)), Err(Error::CursorExpired));
        engine.close();
    }
}
