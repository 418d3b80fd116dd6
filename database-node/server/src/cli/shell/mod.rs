//! The shell: databases by hand, line by line. It has commands, and no query language.

mod answers;
mod commands;
mod complete;
mod line;
mod session;
mod words;

use std::env;
use std::fs;
use std::io::{BufRead, IsTerminal, stdin};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::failure::Failure;
use super::output::Output;
use super::target::TargetArgs;
use complete::Known;
use session::{After, Session};

/// What is to be done, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct ShellArgs {
    /// A command; may be given several times [default: those from standard input, or as they are typed on a terminal]
    #[arg(short, long = "command", value_name = "COMMAND")]
    commands: Vec<String>,

    /// Go on after a command that failed
    #[arg(long)]
    keep_going: bool,

    /// The database
    #[arg(long, env = "PLIANT_DATABASE", value_name = "NAME", default_value = "default")]
    database: String,

    #[command(flatten)]
    target: TargetArgs,
}

/// What `--help` says more.
pub(crate) const COMMANDS_HELP: &str = "Commands: help lists them, as in: pliant-node shell -c help";

/// Carries commands out.
///
/// # Errors
/// Why the first that failed did.
pub(crate) fn run(args: ShellArgs, out: Output) -> Result<(), Failure> {
    let is_interactive = args.commands.is_empty() && stdin().is_terminal();
    let target = args.target.open()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut session = Session::new(
        target,
        args.database,
        out,
        is_interactive,
        Arc::clone(&interrupted),
    );
    let done = if is_interactive {
        follow_interrupts(interrupted)?;
        talk(&mut session, out)
    } else if args.commands.is_empty() {
        let read = |line: Result<String, std::io::Error>| Ok(line.context("cannot read standard input")?);
        script(
            &mut session,
            stdin().lock().lines().map(read),
            args.keep_going,
            out,
            "line ",
        )
    } else {
        script(
            &mut session,
            args.commands.into_iter().map(Ok),
            args.keep_going,
            out,
            "command ",
        )
    };
    done.and(session.close())
}

/// Carries lines out until one fails, or all of them.
fn script(
    session: &mut Session,
    lines: impl Iterator<Item = Result<String, Failure>>,
    keep_going: bool,
    out: Output,
    what: &str,
) -> Result<(), Failure> {
    let mut first_failure = None;
    for (number, text) in (1..).zip(lines) {
        match carry_out(session, &text?) {
            Ok(After::GoOn) => {}
            Ok(After::Quit) => break,
            Err(failure) if keep_going => {
                let failure = failure.within(format!("{what}{number}"));
                out.failure(&failure);
                first_failure.get_or_insert(failure.kind);
            }
            Err(failure) => return Err(failure.within(format!("{what}{number}"))),
        }
    }
    match first_failure {
        None => Ok(()),
        Some(kind) => Err(Failure::new(kind, "not all commands could be carried out")),
    }
}

fn carry_out(session: &mut Session, text: &str) -> Result<After, Failure> {
    match line::read(text)? {
        Some(line) => session.carry_out(line),
        None => Ok(After::GoOn),
    }
}

/// Carries out what somebody types, until they leave.
fn talk(session: &mut Session, out: Output) -> Result<(), Failure> {
    let cannot = |error: ReadlineError| anyhow::Error::from(error).context("cannot use the terminal");
    let config = Config::builder().history_ignore_space(true).build();
    let mut editor = Editor::<Known, FileHistory>::with_config(config).map_err(cannot)?;
    let history = history_file();
    if let Some(path) = &history {
        // There is none the first time.
        let _ = editor.load_history(path);
    }
    session.known.learn_history(editor.history().iter());
    out.note("help lists the commands; Ctrl-D leaves");
    loop {
        editor.set_helper(Some(session.known.clone()));
        match editor.readline(&format!("{}> ", session.name())) {
            Ok(text) => {
                if !text.trim().is_empty() {
                    let _ = editor.add_history_entry(&text);
                }
                match carry_out(session, &text) {
                    Ok(After::GoOn) => {}
                    Ok(After::Quit) => break,
                    Err(failure) => out.failure(&failure),
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(cannot(error).into()),
        }
    }
    if let Some(path) = &history
        && let Err(error) = editor.save_history(path)
    {
        out.note(&format!(
            "the history could not be kept in {}: {error}",
            path.display()
        ));
    }
    Ok(())
}

/// Where lines are kept from one time to the next; `None` when there is no home for them.
fn history_file() -> Option<PathBuf> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    let folder = state.join("pliantdb");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

/// Has Ctrl-C end what is being done, instead of the program.
fn follow_interrupts(interrupted: Arc<AtomicBool>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot follow Ctrl-C")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                interrupted.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}
