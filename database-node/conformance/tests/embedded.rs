//! The suite on the embedded storage: blocking, asynchronous, and encrypted.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pliantdb_conformance::{Door, feed, schema};
use pliantdb_core::{Answer, Error};
use pliantdb_storage::encryption::MasterKey;
use pliantdb_storage::{Apis, AsyncStorage, Options, Storage};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

fn options() -> Options {
    Options {
        change_retention: Some(feed::RETENTION),
        apis: Apis::default().with(|_, request: schema::Greet| schema::greet(&request)),
        ..Options::default()
    }
}

/// A storage that blocks.
struct Blocking {
    storage: Option<Storage>,
    directory: TempDir,
}

impl Blocking {
    fn storage_in(path: &Path) -> Storage {
        Storage::open_with(path, options()).unwrap()
    }
}

impl Door for Blocking {
    type Storage = Storage;

    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Some(Self::storage_in(directory.path()));
        Self { storage, directory }
    }

    fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.storage = None;
        self.storage = Some(Self::storage_in(self.directory.path()));
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<Storage, T>) -> Result<T, Error> {
        answer
    }

    fn wait_at<T: Send + 'static>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer
    }
}

/// A storage that blocks, with encrypted values.
struct Encrypted(Blocking);

impl Encrypted {
    fn storage_in(path: &Path) -> Storage {
        let key = path.with_extension("key");
        if !key.exists() {
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create_new(true).mode(0o600).open(&key).unwrap();
            file.write_all("a7".repeat(32).as_bytes()).unwrap();
        }
        let options = Options {
            encryption: Some(Arc::new(MasterKey::from_file(&key).unwrap())),
            ..options()
        };
        Storage::open_with(path, options).unwrap()
    }

    /// The data directory lies beside its key.
    fn path(directory: &TempDir) -> PathBuf {
        directory.path().join("data")
    }
}

impl Door for Encrypted {
    type Storage = Storage;

    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = Some(Self::storage_in(&Self::path(&directory)));
        Self(Blocking { storage, directory })
    }

    fn storage(&self) -> &Storage {
        self.0.storage()
    }

    fn reopen(&mut self) {
        self.0.storage = None;
        self.0.storage = Some(Self::storage_in(&Self::path(&self.0.directory)));
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<Storage, T>) -> Result<T, Error> {
        answer
    }

    fn wait_at<T: Send + 'static>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        answer
    }
}

/// A storage that does not.
struct Asynchronous {
    storage: Option<AsyncStorage>,
    runtime: Runtime,
    directory: TempDir,
}

impl Door for Asynchronous {
    type Storage = AsyncStorage;

    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .unwrap();
        let storage = Some(
            runtime
                .block_on(AsyncStorage::open_with(directory.path(), options()))
                .unwrap(),
        );
        Self {
            storage,
            runtime,
            directory,
        }
    }

    fn storage(&self) -> &AsyncStorage {
        self.storage.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.storage = None;
        let opened = self
            .runtime
            .block_on(AsyncStorage::open_with(self.directory.path(), options()));
        self.storage = Some(opened.unwrap());
    }

    fn wait<T: Send + 'static>(&self, answer: Answer<AsyncStorage, T>) -> Result<T, Error> {
        // On a worker, where everything must be possible without blocking it.
        self.runtime.block_on(self.runtime.spawn(answer)).unwrap()
    }

    fn wait_at<T: Send + 'static>(&self, answer: Answer<AsyncStorage, T>) -> Result<T, Error> {
        self.wait(answer)
    }
}

mod blocking {
    use super::Blocking;

    pliantdb_conformance::conformance!(Blocking);
}

mod encrypted {
    use super::Encrypted;

    pliantdb_conformance::conformance!(Encrypted);
}

mod asynchronous {
    use super::Asynchronous;

    pliantdb_conformance::conformance!(Asynchronous);
}
