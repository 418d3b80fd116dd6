//! The commands of `pliant-node`, each concern in its own file.
//!
//! - `target`: where the data is, at a server or in a directory; `password`: asking for one
//! - `output`: text or JSON; `failure`: errors and exit codes
//! - `serve`: the server itself
//! - `shell`: databases by hand; `import` and `export`: JSON lines and CSV
//! - `accounts`: users, roles and API keys; `backup`, `directory`, `certificate`: looking after a node; `cluster`: looking
//!   after a cluster; `manual`: completions and man pages

mod accounts;
mod backup;
mod certificate;
mod cluster;
mod directory;
mod export;
mod failure;
mod import;
mod manual;
mod output;
mod password;
mod serve;
mod shell;
mod target;

use std::env;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use pliantdb_server::config::{LogFormat, LogLevel};
use pliantdb_server::{VERSION, logging};
use serde_json::json;

use failure::{EXIT_CODES, Failure};
use output::{Format, Output};

/// The PliantDB node: a document database in one process, or in a cluster.
#[derive(Debug, Parser)]
#[command(name = "pliant-node", version = VERSION, after_help = EXIT_CODES)]
struct Cli {
    /// How results and errors are written [default: text]
    #[arg(long, global = true, env = "PLIANT_OUTPUT", value_name = "FORMAT")]
    output: Option<Format>,

    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the databases of a data directory
    #[command(
        after_help = "A flag wins over its PLIANT_* variable, the variable over the configuration file, and the \
                            file over the default. In the file, a YAML mapping, --max-body-size is called maxBodySize, \
                            and so on."
    )]
    Serve(serve::ServeArgs),
    /// Check a configuration file, with the flags and variables given, and do nothing else
    Check(serve::ServeArgs),
    /// Work with databases by hand: interactively, or by commands from the command line or standard input
    #[command(after_help = shell::COMMANDS_HELP)]
    Shell(shell::ShellArgs),
    /// Import JSON lines or CSV into a collection
    Import(import::ImportArgs),
    /// Export a collection as JSON lines or CSV
    Export(export::ExportArgs),
    /// Back up a running node, or the data directory of one that is not running, to a directory or an object store
    #[command(after_help = backup::PLACES)]
    Backup(backup::BackupArgs),
    /// Restore a backup into a new data directory
    #[command(after_help = backup::PLACES)]
    Restore(backup::RestoreArgs),
    /// Write everything in the data directory of a node that is not running as JSON lines
    Dump(directory::DumpArgs),
    /// Check a dump, then store everything in it in a data directory, which is created if it is missing
    Load(directory::LoadArgs),
    /// Read all of the data directory of a node that is not running and report every fault
    #[command(after_help = "Exit code 1 when there is a fault.")]
    CheckData(directory::DataArgs),
    /// Encrypt the key of an encrypted data directory with another master key; the data stays as it is
    RotateMasterKey(directory::RotateArgs),
    /// Look after the users of a server
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// Look after the roles of a server
    #[command(subcommand)]
    Role(accounts::RoleCommand),
    /// Look after the API keys of a server
    #[command(subcommand)]
    ApiKey(accounts::ApiKeyCommand),
    /// Show or renew the certificate that a node has made for itself
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Look after a cluster, at any of its nodes
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Print a script that completes commands in a shell
    Completions(manual::CompletionsArgs),
    /// Write man pages
    Man(manual::ManArgs),
    /// Print the version
    Version,
}

/// Does what the arguments say.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let out = Output::new(cli.output.unwrap_or_default());
    match run(cli.command, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            failure.exit_code()
        }
    }
}

fn run(command: Command, out: Output) -> Result<(), Failure> {
    if !matches!(command, Command::Serve(_)) {
        logging::start(LogFormat::Text, LogLevel::Warn);
    }
    match command {
        Command::Serve(args) => serve::serve(args),
        Command::Check(args) => serve::check(args, out),
        Command::Shell(args) => shell::run(args, out),
        Command::Import(args) => import::run(&args, out),
        Command::Export(args) => export::run(&args, out),
        Command::Backup(args) => backup::backup(&args, out),
        Command::Restore(args) => backup::restore(&args, out),
        Command::Dump(args) => Ok(directory::dump(&args)?),
        Command::Load(args) => directory::load(&args, out),
        Command::CheckData(args) => directory::check_data(&args, out),
        Command::RotateMasterKey(args) => directory::rotate_master_key(&args, out),
        Command::User(command) => accounts::user(&command, out),
        Command::Role(command) => accounts::role(&command, out),
        Command::ApiKey(command) => accounts::api_key(&command, out),
        Command::Certificate(command) => certificate::run(&command, out),
        Command::Cluster(command) => cluster::run(&command, out),
        Command::Completions(args) => Ok(manual::completions(&args)?),
        Command::Man(args) => Ok(manual::man(&args)?),
        Command::Version => out.result(&format!("pliant-node {VERSION}"), &json!({"version": VERSION})),
    }
}

/// What clap says: help and the version are no failures.
fn misused(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nothing can be done if standard output is gone.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let message = error.render().to_string();
    let failure = Failure::usage(message.trim_start_matches("error: ").trim_end());
    match wants_json() {
        true => Output::new(Format::Json).failure(&failure),
        false => {
            let _ = error.print();
        }
    }
    failure.exit_code()
}

/// Whether errors are to be JSON although the arguments cannot be read.
fn wants_json() -> bool {
    let arguments: Vec<_> = env::args().collect();
    let asked = arguments
        .windows(2)
        .any(|pair| matches!(pair, [flag, value] if flag == "--output" && value == "json"));
    asked
        || arguments.iter().any(|argument| argument == "--output=json")
        || env::var("PLIANT_OUTPUT").is_ok_and(|value| value == "json")
}
