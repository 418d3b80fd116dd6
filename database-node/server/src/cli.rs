//! The commands of `pliant-node`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::VERSION;
use crate::config::Inputs;

/// The PliantDB node: a document database in one process, or in a cluster.
#[derive(Debug, Parser)]
#[command(name = "pliant-node", version = VERSION)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the databases of a data directory
    #[command(
        after_help = "A flag wins over its PLIANT_* variable, the variable over the configuration file, and the \
                            file over the default. In the file, a YAML mapping, --max-body-size is called maxBodySize, \
                            and so on."
    )]
    Serve(ServeArgs),
    /// Check a configuration file, with the flags and variables given, and do nothing else
    Check(ServeArgs),
    /// Back the data directory of a node that is not running up to a directory or an object store
    #[command(after_help = TARGETS)]
    Backup(BackupArgs),
    /// Restore a backup into a new data directory
    #[command(after_help = TARGETS)]
    Restore(RestoreArgs),
    /// Write everything in the data directory of a node that is not running as JSON lines
    Dump(DumpArgs),
    /// Check a dump, then store everything in it in a data directory, which is created if it is missing
    Load(LoadArgs),
    /// Read all of the data directory of a node that is not running and report every fault
    #[command(after_help = "Exit code 1 when there is a fault.")]
    CheckData(DataArgs),
    /// Encrypt the key of an encrypted data directory with another master key; the data stays as it is
    RotateMasterKey(RotateArgs),
    /// Print the version
    Version,
}

const TARGETS: &str = "A place for backups is a directory, or a URL such as s3://bucket/path. The variables AWS_ACCESS_KEY_ID, \
                       AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT and so on say how to reach it (AWS_ALLOW_HTTP=true \
                       for one without TLS).";

/// Which data directory.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// The data directory
    #[arg(long, env = "PLIANT_DATA", value_name = "DIR")]
    pub data: PathBuf,

    /// A file with its master key, if it is encrypted; else the variable PLIANT_MASTER_KEY may hold the key
    #[arg(long, env = "PLIANT_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,
}

/// What to back up, and where to.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// What to back up.
    #[command(flatten)]
    pub data: DataArgs,

    /// Where to
    #[arg(long, value_name = "PLACE")]
    pub to: String,
}

/// What to restore, and where to.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// Where the backup is
    #[arg(long, value_name = "PLACE")]
    pub from: String,

    /// Which one [default: the newest]
    #[arg(long, value_name = "NAME")]
    pub backup: Option<String>,

    /// The new data directory; it must not exist, or be empty
    #[arg(
        long,
        env = "PLIANT_DATA",
        value_name = "DIR",
        required_unless_present = "verify"
    )]
    pub data: Option<PathBuf>,

    /// Read and check all of the backup, and restore nothing
    #[arg(long)]
    pub verify: bool,
}

/// What to dump, and where to.
#[derive(Debug, clap::Args)]
pub struct DumpArgs {
    /// What to dump.
    #[command(flatten)]
    pub data: DataArgs,

    /// A new file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// What to load, and where to.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Where to.
    #[command(flatten)]
    pub data: DataArgs,

    /// The dump
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
}

/// Which master key is to take the place of which.
#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// The data directory, with the master key that it has.
    #[command(flatten)]
    pub data: DataArgs,

    /// A file with the new master key
    #[arg(long, value_name = "FILE")]
    pub new_master_key_file: PathBuf,
}

/// The settings of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// A YAML file with settings
    #[arg(long, env = "PLIANT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The settings given as flags and variables.
    #[command(flatten)]
    pub inputs: Inputs,
}
