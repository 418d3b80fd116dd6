//! What is done with a data directory while no node runs on it. Each function returns what it did in a sentence.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};

use anyhow::{Context, bail};
use pliantdb_server::cli::{BackupArgs, DataArgs, DumpArgs, LoadArgs, RestoreArgs, RotateArgs};
use pliantdb_server::encryption::{VARIABLE, master_key};
use pliantdb_storage::backup::{self, BackupInfo, BackupTarget};
use pliantdb_storage::dump::{self, Totals};
use pliantdb_storage::encryption::MasterKey;
use pliantdb_storage::{Options, Storage, check, encryption as keys};

/// Backs a data directory up.
///
/// # Errors
/// Why it could not be done, in one line; so do all.
pub(crate) fn backup(args: &BackupArgs) -> anyhow::Result<String> {
    // First, so that a wrong place is told at once.
    let target = target(&args.to)?;
    let storage = open(&args.data, true)?;
    let report = backup::backup(&storage, &target)?;
    let BackupInfo { id, files, .. } = &report.backup;
    Ok(format!(
        "backup {id}: {} files of {} bytes, of which {} of {} bytes were new and sent",
        files.len(),
        report.backup.bytes(),
        report.sent_files,
        report.sent_bytes
    ))
}

/// Restores a backup, or only verifies it.
///
/// # Errors
/// As [`backup`].
pub(crate) fn restore(args: &RestoreArgs) -> anyhow::Result<String> {
    let (target, id) = (target(&args.from)?, args.backup.as_deref());
    let (backup, done) = match &args.data {
        Some(data) if !args.verify => {
            let backup = backup::restore(&target, id, data)?;
            (backup, format!("was restored to {}", data.display()))
        }
        _ => (backup::verify(&target, id)?, "is whole".to_owned()),
    };
    let key = match &backup.master_key {
        Some(key) => format!("; it is encrypted with the master key {key}"),
        None => String::new(),
    };
    let (files, bytes) = (backup.files.len(), backup.bytes());
    Ok(format!(
        "backup {} ({files} files of {bytes} bytes) {done}{key}",
        backup.id
    ))
}

/// Dumps a data directory.
///
/// # Errors
/// As [`backup`].
pub(crate) fn dump(args: &DumpArgs) -> anyhow::Result<Totals> {
    let storage = open(&args.data, true)?;
    let Some(path) = &args.to else {
        return Ok(dump::dump(&storage, BufWriter::new(std::io::stdout().lock()))?);
    };
    let naming = || format!("cannot create {}", path.display());
    let file = File::create_new(path).with_context(naming)?;
    let totals = dump::dump(&storage, BufWriter::new(&file))?;
    file.sync_all()
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(totals)
}

/// Loads a dump, after all of it was checked.
///
/// # Errors
/// As [`backup`].
pub(crate) fn load(args: &LoadArgs) -> anyhow::Result<String> {
    let read = || {
        let file = File::open(&args.from).with_context(|| format!("cannot read {}", args.from.display()))?;
        anyhow::Ok(BufReader::with_capacity(1 << 20, file))
    };
    dump::check_dump(read()?)?;
    let storage = open(&args.data, false)?;
    let totals = dump::load(&storage, read()?)?;
    storage.close()?;
    let Totals {
        databases,
        documents,
        values,
    } = totals;
    Ok(format!(
        "loaded {databases} databases with {documents} documents and {values} values of key-value stores"
    ))
}

/// Checks a data directory, and writes what was found to `out`.
///
/// # Errors
/// As [`backup`], and when there is a fault.
pub(crate) fn check_data(args: &DataArgs, mut out: impl Write) -> anyhow::Result<()> {
    let key = master_key(args.master_key_file.as_deref())?;
    let report = check::check(&args.data, key.as_deref())?;
    let mut print = |line: String| writeln!(out, "{line}").context("cannot write to standard output");
    for database in &report.databases {
        print(format!(
            "database {:?}: {} documents, {} values and {} other records of {} bytes can be read",
            database.name, database.documents, database.values, database.others, database.bytes
        ))?;
    }
    for fault in &report.faults {
        print(format!("FAULT: {fault}"))?;
    }
    match report.faults.len() as u64 + report.more_faults {
        0 => print("no fault was found".to_owned()),
        faults => bail!("{} has {faults} faults", args.data.display()),
    }
}

/// Wraps the key of a data directory with another master key.
///
/// # Errors
/// As [`backup`].
pub(crate) fn rotate_master_key(args: &RotateArgs) -> anyhow::Result<String> {
    let data = &args.data;
    let old = master_key(data.master_key_file.as_deref())?;
    let old =
        old.with_context(|| format!("give the master key of now with --master-key-file or {VARIABLE}"))?;
    let new = MasterKey::from_file(&args.new_master_key_file)?;
    keys::rotate_master_key(&data.data, old.as_ref(), &new)?;
    let id = keys::KeyVault::key_id(&new);
    Ok(format!("the master key of {} is now {id}", data.data.display()))
}

fn open(args: &DataArgs, must_exist: bool) -> anyhow::Result<Storage> {
    let options = Options {
        must_exist,
        encryption: master_key(args.master_key_file.as_deref())?,
        ..Options::default()
    };
    Ok(Storage::open_with(&args.data, options)?)
}

/// A place for backups. Only variables of the object stores are handed to them.
fn target(place: &str) -> anyhow::Result<BackupTarget> {
    let settings = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("AWS_"))?;
        Some((name, value.into_string().ok()?))
    });
    Ok(BackupTarget::open(place, settings)?)
}
