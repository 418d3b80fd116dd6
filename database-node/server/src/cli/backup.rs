//! Backups of a data directory or a running node, and restoring them.

use std::path::PathBuf;

use pliantdb_core::Error;
use pliantdb_core::protocol::{Ask, BackupSummary, Reply};
use pliantdb_server::backup_place;
use pliantdb_storage::backup;
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::Output;
use super::target::{Target, TargetArgs};

/// What `--help` says of places.
pub(crate) const PLACES: &str = "A place for backups is a directory, or a URL such as s3://bucket/path. The variables \
                                 AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT and so on say how to \
                                 reach it (AWS_ALLOW_HTTP=true for one without TLS). A running node makes the backup \
                                 itself: the place and the variables are the node's, and its setting backupPlaces must \
                                 allow the place.";

/// What to back up, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Where to
    #[arg(long, value_name = "PLACE")]
    to: String,

    #[command(flatten)]
    target: TargetArgs,
}

/// What to restore, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// Where the backup is
    #[arg(long, value_name = "PLACE")]
    from: String,

    /// Which one [default: the newest]
    #[arg(long, value_name = "NAME")]
    backup: Option<String>,

    /// The new data directory; it must not exist, or be empty
    #[arg(
        long,
        env = "PLIANT_DATA",
        value_name = "DIR",
        required_unless_present = "verify"
    )]
    data: Option<PathBuf>,

    /// Read and check all of the backup, and restore nothing
    #[arg(long)]
    verify: bool,
}

/// Backs up a data directory, or has a running node do it.
///
/// # Errors
/// Why it could not be done, in one line; so do all.
pub(crate) fn backup(args: &BackupArgs, out: Output) -> Result<(), Failure> {
    let summary = match &args.target.data {
        Some(_) => {
            // First, so that a wrong place is told at once.
            let place = backup_place::open(&args.to).map_err(anyhow::Error::from)?;
            let target = args.target.open()?;
            let Target::Directory(storage) = &target else {
                return Err(Error::unexpected_answer().into());
            };
            let report = backup::backup(storage, &place).map_err(anyhow::Error::from)?;
            target.close()?;
            backup_place::summary(&report)
        }
        None => {
            // It takes as long as it takes.
            let Target::Server(client) = args.target.open_with(None)? else {
                return Err(Error::unexpected_answer().into());
            };
            match client.ask(Ask::Backup { to: args.to.clone() })? {
                Reply::Backup(summary) => summary,
                _ => return Err(Error::unexpected_answer().into()),
            }
        }
    };
    let BackupSummary {
        id,
        files,
        bytes,
        sent_files,
        sent_bytes,
    } = summary;
    out.result(
        &format!(
            "backup {id}: {files} files of {bytes} bytes, of which {sent_files} of {sent_bytes} bytes were new and sent"
        ),
        &json!({"backup": id, "files": files, "bytes": bytes, "sentFiles": sent_files, "sentBytes": sent_bytes}),
    )
}

/// Restores a backup, or only verifies it.
///
/// # Errors
/// As [`backup`].
pub(crate) fn restore(args: &RestoreArgs, out: Output) -> Result<(), Failure> {
    let failed = |error: backup::BackupError| Failure::new(Kind::Failed, error);
    let (place, id) = (
        backup_place::open(&args.from).map_err(failed)?,
        args.backup.as_deref(),
    );
    let (backup, done) = match &args.data {
        Some(data) if !args.verify => {
            let backup = backup::restore(&place, id, data).map_err(failed)?;
            (backup, format!("was restored to {}", data.display()))
        }
        _ => (backup::verify(&place, id).map_err(failed)?, "is whole".to_owned()),
    };
    let key = match &backup.master_key {
        Some(key) => format!("; it is encrypted with the master key {key}"),
        None => String::new(),
    };
    let (files, bytes) = (backup.files.len(), backup.bytes());
    out.result(
        &format!(
            "backup {} ({files} files of {bytes} bytes) {done}{key}",
            backup.id
        ),
        &json!({
            "backup": backup.id, "files": files, "bytes": bytes,
            "masterKey": backup.master_key.as_ref().map(ToString::to_string),
            "restoredTo": args.data.as_ref().filter(|_| !args.verify),
        }),
    )
}
