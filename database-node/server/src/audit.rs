//! The audit log: who came, who was not let, and who changed databases, users, roles and API keys. It never has a body or
//! a secret.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pliantdb_core::protocol::{AccountsAsk, Ask};
use pliantdb_core::{DatabaseName, Error};
use serde::Serialize;

use crate::access::Caller;
use crate::backup_place;

/// Why the audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log {} (auditLog): {reason}", .path.display())]
pub struct AuditError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: std::io::Error,
}

/// Where entries go: to the log, as those of the target `audit`, and to a file if there is one.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    file: Option<Mutex<AuditFile>>,
}

#[derive(Debug)]
struct AuditFile {
    path: PathBuf,
    file: File,
    is_failing: bool,
}

/// What came of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It was allowed, and done.
    Allowed,
    /// It was not allowed.
    Denied,
    /// It was allowed, and could not be done.
    Failed,
}

/// Something to remember.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    /// Who.
    pub(crate) caller: &'a str,
    /// From where.
    pub(crate) peer: SocketAddr,
    /// What they did, such as "login".
    pub(crate) action: &'a str,
    /// In which database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<&'a str>,
    /// To what, such as "user ada", or what permission they lack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<&'a str>,
    /// What came of it.
    pub(crate) result: Verdict,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<&'a str>,
}

/// What an ask changes that is to be remembered.
pub(crate) struct Change {
    action: &'static str,
    database: Option<DatabaseName>,
    resource: Option<String>,
}

impl Change {
    /// What it changes of databases, users, roles and API keys, or takes out of the server; `None` when nothing.
    pub(crate) fn of(ask: &Ask) -> Option<Self> {
        let database = |action, name: &DatabaseName| Self {
            action,
            database: Some(name.clone()),
            resource: None,
        };
        let account = |action, resource: String| Self {
            action,
            database: None,
            resource: Some(resource),
        };
        Some(match ask {
            Ask::CreateDatabase { name, .. } => database("create database", name),
            Ask::OpenDatabase {
                name,
                schema: Some(_),
            } => database("define schema", name),
            Ask::DeleteDatabase { name } => database("delete database", name),
            Ask::Accounts(ask) => match ask {
                AccountsAsk::LogOut => account("logout", "session".to_owned()),
                AccountsAsk::ChangePassword { .. } => account("change password", "own".to_owned()),
                AccountsAsk::SetUser { name, .. } => account("set user", format!("user {name}")),
                AccountsAsk::DeleteUser { name } => account("delete user", format!("user {name}")),
                AccountsAsk::SetRole { name, .. } => account("set role", format!("role {name}")),
                AccountsAsk::DeleteRole { name } => account("delete role", format!("role {name}")),
                AccountsAsk::CreateApiKey { name, .. } => account("create key", format!("key {name}")),
                AccountsAsk::DeleteApiKey { name } => account("delete key", format!("key {name}")),
                AccountsAsk::WhoAmI | AccountsAsk::Users | AccountsAsk::Roles | AccountsAsk::ApiKeys => {
                    return None;
                }
            },
            Ask::Backup { to } => account("backup", backup_place::shown(to)),
            Ask::Databases
            | Ask::Nodes { .. }
            | Ask::OpenDatabase { schema: None, .. }
            | Ask::Request { .. }
            | Ask::RequestAt { .. }
            | Ask::Subscribe { .. }
            | Ask::Snapshot { .. } => return None,
        })
    }

    /// Remembers it.
    pub(crate) fn record(&self, caller: &Caller, failed: Option<&Error>) {
        let database = self.database.as_ref().map(DatabaseName::as_str);
        caller.record(self.action, database, self.resource.as_deref(), failed);
    }
}

/// An entry with its time.
#[derive(Serialize)]
struct Line<'a> {
    time: jiff::Timestamp,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

impl Audit {
    /// Opens the file, or makes it, for its owner only.
    ///
    /// # Errors
    /// [`AuditError`].
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let open = |path: &Path| {
            let file = append(path).map_err(|reason| AuditError {
                path: path.to_owned(),
                reason,
            })?;
            Ok(Mutex::new(AuditFile {
                path: path.to_owned(),
                file,
                is_failing: false,
            }))
        };
        Ok(Self {
            file: path.map(open).transpose()?,
        })
    }

    /// Whether there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Opens the file anew, wherever the one before has gone.
    pub(crate) fn reopen(&self) {
        if let Some(file) = &self.file {
            lock(file).reopen();
        }
    }

    /// Takes an entry.
    pub(crate) fn record(&self, entry: &Entry<'_>) {
        let Entry {
            caller,
            peer,
            action,
            database,
            resource,
            result,
            reason,
        } = entry;
        tracing::info!(target: "audit", caller, %peer, action, database, resource, ?result, reason);
        let Some(file) = &self.file else { return };
        let line = Line {
            time: jiff::Timestamp::now(),
            entry,
        };
        match serde_json::to_vec(&line) {
            Ok(mut line) => {
                line.push(b'\n');
                lock(file).write(&line);
            }
            Err(error) => tracing::error!(%error, "an entry of the audit log cannot be written"),
        }
    }
}

impl AuditFile {
    /// One write for each line, so that none is torn.
    fn write(&mut self, line: &[u8]) {
        if !self.is_in_place() {
            self.reopen();
        }
        let written = self.file.write_all(line);
        if let Err(error) = &written
            && !self.is_failing
        {
            tracing::error!(%error, path = %self.path.display(), "the audit log cannot be written");
        }
        self.is_failing = written.is_err();
    }

    /// Whether the path still leads to the file.
    fn is_in_place(&self) -> bool {
        let id =
            |found: std::io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
        id(std::fs::metadata(&self.path)) == id(self.file.metadata())
    }

    fn reopen(&mut self) {
        match append(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "the audit log cannot be opened anew; the file before is written on");
            }
        }
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn lock(file: &Mutex<AuditFile>) -> MutexGuard<'_, AuditFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str) -> Entry<'_> {
        Entry {
            caller: "ada",
            peer: ([127, 0, 0, 1], 7).into(),
            action,
            database: Some("shop"),
            resource: None,
            result: Verdict::Denied,
            reason: None,
        }
    }

    #[test]
    fn lines_go_where_the_path_leads() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let audit = Audit::open(Some(&path)).unwrap();
        audit.record(&entry("login"));
        std::fs::rename(&path, &old).unwrap();
        audit.record(&entry("logout"));
        audit.reopen();
        audit.record(&entry("again"));
        let lines = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect::<Vec<serde_json::Value>>()
        };
        let (before, after) = (lines(&old), lines(&path));
        assert_eq!((before.len(), after.len()), (1, 2));
        assert_eq!(
            (&before[0]["action"], &before[0]["result"]),
            (&"login".into(), &"denied".into())
        );
        assert_eq!(before[0]["peer"], "127.0.0.1:7");
        assert!(before[0]["time"].as_str().unwrap().ends_with('Z') && before[0].get("reason").is_none());
        let refused = Audit::open(Some(folder.path())).unwrap_err().to_string();
        assert!(refused.contains("auditLog"), "{refused}");
    }
}
