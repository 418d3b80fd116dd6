//! Importing JSON lines and CSV into a collection.

mod documents;
mod records;
mod state;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};

use anyhow::Context;
use aws_lc_rs::digest;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use pliantdb_core::{
    Change, ChangeAction, CollectionName, DatabaseName, DocumentId, Error, Precondition, Rejection, Request,
    Response,
};
use serde_json::json;

use super::failure::{Failure, Kind};
use super::output::Output;
use super::target::{TargetArgs, TargetDatabase, execute};
pub(crate) use documents::{BODY_FIELD, ColumnType, Fields};
use documents::{Incoming, Reader, Typed, derived_id};
use records::{Ends, Record, Records};
use state::{Reject, Rejects, State, StateFile};

/// About how many bytes of documents a transaction has at most: well below what servers take in one message.
const MAX_BATCH_BYTES: usize = 2 << 20;

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// One JSON value a line
    Jsonl,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
}

impl FileFormat {
    /// That of a file, by its name.
    ///
    /// # Errors
    /// When the name does not tell.
    pub(crate) fn of(file: Option<&Path>) -> Result<Self, Failure> {
        let extension = file
            .and_then(Path::extension)
            .and_then(|extension| extension.to_str());
        match extension {
            Some("csv") => Ok(Self::Csv),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            _ => Err(Failure::usage(
                "say which form the file has, for its name does not: --format jsonl or --format csv",
            )),
        }
    }
}

/// What to do with a document whose id is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnConflict {
    /// Write the new one in its place
    Overwrite,
    /// Leave it as it is, and count it
    Skip,
    /// Reject the record, unless it is the same document
    Reject,
}

/// What to import, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The collection
    collection: CollectionName,

    /// The file; - for standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// Its form [default: by the name: .csv, .jsonl or .ndjson]
    #[arg(long, value_name = "FORMAT")]
    format: Option<FileFormat>,

    /// The database
    #[arg(long, env = "PLIANT_DATABASE", value_name = "NAME", default_value = "default")]
    database: DatabaseName,

    /// The field or column with the id, which is not part of the document; every record must have it. [default: _id,
    /// where it is there; a record without gets an id made of the file's name and where and what the record is]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,

    /// CSV: the types of columns that are not texts: number, bool or json. An empty cell is no field
    #[arg(long, value_name = "COLUMN:TYPE,…", value_delimiter = ',')]
    types: Vec<Typed>,

    /// CSV: what stands between fields
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    delimiter: char,

    /// What to do with a document whose id is there already
    #[arg(long, value_name = "WHAT", default_value = "overwrite")]
    on_conflict: OnConflict,

    /// How many documents are written in one transaction
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,

    /// Keep how far the import has come in this file, and go on from there if it is there already
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,

    /// Write records that are rejected to this file, with line and reason, as JSON lines [default: to standard error]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// Stop when more records than this are rejected [default: go on]
    #[arg(long, value_name = "N")]
    max_rejects: Option<u64>,

    #[command(flatten)]
    target: TargetArgs,
}

/// Imports a file.
///
/// # Errors
/// Why it stopped; [`Kind::Partly`] when all was done and records were rejected.
pub(crate) fn run(args: &ImportArgs, out: Output) -> Result<(), Failure> {
    let is_stdin = args.from == Path::new("-");
    let format = match args.format {
        Some(format) => format,
        None => FileFormat::of(Some(&args.from).filter(|_| !is_stdin).map(PathBuf::as_path))?,
    };
    let separator = separator(args.delimiter)?;
    let mut state = State {
        source: match is_stdin {
            true => "-".to_owned(),
            false => args.from.display().to_string(),
        },
        database: args.database.to_string(),
        collection: args.collection.to_string(),
        offset: 0,
        digest: String::new(),
        imported: 0,
        skipped: 0,
        rejected: 0,
        rejects_length: 0,
    };
    let state_file = StateFile::open(args.resume.clone(), &mut state)?;
    let (from, length): (Box<dyn BufRead>, _) = match is_stdin {
        true => (Box::new(BufReader::with_capacity(1 << 20, stdin())), None),
        false => {
            let cannot = |error: std::io::Error| {
                Failure::usage(format!("cannot read {}: {error}", args.from.display()))
            };
            let file = File::open(&args.from).map_err(cannot)?;
            let length = file.metadata().map_err(cannot)?.len();
            (Box::new(BufReader::with_capacity(1 << 20, file)), Some(length))
        }
    };
    let rejects = Rejects::open(args.rejects.as_deref(), state.rejects_length)?;
    let target = args.target.open()?;
    let database = target.open_database(args.database.as_str())?;
    let import = Import {
        args,
        out,
        database,
        state,
        state_file,
        rejects,
        // Not the path, so that it may be moved.
        source: args
            .from
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        read: Digest::new(),
        batch: Vec::new(),
        batch_ids: HashSet::new(),
        batch_bytes: 0,
        progress: progress(out, length),
    };
    let ended = import.run(from, format, separator);
    let closed = target.close();
    ended?;
    closed
}

fn separator(delimiter: char) -> Result<u8, Failure> {
    match u8::try_from(delimiter) {
        Ok(byte) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(byte),
        _ => Err(Failure::usage(format!(
            "--delimiter {delimiter:?} cannot stand between fields; use one ASCII character"
        ))),
    }
}

/// A bar on a terminal; nowhere else anything.
pub(crate) fn progress(out: Output, length: Option<u64>) -> ProgressBar {
    if !out.shows_progress() {
        return ProgressBar::hidden();
    }
    let template = match length {
        Some(_) => {
            "{bar:30} {percent}% {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {msg}"
        }
        None => "{spinner} {decimal_bytes} {decimal_bytes_per_sec} {msg}",
    };
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::new_spinner(),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The SHA-256 of records, and where the last one ends.
struct Digest {
    hash: digest::Context,
    end: u64,
}

impl Digest {
    fn new() -> Self {
        Self {
            hash: digest::Context::new(&digest::SHA256),
            end: 0,
        }
    }

    fn add(&mut self, record: &Record) {
        self.hash.update(&record.bytes);
        // Also where it ends, for its bytes are without the end of its line.
        self.hash.update(&record.end.to_be_bytes());
        self.end = record.end;
    }

    fn hex(&self) -> String {
        let digest = self.hash.clone().finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A record that is to be written with the next batch.
struct Pending {
    record: Record,
    id: DocumentId,
    incoming: Incoming,
}

struct Import<'a> {
    args: &'a ImportArgs,
    out: Output,
    database: TargetDatabase,
    state: State,
    state_file: StateFile,
    rejects: Rejects,
    source: String,
    /// Of everything that was read.
    read: Digest,
    batch: Vec<Pending>,
    batch_ids: HashSet<DocumentId>,
    batch_bytes: usize,
    progress: ProgressBar,
}

impl Import<'_> {
    fn run(mut self, from: impl BufRead, format: FileFormat, separator: u8) -> Result<(), Failure> {
        let cannot = || format!("cannot read {}", self.args.from.display());
        let ends = match format {
            FileFormat::Jsonl => Ends::Line,
            FileFormat::Csv => Ends::UnquotedLine(separator),
        };
        let mut records = Records::new(from, ends);
        let needs_id = self.args.id_column.is_some();
        let id_column = self.args.id_column.clone().unwrap_or_else(|| "_id".to_owned());
        let reader = match format {
            FileFormat::Jsonl => Reader::Lines { id_column, needs_id },
            FileFormat::Csv => {
                let header = records.next().with_context(cannot)?;
                let header = header
                    .ok_or_else(|| Failure::usage("the CSV file is empty: not even a header is there"))?;
                Reader::csv(separator, &header, &self.args.types, &id_column, needs_id)?
            }
        };
        let done_before = self.state.offset;
        let mut end = self.read.end;
        while let Some(record) = records.next().with_context(cannot)? {
            end = record.end;
            if record.end <= done_before {
                self.read.add(&record);
                continue;
            }
            self.check_is_same(done_before)?;
            match reader.read(&record) {
                Ok(Some(incoming)) => self.take(&record, incoming)?,
                Ok(None) => {}
                Err(reason) => self.reject(&record, &reason)?,
            }
            self.read.add(&record);
            if self.batch.len() >= usize::from(self.args.batch) || self.batch_bytes >= MAX_BATCH_BYTES {
                self.commit(end)?;
            }
        }
        self.check_is_same(done_before)?;
        self.commit(end)?;
        self.progress.finish_and_clear();
        self.sum_up()
    }

    /// That what an earlier attempt has read of the file is what is in it now.
    fn check_is_same(&self, done_before: u64) -> Result<(), Failure> {
        let is_known = self.read.end > done_before
            || done_before == 0
            || (self.read.end == done_before && self.read.hex() == self.state.digest);
        match is_known {
            true => Ok(()),
            false => Err(Failure::usage(format!(
                "{} is not what it was when it was imported up to byte {done_before}: import it without --resume, or with \
                 another file there",
                self.args.from.display()
            ))),
        }
    }

    fn take(&mut self, record: &Record, mut incoming: Incoming) -> Result<(), Failure> {
        let id = incoming.id.take();
        let id = id.unwrap_or_else(|| derived_id(&self.source, record));
        // A transaction changes a document once: what comes later in the file is to be later here too.
        if self.batch_ids.contains(&id) {
            self.commit(record.offset)?;
        }
        self.batch_bytes += incoming.body.as_str().len() + id.as_str().len();
        self.batch_ids.insert(id.clone());
        self.batch.push(Pending {
            record: record.clone(),
            id,
            incoming,
        });
        Ok(())
    }

    /// Writes what is pending. Then everything before `offset` is done, and kept so.
    fn commit(&mut self, offset: u64) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_ids.clear();
        self.batch_bytes = 0;
        self.write(&batch)?;
        self.state.offset = offset;
        self.state.digest = self.read.hex();
        self.state.rejects_length = self.rejects.sync()?;
        self.state_file.save(&self.state)?;
        self.progress.set_position(offset);
        self.progress
            .set_message(format!("{} documents", self.state.imported));
        Ok(())
    }

    /// Writes records. Where the whole cannot be written, its halves are, until those are found that cannot.
    fn write(&mut self, batch: &[Pending]) -> Result<(), Failure> {
        if batch.is_empty() {
            return Ok(());
        }
        let precondition = match self.args.on_conflict {
            OnConflict::Overwrite => Precondition::None,
            OnConflict::Skip | OnConflict::Reject => Precondition::Absent,
        };
        let changes = batch.iter().map(|pending| Change {
            collection: self.args.collection.clone(),
            action: ChangeAction::Put {
                id: pending.id.clone(),
                body: pending.incoming.body.clone(),
                precondition,
            },
        });
        match (
            execute(&self.database, Request::Transact(changes.collect())),
            batch,
        ) {
            (Ok(_), _) => self.state.imported += batch.len() as u64,
            (Err(error), [one]) if is_of_the_data(&error) => self.cannot_write(one, &error)?,
            (Err(error), _) if is_of_the_data(&error) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                self.write(first)?;
                self.write(second)?;
            }
            (Err(error), _) => {
                let hint = match &self.args.resume {
                    Some(path) => format!("; the same command goes on from there, by {}", path.display()),
                    None => String::new(),
                };
                let Failure { kind, message } = Failure::from(error);
                let done = self.state.offset;
                return Err(Failure::new(
                    kind,
                    format!("{message}; everything before byte {done} is imported{hint}"),
                ));
            }
        }
        Ok(())
    }

    fn cannot_write(&mut self, pending: &Pending, error: &Error) -> Result<(), Failure> {
        let is_conflict = matches!(
            error,
            Error::Rejected(Rejection::PreconditionFailed {
                wanted: Precondition::Absent,
                ..
            })
        );
        if is_conflict && self.args.on_conflict == OnConflict::Skip {
            self.state.skipped += 1;
            return Ok(());
        }
        // A batch that was written just before an attempt was ended is written again by the next.
        if is_conflict && self.is_there(pending)? {
            self.state.imported += 1;
            return Ok(());
        }
        self.reject(&pending.record, &error.to_string())
    }

    fn is_there(&self, pending: &Pending) -> Result<bool, Failure> {
        let request = Request::Get {
            collection: self.args.collection.clone(),
            ids: vec![pending.id.clone()],
        };
        match execute(&self.database, request)? {
            Response::Documents(found) => Ok(found
                .first()
                .is_some_and(|found| found.body == pending.incoming.body)),
            _ => Err(Error::unexpected_answer().into()),
        }
    }

    fn reject(&mut self, record: &Record, reason: &str) -> Result<(), Failure> {
        self.state.rejected += 1;
        let reject = Reject {
            line: record.line,
            offset: record.offset,
            reason,
            text: &String::from_utf8_lossy(&record.bytes),
        };
        if !self.rejects.add(&reject)? {
            let note = format!("line {} was rejected: {reason}", record.line);
            self.progress.suspend(|| self.out.note(&note));
        }
        match self.args.max_rejects {
            Some(most) if self.state.rejected > most => Err(Failure::new(
                Kind::Failed,
                format!(
                    "more than {most} lines were rejected, the last was line {}: {reason}; everything before byte {} is \
                     imported",
                    record.line, self.state.offset
                ),
            )),
            _ => Ok(()),
        }
    }

    fn sum_up(self) -> Result<(), Failure> {
        let State {
            imported,
            skipped,
            rejected,
            offset,
            ..
        } = self.state;
        let mut text = format!("imported {imported} documents");
        if skipped > 0 {
            text.push_str(&format!(", skipped {skipped} that were there"));
        }
        self.out.result(
            &text,
            &json!({"imported": imported, "skipped": skipped, "rejected": rejected, "bytes": offset}),
        )?;
        match (rejected, &self.args.rejects) {
            (0, _) => Ok(()),
            (rejected, Some(path)) => Err(Failure::new(
                Kind::Partly,
                format!("{rejected} lines were rejected: {} says why", path.display()),
            )),
            (rejected, None) => Err(Failure::new(
                Kind::Partly,
                format!("{rejected} lines were rejected"),
            )),
        }
    }
}

/// Whether an error is about what was to be written, so that other documents may be written nonetheless.
fn is_of_the_data(error: &Error) -> bool {
    matches!(
        error,
        Error::Rejected(
            Rejection::PreconditionFailed { .. }
                | Rejection::NotUnique { .. }
                | Rejection::UnknownDocument { .. }
        ) | Error::Invalid(_)
            | Error::OtherType { .. }
            | Error::OtherNaturalId { .. }
            | Error::View { .. }
    )
}
