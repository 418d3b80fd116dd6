//! How answers look.

use pliantdb_core::{
    ChangeKind, ChangeOutcome, ChangesPage, Document, DocumentId, KeyOutcome, KeyPage, KeyStatus, Message,
    Request, Response, Rows, key_json,
};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::cli::failure::{Failure, Kind};
use crate::cli::output::{Output, Row};

/// What is shown, as JSON. Values are as they were stored, with all digits of their numbers.
#[derive(Default, Serialize)]
struct Shown<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Box<Shown<'s>>>,
}

/// JSON, on one line.
fn raw(json: &str) -> Result<Option<Box<RawValue>>, Failure> {
    let value = RawValue::from_string(one_line(json));
    value
        .map(Some)
        .map_err(|error| Failure::new(Kind::Failed, format!("the answer is not JSON: {error}")))
}

fn value(json: &str) -> Result<Shown<'static>, Failure> {
    Ok(Shown {
        value: raw(json)?,
        ..Shown::default()
    })
}

fn shown(document: &Document) -> Result<Shown<'_>, Failure> {
    Ok(Shown {
        id: Some(document.id.as_str()),
        revision: Some(document.revision.to_string()),
        body: raw(document.body.as_str())?,
        ..Shown::default()
    })
}

fn document(document: &Document) -> Result<Row, Failure> {
    let cells = [
        document.id.as_str().to_owned(),
        document.revision.to_string(),
        one_line(document.body.as_str()),
    ];
    Row::new(cells, &shown(document)?)
}

/// JSON on one line: line ends between its tokens mean nothing, and within its texts there are none.
fn one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

/// Prints what came of a request.
///
/// # Errors
/// When something that was asked for by its name is not there, and when standard output is gone.
pub(super) fn print(request: &Request, answer: &Response, out: Output) -> Result<(), Failure> {
    match answer {
        Response::Documents(found) => {
            documents(found, out)?;
            match request {
                Request::Get { ids, .. } => missing(ids, found),
                _ => Ok(()),
            }
        }
        Response::Page(page) => documents(&page.documents, out),
        Response::Transacted(outcomes) => outcomes.iter().try_for_each(|outcome| changed(outcome, out)),
        Response::Rows(rows) => entries(rows, out),
        Response::Groups(groups) => {
            let rows = groups.iter().map(|group| {
                let value = text(&group.value)?;
                let shown = Shown {
                    key: raw(&key(&group.key))?,
                    value: raw(value)?,
                    ..Shown::default()
                };
                Row::new([key(&group.key), value.to_owned()], &shown)
            });
            match (request, groups.as_slice()) {
                (Request::Reduce(_), [all]) => {
                    let json = text(&all.value)?;
                    out.result(json, &value(json)?)
                }
                _ => out.rows(["KEY", "VALUE"], rows.collect::<Result<Vec<_>, _>>()?),
            }
        }
        Response::ViewStatus(status) => out.result(&format!("{status:?}"), status),
        Response::Count(count) => out.result(&count.to_string(), &json!({"count": count})),
        Response::Value(Some(json)) => out.result(json.as_str(), &value(json.as_str())?),
        Response::Value(None) => Err(Failure::new(Kind::Failed, "there is no such key")),
        Response::Keys(page) => keys(page, out),
        Response::Key(outcome) => key_changed(outcome, out),
        Response::Changes(page) => changes(page, out),
        Response::Called(Ok(answer)) => out.result(answer.as_str(), &value(answer.as_str())?),
        Response::Called(Err(error)) => Err(Failure::new(
            Kind::Failed,
            format!("the API says: {}", error.as_str()),
        )),
    }
}

pub(super) fn documents(found: &[Document], out: Output) -> Result<(), Failure> {
    let rows: Vec<_> = found.iter().map(document).collect::<Result<_, _>>()?;
    out.rows(["ID", "REVISION", "DOCUMENT"], rows)
}

fn missing(ids: &[DocumentId], found: &[Document]) -> Result<(), Failure> {
    let missing = ids
        .iter()
        .filter(|id| found.iter().all(|document| document.id != **id));
    let missing: Vec<_> = missing.map(|id| format!("{id:?}")).collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(Failure::new(
            Kind::Failed,
            format!("there is no document {}", missing.join(", ")),
        )),
    }
}

fn changed(outcome: &ChangeOutcome, out: Output) -> Result<(), Failure> {
    match outcome {
        ChangeOutcome::Written {
            id,
            revision,
            created,
        } => {
            let did = if *created { "created" } else { "updated" };
            out.result(
                &format!("{did} {id} at revision {revision}"),
                &json!({"done": did, "id": id.as_str(), "revision": revision.to_string()}),
            )
        }
        ChangeOutcome::Deleted => out.result("deleted", &json!({"done": "deleted"})),
        ChangeOutcome::Checked => out.result("checked", &json!({"done": "checked"})),
    }
}

pub(super) fn entries(rows: &Rows, out: Output) -> Result<(), Failure> {
    let with_documents = !rows.documents.is_empty();
    let mut shown_rows = Vec::with_capacity(rows.len());
    for row in rows.iter() {
        let (id, value) = (text(row.id)?, text(row.value)?);
        let document = rows.documents.iter().find(|document| document.id.as_str() == id);
        let json = Shown {
            key: raw(&key(row.key))?,
            id: Some(id),
            value: raw(value)?,
            document: document.map(shown).transpose()?.map(Box::new),
            ..Shown::default()
        };
        let document = document
            .map(|document| one_line(document.body.as_str()))
            .unwrap_or_default();
        shown_rows.push(Row::new(
            [key(row.key), id.to_owned(), value.to_owned(), document],
            &json,
        )?);
    }
    match with_documents {
        true => out.rows(["KEY", "ID", "VALUE", "DOCUMENT"], shown_rows),
        false => out.rows(
            ["KEY", "ID", "VALUE"],
            shown_rows.into_iter().map(Row::without_last),
        ),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Failure> {
    str::from_utf8(bytes)
        .map_err(|error| Failure::new(Kind::Failed, format!("the answer is not text: {error}")))
}

/// A key of a view as JSON.
fn key(encoded: &[u8]) -> String {
    key_json::write(encoded).unwrap_or_else(|| "null".to_owned())
}

pub(super) fn keys(page: &KeyPage, out: Output) -> Result<(), Failure> {
    let rows = page.keys.iter().map(|(key, value)| {
        let json = Shown {
            key: raw(&json!(key.as_str()).to_string())?,
            value: raw(value.as_str())?,
            ..Shown::default()
        };
        Row::new([key.as_str().to_owned(), one_line(value.as_str())], &json)
    });
    out.rows(["KEY", "VALUE"], rows.collect::<Result<Vec<_>, _>>()?)
}

fn key_changed(outcome: &KeyOutcome, out: Output) -> Result<(), Failure> {
    let did = match outcome.status {
        KeyStatus::Created => "created",
        KeyStatus::Updated => "updated",
        KeyStatus::Deleted => "deleted",
        KeyStatus::Unchanged => "unchanged",
    };
    let value = outcome.current.as_ref().map(|value| one_line(value.as_str()));
    let text = match &value {
        Some(value) => format!("{did}: {value}"),
        None => did.to_owned(),
    };
    let json = Shown {
        done: Some(did),
        value: value.map(|value| raw(&value)).transpose()?.flatten(),
        ..Shown::default()
    };
    out.result(&text, &json)
}

/// Prints changes, each on its line.
///
/// # Errors
/// When standard output is gone.
pub(super) fn changes(page: &ChangesPage, out: Output) -> Result<(), Failure> {
    for transaction in &page.transactions {
        let revision = transaction.revision().to_string();
        for change in &transaction.changes {
            let (collection, id) = (change.collection.as_str(), change.id.as_str());
            let kind = match change.kind {
                ChangeKind::Inserted => "inserted",
                ChangeKind::Updated => "updated",
                ChangeKind::Deleted => "deleted",
            };
            out.result(
                &format!("{revision}\t{kind}\t{collection}\t{id}"),
                &json!({"revision": revision, "change": kind, "collection": collection, "id": id}),
            )?;
        }
    }
    Ok(())
}

/// Prints a message.
///
/// # Errors
/// When standard output is gone.
pub(super) fn message(message: &Message, out: Output) -> Result<(), Failure> {
    let (topic, payload) = (message.topic.as_str(), message.payload.as_str());
    let json = Shown {
        topic: Some(topic),
        value: raw(payload)?,
        ..Shown::default()
    };
    out.result(&format!("{topic}\t{}", one_line(payload)), &json)
}
