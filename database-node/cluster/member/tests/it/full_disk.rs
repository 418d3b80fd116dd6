//! A disk that is nearly full.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pliantdb_cluster::node::{Answer, Ask, Refusal};
use pliantdb_cluster_member::Member;
use pliantdb_core::{Body, Expiry, GroupId, KeyAction, KeyCondition, Operation, WriteAction};
use pliantdb_storage::StorageError;

use crate::machines::{Machines, create_database, founding};

const MIB: usize = 1 << 20;

/// A small file system; gone when dropped.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    /// `None` without the right to mount.
    fn new(path: &'p Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let mounted = mount.arg(path).output();
        matches!(mounted, Ok(output) if output.status.success()).then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

async fn ask(member: &Member, group: GroupId, key: usize, action: KeyAction) -> Result<(), Refusal> {
    let action = WriteAction::ChangeKey {
        namespace: "test".parse().unwrap(),
        key: key.to_string().parse().unwrap(),
        action,
    };
    let operation = Operation::write("shop".parse().unwrap(), action, None);
    match member
        .handle()
        .ask_async(Ask::Write { group, operation })
        .await
        .unwrap()
    {
        Answer::Written { result, .. } => {
            result.unwrap();
            Ok(())
        }
        Answer::Refused(refusal) => Err(refusal),
        answer => panic!("{answer:?}"),
    }
}

/// A mebibyte that cannot be compressed.
fn setting(key: usize) -> KeyAction {
    let mut text = String::with_capacity(MIB);
    let mut state = key as u64 + 1;
    while text.len() < MIB {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:016x}", state ^ (state >> 29)));
    }
    KeyAction::Set {
        value: Body::of(&text).unwrap(),
        expiry: Expiry::Never,
        condition: KeyCondition::Always,
    }
}

/// Until it is written, or no longer than this.
async fn written(member: &Member, group: GroupId, key: usize) {
    let began = Instant::now();
    while let Err(refusal) = ask(member, group, key, setting(key)).await {
        assert!(began.elapsed() < Duration::from_secs(60), "{refusal}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_refuses_writes_until_there_is_room_again() {
    let machines = Machines::new();
    let path = machines.directory("first");
    let Some(_disk) = Mounted::new(&path, "300m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here (that takes root)");
        return;
    };
    let mut options = machines.options("first", founding());
    options.min_free_space = Some(100 << 20);
    let first = Member::start(options).await.unwrap();
    let group = create_database(&first, "shop").await;
    written(&first, group, 0).await;
    first.check_room(MIB).unwrap();

    // Somebody else takes the room, and gives it back.
    let other = path.join("lost+found");
    File::create(&other).unwrap().set_len(0).unwrap();
    std::fs::write(&other, vec![1; 200 * MIB]).unwrap();
    let began = Instant::now();
    let full = first.check_room(0);
    assert!(matches!(full, Err(StorageError::DiskFull { .. })), "{full:?}");
    while ask(&first, group, 1, setting(1)).await != Err(Refusal::DiskFull) {
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    std::fs::remove_file(&other).unwrap();
    written(&first, group, 1).await;

    // Its own data take it, and deletes give it back.
    let began = Instant::now();
    let mut count = 2;
    let refusal = loop {
        assert!(began.elapsed() < Duration::from_secs(60));
        match (
            first.check_room(MIB),
            ask(&first, group, count, setting(count)).await,
        ) {
            (_, Ok(())) => count += 1,
            (Err(_), Err(refusal)) => break refusal,
            (Ok(()), Err(_)) => {}
        }
    };
    assert_eq!(refusal, Refusal::DiskFull);
    assert!(count > 20, "{count}");
    for key in 0..count {
        let delete = KeyAction::Delete {
            condition: KeyCondition::Always,
        };
        ask(&first, group, key, delete).await.unwrap();
    }
    written(&first, group, 0).await;
    first.stop().await.unwrap();
}
