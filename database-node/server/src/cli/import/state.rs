//! How far an import has come, kept from one attempt to the next, and the file of rejected records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::cli::failure::Failure;

/// What an import is about, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    pub(super) source: String,
    pub(super) database: String,
    pub(super) collection: String,
    /// Everything before this byte is done.
    pub(super) offset: u64,
    /// The SHA-256 of that, to know the file by.
    pub(super) digest: String,
    pub(super) imported: u64,
    pub(super) skipped: u64,
    pub(super) rejected: u64,
    /// How long the file of rejected records was then.
    pub(super) rejects_length: u64,
}

/// Where a [`State`] is kept.
pub(super) struct StateFile(Option<PathBuf>);

impl StateFile {
    /// Takes up an import where it was left, if it was begun.
    ///
    /// # Errors
    /// When the file cannot be read, or is of another import.
    pub(super) fn open(path: Option<PathBuf>, state: &mut State) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self(None)) };
        match fs::read(&path) {
            Ok(bytes) => {
                let found: State = serde_json::from_slice(&bytes).map_err(|error| {
                    Failure::usage(format!(
                        "{} does not hold how far an import has come: {error}",
                        path.display()
                    ))
                })?;
                let is_same = (&found.source, &found.database, &found.collection)
                    == (&state.source, &state.database, &state.collection);
                if !is_same {
                    return Err(Failure::usage(format!(
                        "{} is of another import: that of {} into {} of the database {}; remove it, or name another file",
                        path.display(),
                        found.source,
                        found.collection,
                        found.database
                    )));
                }
                *state = found;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
        }
        Ok(Self(Some(path)))
    }

    /// Keeps how far the import has come. It is there whole, or as it was before.
    ///
    /// # Errors
    /// What writing says.
    pub(super) fn save(&self, state: &State) -> anyhow::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        let mut whole = path.clone().into_os_string();
        whole.push(".new");
        let write = || {
            let mut file = File::create(&whole)?;
            serde_json::to_writer(&mut file, state)?;
            file.sync_all()?;
            fs::rename(&whole, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The file of rejected records.
pub(super) struct Rejects {
    file: Option<(File, PathBuf)>,
    length: u64,
}

/// A record that was rejected.
#[derive(Serialize)]
pub(super) struct Reject<'r> {
    pub(super) line: u64,
    pub(super) offset: u64,
    pub(super) reason: &'r str,
    pub(super) text: &'r str,
}

impl Rejects {
    /// Opens the file. What an earlier attempt wrote behind `length` is written anew, so it goes.
    ///
    /// # Errors
    /// What opening says.
    pub(super) fn open(path: Option<&Path>, length: u64) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self {
                file: None,
                length: 0,
            });
        };
        let open = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let length = length.min(file.metadata()?.len());
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))?;
            io::Result::Ok((file, length))
        };
        let (file, length) = open().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            file: Some((file, path.to_owned())),
            length,
        })
    }

    /// Adds a record; whether there is a file to add it to.
    ///
    /// # Errors
    /// What writing says.
    pub(super) fn add(&mut self, reject: &Reject<'_>) -> anyhow::Result<bool> {
        let Some((file, path)) = &mut self.file else {
            return Ok(false);
        };
        let mut line = serde_json::to_vec(reject)?;
        line.push(b'\n');
        file.write_all(&line)
            .with_context(|| format!("cannot write {}", path.display()))?;
        self.length += line.len() as u64;
        Ok(true)
    }

    /// How long the file is, which is on disk then.
    ///
    /// # Errors
    /// What syncing says.
    pub(super) fn sync(&self) -> anyhow::Result<u64> {
        if let Some((file, path)) = &self.file {
            file.sync_data()
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(self.length)
    }
}
