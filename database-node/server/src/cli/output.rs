//! What is printed: lines and tables for people, or one JSON object a line for programs.

use std::io::{IsTerminal, Write, stderr, stdout};

use clap::ValueEnum;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::failure::Failure;

/// How results and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Lines and tables for people; fields are separated by tabs when standard output is not a terminal
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

/// One of several results of a kind.
pub(crate) struct Row {
    cells: Vec<String>,
    json: String,
}

impl Row {
    /// A row of a table, which is `json` for programs.
    ///
    /// # Errors
    /// When it cannot be JSON.
    pub(crate) fn new<const N: usize>(cells: [String; N], json: &impl Serialize) -> Result<Self, Failure> {
        Ok(Self {
            cells: cells.to_vec(),
            json: to_json(json)?,
        })
    }
    /// Without the last cell, which nobody has something to put in.
    pub(crate) fn without_last(mut self) -> Self {
        self.cells.pop();
        self
    }
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| anyhow::Error::from(error).context("cannot write JSON").into())
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether there is somebody to watch how it goes.
    pub(crate) fn shows_progress(self) -> bool {
        self.format == Format::Text && stderr().is_terminal()
    }

    /// One result.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(crate) fn result(self, text: &str, json: &impl Serialize) -> Result<(), Failure> {
        match self.format {
            Format::Text => print(text),
            Format::Json => print(&to_json(json)?),
        }
    }

    /// Results of a kind, under these headings.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(crate) fn rows<const N: usize>(
        self,
        headings: [&str; N],
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<(), Failure> {
        let mut rows = rows.into_iter();
        match self.format {
            Format::Json => rows.try_for_each(|row| print(&row.json)),
            Format::Text if stdout().is_terminal() => {
                let mut table = Table::new();
                table.load_style(NOTHING);
                // Some terminals do not say how wide they are, or that they are nothing wide.
                if table.width().is_some_and(|width| width >= 40) {
                    table.set_content_arrangement(ContentArrangement::Dynamic);
                }
                table.set_header(headings);
                rows.for_each(|row| {
                    table.add_row(row.cells);
                });
                match table.row_count() {
                    0 => Ok(()),
                    _ => print(&table.trim_fmt()),
                }
            }
            Format::Text => rows.try_for_each(|row| print(&row.cells.join("\t"))),
        }
    }

    /// What went wrong, to standard error.
    pub(crate) fn failure(self, failure: &Failure) {
        let line = match self.format {
            Format::Text => format!("pliant-node: {}", failure.message),
            Format::Json => serde_json::json!({
                "error": failure.kind.name(),
                "message": failure.message,
                "exitCode": failure.kind.code(),
            })
            .to_string(),
        };
        // Nothing can be done if standard error is gone.
        let _ = writeln!(stderr(), "{line}");
    }

    /// What is worth knowing beside the result, to standard error.
    pub(crate) fn note(self, text: &str) {
        let line = match self.format {
            Format::Text => text.to_owned(),
            Format::Json => serde_json::json!({ "note": text }).to_string(),
        };
        let _ = writeln!(stderr(), "{line}");
    }
}

fn print(line: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| {
            anyhow::Error::from(error)
                .context("cannot write to standard output")
                .into()
        })
}
