//! Completions for shells, and man pages.

use std::fs;
use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// For which shell.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Where man pages go.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// A directory, which is created if it is missing, for a page for each command [default: the page of pliant-node, to
    /// standard output]
    #[arg(value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Prints what a shell needs to complete commands.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<()> {
    // Into memory: what writes it panics when it cannot.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pliant-node", &mut script);
    stdout()
        .write_all(&script)
        .context("cannot write to standard output")
}

/// Writes man pages.
///
/// # Errors
/// What cannot be written.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<()> {
    if let Some(folder) = &args.to {
        return fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
            .with_context(|| format!("cannot write man pages to {}", folder.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .context("cannot write the page")?;
    stdout()
        .write_all(&page)
        .context("cannot write to standard output")
}
