//! Backup and restore, to a directory and to S3.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pliantdb_core::{Body, DatabaseName, Precondition};
use pliantdb_storage::backup::{BackupError, BackupTarget, backup, restore, verify};
use pliantdb_storage::{AsyncStorage, Storage, StorageError};

use crate::encryption::{content, files_with, get, master_key, open, put};
use crate::s3::S3;

fn local(path: &Path) -> BackupTarget {
    BackupTarget::open(path.to_str().unwrap(), []).unwrap()
}

/// A body that does not compress, so that files have the size that is wanted.
fn noise(bytes: usize) -> String {
    let mut seed = 7u64;
    let mut text = String::with_capacity(bytes + 2);
    text.push('"');
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push(char::from(b'a' + u8::try_from(seed >> 60).unwrap()));
    }
    text.push('"');
    text
}

/// What a target must do; its objects lie as files below `files`.
fn backs_up_and_restores(target: &BackupTarget, files: &Path) {
    let root = tempfile::tempdir().unwrap();
    let (data, restored) = (root.path().join("data"), root.path().join("restored"));
    assert!(matches!(
        restore(target, None, &restored),
        Err(BackupError::None { .. })
    ));
    let storage = open(&data, None).unwrap();
    put(&storage, "ada", "1815");
    // Large enough for several parts.
    let large = noise(24 << 20);
    put(&storage, "large", &large);
    let first = backup(&storage, target).unwrap();
    assert_eq!(first.sent_files, first.backup.files.len());
    assert_eq!(first.sent_bytes, first.backup.bytes());
    assert!(first.backup.files.iter().any(|file| file.size > 16 << 20));

    // Only what is new is sent again.
    put(&storage, "ada", "1852");
    put(&storage, "later", "1");
    let second = backup(&storage, target).unwrap();
    assert!(
        second.backup.bytes() > 16 << 20 && second.sent_bytes < 1 << 20,
        "{second:?}"
    );
    assert!(second.backup.files.len() > second.sent_files);
    assert_eq!(
        target.backups().unwrap(),
        [first.backup.id.clone(), second.backup.id.clone()]
    );
    assert!(!data.join("backup").exists());
    drop(storage);

    assert_eq!(
        restore(target, Some(&first.backup.id), &restored),
        Ok(first.backup.clone())
    );
    let old = open(&restored, None).unwrap();
    assert_eq!(
        (get(&old, "ada").as_deref(), get(&old, "later")),
        (Some("1815"), None)
    );
    assert_eq!(get(&old, "large"), Some(large));
    // It goes on from there, apart from the other.
    put(&old, "ada", "-1");
    let third = backup(&old, target).unwrap();
    drop(old);

    let newest = root.path().join("newest");
    assert_eq!(restore(target, None, &newest), Ok(third.backup));
    assert_eq!(get(&open(&newest, None).unwrap(), "ada").as_deref(), Some("-1"));
    let new = root.path().join("second");
    restore(target, Some(&second.backup.id), &new).unwrap();
    let new = open(&new, None).unwrap();
    assert_eq!(
        (get(&new, "ada").as_deref(), get(&new, "later").as_deref()),
        (Some("1852"), Some("1"))
    );

    let unknown = verify(target, Some("20200101T000000.000Z-0000")).unwrap_err();
    assert!(unknown.to_string().contains(&second.backup.id), "{unknown}");

    // Damage and loss, of every file in turn.
    let id = Some(first.backup.id.as_str());
    for file in &first.backup.files {
        let (object, away) = (files.join("files").join(&file.sha256), root.path().join("away"));
        let attempt = root.path().join("attempt");
        let refused = |expected: &str| {
            for error in [
                verify(target, id).unwrap_err(),
                restore(target, id, &attempt).unwrap_err(),
            ] {
                let (BackupError::Missing {
                    file: name, object, ..
                }
                | BackupError::Damaged {
                    file: name, object, ..
                }) = &error
                else {
                    panic!("{error}")
                };
                assert!(*name == file.path && object.ends_with(&file.sha256), "{error}");
                assert!(error.to_string().contains(expected), "{error}");
                assert!(!attempt.exists(), "nothing is left");
            }
        };
        fs::rename(&object, &away).unwrap();
        refused("missing");
        let mut bytes = fs::read(&away).unwrap();
        fs::write(&object, [&bytes[..], b"x"].concat()).unwrap();
        refused("should have");
        // The log of the last writes is empty.
        if !bytes.is_empty() {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&object, &bytes).unwrap();
            refused("checksum");
        }
        fs::rename(&away, &object).unwrap();
    }
    verify(target, id).unwrap();
    let manifest = files.join("backups").join(format!("{}.json", first.backup.id));
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("FORMAT", "FORMAX")).unwrap();
    let error = verify(target, id).unwrap_err();
    assert!(matches!(error, BackupError::Manifest { .. }), "{error}");
    fs::remove_file(&manifest).unwrap();
    assert!(matches!(verify(target, id), Err(BackupError::Unknown { .. })));
}

#[test]
fn to_a_directory() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("not/yet/there");
    backs_up_and_restores(&local(&place), &place);
}

#[test]
fn to_s3() {
    let s3 = S3::start();
    backs_up_and_restores(&s3.target(), &s3.files());
}

#[test]
fn a_target_that_fails_is_named_without_its_secret() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(&root.path().join("data"), None).unwrap();
    let s3 = S3::start();
    for (target, cause) in [
        (s3.open("a wrong secret"), "SignatureDoesNotMatch"),
        (s3.target_with_tls(), "InvalidContentType"),
        (S3::target_elsewhere(), "Connection refused"),
    ] {
        let error = backup(&storage, &target).unwrap_err();
        assert!(matches!(error, BackupError::Target { .. }), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(error.to_string().contains(cause), "{error}");
        assert!(!root.path().join("data/backup").exists());
    }
    for location in ["s4://x/y", "s3://", "http:// /", "file:///proc/x/y", "/proc/x"] {
        let opened = BackupTarget::open(location, []);
        let error = opened.and_then(|target| backup(&storage, &target)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(location) || location.starts_with("file"), "{text}");
    }
    let error = BackupTarget::open("s3://ada:engine@bucket/x", []).unwrap_err();
    assert!(!error.to_string().contains("engine"), "{error}");
}

#[test]
fn writes_go_on_and_a_backup_is_one_moment() {
    let root = tempfile::tempdir().unwrap();
    let (data, place) = (root.path().join("data"), root.path().join("backups"));
    let storage = open(&data, None).unwrap();
    let target = local(&place);
    let (stop, mut ids) = (AtomicBool::new(false), Vec::new());
    let write = |storage: &Storage| {
        let database = storage.get(&DatabaseName::default_database()).unwrap();
        let mut n = 0u32;
        while !stop.load(Ordering::Relaxed) {
            // Always both, one after the other.
            for id in ["first", "second"] {
                let body = Body::parse(format!("{n}").into_bytes()).unwrap();
                database
                    .put(
                        &"people".parse().unwrap(),
                        &id.parse().unwrap(),
                        body,
                        Precondition::None,
                    )
                    .unwrap();
            }
            n += 1;
        }
        n
    };
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&storage));
        for _ in 0..5 {
            ids.push(backup(&storage, &target).unwrap().backup.id);
        }
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    assert!(written > 5);
    for (n, id) in ids.iter().enumerate() {
        let restored = root.path().join(n.to_string());
        restore(&target, Some(id), &restored).unwrap();
        let restored = open(&restored, None).unwrap();
        let read = |id| get(&restored, id).map_or(-1, |body| body.parse::<i64>().unwrap());
        let (first, second) = (read("first"), read("second"));
        assert!(first == second || first == second + 1, "{first} {second}");
    }
}

#[test]
fn an_encrypted_directory_stays_encrypted() {
    let root = tempfile::tempdir().unwrap();
    let (data, place) = (root.path().join("data"), root.path().join("backups"));
    let storage = open(&data, Some(master_key(1))).unwrap();
    put(&storage, "ada", r#""the analytical engine""#);
    let target = local(&place);
    let made = backup(&storage, &target).unwrap().backup;
    assert_eq!(made.master_key, Some(master_key(1).key_id()));
    assert_eq!(files_with(&place, "analytical"), Vec::<String>::new());
    let restored = root.path().join("restored");
    restore(&target, None, &restored).unwrap();
    assert!(matches!(open(&restored, None), Err(StorageError::Encryption(_))));
    let restored = open(&restored, Some(master_key(1))).unwrap();
    assert_eq!(
        get(&restored, "ada").as_deref(),
        Some(r#""the analytical engine""#)
    );
}

#[test]
fn restores_into_nothing_but_an_empty_directory() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let storage = open(&data, None).unwrap();
    let target = local(&root.path().join("backups"));
    backup(&storage, &target).unwrap();
    let before = content(&data);
    assert!(matches!(
        restore(&target, None, &data),
        Err(BackupError::NotEmpty { .. })
    ));
    assert!(before == content(&data));
    let empty = root.path().join("empty");
    fs::create_dir_all(empty.join("lost+found")).unwrap();
    restore(&target, None, &empty).unwrap();
    drop(open(&empty, None).unwrap());
}

#[test]
fn an_interrupted_restore_is_not_taken_for_a_database() {
    let root = tempfile::tempdir().unwrap();
    let target = local(&root.path().join("backups"));
    backup(&open(&root.path().join("data"), None).unwrap(), &target).unwrap();
    let restored = root.path().join("restored");
    restore(&target, None, &restored).unwrap();
    // What a power failure right before the end leaves.
    fs::rename(restored.join("FORMAT"), restored.join("FORMAT.restored")).unwrap();
    assert!(matches!(
        open(&restored, None),
        Err(StorageError::ForeignDirectory { .. })
    ));
}

#[test]
fn one_backup_at_a_time_and_what_a_killed_one_left_goes() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let left: PathBuf = data.join("backup/state");
    let storage = open(&data, None).unwrap();
    let target = local(&root.path().join("backups"));
    fs::create_dir_all(&left).unwrap();
    assert!(matches!(
        backup(&storage, &target),
        Err(BackupError::Running { .. })
    ));
    drop(storage);
    let storage = open(&data, None).unwrap();
    assert!(!left.exists());
    backup(&storage, &target).unwrap();
}

#[test]
fn asynchronous_programs_back_up_on_a_blocking_thread() {
    let root = tempfile::tempdir().unwrap();
    let (data, place) = (root.path().join("data"), root.path().join("backups"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let storage = AsyncStorage::open(&data).await.unwrap();
        // Opened and dropped where nothing may block.
        let target = Arc::new(local(&place));
        let (of, to) = (storage.clone(), Arc::clone(&target));
        let made = tokio::task::spawn_blocking(move || backup(of.blocking(), &to)).await;
        made.unwrap().unwrap();
    });
    verify(&local(&place), None).unwrap();
}
