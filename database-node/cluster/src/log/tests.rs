//! A log against a list of what it should have; over stores that crash, and over bad ones.

use pliantdb_fuzzing::{Input, RUNS, bytes};
use pliantdb_storage::store::{Durability, Fault, MemoryStore};
use proptest::prelude::*;
use raft::eraftpb::EntryType;

use super::*;
use crate::group::config::{GroupConfig, MembershipChange};
use crate::group::payload::Payload;
use crate::ids::{Epoch, Incarnation, NodeId};

const GROUP: GroupId = GroupId::new(1);

fn replica(generation: u32) -> ReplicaId {
    ReplicaId::new(NodeId::new(1), generation)
}

fn point(index: u64, term: u64) -> LogPoint {
    LogPoint { index, term }
}

fn record() -> LogRecord {
    LogRecord {
        replica: replica(1),
        incarnation: Incarnation::FIRST,
        term: 1,
        vote: 0,
        commit: 1,
        truncated: point(1, 1),
        created: Epoch::default(),
        forced: None,
        fork: None,
    }
}

fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let is_membership = bytes % 7 == 3;
    let payload = vec![u8::try_from(index % 251).unwrap(); bytes];
    WireEntry {
        term,
        is_membership,
        payload,
    }
    .into_raft(index)
}

fn context() -> GetEntriesContext {
    GetEntriesContext::empty(false)
}

/// What a log should have.
#[derive(Debug, Clone)]
struct Model {
    truncated: LogPoint,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> LogPoint {
        let last = self.entries.last().map(|entry| point(entry.index, entry.term));
        last.unwrap_or(self.truncated)
    }
}

struct Pair {
    store: Arc<MemoryStore>,
    log: GroupLog<MemoryStore>,
    model: Model,
    /// As of each batch that can be lost, beginning with what cannot.
    past: Vec<Model>,
    persisted: u64,
    applied: u64,
}

impl Pair {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let log = GroupLog::create(Arc::clone(&store), GROUP, record(), Members::default());
        let model = Model {
            truncated: point(1, 1),
            entries: Vec::new(),
        };
        let pair = Self {
            store,
            log,
            past: vec![model.clone()],
            model,
            persisted: 1,
            applied: 1,
        };
        let mut batch = Batch::default();
        pair.log.put_record(&mut batch).unwrap();
        pair.store.write(&batch, Durability::Synced).unwrap();
        pair
    }

    fn write(&mut self, batch: &Batch) {
        self.store.write(batch, Durability::Buffered).unwrap();
        self.past.push(self.model.clone());
    }

    fn append(&mut self, back: u64, sizes: &[u16]) {
        // Committed entries are never replaced, and applied ones are committed.
        let first = (self.model.last().index + 1)
            .saturating_sub(back)
            .max(self.applied + 1);
        let term = self.model.last().term + u64::from(first <= self.model.last().index);
        let entries = (first..)
            .zip(sizes)
            .map(|(index, bytes)| entry(index, term, usize::from(*bytes)));
        let entries: Vec<Entry> = entries.collect();
        let mut batch = Batch::default();
        self.log.append(&mut batch, entries.clone()).unwrap();
        if !entries.is_empty() {
            self.model.entries.retain(|entry| entry.index < first);
            self.persisted = self.persisted.min(first - 1);
        }
        self.model.entries.extend(entries);
        self.write(&batch);
    }

    fn sync(&mut self) {
        self.store.sync().unwrap();
        self.past = vec![self.model.clone()];
        self.persisted = self.model.last().index;
        self.log.set_persisted(self.persisted);
    }

    fn apply(&mut self, count: u64) {
        self.applied = (self.applied + count).min(self.persisted.max(self.applied));
        self.log.set_applied(self.applied);
    }

    fn truncate(&mut self, index: u64) {
        let index = index.min(self.applied);
        let mut batch = Batch::default();
        self.log.truncate(&mut batch, index).unwrap();
        if let Some(entry) = self.model.entries.iter().find(|entry| entry.index == index) {
            self.model.truncated = point(entry.index, entry.term);
            self.model.entries.retain(|entry| entry.index > index);
        }
        self.write(&batch);
    }

    fn reset(&mut self, ahead: u64) {
        let last = self.model.last();
        let at = point(last.index + ahead, last.term + 1);
        let mut batch = Batch::default();
        self.log.reset(&mut batch, at, Members::default()).unwrap();
        self.model = Model {
            truncated: at,
            entries: Vec::new(),
        };
        (self.persisted, self.applied) = (at.index, at.index);
        self.write(&batch);
    }

    fn crash(&mut self, kept: usize) {
        let kept = kept % self.past.len();
        self.store.crash_keeping(kept);
        self.model = self.past.swap_remove(kept);
        self.past = vec![self.model.clone()];
        let records = read_records(self.store.as_ref()).unwrap();
        let record = records.get(&GROUP).cloned().unwrap();
        // The state has never more than the log, and may have less.
        self.applied = self
            .model
            .truncated
            .index
            .max(self.applied.min(self.model.last().index));
        self.persisted = self.model.last().index;
        let store = Arc::clone(&self.store);
        self.log = GroupLog::open(store, GROUP, record, Members::default(), self.applied).unwrap();
    }

    /// The log has what it should have, and nothing else.
    fn compare(&self) {
        let (log, model) = (&self.log, &self.model);
        let last = model.last();
        assert_eq!((log.truncated(), log.last()), (model.truncated, last));
        assert_eq!(log.len(), model.entries.len() as u64);
        assert_eq!(log.first_index(), Ok(model.truncated.index + 1));
        assert_eq!(log.last_index(), Ok(last.index));
        assert_eq!(log.term(model.truncated.index), Ok(model.truncated.term));
        for entry in &model.entries {
            assert_eq!(log.term(entry.index), Ok(entry.term));
        }
        let before = model.truncated.index.checked_sub(1);
        if let Some(before) = before {
            assert_eq!(log.term(before), Err(raft::Error::Store(StorageError::Compacted)));
        }
        assert_eq!(
            log.term(last.index + 1),
            Err(raft::Error::Store(StorageError::Unavailable))
        );
        let first = model.truncated.index + 1;
        let all = log.entries(first, last.index + 1, u64::MAX, context()).unwrap();
        assert_eq!(all, model.entries);
        assert_eq!(
            log.entries(model.truncated.index, last.index + 1, u64::MAX, context()),
            Err(raft::Error::Store(StorageError::Compacted))
        );
        if let Some(entry) = model.entries.first() {
            let one = log.entries(first, last.index + 1, 0, context()).unwrap();
            assert_eq!(one, std::slice::from_ref(entry), "at least one");
            // So many bytes as the first two have.
            let two = log.entries(
                first,
                last.index + 1,
                model.entries.iter().take(2).map(size).sum::<usize>() as u64,
                context(),
            );
            assert_eq!(
                two.unwrap(),
                model.entries.get(..2.min(model.entries.len())).unwrap()
            );
        }
        let state = log.initial_state().unwrap().hard_state;
        assert!(state.commit >= self.applied.min(last.index) && state.commit <= last.index);
        assert_eq!(log.failure(), None);
        // What is not known to be safe is in memory.
        let in_memory = log.cache.front().map_or(last.index + 1, |entry| entry.index);
        assert!(in_memory <= self.persisted + 1);
        assert_eq!(log.cached_bytes, log.cache.iter().map(size).sum::<usize>());
    }
}

#[derive(Debug, Clone)]
enum Action {
    Append(u64, Vec<u16>),
    Many,
    Sync,
    Apply(u64),
    Truncate(u64),
    Reset(u64),
    Crash(usize),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0_u64..4, proptest::collection::vec(0_u16..200, 0..6)).prop_map(|(back, sizes)| Action::Append(back, sizes)),
        1 => Just(Action::Many),
        4 => Just(Action::Sync),
        4 => (0_u64..400).prop_map(Action::Apply),
        2 => (0_u64..500).prop_map(Action::Truncate),
        1 => (1_u64..9).prop_map(Action::Reset),
        2 => any::<usize>().prop_map(Action::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_log_has_what_was_appended_and_not_dropped(actions in proptest::collection::vec(action(), 1..40)) {
        let mut pair = Pair::new();
        for action in &actions {
            match action {
                Action::Append(back, sizes) => pair.append(*back, sizes),
                // More than stays in memory.
                Action::Many => pair.append(0, &[1; 300]),
                Action::Sync => pair.sync(),
                Action::Apply(count) => pair.apply(*count),
                Action::Truncate(index) => pair.truncate(*index),
                Action::Reset(ahead) => pair.reset(*ahead),
                Action::Crash(kept) => pair.crash(*kept),
            }
            pair.compare();
        }
    }

    #[test]
    fn a_log_that_cannot_be_read_says_so(
        count in 1_u64..600,
        low in 1_u64..700,
        length in 0_u64..700,
        is_reopened in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        for _ in 0..count {
            pair.append(0, &[5]);
        }
        pair.sync();
        pair.apply(count);
        if is_reopened {
            pair.crash(0);
        }
        pair.store.set_fault(Fault::Corrupt { prefix: vec![1] });
        let last = pair.model.last().index;
        let high = (low + length).min(last + 1);
        let first_cached = pair.log.cache.front().map_or(last + 1, |entry| entry.index);
        let (low, reads_store) = (low.max(2), low.max(2) < high.min(first_cached));
        if low < high {
            let found = pair.log.entries(low, high, u64::MAX, context()).unwrap();
            prop_assert_eq!(found.is_empty(), reads_store);
        }
        prop_assert_eq!(pair.log.failure().is_some(), low < high && reads_store);
        for index in 1..=last {
            let term = pair.log.term(index);
            prop_assert_eq!(term.is_ok(), index == 1 || index == last || index >= first_cached);
        }
        prop_assert_eq!(pair.log.failure().is_some(), first_cached > 2 && last > 2);
    }
}

#[test]
fn a_log_whose_last_entry_is_damaged_cannot_be_opened() {
    let mut pair = Pair::new();
    pair.append(0, &[5, 6]);
    pair.sync();
    pair.store.set_fault(Fault::Corrupt { prefix: vec![1] });
    let store = Arc::clone(&pair.store);
    assert!(GroupLog::open(store, GROUP, record(), Members::default(), 1).is_err());
}

#[test]
fn a_gap_in_the_store_is_a_failure() {
    let mut pair = Pair::new();
    pair.append(0, &[5, 6, 8]);
    pair.sync();
    let mut batch = Batch::default();
    batch.delete(keys::entry(GROUP, 3));
    pair.store.write(&batch, Durability::Synced).unwrap();
    pair.crash(0);
    assert_eq!(pair.log.entries(2, 5, u64::MAX, context()), Ok(Vec::new()));
    assert!(matches!(pair.log.failure(), Some(StoreError::Corrupt(_))));
}

#[test]
fn what_is_not_known_to_be_in_the_store_stays_in_memory() {
    let store = Arc::new(MemoryStore::default());
    let mut log = GroupLog::create(store, GROUP, record(), Members::default());
    let mut append = |term, indexes: std::ops::Range<u64>, persisted| {
        let entries: Vec<Entry> = indexes.map(|index| entry(index, term, 1)).collect();
        // The batch waits for its turn.
        log.append(&mut Batch::default(), entries.clone()).unwrap();
        log.set_persisted(persisted);
        log.set_applied(log.last().index);
        let (first, last) = (entries[0].index, log.last().index);
        assert_eq!(log.entries(first, last + 1, u64::MAX, context()), Ok(entries));
        assert_eq!(log.failure(), None);
    };
    append(1, 2..600, 1);
    append(1, 600..700, 699);
    append(2, 400..1000, 1);
}

#[test]
fn logs_of_other_groups_are_not_touched() {
    let mut pair = Pair::new();
    pair.append(0, &[5, 6]);
    pair.sync();
    let other = GroupId::new(2);
    let mut log = GroupLog::create(Arc::clone(&pair.store), other, record(), Members::default());
    let mut batch = Batch::default();
    log.append(&mut batch, vec![entry(2, 1, 4)]).unwrap();
    log.reset(&mut batch, point(9, 2), Members::default()).unwrap();
    let removed = Removed {
        incarnation: Incarnation::FIRST,
        replica: replica(1),
    };
    GroupLog::<MemoryStore>::destroy(other, &mut batch, removed).unwrap();
    pair.store.write(&batch, Durability::Synced).unwrap();
    pair.compare();
    assert_eq!(read_removed(pair.store.as_ref(), other), Ok(Some(removed)));
    assert_eq!(read_removed(pair.store.as_ref(), GROUP), Ok(None));
    assert_eq!(read_records(pair.store.as_ref()).unwrap().len(), 1);
    pair.crash(0);
    pair.compare();
}

#[test]
fn a_snapshot_is_offered_to_members_that_it_helps() {
    let pair = &mut Pair::new();
    let to = ReplicaId::new(NodeId::new(2), 1);
    let members = Members::new([to].into(), std::collections::BTreeSet::new());
    let temporarily = Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
    assert_eq!(pair.log.snapshot(0, to.to_raft()), temporarily);
    assert!(pair.log.take_wanted() && !pair.log.take_wanted());
    let snapshot = crate::wire::raft::raft_snapshot(7, point(5, 1), &members);
    pair.log.set_available(Some(Available {
        snapshot: snapshot.clone(),
        index: 5,
        members,
    }));
    assert_eq!(pair.log.snapshot(5, to.to_raft()), Ok(snapshot));
    assert!(!pair.log.take_wanted());
    for (index, replica) in [(6, to), (0, replica(1))] {
        assert!(
            pair.log.snapshot(index, replica.to_raft()).is_err(),
            "too old, or not for it"
        );
        assert!(pair.log.take_wanted());
    }
}

fn members() -> Members {
    Members {
        voters: [1, 2, 3].map(replica).into(),
        learners: [4].map(replica).into(),
        outgoing: [1, 5].map(replica).into(),
        learners_next: [5].map(replica).into(),
    }
}

/// docs/testing.md
#[test]
fn fuzz_records() {
    let config = GroupConfig {
        incarnation: Incarnation::FIRST,
        members: members(),
        epoch: Epoch::default().next(),
        changed_at: 8,
    };
    let record = LogRecord {
        forced: Some(config),
        fork: Some(point(3, 1)),
        ..record()
    };
    let change = MembershipChange::Enter {
        voters: members().voters,
    };
    let epoch = Epoch::default().next();
    let payloads = [
        Payload::Command(vec![1, 2, 3]),
        Payload::Epoch(epoch),
        Payload::Membership { epoch, change },
        Payload::Meta(crate::meta::MetaCommand::Settled { group: GROUP, epoch }),
    ];
    let mut seeds = vec![records::encode(&record).unwrap()];
    for payload in payloads {
        let is_membership = matches!(payload, Payload::Membership { .. });
        let payload = payload.encode();
        seeds.push(payload.clone());
        let entry = WireEntry {
            term: 3,
            is_membership,
            payload,
        };
        seeds.push(records::encode(&entry).unwrap());
    }
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            if let Ok(record) = records::decode::<LogRecord>("a record", &bytes) {
                let again = records::decode("a record", &records::encode(&record).unwrap());
                assert_eq!(again, Ok(record));
            }
            if let Ok(entry) = records::decode::<WireEntry>("an entry", &bytes) {
                let library = entry.clone().into_raft(1);
                assert_eq!(
                    library.get_entry_type() != EntryType::EntryNormal,
                    entry.is_membership
                );
                assert_eq!(WireEntry::of(library), entry);
            }
            if let Ok(Some(payload)) = Payload::decode(&bytes) {
                assert_eq!(Payload::decode(&payload.encode()), Ok(Some(payload)));
            }
        });
}

#[test]
fn what_is_safe_and_not_applied_is_kept_in_memory_only_so_far() {
    let mut pair = Pair::new();
    pair.log.keep_unapplied(10_000);
    pair.append(0, &[1_000; 100]);
    assert!(pair.log.cached_bytes() > 100_000, "until it is safe");
    pair.sync();
    assert!(pair.log.cached_bytes() <= 10_000, "{}", pair.log.cached_bytes());
    let entries = pair.model.entries.clone();
    let last = pair.model.last().index;
    let read = pair.log.entries(2, last + 1, u64::MAX, context()).unwrap();
    assert_eq!(read, entries);
    // Where consensus wants any number of them, it wants to know of what kinds they are.
    let kinds = pair.log.entries(2, last + 1, None, context()).unwrap();
    assert_eq!(kinds.len(), 100);
    assert!(kinds.iter().all(|kind| kind.data.is_empty()));
}
