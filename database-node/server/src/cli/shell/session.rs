//! Carrying lines out, one after the other.

use std::io::{BufRead, Write, stderr, stdin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pliantdb_core::{
    Connection, DatabaseName, Error, FeedStart, KeyListing, Listing, Query, Request, Response,
    StorageConnection, Subscriber, TopicPattern,
};
use serde_json::json;

use super::answers;
use super::commands::{COMMANDS, Command, Value};
use super::complete::Known;
use super::line::Line;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Row};
use crate::cli::target::{Target, TargetDatabase, execute};

/// How often is looked whether somebody wants it to end.
const LOOK: Duration = Duration::from_millis(20);

/// How long a feed waits for changes before it is looked whether somebody wants it to end.
const WAIT: Duration = Duration::from_millis(500);

/// What lines are carried out with.
pub(super) struct Session {
    target: Target,
    /// The database's name, and itself as soon as it was needed.
    name: String,
    database: Option<TargetDatabase>,
    out: Output,
    /// Whether somebody can be asked.
    is_interactive: bool,
    /// Set by Ctrl-C.
    interrupted: Arc<AtomicBool>,
    pub(super) known: Known,
}

/// What to do after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    Quit,
}

impl Session {
    pub(super) fn new(
        target: Target,
        name: String,
        out: Output,
        is_interactive: bool,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            target,
            name,
            database: None,
            out,
            is_interactive,
            interrupted,
            known: Known::default(),
        }
    }

    /// The name of the database that is worked with.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn close(self) -> Result<(), Failure> {
        drop(self.database);
        self.target.close()
    }

    fn database(&mut self) -> Result<TargetDatabase, Failure> {
        if let Some(database) = &self.database {
            return Ok(database.clone());
        }
        let database = self.target.open_database(&self.name)?;
        self.database = Some(database.clone());
        Ok(database)
    }

    /// Does what a line asks for.
    ///
    /// # Errors
    /// Why it could not be done.
    pub(super) fn carry_out(&mut self, line: Line) -> Result<After, Failure> {
        self.interrupted.store(false, Ordering::Relaxed);
        match &line {
            Line::Quit => return Ok(After::Quit),
            Line::Help(command) => help(*command, self.out)?,
            Line::Use(name) => {
                self.database = Some(self.target.open_database(name.as_str())?);
                name.as_str().clone_into(&mut self.name);
            }
            Line::Databases => self.databases()?,
            Line::Create(name) => {
                self.target.create_database::<()>(name.as_str())?;
                let text = format!("created the database {name}");
                self.out
                    .result(&text, &json!({"done": "created", "database": name.as_str()}))?;
            }
            Line::Drop { name, is_sure } => self.delete_database(name, *is_sure)?,
            Line::Ask(request) => self.ask(request)?,
            Line::Subscribe { patterns, count } => self.subscribe(patterns, *count)?,
            Line::Changes { from, limit, follow } => self.changes(from.clone(), *limit, *follow)?,
        }
        self.known.learn(&line);
        Ok(After::GoOn)
    }

    fn databases(&mut self) -> Result<(), Failure> {
        let names = self.target.databases()?;
        self.known.databases = names.iter().map(|name| name.as_str().to_owned()).collect();
        let rows = names
            .iter()
            .map(|name| Row::new([name.as_str().to_owned()], &json!({"database": name.as_str()})));
        self.out.rows(["DATABASE"], rows.collect::<Result<Vec<_>, _>>()?)
    }

    fn delete_database(&mut self, name: &DatabaseName, is_sure: bool) -> Result<(), Failure> {
        let is_sure = is_sure
            || match self.is_interactive {
                true => confirm(name)?,
                false => {
                    return Err(Failure::usage(format!(
                        "drop {name} deletes everything in the database; add --yes if that is meant"
                    )));
                }
            };
        if !is_sure {
            return self
                .out
                .result("nothing was deleted", &json!({"done": "nothing"}));
        }
        self.target.delete_database(name.as_str())?;
        if self.name == name.as_str() {
            self.database = None;
        }
        self.out.result(
            &format!("deleted the database {name}"),
            &json!({"done": "deleted", "database": name.as_str()}),
        )
    }

    fn ask(&mut self, request: &Request) -> Result<(), Failure> {
        let (database, out) = (self.database()?, self.out);
        match request {
            Request::List { collection, listing } => {
                let pages = |listing: Listing| {
                    let collection = collection.clone();
                    match execute(&database, Request::List { collection, listing })? {
                        Response::Page(page) => Ok(page),
                        _ => Err(Error::unexpected_answer()),
                    }
                };
                self.list(listing.clone(), pages)
            }
            Request::ListKeys { namespace, listing } => {
                let mut listing: KeyListing = listing.clone();
                loop {
                    let (namespace, asked) = (namespace.clone(), listing.clone());
                    let request = Request::ListKeys {
                        namespace,
                        listing: asked,
                    };
                    let Response::Keys(page) = execute(&database, request)? else {
                        return Err(Error::unexpected_answer().into());
                    };
                    answers::keys(&page, out)?;
                    listing.limit = listing.limit.saturating_sub(page.keys.len());
                    match page.next {
                        Some(next) if listing.limit == 0 => {
                            out.note(&format!(
                                "there are more; add --after {:?} or a larger --limit",
                                next.as_str()
                            ));
                            return Ok(());
                        }
                        Some(next) if !self.is_interrupted() => listing.after = Some(next),
                        _ => return Ok(()),
                    }
                }
            }
            Request::Query {
                query,
                with_documents,
            } => self.query(&database, query.clone(), *with_documents),
            request => answers::print(request, &execute(&database, request.clone())?, out),
        }
    }

    fn list(
        &self,
        mut listing: Listing,
        page: impl Fn(Listing) -> Result<pliantdb_core::Page, Error>,
    ) -> Result<(), Failure> {
        loop {
            let found = page(listing.clone())?;
            answers::documents(&found.documents, self.out)?;
            listing.limit = listing.limit.saturating_sub(found.documents.len());
            match found.next {
                Some(next) if listing.limit == 0 => {
                    self.out.note(&format!(
                        "there are more; add --after {:?} or a larger --limit",
                        next.as_str()
                    ));
                    return Ok(());
                }
                Some(next) if !self.is_interrupted() => listing.after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    fn query(
        &self,
        database: &TargetDatabase,
        mut query: Query,
        with_documents: bool,
    ) -> Result<(), Failure> {
        loop {
            let asked = query.clone();
            let request = Request::Query {
                query: asked,
                with_documents,
            };
            let Response::Rows(rows) = execute(database, request)? else {
                return Err(Error::unexpected_answer().into());
            };
            answers::entries(&rows, self.out)?;
            query.limit = query.limit.map(|limit| limit.saturating_sub(rows.len()));
            match rows.next {
                Some(_) if query.limit == Some(0) => {
                    self.out
                        .note("there are more; narrow the keys or add a larger --limit");
                    return Ok(());
                }
                Some(next) if !self.is_interrupted() => query.after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn subscribe(&mut self, patterns: &[TopicPattern], count: Option<u64>) -> Result<(), Failure> {
        let subscription = self.database()?.subscribe_to(Ok(patterns.to_vec()))?;
        self.out.note("subscribed");
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 && !self.is_interrupted() {
            match subscription.try_receive() {
                Ok(Some(message)) => {
                    answers::message(&message, self.out)?;
                    left -= 1;
                }
                Ok(None) => std::thread::sleep(LOOK),
                Err(error @ Error::Lagged(_)) => self.out.note(&error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn changes(&mut self, mut from: FeedStart, limit: usize, follow: bool) -> Result<(), Failure> {
        let database = self.database()?;
        let mut left = limit;
        loop {
            let wait = if follow { WAIT } else { Duration::ZERO };
            let page = database.changes(from, if follow { limit } else { left }, wait)?;
            answers::changes(&page, self.out)?;
            left = left.saturating_sub(page.transactions.len());
            let is_over = match follow {
                true => self.is_interrupted(),
                false => page.transactions.is_empty() || left == 0,
            };
            if is_over {
                self.out
                    .note(&format!("go on with: changes --from {}", page.next));
                return Ok(());
            }
            from = FeedStart::After(page.next);
        }
    }
}

/// Whether somebody says the name of the database that is to go.
fn confirm(name: &DatabaseName) -> Result<bool, Failure> {
    let ask = || {
        write!(
            stderr(),
            "This deletes everything in the database. Its name, to be sure: "
        )?;
        let mut line = String::new();
        stdin().lock().read_line(&mut line)?;
        Ok(line)
    };
    let said =
        ask().map_err(|error: std::io::Error| Failure::usage(format!("nobody can be asked: {error}")))?;
    Ok(said.trim() == name.as_str())
}

fn help(command: Option<&Command>, out: Output) -> Result<(), Failure> {
    let Some(command) = command else {
        let rows = COMMANDS.iter().map(|command| {
            let usage = format!("{} {}", command.name, command.arguments);
            let json = json!({"command": command.name, "usage": command.usage(), "about": command.about});
            Row::new([usage.trim_end().to_owned(), command.about.to_owned()], &json)
        });
        out.rows(["COMMAND", ""], rows.collect::<Result<Vec<_>, _>>()?)?;
        if !out.is_json() {
            out.note("A word with blanks in it is quoted; JSON goes to the end of the line; help COMMAND tells more.");
        }
        return Ok(());
    };
    let mut text = format!("{}\n  {}", command.usage(), command.about);
    for option in command.options {
        let name = match option.value {
            Value::None => option.name.to_owned(),
            Value::Word(value) | Value::Json(value) => format!("{} {value}", option.name),
        };
        text.push_str(&format!("\n  {name:<22} {}", option.about));
    }
    text.push_str(&format!("\n  example: {}", command.example));
    out.result(
        &text,
        &json!({"command": command.name, "usage": command.usage(), "about": command.about, "example": command.example}),
    )
}
