//! Completion of what is typed.

use std::collections::BTreeSet;

use pliantdb_core::Request;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::commands::{self, COMMANDS, First, KEY_COMMANDS};
use super::line::{self, Line};

/// What names there are, as far as somebody has come across them.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) databases: BTreeSet<String>,
    pub(super) collections: BTreeSet<String>,
}

impl Known {
    /// Remembers what a line names.
    pub(super) fn learn(&mut self, line: &Line) {
        match line {
            Line::Use(name) | Line::Create(name) => {
                self.databases.insert(name.as_str().to_owned());
            }
            Line::Drop { name, .. } => {
                self.databases.remove(name.as_str());
            }
            Line::Ask(Request::Transact(changes)) => {
                let names = changes.iter().map(|change| change.collection.as_str().to_owned());
                self.collections.extend(names);
            }
            Line::Ask(
                Request::Get { collection, .. }
                | Request::List { collection, .. }
                | Request::Count { collection, .. },
            ) => {
                self.collections.insert(collection.as_str().to_owned());
            }
            Line::Ask(
                Request::Query { query, .. } | Request::Reduce(query) | Request::ReduceGrouped(query),
            ) => {
                self.collections.insert(query.collection.as_str().to_owned());
            }
            _ => {}
        }
    }

    /// Remembers what the lines of a history name.
    pub(super) fn learn_history<'h>(&mut self, lines: impl Iterator<Item = &'h String>) {
        for text in lines {
            if let Ok(Some(line)) = line::read(text) {
                self.learn(&line);
            }
        }
    }

    /// Where the word begins that is being typed, and what it can become.
    fn complete(&self, typed: &str) -> (usize, Vec<String>) {
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (before, word) = typed.split_at_checked(start).unwrap_or((typed, ""));
        let mut words = before.split_whitespace();
        let command = words.next();
        let candidates: Vec<&str> = match command.map(commands::find) {
            None => COMMANDS.iter().map(|command| command.name).collect(),
            Some(None) => Vec::new(),
            Some(Some(command)) if word.starts_with('-') => {
                command.options.iter().map(|option| option.name).collect()
            }
            Some(Some(_)) if words.any(|word| !word.starts_with('-')) => Vec::new(),
            Some(Some(command)) => match command.first {
                First::Other => Vec::new(),
                First::Database => self.databases.iter().map(String::as_str).collect(),
                First::Collection => self.collections.iter().map(String::as_str).collect(),
                First::Command => COMMANDS.iter().map(|command| command.name).collect(),
                First::KeyCommand => KEY_COMMANDS.to_vec(),
            },
        };
        let fitting = candidates
            .into_iter()
            .filter(|candidate| candidate.starts_with(word));
        (start, fitting.map(|candidate| format!("{candidate} ")).collect())
    }
}

impl Completer for Known {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> Result<(usize, Vec<String>), ReadlineError> {
        Ok(self.complete(line.get(..pos).unwrap_or(line)))
    }
}

impl Hinter for Known {
    type Hint = String;
}

impl Highlighter for Known {}
impl Validator for Known {}
impl Helper for Known {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_what_is_known() {
        let mut known = Known::default();
        let history = ["use shop", "get users 42", "nonsense", "view orders by-day"].map(str::to_owned);
        known.learn_history(history.iter());
        for (typed, start, expected) in [
            ("da", 0, &["databases "][..]),
            ("use ", 4, &["shop "]),
            ("list u", 5, &["users "]),
            ("list ", 5, &["orders ", "users "]),
            ("list users --l", 11, &["--limit "]),
            ("get users 4", 10, &[]),
            ("kv s", 3, &["set "]),
            ("help su", 5, &["subscribe "]),
            ("frob x", 5, &[]),
        ] {
            assert_eq!(
                known.complete(typed),
                (start, expected.iter().map(|it| it.to_string()).collect()),
                "{typed}"
            );
        }
    }
}
