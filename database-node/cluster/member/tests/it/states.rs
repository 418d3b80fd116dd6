//! What a member has on its disk, and who hears of it.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use pliantdb_cluster::applier::Watch;
use pliantdb_cluster::meta::MetaCommand;
use pliantdb_cluster::node::{Answer, Ask, Freshness};
use pliantdb_cluster_member::{Member, StartError};
use pliantdb_core::{
    Body, Expiry, GroupId, KeyAction, KeyCondition, Operation, Request, Response, WriteAction,
};
use pliantdb_storage::encryption::{EncryptionError, KeyVault, rotate_master_key};
use pliantdb_storage::group::GroupState;
use pliantdb_storage::{StateStore, StorageError};

use crate::machines::{Machines, create_database, founding, key, until};

/// What nobody is to find on a disk.
const SECRET: &str = "nobody-reads-this-on-a-disk";

async fn set(member: &Member, group: GroupId, value: &str) {
    let action = WriteAction::ChangeKey {
        namespace: "test".parse().unwrap(),
        key: "key".parse().unwrap(),
        action: KeyAction::Set {
            value: Body::of(&value).unwrap(),
            expiry: Expiry::Never,
            condition: KeyCondition::Always,
        },
    };
    let operation = Operation::write("shop".parse().unwrap(), action, None);
    loop {
        let operation = operation.clone();
        let answer = member.handle().ask_async(Ask::Write { group, operation }).await;
        match answer.unwrap() {
            Answer::Written { result, .. } => return drop(result.unwrap()),
            Answer::Refused(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            answer => panic!("{answer:?}"),
        }
    }
}

async fn get(member: &Member, group: GroupId) -> String {
    let request = Request::GetKey {
        namespace: "test".parse().unwrap(),
        key: "key".parse().unwrap(),
    };
    let freshness = Freshness::Linearizable;
    loop {
        let request = request.clone();
        let ask = Ask::Read {
            group,
            request,
            freshness,
        };
        match member.handle().ask_async(ask).await.unwrap() {
            Answer::Read {
                result: Ok(Response::Value(value)),
                ..
            } => return value.unwrap().as_str().to_owned(),
            Answer::Refused(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            answer => panic!("{answer:?}"),
        }
    }
}

/// The files below a directory that hold this text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_master_key_neither_log_nor_state_is_on_the_disk_in_plain() {
    let machines = Machines::new();
    let start = |name: &str, key: Option<Arc<dyn KeyVault>>| {
        let mut options = machines.options(name, founding());
        options.encryption = key;
        Member::start(options)
    };
    for (name, encryption) in [("plain", None), ("encrypted", Some(key(&machines, 'a')))] {
        let is_encrypted = encryption.is_some();
        let member = start(name, encryption).await.unwrap();
        let group = create_database(&member, "shop").await;
        set(&member, group, SECRET).await;
        member.stop().await.unwrap();
        let found = holding(&machines.directory(name), SECRET);
        assert_eq!(found.is_empty(), is_encrypted, "{found:?}");
    }

    let refused = start("encrypted", None).await.err();
    assert!(
        matches!(
            &refused,
            Some(StartError::Storage(StorageError::Encryption(
                EncryptionError::KeyMissing { .. }
            )))
        ),
        "{refused:?}"
    );
    let refused = start("encrypted", Some(key(&machines, 'b'))).await.err();
    assert!(
        matches!(
            &refused,
            Some(StartError::Storage(StorageError::Encryption(
                EncryptionError::WrongKey { .. }
            )))
        ),
        "{refused:?}"
    );
    let refused = start("plain", Some(key(&machines, 'a'))).await.err();
    assert!(
        matches!(
            &refused,
            Some(StartError::Storage(StorageError::Encryption(
                EncryptionError::NotEncrypted { .. }
            )))
        ),
        "{refused:?}"
    );
    // Another master key for the same stores.
    let path = machines.directory("encrypted");
    let (old, new) = (key(&machines, 'a'), key(&machines, 'b'));
    rotate_master_key(&path, old.as_ref(), new.as_ref()).unwrap();
    let member = start("encrypted", Some(new)).await.unwrap();
    assert_eq!(get(&member, GroupId::new(2)).await, format!("{SECRET:?}"));
    member.stop().await.unwrap();
}

/// What a watcher hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Opened(GroupId, u64),
    Closing(GroupId),
}

struct Watcher(Mutex<Sender<Heard>>);

impl Watch<StateStore> for Watcher {
    fn opened(&mut self, state: &GroupState<StateStore>) {
        let heard = Heard::Opened(state.group(), state.position().index);
        self.0.get_mut().unwrap().send(heard).unwrap();
    }

    fn closing(&mut self, group: GroupId) {
        self.0.get_mut().unwrap().send(Heard::Closing(group)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_hears_of_every_state_before_it_goes() {
    let machines = Machines::new();
    let (hearing, heard) = channel();
    let watched = |name: &str, formation| {
        let mut options = machines.options(name, formation);
        options.watch = Box::new(Watcher(Mutex::new(hearing.clone())));
        Member::start(options)
    };
    let first = watched("first", founding()).await.unwrap();
    let group = create_database(&first, "shop").await;
    set(&first, group, "one").await;
    let default = GroupId::new(1);
    assert_eq!(
        heard.try_iter().collect::<Vec<_>>(),
        [Heard::Opened(default, 1), Heard::Opened(group, 1)]
    );
    first.stop().await.unwrap();
    assert_eq!(
        heard.try_iter().collect::<Vec<_>>(),
        [Heard::Closing(default), Heard::Closing(group)]
    );

    let first = watched("first", founding()).await.unwrap();
    set(&first, group, "two").await;
    let opened: Vec<Heard> = heard.try_iter().collect();
    assert!(
        matches!(opened[..], [Heard::Opened(first, _), Heard::Opened(second, _)] if first == default && second == group),
        "{opened:?}"
    );

    // One that joins gets it by a snapshot.
    let (joining, joined) = channel();
    let token = first.make_join_token(std::time::Duration::from_secs(60)).await;
    let seeds = vec![first.network().local_address().to_string()];
    let token = Some(token.unwrap().0);
    let mut options = machines.options(
        "second",
        pliantdb_cluster_member::Formation::Join { seeds, token },
    );
    options.watch = Box::new(Watcher(Mutex::new(joining)));
    let second = Member::start(options).await.unwrap();
    second.joined().await.unwrap();
    let is_followed = |status: &pliantdb_cluster_member::Status| {
        let all = status.nodes.iter().all(|node| node.lag == Some(0));
        status.nodes.len() == 2 && all && status.databases.iter().all(|database| database.is_settled)
    };
    until(&second, is_followed).await;
    let mut opened = Vec::from_iter(joined.try_iter().map(|heard| match heard {
        Heard::Opened(group, index) if index > 1 => group,
        heard => panic!("{heard:?}"),
    }));
    opened.sort_unstable();
    assert_eq!(opened, [default, group]);

    let name = "shop".parse().unwrap();
    first.change(MetaCommand::DeleteDatabase { name }).await.unwrap();
    until(&second, |status| status.databases.len() == 1).await;
    for heard in [&heard, &joined] {
        let closing = heard.recv_timeout(std::time::Duration::from_secs(10));
        assert_eq!(closing, Ok(Heard::Closing(group)));
    }
    for member in [first, second] {
        member.stop().await.unwrap();
    }
    for heard in [&heard, &joined] {
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Heard::Closing(default)]);
    }
}
