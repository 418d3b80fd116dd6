//! Exporting a collection as JSON lines or CSV.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use anyhow::Context;
use pliantdb_core::{
    CollectionName, Connection, DatabaseName, Document, DocumentId, Error, Listing, Request, Response,
    TakeSnapshot,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::failure::{Failure, Kind};
use super::import::{BODY_FIELD, ColumnType, Fields, FileFormat, progress};
use super::output::Output;
use super::target::{TargetArgs, execute};

/// How many documents are read at once.
const PAGE: usize = 1000;

/// What to export, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The collection
    collection: CollectionName,

    /// A new file; - for standard output
    #[arg(long, value_name = "FILE")]
    to: PathBuf,

    /// Its form [default: by the name: .csv, .jsonl or .ndjson]
    #[arg(long, value_name = "FORMAT")]
    format: Option<FileFormat>,

    /// The database
    #[arg(long, env = "PLIANT_DATABASE", value_name = "NAME", default_value = "default")]
    database: DatabaseName,

    /// The field or column for the id
    #[arg(long, value_name = "NAME", default_value = "_id")]
    id_column: String,

    /// CSV: only these fields, in this order [default: all, in the order in which they are found]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    columns: Option<Vec<String>>,

    /// Only documents whose ids begin with this
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,

    /// Only documents behind this one, in the order of ids: for going on with an export that was ended
    #[arg(long, value_name = "ID")]
    after: Option<DocumentId>,

    #[command(flatten)]
    target: TargetArgs,
}

/// Exports a collection as it is at one moment.
///
/// # Errors
/// Why it stopped.
pub(crate) fn run(args: &ExportArgs, out: Output) -> Result<(), Failure> {
    let is_stdout = args.to.as_os_str() == "-";
    let format = match args.format {
        Some(format) => format,
        None => FileFormat::of(Some(args.to.as_path()).filter(|_| !is_stdout))?,
    };
    let target = args.target.open()?;
    let database = target.open_database(args.database.as_str())?;
    let snapshot = database.snapshot()?;
    let cannot = || format!("cannot write {}", args.to.display());
    let file: Option<File> = match is_stdout {
        true => None,
        false => {
            let create = || format!("cannot create {}", args.to.display());
            Some(File::create_new(&args.to).with_context(create)?)
        }
    };
    let mut to: Box<dyn Write> = match &file {
        Some(file) => Box::new(BufWriter::with_capacity(1 << 20, file)),
        None => Box::new(BufWriter::new(stdout().lock())),
    };
    let export = Export {
        args,
        connection: snapshot.clone(),
    };
    let progress = progress(out, None);
    let (mut exported, mut bytes) = (0u64, 0u64);
    let mut count = |document: &Document| {
        exported += 1;
        bytes += document.body.as_str().len() as u64;
        progress.set_position(bytes);
        progress.set_message(format!("{exported} documents"));
    };
    let types = match format {
        FileFormat::Jsonl => {
            export.each(|document| {
                count(document);
                let line = json_line(document, &args.id_column)?;
                Ok(to.write_all(line.as_bytes()).with_context(cannot)?)
            })?;
            None
        }
        FileFormat::Csv => {
            let columns = export.columns()?;
            let mut csv = csv::Writer::from_writer(&mut to);
            let header =
                std::iter::once(args.id_column.as_str()).chain(columns.iter().map(|(name, _)| name.as_str()));
            csv.write_record(header).map_err(anyhow::Error::from)?;
            export.each(|document| {
                count(document);
                let cells = cells(document, &columns)?;
                let record = std::iter::once(document.id.as_str()).chain(cells.iter().map(String::as_str));
                csv.write_record(record).map_err(anyhow::Error::from)?;
                Ok(())
            })?;
            csv.flush().with_context(cannot)?;
            let typed = columns.iter().filter(|(_, is)| *is != ColumnType::Text);
            Some(
                typed
                    .map(|(name, is)| format!("{name}:{}", is.name()))
                    .collect::<Vec<_>>()
                    .join(","),
            )
        }
    };
    to.flush().with_context(cannot)?;
    drop(to);
    if let Some(file) = &file {
        file.sync_all().with_context(cannot)?;
    }
    progress.finish_and_clear();
    drop((export, snapshot, database));
    target.close()?;
    let mut text = format!("exported {exported} documents");
    if let Some(types) = types.as_ref().filter(|types| !types.is_empty()) {
        text.push_str(&format!("; to import them as they were: --types {types}"));
    }
    match is_stdout {
        true => out.note(&text),
        false => out.result(&text, &json!({"exported": exported, "types": types}))?,
    }
    Ok(())
}

struct Export<'a, C> {
    args: &'a ExportArgs,
    connection: C,
}

impl<C> Export<'_, C>
where
    C: Connection<Output<Response> = Result<Response, Error>>,
{
    fn each(&self, mut take: impl FnMut(&Document) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut listing = Listing {
            prefix: self.args.prefix.clone(),
            after: self.args.after.clone(),
            limit: PAGE,
            ..Listing::default()
        };
        loop {
            let (collection, asked) = (self.args.collection.clone(), listing.clone());
            let request = Request::List {
                collection,
                listing: asked,
            };
            let page = match execute(&self.connection, request) {
                Ok(Response::Page(page)) => page,
                Ok(_) => return Err(Error::unexpected_answer().into()),
                Err(error) => {
                    let failure = Failure::from(error);
                    return Err(match &listing.after {
                        Some(last) => {
                            failure.within(format!("the export ended behind the document {last:?}"))
                        }
                        None => failure,
                    });
                }
            };
            page.documents.iter().try_for_each(&mut take)?;
            match page.next {
                Some(next) => listing.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The columns that a table of all documents has, and what is in them.
    fn columns(&self) -> Result<Vec<(String, ColumnType)>, Failure> {
        let mut found: Vec<(String, Option<ColumnType>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for name in self.args.columns.iter().flatten() {
            places.insert(name.clone(), found.len());
            found.push((name.clone(), None));
        }
        self.each(|document| {
            for (name, value) in fields(document)? {
                let place = match places.get(&name) {
                    Some(place) => *place,
                    None if self.args.columns.is_some() => continue,
                    None => {
                        places.insert(name.clone(), found.len());
                        found.push((name, None));
                        found.len() - 1
                    }
                };
                if let Some((_, before)) = found.get_mut(place) {
                    let now = type_of(&value);
                    *before =
                        Some(before.map_or(now, |before| if before == now { now } else { ColumnType::Json }));
                }
            }
            Ok(())
        })?;
        let columns: Vec<_> = found
            .into_iter()
            .map(|(name, is)| (name, is.unwrap_or(ColumnType::Text)))
            .collect();
        match columns.iter().any(|(name, _)| *name == self.args.id_column) {
            true => Err(Failure::usage(format!(
                "documents have a field {:?} of their own: name another --id-column",
                self.args.id_column
            ))),
            false => Ok(columns),
        }
    }
}

/// The type of a column that holds such values: the narrowest from which they can be read again.
fn type_of(value: &RawValue) -> ColumnType {
    match serde_json::from_str(value.get()) {
        // Digits that a number of this machine would lose are in the text, which is what is written.
        Ok(Value::Number(_)) => ColumnType::Number,
        Ok(Value::Bool(_)) => ColumnType::Bool,
        // An empty cell would be no field.
        Ok(Value::String(text)) if !text.is_empty() => ColumnType::Text,
        _ => ColumnType::Json,
    }
}

fn fields(document: &Document) -> Result<Vec<(String, Box<RawValue>)>, Failure> {
    let fields = document.body.read::<Fields>();
    fields.map(|fields| fields.0).map_err(|_| {
        Failure::new(
            Kind::Failed,
            format!(
                "the document {:?} is not an object, which CSV needs: use --format jsonl",
                document.id
            ),
        )
    })
}

fn cells(document: &Document, columns: &[(String, ColumnType)]) -> Result<Vec<String>, Failure> {
    let fields = fields(document)?;
    let cell = |(name, is): &(String, ColumnType)| {
        let Some((_, value)) = fields.iter().rev().find(|(field, _)| field == name) else {
            return String::new();
        };
        match is {
            ColumnType::Text => serde_json::from_str(value.get()).unwrap_or_default(),
            _ => value.get().to_owned(),
        }
    };
    Ok(columns.iter().map(cell).collect())
}

/// A document as a line of JSON, with its id as a field.
fn json_line(document: &Document, id_column: &str) -> Result<String, Failure> {
    let id = format!("{}:{}", Value::from(id_column), Value::from(document.id.as_str()));
    // Line ends stand between tokens only.
    let body = document.body.as_str().replace(['\n', '\r'], " ");
    let body = body.trim();
    let inner = body.strip_prefix('{').map(str::trim_start);
    let names = match inner {
        Some(_) => fields(document)?,
        None => Vec::new(),
    };
    let is_ambiguous = names.iter().any(|(name, _)| name == id_column)
        || matches!(names.as_slice(), [(name, _)] if name == BODY_FIELD);
    Ok(match inner {
        Some("}") => format!("{{{id}}}\n"),
        Some(inner) if !is_ambiguous => format!("{{{id},{inner}\n"),
        _ => format!("{{{id},{}:{body}}}\n", Value::from(BODY_FIELD)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pliantdb_core::{Body, Revision, Timestamp};

    #[test]
    fn lines_have_the_id_and_the_document_as_it_is() {
        for (body, line) in [
            ("{\n \"a\": 1.50}", r#"{"_id":"x","a": 1.50}"#),
            ("{ }", r#"{"_id":"x"}"#),
            ("[1,\n2]", r#"{"_id":"x","_body":[1, 2]}"#),
            (r#"{"_id":7}"#, r#"{"_id":"x","_body":{"_id":7}}"#),
            (r#"{"_body":7}"#, r#"{"_id":"x","_body":{"_body":7}}"#),
        ] {
            let document = Document {
                id: "x".parse().unwrap(),
                revision: Revision::at(Timestamp::from_bits(1)),
                body: Body::try_from(body.to_owned()).unwrap(),
            };
            assert_eq!(json_line(&document, "_id").unwrap(), format!("{line}\n"));
        }
    }
}
