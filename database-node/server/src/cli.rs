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
    /// Print the version
    Version,
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
