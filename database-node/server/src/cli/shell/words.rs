//! The words of a line.

use std::time::Duration;

use jiff::SignedDuration;
use pliantdb_core::{Body, key_json, shorten};
use serde_json::value::RawValue;

use super::commands::{Command, Value};
use crate::cli::failure::Failure;

/// What is left of a line behind the command's name.
///
/// Words stand apart by white space. One with white space in it is quoted: `'…'` as it is, or `"…"` as a JSON text. What
/// begins with `--` is an option, and may stand anywhere but behind JSON, which goes to the end of the line.
pub(super) struct Words<'l> {
    command: &'static Command,
    rest: &'l str,
    options: Vec<(&'static str, String)>,
}

impl<'l> Words<'l> {
    pub(super) fn new(command: &'static Command, rest: &'l str) -> Self {
        Self {
            command,
            rest,
            options: Vec::new(),
        }
    }

    /// What is wrong, and what would be right.
    pub(super) fn wrong(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("{reason}; usage: {}", self.command.usage()))
    }

    /// The next word, which must be there.
    pub(super) fn word(&mut self, name: &str) -> Result<String, Failure> {
        match self.next()? {
            Some(word) => Ok(word),
            None => Err(self.wrong(format!("{name} is missing"))),
        }
    }

    /// The next word as something that has a form.
    pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
    ) -> Result<T, Failure> {
        self.word(name)?.parse().map_err(|error| self.wrong(error))
    }

    /// The next word, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<String>, Failure> {
        self.take_options()?;
        match take_word(&mut self.rest) {
            Ok(word) => Ok(word),
            Err(reason) => Err(self.wrong(reason)),
        }
    }

    /// All that is left, as JSON.
    pub(super) fn json(&mut self, name: &str) -> Result<Body, Failure> {
        self.take_options()?;
        match std::mem::take(&mut self.rest) {
            "" => Err(self.wrong(format!("{name} is missing"))),
            json => Body::try_from(json.to_owned()).map_err(|error| self.wrong(format!("{name}: {error}"))),
        }
    }

    /// All that is left, as keys of a view.
    pub(super) fn keys(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let mut keys = Vec::new();
        loop {
            self.take_options()?;
            if self.rest.is_empty() {
                return Ok(keys);
            }
            let json = take_json(&mut self.rest).map_err(|reason| self.wrong(reason))?;
            keys.push(self.key(json)?);
        }
    }

    fn key(&self, json: &str) -> Result<Vec<u8>, Failure> {
        key_json::read(json).map_err(|error| self.wrong(error))
    }

    /// Whether an option was given.
    pub(super) fn has(&self, option: &str) -> bool {
        self.value(option).is_some()
    }

    /// What an option was given.
    pub(super) fn value(&self, option: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|(name, _)| *name == option);
        found.map(|(_, value)| value.as_str())
    }

    /// What an option was given, as something that has a form.
    pub(super) fn value_as<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        option: &str,
    ) -> Result<Option<T>, Failure> {
        let Some(value) = self.value(option) else {
            return Ok(None);
        };
        let parsed = value
            .parse()
            .map_err(|error| self.wrong(format!("{option} {}: {error}", shorten(value))))?;
        Ok(Some(parsed))
    }

    /// What an option was given, as a key of a view.
    pub(super) fn key_of(&self, option: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.value(option).map(|json| self.key(json)).transpose()
    }

    /// What an option was given, as a time.
    pub(super) fn duration(&self, option: &str) -> Result<Option<Duration>, Failure> {
        let Some(value) = self.value(option) else {
            return Ok(None);
        };
        let duration = value
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok());
        match duration {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.wrong(format!(
                "{option} is {:?}: write a duration such as 500ms, 20s or 1h",
                shorten(value)
            ))),
        }
    }

    /// That nothing is left.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.take_options()?;
        match self.rest {
            "" => Ok(()),
            rest => Err(self.wrong(format!("{:?} is too much", shorten(rest)))),
        }
    }

    /// Takes the options in front. Blanks in front are gone then.
    fn take_options(&mut self) -> Result<(), Failure> {
        loop {
            self.rest = self.rest.trim();
            if !self.rest.starts_with("--") {
                return Ok(());
            }
            let name = self.rest.split_whitespace().next().unwrap_or_default();
            let (name, inline) = match name.split_once('=') {
                Some((name, _)) => (name, true),
                None => (name, false),
            };
            let Some(option) = self.command.options.iter().find(|option| option.name == name) else {
                return Err(self.wrong(format!("there is no option {}", shorten(name))));
            };
            self.rest = self
                .rest
                .get(name.len() + usize::from(inline)..)
                .unwrap_or_default();
            if !inline {
                self.rest = self.rest.trim_start();
            }
            let value = match option.value {
                Value::None => Ok(Some(String::new())),
                Value::Word(_) => take_word(&mut self.rest),
                Value::Json(_) => take_json(&mut self.rest).map(|json| Some(json.to_owned())),
            };
            match value {
                Ok(Some(value)) => self.options.push((option.name, value)),
                Ok(None) => return Err(self.wrong(format!("{name} needs a value"))),
                Err(reason) => return Err(self.wrong(format!("{name}: {reason}"))),
            }
        }
    }
}

/// Takes the first word; `None` when there is none.
fn take_word(rest: &mut &str) -> Result<Option<String>, String> {
    let text = rest.trim_start();
    if text.starts_with('"') {
        return match serde_json::from_str::<String>(take_json(rest)?) {
            Ok(word) => Ok(Some(word)),
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let (word, behind) = quoted.split_once('\'').ok_or("a quote ' is not closed")?;
        *rest = behind;
        return Ok(Some(word.to_owned()));
    }
    let (word, behind) = match text.split_once(char::is_whitespace) {
        Some((word, behind)) => (word, behind),
        None => (text, ""),
    };
    *rest = behind;
    Ok(Some(word.to_owned()).filter(|word| !word.is_empty()))
}

/// Takes the first JSON value.
fn take_json<'t>(rest: &mut &'t str) -> Result<&'t str, String> {
    let text: &'t str = rest.trim_start();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = match values.next() {
        Some(Ok(value)) => value.get(),
        Some(Err(error)) => return Err(format!("{:?} is not JSON: {error}", shorten(text))),
        None => return Err("JSON is missing".to_owned()),
    };
    *rest = text.get(values.byte_offset()..).unwrap_or_default();
    Ok(value)
}
