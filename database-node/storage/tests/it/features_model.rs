//! Everything that a database does, against a model that is too simple to be wrong: random steps with restarts in
//! between, and after each restart and at the end all of it compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pliantdb_core::{
    ChangeKind, Collection, Connection, DocumentId, Emit, Error, Expiry, FeedCursor, FeedStart, Freshness,
    KeyCondition, KeyStatus, Map, Number, Reduce, Rejection, Schema, StorageConnection, Transaction, View,
};
use pliantdb_storage::{Database, Options, Storage};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Schema)]
#[schema(name = "stock", collections = [Item])]
pub(crate) struct Stock;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Collection)]
#[collection(name = "items", id = u64, views = [ByGroups, ByWeight, ByName])]
pub(crate) struct Item {
    /// Perhaps several, perhaps none.
    pub(crate) groups: Vec<String>,
    pub(crate) weight: u32,
    /// Unique unless empty.
    pub(crate) name: String,
}

#[derive(View)]
#[view(collection = Item, name = "by-groups", key = String, value = u64, reduce)]
pub(crate) struct ByGroups;

impl Map for ByGroups {
    fn map(_: &u64, item: &Item, emit: &mut Emit<Self>) {
        for group in &item.groups {
            emit.entry(group.clone(), 1);
        }
    }
}

impl Reduce for ByGroups {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Item, name = "by-weight", key = u32, value = u64, policy = eager, reduce)]
pub(crate) struct ByWeight;

impl Map for ByWeight {
    fn map(_: &u64, item: &Item, emit: &mut Emit<Self>) {
        emit.entry(item.weight, u64::from(item.weight));
    }
}

impl Reduce for ByWeight {
    fn reduce(weights: &[u64]) -> u64 {
        weights.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Item, name = "by-name", key = String, policy = unique)]
struct ByName;

impl Map for ByName {
    fn map(_: &u64, item: &Item, emit: &mut Emit<Self>) {
        if !item.name.is_empty() {
            emit.entry(item.name.clone(), ());
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Overwrite(u64, Item),
    Insert(u64, Item),
    Delete(u64),
    CheckExists(u64),
    CheckAbsent(u64),
}

#[derive(Debug, Clone)]
enum Step {
    Transact(Vec<Change>),
    Set(usize, i64, KeyCondition),
    /// Is gone in the next step.
    SetBriefly(usize, i64),
    SetForLong(usize, i64),
    Increment(usize, i64),
    DeleteKey(usize),
    /// Queries the lazy view, so that it is brought up to date in steps.
    Query,
    /// Reads the feed on from where the last reading ended, in pages of so many.
    ReadFeed(usize),
    Restart {
        flushes: bool,
    },
}

fn item() -> impl Strategy<Value = Item> {
    let groups = prop::collection::vec(prop::sample::select(vec!["a", "b", "b\0", "é"]), 0..3);
    let name = prop::sample::select(vec!["", "", "x", "y", "z"]);
    (groups, 0..4u32, name).prop_map(|(groups, weight, name)| Item {
        groups: groups.into_iter().map(str::to_owned).collect(),
        weight,
        name: name.to_owned(),
    })
}

fn change() -> impl Strategy<Value = Change> {
    let id = || prop_oneof![0..4u64, Just(u64::MAX)];
    prop_oneof![
        5 => (id(), item()).prop_map(|(id, item)| Change::Overwrite(id, item)),
        2 => (id(), item()).prop_map(|(id, item)| Change::Insert(id, item)),
        2 => id().prop_map(Change::Delete),
        1 => id().prop_map(Change::CheckExists),
        1 => id().prop_map(Change::CheckAbsent),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    let condition = prop_oneof![
        Just(KeyCondition::Always),
        Just(KeyCondition::Present),
        Just(KeyCondition::Vacant),
    ];
    prop_oneof![
        10 => prop::collection::vec(change(), 1..4).prop_map(Step::Transact),
        3 => (key(), 0..9i64, condition).prop_map(|(key, value, condition)| Step::Set(key, value, condition)),
        1 => (key(), 0..9i64).prop_map(|(key, value)| Step::SetBriefly(key, value)),
        1 => (key(), 0..9i64).prop_map(|(key, value)| Step::SetForLong(key, value)),
        3 => (key(), -3..9i64).prop_map(|(key, by)| Step::Increment(key, by)),
        1 => key().prop_map(Step::DeleteKey),
        2 => Just(Step::Query),
        2 => (1..4usize).prop_map(Step::ReadFeed),
        1 => any::<bool>().prop_map(|flushes| Step::Restart { flushes }),
    ]
}

const KEYS: [&str; 3] = ["k", "k/1", "é"];

type Items = BTreeMap<u64, Item>;

#[derive(Default)]
struct Model {
    items: Items,
    keys: BTreeMap<&'static str, i64>,
    /// What the feed tells of each transaction, and how many of them were read.
    feed: Vec<Vec<(u64, ChangeKind)>>,
    read: usize,
}

impl Model {
    /// What a transaction tells the feed, or `None` when it is rejected.
    fn transact(&mut self, changes: &[Change]) -> Option<Vec<(u64, ChangeKind)>> {
        let mut items = self.items.clone();
        let mut told = Vec::new();
        for change in changes {
            let (id, item) = match change {
                Change::CheckExists(id) if items.contains_key(id) => continue,
                Change::CheckAbsent(id) if !items.contains_key(id) => continue,
                Change::Delete(id) => {
                    items.remove(id)?;
                    told.push((*id, ChangeKind::Deleted));
                    continue;
                }
                Change::Overwrite(id, item) => (id, item),
                Change::Insert(id, item) if !items.contains_key(id) => (id, item),
                _ => return None,
            };
            let is_taken = |(other, found): (&u64, &Item)| other != id && found.name == item.name;
            if !item.name.is_empty() && items.iter().any(is_taken) {
                return None;
            }
            let kind = match items.insert(*id, item.clone()) {
                None => ChangeKind::Inserted,
                Some(_) => ChangeKind::Updated,
            };
            told.push((*id, kind));
        }
        self.items = items;
        if !told.is_empty() {
            self.feed.push(told.clone());
        }
        Some(told)
    }

    /// The entries of a view, sorted.
    fn view<K: Ord>(&self, keys: impl Fn(&Item) -> Vec<K>) -> Vec<(K, u64)> {
        let entries =
            |(id, item): (&u64, &Item)| keys(item).into_iter().map(|key| (key, *id)).collect::<Vec<_>>();
        let mut all = self.items.iter().flat_map(entries).collect::<Vec<_>>();
        all.sort();
        all
    }
}

struct Tested {
    storage: Storage,
    database: Database,
    cursor: Option<FeedCursor>,
}

impl Tested {
    fn open(path: &Path, cursor: Option<FeedCursor>) -> Self {
        let options = Options {
            memory_limit: Some(16 << 20),
            ..Options::default()
        };
        let storage = Storage::open_with(path, options).unwrap();
        let database = storage.database::<Stock>("default").unwrap();
        Self {
            storage,
            database,
            cursor,
        }
    }

    fn transact(&self, changes: &[Change]) -> Result<(), Error> {
        let transaction = changes
            .iter()
            .fold(Transaction::new(), |transaction, change| match change {
                Change::Overwrite(id, item) => transaction.overwrite(id, item),
                Change::Insert(id, item) => transaction.insert_as(id, item),
                Change::Delete(id) => transaction.delete_by_id::<Item>(id),
                Change::CheckExists(id) => transaction.check_exists::<Item>(id),
                Change::CheckAbsent(id) => transaction.check_absent::<Item>(id),
            });
        transaction.apply(&self.database).map(|outcomes| {
            assert_eq!(outcomes.len(), changes.len());
        })
    }

    fn step(&mut self, model: &mut Model, step: &Step) {
        let keys = self.database.key_value("numbers");
        match step {
            Step::Transact(changes) => {
                let (found, expected) = (self.transact(changes), model.transact(changes));
                match found {
                    Ok(()) => assert!(expected.is_some(), "{changes:?} was not rejected"),
                    Err(Error::Rejected(rejection)) => {
                        assert!(expected.is_none(), "{changes:?}: {rejection}");
                        assert!(matches!(
                            rejection,
                            Rejection::UnknownDocument { .. }
                                | Rejection::PreconditionFailed { .. }
                                | Rejection::NotUnique { .. }
                        ));
                    }
                    Err(error) => panic!("{changes:?}: {error}"),
                }
            }
            Step::Set(key, value, condition) => {
                let key = KEYS[*key];
                let outcome = keys
                    .set_with(key, value, Expiry::Never, condition.clone())
                    .unwrap();
                let holds = match condition {
                    KeyCondition::Present => model.keys.contains_key(key),
                    KeyCondition::Vacant => !model.keys.contains_key(key),
                    _ => true,
                };
                assert_eq!(outcome.status == KeyStatus::Unchanged, !holds, "{outcome:?}");
                if holds {
                    model.keys.insert(key, *value);
                }
            }
            Step::SetBriefly(key, value) => {
                keys.set_for(KEYS[*key], value, Duration::from_millis(1)).unwrap();
                std::thread::sleep(Duration::from_millis(5));
                model.keys.remove(KEYS[*key]);
            }
            Step::SetForLong(key, value) => {
                keys.set_for(KEYS[*key], value, Duration::from_secs(3600))
                    .unwrap();
                model.keys.insert(KEYS[*key], *value);
            }
            Step::Increment(key, by) => {
                let value = model.keys.entry(KEYS[*key]).or_insert(0);
                *value += by;
                assert_eq!(keys.increment(KEYS[*key], *by), Ok(Number::from(*value)));
            }
            Step::DeleteKey(key) => {
                let existed = model.keys.remove(KEYS[*key]).is_some();
                let status = keys.delete(KEYS[*key]).unwrap().status;
                assert_eq!(status == KeyStatus::Deleted, existed);
            }
            Step::Query => self.views(model),
            Step::ReadFeed(limit) => self.feed(model, *limit),
            Step::Restart { .. } => unreachable!("done by the caller"),
        }
    }

    fn views(&self, model: &Model) {
        let rows = self.database.view::<ByGroups>().query().unwrap();
        let mut found = rows.into_iter().map(|row| (row.key, row.id)).collect::<Vec<_>>();
        assert!(found.is_sorted_by_key(|(key, _)| key.clone()));
        found.sort();
        assert_eq!(found, model.view(|item| item.groups.clone()));
        let mut groups = BTreeMap::new();
        for (group, _) in found {
            *groups.entry(group).or_insert(0u64) += 1;
        }
        let reduced = self.database.view::<ByGroups>().reduce_grouped().unwrap();
        assert_eq!(reduced, groups.into_iter().collect::<Vec<_>>());

        // Eager ones are up to date without being asked to be.
        let eager = || self.database.view::<ByWeight>().freshness(Freshness::Stale);
        let rows = eager().query().unwrap();
        let mut found = rows.into_iter().map(|row| (row.key, row.id)).collect::<Vec<_>>();
        found.sort_unstable();
        assert_eq!(found, model.view(|item| vec![item.weight]));
        let heavy = model
            .items
            .values()
            .map(|item| item.weight)
            .filter(|weight| *weight >= 2);
        assert_eq!(
            eager().key_range(2..).reduce(),
            Ok(heavy.map(u64::from).sum::<u64>())
        );

        let rows = self.database.view::<ByName>().query().unwrap();
        let found = rows.into_iter().map(|row| (row.key, row.id)).collect::<Vec<_>>();
        let named = |item: &Item| {
            (!item.name.is_empty())
                .then(|| item.name.clone())
                .into_iter()
                .collect()
        };
        assert_eq!(found, model.view(named));
    }

    fn feed(&mut self, model: &mut Model, limit: usize) {
        let from = self.cursor.map_or(FeedStart::Oldest, FeedStart::After);
        let page = self.database.changes(from, limit, Duration::ZERO).unwrap();
        assert!(page.transactions.len() <= limit);
        for transaction in page.transactions {
            let changes = transaction.changes.iter();
            let found = changes
                .map(|change| (change.id.clone(), change.kind))
                .collect::<Vec<_>>();
            let expected = model.feed[model.read].iter();
            let expected = expected
                .map(|(id, kind)| (document_id(*id), *kind))
                .collect::<Vec<_>>();
            assert_eq!(found, expected, "transaction {}", model.read);
            model.read += 1;
        }
        self.cursor = Some(page.next);
    }

    fn everything(&mut self, model: &mut Model) {
        let items = self.database.collection::<Item>();
        let found = items.list().all().unwrap().into_iter();
        assert_eq!(
            found.map(|item| (item.id, item.contents)).collect::<Items>(),
            model.items
        );
        for id in [0, 1, 2, 3, 4, u64::MAX] {
            let found = items.get(&id).unwrap().map(|item| item.contents);
            assert_eq!(found.as_ref(), model.items.get(&id));
        }
        self.views(model);
        let keys = self.database.key_value("numbers");
        for key in KEYS {
            assert_eq!(
                keys.get::<i64>(key).unwrap(),
                model.keys.get(key).copied(),
                "{key}"
            );
        }
        let listed = keys.list().all::<i64>().unwrap().into_iter();
        let listed = listed
            .map(|(key, value)| (key.as_str().to_owned(), value))
            .collect::<Vec<_>>();
        let expected = model.keys.iter().map(|(key, value)| ((*key).to_owned(), *value));
        assert_eq!(listed, expected.collect::<Vec<_>>());
        while model.read < model.feed.len() {
            let before = model.read;
            self.feed(model, 3);
            assert!(model.read > before, "the feed ends early");
        }
        self.feed(model, 3);
    }
}

fn document_id(id: u64) -> DocumentId {
    pliantdb_core::Id::to_document_id(&id).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn behaves_like_the_model(steps in prop::collection::vec(step(), 1..50)) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        let mut tested = Tested::open(directory.path(), None);
        for step in steps {
            if let Step::Restart { flushes } = step {
                if flushes {
                    tested.storage.close().unwrap();
                }
                let cursor = tested.cursor;
                drop(tested);
                tested = Tested::open(directory.path(), cursor);
                tested.everything(&mut model);
            } else {
                tested.step(&mut model, &step);
            }
        }
        tested.everything(&mut model);
    }
}
