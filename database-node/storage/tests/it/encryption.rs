//! Encryption at rest, as its owner and as a thief of the disk meet it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pliantdb_core::{Body, DatabaseName, Order, Precondition, SlotCount, StorageConnection};
use pliantdb_storage::encryption::{
    EncryptionError, KeyVault, MasterKey, SecretKey, VaultError, rotate_master_key,
};
use pliantdb_storage::store::{
    Batch, BatchNumber, Durability, EncryptedStore, Holds, KeyRange, MemorySnapshot, MemoryStore,
    OrderedStore, StoreError,
};
use pliantdb_storage::{Options, Storage, StorageError};

use crate::store::{encrypted, everything, largest, rocks};

/// A master key of that byte, by way of a file as users have it.
pub(crate) fn master_key(byte: u8) -> Arc<dyn KeyVault> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{byte:02x}").repeat(32)).unwrap();
    Arc::new(MasterKey::from_file(file.path()).unwrap())
}

pub(crate) fn open(path: &Path, key: Option<Arc<dyn KeyVault>>) -> Result<Storage, StorageError> {
    let options = Options {
        memory_limit: Some(64 << 20),
        min_free_space: Some(0),
        encryption: key,
        ..Options::default()
    };
    Storage::open_with(path, options)
}

pub(crate) fn put(storage: &Storage, id: &str, body: &str) {
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    let body = Body::parse(body.as_bytes().to_vec()).unwrap();
    database
        .put(
            &"people".parse().unwrap(),
            &id.parse().unwrap(),
            body,
            Precondition::None,
        )
        .unwrap();
}

pub(crate) fn get(storage: &Storage, id: &str) -> Option<String> {
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    let found = database
        .get(&"people".parse().unwrap(), &id.parse().unwrap())
        .unwrap();
    found.map(|document| document.body.as_str().to_owned())
}

/// The names of the files in which `text` stands.
pub(crate) fn files_with(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else {
            let bytes = fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn no_body_is_in_any_file_and_all_come_back() {
    for key in [None, Some(master_key(1))] {
        let encrypted = key.is_some();
        let root = tempfile::tempdir().unwrap();
        let storage = open(root.path(), key.clone()).unwrap();
        put(&storage, "ada", r#"{"secret": "the difference engine"}"#);
        let large = format!(r#"{{"large": "{}"}}"#, "an enormous mystery ".repeat(20_000));
        put(&storage, "large", &large);
        storage
            .create(&"second".parse().unwrap(), SlotCount::default())
            .unwrap();

        let visible = |when: &str| {
            for text in ["difference engine", "enormous mystery"] {
                let found = files_with(root.path(), text);
                assert_eq!(found.is_empty(), encrypted, "{text}, {when}: {found:?}");
            }
        };
        visible("in the log");
        assert!(
            !files_with(root.path(), "ada").is_empty(),
            "keys are not encrypted"
        );
        storage.close().unwrap();
        drop(storage);
        visible("in tables and blob files");
        assert!(
            files_with(root.path(), &"01".repeat(32)).is_empty(),
            "nor is the key there"
        );

        let storage = open(root.path(), key.clone()).unwrap();
        assert_eq!(
            get(&storage, "ada").as_deref(),
            Some(r#"{"secret": "the difference engine"}"#)
        );
        assert_eq!(get(&storage, "large"), Some(large));
        put(&storage, "ada", "1");
        drop(storage);
        assert_eq!(get(&open(root.path(), key).unwrap(), "ada").as_deref(), Some("1"));
    }
}

/// Every file with its bytes.
pub(crate) fn content(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn a_key_that_does_not_fit_is_refused_before_anything_is_touched() {
    let (plain, sealed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(plain.path(), None).unwrap());
    drop(open(sealed.path(), Some(master_key(1))).unwrap());
    let before = (content(plain.path()), content(sealed.path()));
    let refused = |path: &Path, key| match open(path, key) {
        Err(StorageError::Encryption(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    };
    let error = refused(plain.path(), Some(master_key(1)));
    assert_eq!(
        error,
        EncryptionError::NotEncrypted {
            path: plain.path().to_owned()
        }
    );
    let (needed, given) = (master_key(1).key_id(), master_key(2).key_id());
    let path = sealed.path().to_owned();
    assert_eq!(
        refused(sealed.path(), None),
        EncryptionError::KeyMissing {
            path: path.clone(),
            needed: needed.clone()
        }
    );
    assert_eq!(
        refused(sealed.path(), Some(master_key(2))),
        EncryptionError::WrongKey { path, needed, given }
    );
    assert!(before == (content(plain.path()), content(sealed.path())));

    // A header that says it is of the key, and is not.
    let header = sealed.path().join("ENCRYPTION");
    let text = fs::read_to_string(&header).unwrap();
    let lying = text.replace(&master_key(1).key_id(), &master_key(2).key_id());
    fs::write(&header, lying).unwrap();
    let error = refused(sealed.path(), Some(master_key(2)));
    assert!(
        matches!(error, EncryptionError::Vault { action: "unwrap", .. }),
        "{error}"
    );
    let damaged = [
        "",
        "pliantdb encryption 2\n",
        text.split("directory-key").next().unwrap(),
        &text.replace("directory-key ", "directory-key x"),
        text.trim_end().strip_suffix(|_: char| true).unwrap(),
    ];
    for damaged in damaged {
        fs::write(&header, damaged).unwrap();
        let error = refused(sealed.path(), Some(master_key(1)));
        assert!(
            matches!(&error, EncryptionError::Header { path, .. } if path.ends_with("ENCRYPTION")),
            "{damaged:?}: {error}"
        );
    }
    fs::remove_file(&header).unwrap();
    assert!(matches!(
        open(sealed.path(), Some(master_key(1))),
        Err(StorageError::Incomplete { .. })
    ));
}

#[test]
fn the_master_key_is_rotated_without_writing_the_data_anew() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), Some(master_key(1))).unwrap();
    put(&storage, "ada", "1815");
    assert!(matches!(
        rotate_master_key(root.path(), &*master_key(1), &*master_key(2)),
        Err(StorageError::DirectoryInUse { .. })
    ));
    drop(storage);
    let state = content(&root.path().join("state"));
    let wrong = rotate_master_key(root.path(), &*master_key(3), &*master_key(2)).unwrap_err();
    assert!(
        matches!(wrong, StorageError::Encryption(EncryptionError::WrongKey { .. })),
        "{wrong}"
    );
    rotate_master_key(root.path(), &*master_key(1), &*master_key(2)).unwrap();
    assert!(state == content(&root.path().join("state")));
    assert!(open(root.path(), Some(master_key(1))).is_err());
    let storage = open(root.path(), Some(master_key(2))).unwrap();
    assert_eq!(get(&storage, "ada").as_deref(), Some("1815"));
    drop(storage);
    let nowhere = root.path().join("nowhere");
    rotate_master_key(&nowhere, &*master_key(1), &*master_key(2)).unwrap_err();
    assert!(!nowhere.exists());
}

/// A vault elsewhere, which can be away, and can lie.
struct Vault {
    away: AtomicBool,
    lies: bool,
}

impl KeyVault for Vault {
    fn key_id(&self) -> String {
        "arn:aws:kms:eu-central-1:1:key/2".to_owned()
    }

    fn wrap(&self, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        Ok(secret.iter().map(|byte| byte ^ 0x5a).collect())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, VaultError> {
        if self.away.load(Ordering::Relaxed) {
            return Err(VaultError("it is sealed".to_owned()));
        }
        let mask = if self.lies { 0x11 } else { 0x5a };
        Ok(zeroize::Zeroizing::new(
            wrapped.iter().map(|byte| byte ^ mask).collect(),
        ))
    }
}

#[test]
fn a_vault_may_keep_the_master_key() {
    let root = tempfile::tempdir().unwrap();
    let vault = Arc::new(Vault {
        away: AtomicBool::new(false),
        lies: false,
    });
    let storage = open(root.path(), Some(vault.clone())).unwrap();
    put(&storage, "ada", "1815");
    drop(storage);
    assert_eq!(
        get(&open(root.path(), Some(vault.clone())).unwrap(), "ada").as_deref(),
        Some("1815")
    );
    vault.away.store(true, Ordering::Relaxed);
    let error = open(root.path(), Some(vault)).map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("it is sealed"), "{error}");

    let liar = Vault {
        away: AtomicBool::new(false),
        lies: true,
    };
    let new = tempfile::tempdir().unwrap();
    let error = open(new.path(), Some(Arc::new(liar))).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("is not what it wrapped"), "{error}");
    assert!(!new.path().join("FORMAT").exists(), "nothing was created with it");
}

fn write(store: &impl OrderedStore, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(*key, *value);
    }
    store.write(&batch, Durability::Synced).unwrap();
}

#[test]
fn swapped_and_damaged_values_are_named() {
    let store = encrypted(MemoryStore::default());
    write(
        &store,
        &[
            (b"\0\0\0\x01a", b"first"),
            (b"\0\0\0\x01b", b"other"),
            (b"\0\0\0\x02a", b"third"),
        ],
    );
    let raw = |key: &[u8]| store.inner().get(key, <[u8]>::to_vec).unwrap().unwrap();
    let (first, other) = (raw(b"\0\0\0\x01a"), raw(b"\0\0\0\x01b"));
    assert_eq!(first.len(), b"first".len() + 43, "what encryption adds");
    let faults = [
        (other, "written for another key"),
        (raw(b"\0\0\0\x02a"), "written for another key"),
        ([&first[..20], &[first[20] ^ 1], &first[21..]].concat(), "damaged"),
        (first[..first.len() - 1].to_vec(), "damaged"),
        (first[..2].to_vec(), "cut short"),
        ([&[1, 0, 9], &first[3..]].concat(), "data key 9 of database 1"),
    ];
    for (value, expected) in faults {
        write(store.inner(), &[(b"\0\0\0\x01a", &value)]);
        let scanned = pliantdb_storage::store::Snapshot::scan(
            &store.snapshot(),
            KeyRange::prefixed(b""),
            Order::Ascending,
        )
        .err();
        for error in [store.get(b"\0\0\0\x01a", |_| ()).err(), scanned] {
            let Some(StoreError::Corrupt(text)) = error else {
                panic!("{expected}: {error:?}")
            };
            assert!(
                text.contains(expected) && text.contains(r"\x00\x00\x00\x01a"),
                "{text}"
            );
        }
    }
    write(store.inner(), &[(b"\0\0\0\x01a", &[&[2], &first[1..]].concat())]);
    assert_eq!(
        store.get(b"\0\0\0\x01a", |_| ()),
        Err(StoreError::NewerRecord {
            kind: "encrypted value",
            found: 2,
            supported: 1
        })
    );
}

const WRAPPED: &[u8] = b"\0\0\0\0\x04\0\0\0\x01\0\x01";

#[test]
fn data_keys_are_damaged_missing_or_out_of_reach_by_name() {
    let key = SecretKey::generate().unwrap();
    let store = EncryptedStore::open(MemoryStore::default(), key.clone()).unwrap();
    write(&store, &[(b"\0\0\0\x01a", b"1")]);
    assert_eq!(store.get(WRAPPED, |_| ()), Ok(None));
    assert!(store.inner().get(WRAPPED, |_| ()).unwrap().is_some());
    assert_eq!(everything(&store).len(), 1);
    let mut batch = Batch::default();
    batch.put(WRAPPED, *b"mine");
    assert!(matches!(
        store.write(&batch, Durability::Synced),
        Err(StoreError::Engine(_))
    ));

    // Removing a range that goes over the keys leaves those of what stays.
    let mut batch = Batch::default();
    batch.delete_range(KeyRange {
        start: vec![],
        end: Some(b"\0\0\0\x01\0".to_vec()),
    });
    store.write(&batch, Durability::Synced).unwrap();
    let memory = store.into_inner();
    let store = EncryptedStore::open(memory, key.clone()).unwrap();
    assert_eq!(everything(&store), [(b"\0\0\0\x01a".to_vec(), b"1".to_vec())]);

    let memory = store.into_inner();
    let other = EncryptedStore::open(memory, SecretKey::generate().unwrap());
    let error = other.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("data key 1 of database 1"), "{error}");
}

#[test]
fn deleting_a_database_destroys_its_key() {
    let key = SecretKey::generate().unwrap();
    let store = EncryptedStore::open(MemoryStore::default(), key.clone()).unwrap();
    write(
        &store,
        &[
            (b"\0\0\0\x01a", b"1"),
            (b"\0\0\0\x02a", b"2"),
            (b"\0\0\0\0\x01", b"meta"),
        ],
    );
    let old_value = store
        .inner()
        .get(b"\0\0\0\x01a", <[u8]>::to_vec)
        .unwrap()
        .unwrap();
    let before = store.snapshot();
    let mut batch = Batch::default();
    batch.delete_range(KeyRange::prefixed(b"\0\0\0\x01"));
    store.write(&batch, Durability::Synced).unwrap();
    assert!(store.inner().get(WRAPPED, |_| ()).unwrap().is_none());
    assert_eq!(everything(&store).len(), 2);
    assert_eq!(
        crate::store::entries(&before, KeyRange::prefixed(b"")).len(),
        3,
        "a snapshot still reads what it holds"
    );
    // What is found of it later, on the disk say, cannot be read, not even when the number is used again.
    write(store.inner(), &[(b"\0\0\0\x01a", &old_value)]);
    assert!(store.get(b"\0\0\0\x01a", |_| ()).is_err());
    write(&store, &[(b"\0\0\0\x01b", b"new")]);
    assert!(store.get(b"\0\0\0\x01a", |_| ()).is_err());
    drop(before);
    let store = EncryptedStore::open(store.into_inner(), key).unwrap();
    assert_eq!(
        store.get(b"\0\0\0\x01b", <[u8]>::to_vec),
        Ok(Some(b"new".to_vec()))
    );
    assert!(store.get(b"\0\0\0\x01a", |_| ()).is_err());
}

#[test]
fn so_does_deleting_it_in_a_storage() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), Some(master_key(1))).unwrap();
    let second = storage
        .create(&"second".parse().unwrap(), SlotCount::default())
        .unwrap();
    let body = Body::parse(b"1".to_vec()).unwrap();
    second.push(&"people".parse().unwrap(), body).unwrap();
    put(&storage, "ada", "1815");
    let data_keys = || {
        let store = rocks(&root.path().join("state"));
        let all = everything(&store);
        let wrapped = all
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| key.starts_with(&WRAPPED[..5]));
        wrapped.collect::<Vec<_>>()
    };
    drop((second, storage));
    assert_eq!(
        data_keys().len(),
        3,
        "of the directory's records and of two databases"
    );
    let storage = open(root.path(), Some(master_key(1))).unwrap();
    storage.delete_database("second").unwrap();
    drop(storage);
    let left = data_keys();
    assert!(left.len() == 2 && left.contains(&WRAPPED.to_vec()), "{left:?}");
    assert_eq!(
        get(&open(root.path(), Some(master_key(1))).unwrap(), "ada").as_deref(),
        Some("1815")
    );
}

/// A store whose next write fails, and is there all the same.
struct Failing {
    store: MemoryStore,
    fails: AtomicBool,
}

impl OrderedStore for Failing {
    type Snapshot<'a> = MemorySnapshot;
    type Kept = MemorySnapshot;

    fn get<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, StoreError> {
        self.store.get(key, read)
    }

    fn snapshot(&self) -> MemorySnapshot {
        self.store.snapshot()
    }

    fn keep(holder: Arc<dyn Holds<Self>>) -> MemorySnapshot {
        holder.held().snapshot()
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<BatchNumber, StoreError> {
        let written = self.store.write(batch, durability)?;
        match self.fails.swap(false, Ordering::Relaxed) {
            true => Err(StoreError::NoSpace("of the test".to_owned())),
            false => Ok(written),
        }
    }

    fn sync(&self) -> Result<BatchNumber, StoreError> {
        self.store.sync()
    }

    fn written(&self) -> BatchNumber {
        self.store.written()
    }

    fn durable(&self) -> BatchNumber {
        self.store.durable()
    }
}

#[test]
fn a_failed_batch_that_comes_back_takes_no_key_away() {
    let key = SecretKey::generate().unwrap();
    let failing = Failing {
        store: MemoryStore::default(),
        fails: AtomicBool::new(true),
    };
    let store = EncryptedStore::open(failing, key.clone()).unwrap();
    let mut first = Batch::default();
    first.put(*b"\0\0\0\x01a", *b"1");
    store.write(&first, Durability::Synced).unwrap_err();
    write(&store, &[(b"\0\0\0\x01b", b"2")]);
    store.inner().fails.store(true, Ordering::Relaxed);
    let mut second = Batch::default();
    second.delete_range(KeyRange::prefixed(b"\0\0\0\x01"));
    store.write(&second, Durability::Synced).unwrap_err();
    write(&store, &[(b"\0\0\0\x01c", b"3")]);
    let store = EncryptedStore::open(store.into_inner(), key).unwrap();
    assert_eq!(everything(&store), [(b"\0\0\0\x01c".to_vec(), b"3".to_vec())]);
}

#[test]
fn a_damaged_file_is_found_by_its_checksum_first() {
    let root = tempfile::tempdir().unwrap();
    let key = SecretKey::generate().unwrap();
    let store = EncryptedStore::open(rocks(root.path()), key.clone()).unwrap();
    for n in 0..200u32 {
        write(&store, &[(&n.to_be_bytes(), &[b'x'; 500])]);
    }
    store.inner().flush().unwrap();
    drop(store);
    let path = largest(root.path(), "sst");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = EncryptedStore::open(rocks(root.path()), key)
        .map(|store| (0..200u32).find_map(|n| store.get(&n.to_be_bytes(), |_| ()).err()))
        .unwrap_or_else(Some);
    assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?}");
}
