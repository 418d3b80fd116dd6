//! What is done with a data directory while no node runs on it: dump, load, check, and another master key.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use anyhow::Context;
use pliantdb_server::encryption::{VARIABLE, master_key};
use pliantdb_storage::dump::{self, Totals};
use pliantdb_storage::encryption::MasterKey;
use pliantdb_storage::{Options, Storage, check, encryption as keys};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::Output;

/// Which data directory.
#[derive(Debug, clap::Args)]
pub(crate) struct DataArgs {
    /// The data directory
    #[arg(long, env = "PLIANT_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,

    /// A file with its master key, if it is encrypted; else the variable PLIANT_MASTER_KEY may hold the key
    #[arg(long, env = "PLIANT_MASTER_KEY_FILE", value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

/// What to dump, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    /// What to dump.
    #[command(flatten)]
    data: DataArgs,

    /// A new file [default: standard output]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What to load, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Where to.
    #[command(flatten)]
    data: DataArgs,

    /// The dump
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

/// Which master key is to take the place of which.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateArgs {
    /// The data directory, with the master key that it has.
    #[command(flatten)]
    data: DataArgs,

    /// A file with the new master key
    #[arg(long, value_name = "FILE")]
    new_master_key_file: PathBuf,
}

/// Dumps a data directory.
///
/// # Errors
/// Why it could not be done, in one line; so do all.
pub(crate) fn dump(args: &DumpArgs) -> anyhow::Result<()> {
    let storage = open(&args.data, true)?;
    let Some(path) = &args.to else {
        dump::dump(&storage, BufWriter::new(std::io::stdout().lock()))?;
        return Ok(());
    };
    let naming = || format!("cannot create {}", path.display());
    let file = File::create_new(path).with_context(naming)?;
    dump::dump(&storage, BufWriter::new(&file))?;
    file.sync_all()
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Loads a dump, after all of it was checked.
///
/// # Errors
/// As [`dump`].
pub(crate) fn load(args: &LoadArgs, out: Output) -> Result<(), Failure> {
    let Totals {
        databases,
        documents,
        values,
    } = load_all(args)?;
    out.result(
        &format!(
            "loaded {databases} databases with {documents} documents and {values} values of key-value stores"
        ),
        &json!({"databases": databases, "documents": documents, "values": values}),
    )
}

fn load_all(args: &LoadArgs) -> anyhow::Result<Totals> {
    let read = || {
        let file = File::open(&args.from).with_context(|| format!("cannot read {}", args.from.display()))?;
        anyhow::Ok(BufReader::with_capacity(1 << 20, file))
    };
    dump::check_dump(read()?)?;
    let storage = open(&args.data, false)?;
    let totals = dump::load(&storage, read()?)?;
    storage.close()?;
    Ok(totals)
}

/// Checks a data directory, and prints what was found.
///
/// # Errors
/// As [`dump`], and when there is a fault.
pub(crate) fn check_data(args: &DataArgs, out: Output) -> Result<(), Failure> {
    let check = || {
        anyhow::Ok(check::check(
            &args.data,
            master_key(args.master_key_file.as_deref())?.as_deref(),
        )?)
    };
    let report = check()?;
    for database in &report.databases {
        out.result(
            &format!(
                "database {:?}: {} documents, {} values and {} other records of {} bytes can be read",
                database.name, database.documents, database.values, database.others, database.bytes
            ),
            &json!({
                "database": database.name, "documents": database.documents, "values": database.values,
                "others": database.others, "bytes": database.bytes,
            }),
        )?;
    }
    for fault in &report.faults {
        out.result(&format!("FAULT: {fault}"), &json!({"fault": fault.to_string()}))?;
    }
    match report.faults.len() as u64 + report.more_faults {
        0 => out.result("no fault was found", &json!({"faults": 0})),
        faults => Err(Failure::new(
            Kind::Failed,
            format!("{} has {faults} faults", args.data.display()),
        )),
    }
}

/// Wraps the key of a data directory with another master key.
///
/// # Errors
/// As [`dump`].
pub(crate) fn rotate_master_key(args: &RotateArgs, out: Output) -> Result<(), Failure> {
    let data = &args.data;
    let rotate = || {
        let old = master_key(data.master_key_file.as_deref())?;
        let old =
            old.with_context(|| format!("give the master key of now with --master-key-file or {VARIABLE}"))?;
        let new = MasterKey::from_file(&args.new_master_key_file)?;
        keys::rotate_master_key(&data.data, old.as_ref(), &new)?;
        anyhow::Ok(keys::KeyVault::key_id(&new))
    };
    let id = rotate()?;
    out.result(
        &format!("the master key of {} is now {id}", data.data.display()),
        &json!({"data": data.data, "masterKey": id.to_string()}),
    )
}

fn open(args: &DataArgs, must_exist: bool) -> anyhow::Result<Storage> {
    let options = Options {
        must_exist,
        encryption: master_key(args.master_key_file.as_deref())?,
        ..Options::default()
    };
    Ok(Storage::open_with(&args.data, options)?)
}
