//! A disk that is really full.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pliantdb_core::{Body, CollectionName, DatabaseName, DocumentId, Precondition};
use pliantdb_storage::{Database, Error, Storage};

/// A small file system; gone when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// `None` without the right to mount.
    fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            _ => None,
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

fn open(path: &Path) -> (Storage, Database) {
    let storage = Storage::open(path).unwrap();
    let database = storage.get(&DatabaseName::default_database()).unwrap();
    (storage, database)
}

/// With default settings: writes are refused in time, the directory opens again as a crash leaves it, everything
/// acknowledged is there, deletes are taken, and after them writes are.
#[test]
fn starts_deletes_and_recovers() {
    let Some(disk) = Mounted::new("300m") else {
        eprintln!("skipped: a tmpfs cannot be mounted here (that takes root)");
        return;
    };
    let collection: CollectionName = "c".parse().unwrap();
    for megabytes in [10, 1] {
        let data = disk.path().join(megabytes.to_string());
        let id = |n: usize| -> DocumentId { n.to_string().parse().unwrap() };
        // Not compressible: digits of a simple generator.
        let body = |n: usize| {
            let mut text = String::from("\"");
            let mut state = n as u64 + 1;
            while text.len() < megabytes << 20 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(&format!("{:016x}", state ^ (state >> 29)));
            }
            text.push('"');
            Body::parse(text.into_bytes()).unwrap()
        };
        let (storage, database) = open(&data);
        let mut written = 0;
        let error = loop {
            match database.put(&collection, &id(written), body(written), Precondition::None) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::DiskFull(_)), "{error}");
        assert!(written * megabytes > 80, "{written} of {megabytes} MiB");
        // Dropped without a flush, as a crash would.
        drop((storage, database));
        let (storage, database) = open(&data);
        for n in 0..written {
            assert!(
                database.get(&collection, &id(n)).unwrap().unwrap().body == body(n),
                "{n}"
            );
            database.delete(&collection, &id(n), Precondition::None).unwrap();
        }
        let start = Instant::now();
        while let Err(error) = database.put(&collection, &id(0), body(0), Precondition::None) {
            assert!(matches!(error, Error::DiskFull(_)), "{error}");
            assert!(start.elapsed() < Duration::from_secs(30), "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
        drop((storage, database));
        std::fs::remove_dir_all(&data).unwrap();
    }
}
