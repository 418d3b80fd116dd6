//! Where backups lie.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::manifest::{BackupFile, BackupInfo, hex, is_id};
use super::{BackupError, StorageError};

/// Files from this size on are sent in parts of it. S3 takes none below 5 MiB, and at most 10,000.
const PART: usize = 16 << 20;
/// Parts on their way at once.
const PARTS: usize = 4;
/// More than the description of a backup can have.
const MAX_MANIFEST: u64 = 256 << 20;

/// A directory, or a place in an object store. Its calls block, and it must not be used on a thread of an async runtime.
pub struct BackupTarget {
    location: String,
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for BackupTarget {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "BackupTarget({:?})", self.location)
    }
}

impl Drop for BackupTarget {
    fn drop(&mut self) {
        // Not waiting for it, which panics on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How a stored file differs from the one that was backed up.
pub(super) enum Fault {
    Missing,
    Differs(String),
    Other(BackupError),
}

impl BackupTarget {
    /// The directory `location`, which is created if missing, or the place that a URL such as `s3://bucket/path` names.
    /// `settings` are those of the object store by name, such as `aws_access_key_id` and `aws_endpoint`; names that it
    /// does not know are ignored.
    ///
    /// # Errors
    /// [`BackupError::InvalidTarget`].
    pub fn open(
        location: &str,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BackupError> {
        let invalid = |reason: String| BackupError::InvalidTarget {
            location: location.to_owned(),
            reason,
        };
        let (store, prefix): (Arc<dyn ObjectStore>, _) = if location.contains("://") {
            let url = Url::parse(location).map_err(|error| invalid(error.to_string()))?;
            if !url.username().is_empty() || url.password().is_some() {
                return Err(BackupError::InvalidTarget {
                    location: format!("{}://…", url.scheme()),
                    reason: "credentials do not belong in it, but into variables".to_owned(),
                });
            }
            let (store, prefix) =
                object_store::parse_url_opts(&url, settings).map_err(|error| invalid(error.to_string()))?;
            (Arc::from(store), prefix)
        } else {
            let path = Path::new(location);
            std::fs::create_dir_all(path).map_err(|error| invalid(error.to_string()))?;
            let local = LocalFileSystem::new_with_prefix(path).map_err(|error| invalid(error.to_string()))?;
            (Arc::new(local.with_fsync(true)), ObjectPath::default())
        };
        Self::new(location.to_owned(), store, prefix)
    }

    /// The objects of `store` below `prefix`; `location` is what errors call it.
    ///
    /// # Errors
    /// [`BackupError::InvalidTarget`] when no runtime can be started for it.
    pub fn new(
        location: String,
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
    ) -> Result<Self, BackupError> {
        match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => Ok(Self {
                location,
                store,
                prefix,
                runtime: Some(runtime),
            }),
            Err(error) => Err(BackupError::InvalidTarget {
                location,
                reason: error.to_string(),
            }),
        }
    }

    /// The names of the backups, the oldest first.
    ///
    /// # Errors
    /// [`BackupError::Target`].
    pub fn backups(&self) -> Result<Vec<String>, BackupError> {
        let folder = self.prefix.clone().join("backups");
        let found = self.wait(self.store.list(Some(&folder)).try_collect::<Vec<_>>());
        let objects = found.map_err(|error| self.failed("list", folder.as_ref(), &error))?;
        let ids: BTreeSet<_> = objects
            .iter()
            .filter_map(|object| object.location.filename()?.strip_suffix(".json"))
            .filter(|id| is_id(id))
            .map(str::to_owned)
            .collect();
        Ok(ids.into_iter().collect())
    }

    /// What a backup consists of: `id`, or the newest.
    ///
    /// # Errors
    /// [`BackupError::Unknown`], [`BackupError::None`], [`BackupError::Manifest`], [`BackupError::Newer`] and
    /// [`BackupError::Target`].
    pub fn info(&self, id: Option<&str>) -> Result<BackupInfo, BackupError> {
        let available = self.backups()?;
        let id = match id {
            Some(id) if available.iter().any(|known| known == id) => id.to_owned(),
            Some(id) => {
                return Err(BackupError::Unknown {
                    location: self.location.clone(),
                    id: id.to_owned(),
                    available,
                });
            }
            None => available.into_iter().last().ok_or_else(|| BackupError::None {
                location: self.location.clone(),
            })?,
        };
        let object = self.manifest(&id);
        let read = self.wait(async {
            let found = self.store.get(&object).await?;
            match found.meta.size {
                0..=MAX_MANIFEST => found.bytes().await.map(Ok),
                size => Ok(Err(size)),
            }
        });
        match read.map_err(|error| self.failed("read", object.as_ref(), &error))? {
            Ok(bytes) => BackupInfo::decode(&id, &bytes),
            Err(size) => Err(BackupError::Manifest {
                id,
                reason: format!("has {size} bytes, and cannot have more than {MAX_MANIFEST}"),
            }),
        }
    }

    pub(super) fn write_info(&self, backup: &BackupInfo) -> Result<(), BackupError> {
        let (object, text) = (self.manifest(&backup.id), backup.encode()?);
        let put = self.wait(self.store.put(&object, PutPayload::from(text)));
        put.map_err(|error| self.failed("write", object.as_ref(), &error))?;
        Ok(())
    }

    /// The files that are there, by checksum, with their sizes.
    pub(super) fn files(&self) -> Result<HashMap<String, u64>, BackupError> {
        let folder = self.prefix.clone().join("files");
        let list = self.store.list(Some(&folder));
        let found = self.wait(
            list.map_ok(|object| {
                let name = object.location.filename().unwrap_or_default().to_owned();
                (name, object.size)
            })
            .try_collect(),
        );
        found.map_err(|error| self.failed("list", folder.as_ref(), &error))
    }

    /// Sends the file at `path`, of that size and checksum.
    pub(super) fn send(&self, path: &Path, file: &BackupFile) -> Result<(), BackupError> {
        let object = self.content(file);
        let unreadable = |error: io::Error| StorageError::io("read", path, error);
        let mut reading = File::open(path).map_err(unreadable)?;
        let sent = self.wait(async {
            if file.size < PART as u64 {
                let mut bytes = Vec::new();
                reading.read_to_end(&mut bytes).map_err(unreadable)?;
                let put = self.store.put(&object, PutPayload::from(bytes)).await;
                return Ok(put.map(|_| ()));
            }
            let upload = match self.store.put_multipart(&object).await {
                Ok(upload) => upload,
                Err(error) => return Ok(Err(error)),
            };
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
            let mut part = vec![0; PART];
            loop {
                let read = match reading.read(&mut part) {
                    Ok(read) => read,
                    Err(error) => {
                        // What is left of it there is not an object. The first error counts.
                        let _ = upload.abort().await;
                        return Err(unreadable(error));
                    }
                };
                if read == 0 {
                    return Ok(upload.finish().await.map(|_| ()));
                }
                if let Err(error) = upload.wait_for_capacity(PARTS).await {
                    let _ = upload.abort().await;
                    return Ok(Err(error));
                }
                upload.write(part.get(..read).unwrap_or_default());
            }
        });
        sent?.map_err(|error| self.failed("write", object.as_ref(), &error))
    }

    /// Writes the content of a file to `into`, and checks it.
    pub(super) fn fetch(&self, file: &BackupFile, into: &mut dyn Write, path: &Path) -> Result<(), Fault> {
        let object = self.content(file);
        let failed = |error: object_store::Error| match error {
            object_store::Error::NotFound { .. } => Fault::Missing,
            error => Fault::Other(self.failed("read", object.as_ref(), &error)),
        };
        let (mut hash, mut size) = (Context::new(&SHA256), 0);
        self.wait(async {
            let mut parts = self.store.get(&object).await.map_err(failed)?.into_stream();
            while let Some(part) = parts.next().await {
                let part = part.map_err(failed)?;
                hash.update(&part);
                size += part.len() as u64;
                // No more to the disk than it may be.
                if size <= file.size {
                    let written = into.write_all(&part);
                    written.map_err(|error| Fault::Other(StorageError::io("write", path, error).into()))?;
                }
            }
            Ok(())
        })?;
        let found = hex(hash.finish().as_ref());
        if (size, &found) != (file.size, &file.sha256) {
            return Err(Fault::Differs(format!(
                "has {size} bytes with the checksum {found}, and should have {} with {}",
                file.size, file.sha256
            )));
        }
        Ok(())
    }

    /// The object with the content of a file.
    pub(super) fn content(&self, file: &BackupFile) -> ObjectPath {
        self.prefix.clone().join("files").join(file.sha256.as_str())
    }

    fn manifest(&self, id: &str) -> ObjectPath {
        self.prefix.clone().join("backups").join(format!("{id}.json"))
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.runtime {
            Some(runtime) => runtime.block_on(work),
            None => futures::executor::block_on(work),
        }
    }

    fn failed(&self, action: &'static str, object: &str, error: &object_store::Error) -> BackupError {
        BackupError::Target {
            location: self.location.clone(),
            action,
            object: object.to_owned(),
            reason: reason(error),
        }
    }
}

/// What went wrong down to its cause ("connection refused"), in one line.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text.replace(['\r', '\n'], " ")
}
