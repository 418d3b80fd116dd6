//! The directory of a storage becomes one of a node, which founds a cluster with what is in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::META;
use pliantdb_cluster::node::{Ask, Founder, Freshness};
use pliantdb_cluster_member::{Formation, Member, StartError};
use pliantdb_core::access::{Accounts, AccountsChange, ApiKey, KeyHash, KeyOwner, UserChange, administrator};
use pliantdb_core::protocol::Secret;
use pliantdb_core::{
    ChangesPage, Collection, Connection, Emit, FeedCursor, FeedStart, GroupId, Map, Operation, Reduce,
    Request, RequestId, Response, Schema, StorageConnection, Timestamp, View,
};
use pliantdb_storage::backup::{BackupTarget, backup_node, restore};
use pliantdb_storage::check::check;
use pliantdb_storage::encryption::KeyVault;
use pliantdb_storage::memory::MemoryPlan;
use pliantdb_storage::node::{GrowthStep, Inventory, NodeDirectory, NodeOptions, Opened};
use pliantdb_storage::{Database, Options, Storage, StorageError};
use serde::{Deserialize, Serialize};

use crate::databases::Databases;
use crate::machines::{Machines, create_database, founding, key, until};

#[derive(Schema)]
#[schema(name = "shapes", collections = [Shape])]
struct Shapes;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Collection)]
#[collection(name = "shapes", id = u64, views = [ByCorners, ByColour, ByName])]
struct Shape {
    corners: u32,
    colour: String,
    name: String,
}

/// Lazy.
#[derive(View)]
#[view(collection = Shape, name = "by-corners", key = u32, value = u64, reduce)]
struct ByCorners;

impl Map for ByCorners {
    fn map(id: &u64, shape: &Shape, emit: &mut Emit<Self>) {
        emit.entry(shape.corners, *id);
    }
}

impl Reduce for ByCorners {
    fn reduce(ids: &[u64]) -> u64 {
        ids.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Shape, name = "by-colour", key = String, value = u64, policy = eager, reduce)]
struct ByColour;

impl Map for ByColour {
    fn map(_: &u64, shape: &Shape, emit: &mut Emit<Self>) {
        emit.entry(shape.colour.clone(), 1);
    }
}

impl Reduce for ByColour {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

#[derive(View)]
#[view(collection = Shape, name = "by-name", key = String, policy = unique)]
struct ByName;

impl Map for ByName {
    fn map(_: &u64, shape: &Shape, emit: &mut Emit<Self>) {
        emit.entry(shape.name.clone(), ());
    }
}

fn shape(id: u64) -> Shape {
    Shape {
        corners: (id % 7) as u32,
        colour: ["red", "green"][(id % 2) as usize].to_owned(),
        name: format!("shape-{id}"),
    }
}

/// What is to be the same, wherever the databases are.
#[derive(Debug, PartialEq)]
struct Seen {
    number: u32,
    schema: String,
    shapes: Vec<(u64, Shape)>,
    corners: u64,
    colours: Vec<String>,
    named: usize,
    keys: Vec<(String, Option<u64>)>,
    feed: ChangesPage,
    rest_of_feed: ChangesPage,
}

const KEYS: [&str; 4] = ["stays", "stays-long", "is-gone", "counted"];

fn see(database: &Database, cursor: FeedCursor) -> Seen {
    let changes = |from| database.changes(from, 1000, Duration::ZERO).unwrap();
    let all = database.collection::<Shape>().list().all().unwrap();
    let values = database.key_value("things");
    Seen {
        number: database.number(),
        schema: format!("{:?}", database.schema().unwrap()),
        shapes: all
            .into_iter()
            .map(|document| (document.id, document.contents))
            .collect(),
        corners: database.view::<ByCorners>().reduce().unwrap(),
        colours: database
            .view::<ByColour>()
            .query()
            .unwrap()
            .into_iter()
            .map(|row| row.key)
            .collect(),
        named: database.view::<ByName>().query().unwrap().len(),
        keys: KEYS
            .iter()
            .map(|key| ((*key).to_owned(), values.get(key).unwrap()))
            .collect(),
        feed: changes(FeedStart::Oldest),
        rest_of_feed: changes(FeedStart::After(cursor)),
    }
}

/// What a storage was left with.
struct Left {
    /// Of each database, with how far its feed was read before.
    seen: Vec<(&'static str, FeedCursor, Seen)>,
    accounts: Accounts,
    counting: RequestId,
    counted: Response,
    last: Timestamp,
}

fn increment() -> Request {
    Request::ChangeKey {
        namespace: "things".parse().unwrap(),
        key: "counted".parse().unwrap(),
        action: pliantdb_core::KeyAction::Increment {
            by: pliantdb_core::Number::from(1),
        },
    }
}

fn open(path: &Path, encryption: Option<Arc<dyn KeyVault>>) -> Result<Storage, StorageError> {
    Storage::open_with(
        path,
        Options {
            encryption,
            ..Options::default()
        },
    )
}

/// A storage that was never closed: part of it is in its log only.
fn leave(path: &Path, encryption: Option<Arc<dyn KeyVault>>) -> Left {
    let mut storage = open(path, encryption.clone()).unwrap();
    StorageConnection::create_database::<Shapes>(&storage, "gone").unwrap();
    StorageConnection::delete_database(&storage, "gone").unwrap();
    let names = ["default", "shop", "third"];
    let mut cursors = Vec::new();
    let mut counted = None;
    let counting = RequestId::new(storage.now_ms(), 7);
    for name in names {
        let database = match name {
            "default" => StorageConnection::database::<Shapes>(&storage, name).unwrap(),
            _ => StorageConnection::create_database::<Shapes>(&storage, name).unwrap(),
        };
        let shapes = database.collection::<Shape>();
        for id in 0..20 {
            shapes.insert_as(&id, shape(id)).unwrap();
            if id == 9 {
                // The lazy view is half way.
                database.view::<ByCorners>().reduce().unwrap();
                let page = database.changes(FeedStart::Oldest, 5, Duration::ZERO).unwrap();
                cursors.push(page.next);
            }
        }
        let values = database.key_value("things");
        values.set("stays", &1).unwrap();
        values
            .set_for("stays-long", &2, Duration::from_secs(3600))
            .unwrap();
        values.set_for("is-gone", &3, Duration::from_millis(20)).unwrap();
        if name == "default" {
            // What was there so far is in tables.
            storage.close().unwrap();
            drop((database, storage));
            storage = open(path, encryption.clone()).unwrap();
        } else if name == "shop" {
            counted = Some(database.execute_once(counting, increment()).unwrap());
        }
    }
    let changes = [
        AccountsChange::SetUser {
            name: "ada".parse().unwrap(),
            change: UserChange {
                password: Some(Secret::new(
                    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g",
                )),
                roles: Some([administrator()].into()),
                is_disabled: None,
            },
            must_exist: false,
        },
        AccountsChange::SetRole {
            name: "clerk".parse().unwrap(),
            permissions: vec!["read,write on collection shop/orders".parse().unwrap()],
        },
        AccountsChange::AddApiKey {
            name: "ci".parse().unwrap(),
            key: ApiKey {
                hash: KeyHash([7; 32]),
                owner: KeyOwner::Roles(["clerk".parse().unwrap()].into()),
                expires_ms: None,
            },
        },
    ];
    for change in changes {
        storage.execute(Operation::ChangeAccounts(change)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(30));
    let seen: Vec<_> = names
        .into_iter()
        .zip(cursors)
        .map(|(name, cursor)| {
            let database = StorageConnection::database::<Shapes>(&storage, name).unwrap();
            (name, cursor, see(&database, cursor))
        })
        .collect();
    let logs = std::fs::read_dir(path.join("state")).unwrap();
    let logs = logs.map(|file| file.unwrap().path());
    let mut logs = logs.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    assert!(
        logs.any(|log| log.metadata().unwrap().len() > 1000),
        "the rest is in the log"
    );
    let last = seen.iter().flat_map(|(_, _, seen)| &seen.feed.transactions);
    Left {
        last: last.map(|transaction| transaction.timestamp).max().unwrap(),
        accounts: (*storage.accounts().current().1).clone(),
        seen,
        counting,
        counted: counted.unwrap(),
    }
}

/// Waits until a member's replicas are as fresh as can be.
async fn is_fresh(member: &Member) {
    let (_, meta) = member.joined().await.unwrap();
    for group in meta.groups().keys().filter(|group| **group != META) {
        loop {
            let ask = Ask::Await {
                group: *group,
                freshness: Freshness::Linearizable,
            };
            match member.handle().ask_async(ask).await.unwrap() {
                pliantdb_cluster::node::Answer::Ready { .. } => break,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Whether everything is there, at one node.
async fn has_all(left: &Left, member: &Member, databases: &Databases) {
    let (_, meta) = member.joined().await.unwrap();
    assert_eq!(*meta.accounts(), left.accounts);
    let databases = databases.clone();
    let names: Vec<_> = left
        .seen
        .iter()
        .map(|(name, cursor, _)| (*name, *cursor))
        .collect();
    // Views ask the leader nothing, and may wait all the same.
    let seen = tokio::task::spawn_blocking(move || {
        let see = |(name, cursor): (&'static str, FeedCursor)| {
            let database = databases.wait_for(name);
            database.learn_schema::<Shapes>().unwrap();
            (name, cursor, see(&database, cursor))
        };
        names.into_iter().map(see).collect::<Vec<_>>()
    });
    let seen = seen.await.unwrap();
    for (seen, left) in seen.iter().zip(&left.seen) {
        assert_eq!(seen, left);
    }
}

/// A backup of a node is one of a storage, which has everything that the node has at that moment.
async fn backs_up(
    left: &Left,
    member: &Member,
    shop: &Database,
    place: &Path,
    encryption: Option<Arc<dyn KeyVault>>,
) {
    let (_, meta) = member.joined().await.unwrap();
    let groups = meta.groups().iter();
    let databases = groups.filter_map(|(group, record)| {
        let shard = record.shard.as_ref()?;
        Some((*group, shard.database.clone(), shard.entry))
    });
    let mut inventory = Inventory {
        databases: databases.collect(),
        last_database: u32::try_from(meta.last_group()).unwrap(),
        accounts: meta.accounts().clone(),
    };
    let (source, place, shop) = (member.copy_source().unwrap(), place.to_owned(), shop.clone());
    let cursors: Vec<_> = left
        .seen
        .iter()
        .map(|(name, cursor, _)| (*name, *cursor))
        .collect();
    let (accounts, counting, counted) = (left.accounts.clone(), left.counting, left.counted.clone());
    let all = move || {
        shop.learn_schema::<Shapes>().unwrap();
        let seen = see(&shop, cursors[1].1);
        let target = BackupTarget::open(place.join("to").to_str().unwrap(), []).unwrap();
        let report = backup_node(&source, &inventory, &target).unwrap();
        let mut files = report.backup.files.iter();
        let is_of_storage = |path: &str| path.starts_with("state/") || !path.contains('/');
        assert!(files.all(|file| is_of_storage(&file.path)), "{report:?}");
        assert!(!source_path(&place).join("backup").exists());

        let restored = place.join("restored");
        restore(&target, None, &restored).unwrap();
        let report = check(&restored, encryption.as_deref()).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let storage = open(&restored, encryption.clone()).unwrap();
        let names: Vec<_> = storage.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["default", "fifth", "shop", "third"]);
        assert_eq!(*storage.accounts().current().1, accounts);
        let restored_shop = StorageConnection::database::<Shapes>(&storage, "shop").unwrap();
        assert_eq!(see(&restored_shop, cursors[1].1), seen);
        // It goes on where the cluster was.
        assert_eq!(restored_shop.execute_once(counting, increment()), Ok(counted));
        restored_shop
            .collection::<Shape>()
            .insert_as(&200, shape(200))
            .unwrap();
        let changes = restored_shop
            .changes(FeedStart::Oldest, 1000, Duration::ZERO)
            .unwrap();
        let last_two = changes.transactions.iter().rev().take(2);
        assert!(
            last_two
                .map(|transaction| transaction.timestamp)
                .is_sorted_by(|a, b| a > b)
        );
        let sixth = StorageConnection::create_database::<Shapes>(&storage, "sixth").unwrap();
        assert_eq!(sixth.number(), 6);
        drop((restored_shop, sixth, storage));

        // What is no part of the cluster is no part of its backups, and what is not here is missed.
        inventory
            .databases
            .retain(|(_, name, _)| name.as_str() != "third");
        backup_node(&source, &inventory, &target).unwrap();
        let smaller = place.join("smaller");
        restore(&target, None, &smaller).unwrap();
        assert!(check(&smaller, encryption.as_deref()).unwrap().is_sound());
        assert_eq!(open(&smaller, encryption.clone()).unwrap().names().len(), 3);
        let entry = inventory.databases[0].2;
        inventory
            .databases
            .push((GroupId::new(77), "elsewhere".parse().unwrap(), entry));
        let refused = backup_node(&source, &inventory, &target).unwrap_err();
        assert!(refused.to_string().contains("\"elsewhere\""), "{refused}");
        assert_eq!(target.backups().unwrap().len(), 2);
    };
    tokio::task::spawn_blocking(all).await.unwrap();
}

fn source_path(backups: &Path) -> PathBuf {
    backups.parent().unwrap().join("first")
}

fn refuses_as_of_a_node(path: &Path, encryption: Option<Arc<dyn KeyVault>>) {
    for refused in [
        open(path, encryption.clone()).err(),
        check(path, encryption.as_deref()).err(),
    ] {
        assert!(
            matches!(refused, Some(StorageError::OfNode { .. })),
            "{refused:?}"
        );
        assert!(
            refused
                .unwrap()
                .to_string()
                .contains("belongs to a node of a cluster")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_grows_into_a_cluster_and_others_join_it() {
    for is_encrypted in [false, true] {
        let machines = Machines::new();
        let encryption = is_encrypted.then(|| key(&machines, 'a'));
        let path = machines.directory("first");
        let left = leave(&path, encryption.clone());
        let options = |name: &str, formation| {
            let mut options = machines.options(name, formation);
            options.encryption = encryption.clone();
            options
        };
        let (first, databases) = Databases::start(options("first", founding())).await.unwrap();
        is_fresh(&first).await;
        has_all(&left, &first, &databases).await;
        refuses_as_of_a_node(&path, encryption.clone());

        let (token, _) = first.make_join_token(Duration::from_secs(60)).await.unwrap();
        let seeds = vec![first.network().local_address().to_string()];
        let formation = Formation::Join {
            seeds,
            token: Some(token),
        };
        let (second, others) = Databases::start(options("second", formation)).await.unwrap();
        second.joined().await.unwrap();
        let is_followed = |status: &pliantdb_cluster_member::Status| {
            let all = status.nodes.iter().all(|node| node.lag == Some(0));
            status.nodes.len() == 2 && all && status.databases.iter().all(|database| database.is_settled)
        };
        until(&second, is_followed).await;
        has_all(&left, &second, &others).await;

        // It goes on where the storage was: later, once, and with numbers that nobody had.
        let shop = databases.get("shop").unwrap();
        let (counting, counted, last) = (left.counting, left.counted.clone(), left.last);
        let going_on = tokio::task::spawn_blocking(move || {
            assert_eq!(shop.execute_once(counting, increment()), Ok(counted));
            assert_eq!(shop.key_value("things").get("counted"), Ok(Some(1)));
            shop.collection::<Shape>().insert_as(&100, shape(100)).unwrap();
            let changes = shop.changes(FeedStart::Oldest, 1000, Duration::ZERO).unwrap();
            assert!(changes.transactions.last().unwrap().timestamp > last);
            let twice = shop.collection::<Shape>().insert_as(&101, shape(5));
            assert!(twice.is_err(), "the name is taken");
        });
        going_on.await.unwrap();
        assert_eq!(create_database(&first, "fifth").await.get(), 5);
        let shop = databases.get("shop").unwrap();
        is_fresh(&first).await;
        backs_up(
            &left,
            &first,
            &shop,
            &machines.directory("backups"),
            encryption.clone(),
        )
        .await;
        drop(shop);
        for member in [second, first] {
            member.stop().await.unwrap();
        }
        refuses_as_of_a_node(&path, encryption.clone());

        let (first, databases) = Databases::start(options("first", founding())).await.unwrap();
        first.joined().await.unwrap();
        let shop = databases.get("shop").unwrap();
        let all = tokio::task::spawn_blocking(move || shop.collection::<Shape>().list().all());
        assert_eq!(all.await.unwrap().unwrap().len(), 21);
        first.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_cannot_join_and_stays_what_it_is() {
    let machines = Machines::new();
    let path = machines.directory("first");
    drop(open(&path, None).unwrap());
    let formation = Formation::Join {
        seeds: vec!["127.0.0.1:1".to_owned()],
        token: None,
    };
    let refused = Member::start(machines.options("first", formation)).await.err();
    assert!(
        matches!(
            &refused,
            Some(StartError::Storage(StorageError::HasDatabases { .. }))
        ),
        "{refused:?}"
    );
    // A wrong key, and one that is not there.
    let mut options = machines.options("first", founding());
    options.encryption = Some(key(&machines, 'a'));
    assert!(matches!(
        Member::start(options).await.err(),
        Some(StartError::Storage(StorageError::Encryption(_)))
    ));
    // While it is open.
    let storage = open(&path, None).unwrap();
    let refused = Member::start(machines.options("first", founding())).await.err();
    assert!(
        matches!(
            &refused,
            Some(StartError::Storage(StorageError::DirectoryInUse { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(storage.names().len(), 1);
    drop(storage);
    assert!(check(&path, None).unwrap().is_sound());
}

const STEPS: [GrowthStep; 6] = [
    GrowthStep::Flush,
    GrowthStep::Leave,
    GrowthStep::Found,
    GrowthStep::HandOver,
    GrowthStep::FlushState,
    GrowthStep::Arrive,
];

const DIRECTORY: &str = "PLIANT_TEST_GROWING_DIRECTORY";
const STEP: &str = "PLIANT_TEST_GROWING_STEP";

/// The process that is killed by itself before a step; it does nothing when it is run as a test.
#[test]
fn grows_until_it_is_killed() {
    let Some(path) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let step: usize = std::env::var(STEP).unwrap().parse().unwrap();
    let options = NodeOptions {
        encryption: None,
        memory: MemoryPlan::for_limit(64 << 20),
        may_grow: true,
    };
    let Opened::Growing(growth) = NodeDirectory::open(Path::new(&path), options).unwrap() else {
        panic!("there is nothing to grow");
    };
    let founder = Founder {
        cluster: 7,
        token: 8,
        name: "first".to_owned(),
        attributes: std::collections::BTreeMap::new(),
        apply_version: pliantdb_core::APPLY_VERSION,
    };
    let founding = founder.found_with(growth.heritage()).unwrap();
    let finished = growth.finish(&founding, &mut |taken| {
        if taken == STEPS[step] {
            std::process::abort();
        }
    });
    drop(finished);
    panic!("the step was not taken");
}

fn grow_until(path: &Path, step: usize) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "growing::grows_until_it_is_killed", "--nocapture"])
        .env(DIRECTORY, path)
        .env(STEP, step.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    use std::os::unix::process::ExitStatusExt;
    // SIGABRT
    assert_eq!(child.unwrap().signal(), Some(6), "before {:?}", STEPS[step]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_it_is_killed_it_is_a_storage_or_becomes_a_node_at_the_next_start() {
    for (step, taken) in STEPS.iter().enumerate() {
        let machines = Machines::new();
        let path = machines.directory("first");
        let left = leave(&path, None);
        grow_until(&path, step);
        if step <= 1 {
            // And goes on as that, with more.
            let storage = open(&path, None).unwrap();
            for (name, cursor, before) in &left.seen {
                let database = StorageConnection::database::<Shapes>(&storage, name).unwrap();
                assert_eq!(see(&database, *cursor), *before, "before {taken:?}");
            }
        } else {
            refuses_as_of_a_node(&path, None);
            let formation = Formation::Join {
                seeds: vec!["127.0.0.1:1".to_owned()],
                token: None,
            };
            let refused = Member::start(machines.options("first", formation)).await.err();
            assert!(
                matches!(
                    &refused,
                    Some(StartError::Storage(StorageError::HasDatabases { .. }))
                ),
                "{refused:?}"
            );
        }
        // Once more, in the same place or later.
        if step < 4 {
            grow_until(&path, step.max(2));
        }
        let (first, databases) = Databases::start(machines.options("first", founding()))
            .await
            .unwrap();
        is_fresh(&first).await;
        has_all(&left, &first, &databases).await;
        first.stop().await.unwrap();
        refuses_as_of_a_node(&path, None);
    }
}

/// The process that is killed from outside; it does nothing when it is run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_until_it_is_killed() {
    let (Some(path), None) = (std::env::var_os(DIRECTORY), std::env::var_os(STEP)) else {
        return;
    };
    let machines = Machines::new();
    let mut options = machines.options("first", founding());
    options.directory = path.into();
    let _running = Databases::start(options).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_it_has_all_in_the_end() {
    let machines = Machines::new();
    let path = machines.directory("first");
    let left = leave(&path, None);
    for round in 0..10 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "growing::starts_until_it_is_killed", "--nocapture"])
            .env(DIRECTORY, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20 + 15 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        match open(&path, None) {
            Ok(storage) => {
                for (name, cursor, before) in &left.seen {
                    let database = StorageConnection::database::<Shapes>(&storage, name).unwrap();
                    assert_eq!(see(&database, *cursor), *before);
                }
            }
            Err(StorageError::OfNode { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let (first, databases) = Databases::start(machines.options("first", founding()))
        .await
        .unwrap();
    is_fresh(&first).await;
    has_all(&left, &first, &databases).await;
    first.stop().await.unwrap();
}
