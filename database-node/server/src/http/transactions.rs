//! Several changes at once.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use pliantdb_core::{
    Change, ChangeAction, ChangeOutcome, DocumentId, Precondition, Request as DatabaseRequest,
    Response as DatabaseResponse, Revision,
};
use serde_json::{Value, json};

use super::exchange::{Exchange, unexpected};
use super::json::{self, Object};
use super::{Problem, body};

/// `POST /v1/{db}/_transaction`
pub(super) async fn transact(exchange: Exchange, request: Request) -> Result<Response, Problem> {
    let database = exchange.database()?;
    let (text, memory) = body::text(&exchange.app, request).await?;
    // Looking at a large one takes longer than a thread that serves connections should be held.
    let changes = match text.len() {
        ..=crate::request_memory::SMALL => read(&text),
        _ => tokio::task::spawn_blocking(move || read(&text))
            .await
            .map_err(|_| Problem::from(pliantdb_core::Error::Closed))?,
    }?;
    let ids: Vec<_> = changes.iter().map(|change| id(&change.action).cloned()).collect();
    let answer = exchange
        .write(database, DatabaseRequest::Transact(changes), Some(memory))
        .await
        .map_err(|problem| with_index(problem, &ids))?;
    match answer {
        DatabaseResponse::Transacted(outcomes) => {
            let outcomes: Vec<_> = outcomes.iter().map(outcome).collect();
            Ok(Json(json!({ "outcomes": outcomes })).into_response())
        }
        _ => Err(unexpected()),
    }
}

/// Adds which change a problem is about, where only one can be meant.
fn with_index(problem: Problem, ids: &[Option<DocumentId>]) -> Problem {
    let Some(id) = problem.member("id").and_then(Value::as_str) else {
        return problem;
    };
    let is_meant = |of: &&Option<DocumentId>| of.as_ref().is_some_and(|of| of.as_str() == id);
    match ids.iter().filter(is_meant).count() {
        1 => match ids.iter().position(|of| is_meant(&of)) {
            Some(index) => problem.with("index", index),
            None => problem,
        },
        _ => problem,
    }
}

fn id(action: &ChangeAction) -> Option<&DocumentId> {
    match action {
        ChangeAction::Insert { id, .. } => id.as_ref(),
        ChangeAction::Put { id, .. } | ChangeAction::Delete { id, .. } | ChangeAction::Check { id, .. } => {
            Some(id)
        }
    }
}

fn outcome(outcome: &ChangeOutcome) -> Value {
    match outcome {
        ChangeOutcome::Written {
            id,
            revision,
            created,
        } => json!({
            "outcome": if *created { "created" } else { "updated" },
            "id": id,
            "revision": revision.to_string(),
        }),
        ChangeOutcome::Deleted => json!({ "outcome": "deleted" }),
        ChangeOutcome::Checked => json!({ "outcome": "checked" }),
    }
}

/// The changes that a body asks for.
fn read(text: &str) -> Result<Vec<Change>, Problem> {
    let changes = json::array("", text)?.into_iter().enumerate();
    changes
        .map(|(at, json)| {
            let change = Object::read(format!("[{at}]"), json.get())?;
            let (kind, mut change) = change.only(&["insert", "update", "overwrite", "delete", "check"])?;
            let read = read_change(kind, &mut change)?;
            change.end()?;
            Ok(read)
        })
        .collect()
}

fn read_change(kind: &str, change: &mut Object<'_>) -> Result<Change, Problem> {
    let collection = change.text("collection")?;
    let collection = change.required("collection", collection)?;
    let id: Option<DocumentId> = change.text("id")?;
    if kind == "insert" {
        let body = change.body("body")?;
        let body = change.required("body", body)?;
        let action = ChangeAction::Insert { id, body };
        return Ok(Change { collection, action });
    }
    let id = change.required("id", id)?;
    let action = match kind {
        "update" | "overwrite" => {
            let body = change.body("body")?;
            ChangeAction::Put {
                id,
                body: change.required("body", body)?,
                precondition: match kind {
                    "update" => revision(change)?.map_or(Precondition::Exists, Precondition::Revision),
                    _ => Precondition::None,
                },
            }
        }
        "delete" => ChangeAction::Delete {
            id,
            precondition: revision(change)?.map_or(Precondition::None, Precondition::Revision),
        },
        _ => ChangeAction::Check {
            id,
            precondition: check(change)?,
        },
    };
    Ok(Change { collection, action })
}

fn revision(change: &mut Object<'_>) -> Result<Option<Revision>, Problem> {
    let Some(text) = change.text::<String>("revision")? else {
        return Ok(None);
    };
    let revision = text.parse();
    let wrong = |error: pliantdb_core::InvalidRevision| change.wrong("revision", &text, error.to_string());
    revision.map(Some).map_err(wrong)
}

/// What must hold: a revision, or whether the document exists.
fn check(change: &mut Object<'_>) -> Result<Precondition, Problem> {
    match (revision(change)?, change.flag("exists")?) {
        (Some(revision), None) => Ok(Precondition::Revision(revision)),
        (None, Some(true)) => Ok(Precondition::Exists),
        (None, Some(false)) => Ok(Precondition::Absent),
        _ => Err(change.wrong(
            "exists",
            "",
            "a check needs either the revision that the document is to have, or exists: true or false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use pliantdb_core::{Change, ChangeAction};

    use super::read;

    #[test]
    fn bodies_stay_as_they_are() {
        let deep = "[".repeat(128) + &"]".repeat(128);
        for body in [" {\"x\": 1.50, \"x\": 2} ", &deep] {
            let text = format!("[{{\"insert\": {{\"collection\": \"c\", \"body\": {body}}}}}]");
            let changes = read(&text).unwrap();
            let [
                Change {
                    action: ChangeAction::Insert { body: read, .. },
                    ..
                },
            ] = changes.as_slice()
            else {
                panic!("{changes:?}");
            };
            assert_eq!(read.as_str(), body.trim());
        }
    }

    #[test]
    fn any_transaction() {
        let seeds = [
            r#"[{"insert": {"collection": "c", "id": "a", "body": {"x": [1.5, "é"]}}}]"#,
            r#"[{"update": {"collection": "c", "id": "a", "body": 1, "revision": "0190f2a4c1d30000"}}, {"delete": {"collection": "c", "id": "b"}}]"#,
            r#"[{"overwrite": {"collection": "c", "id": "a", "body": null}}, {"check": {"collection": "c", "id": "b", "exists": false}}]"#,
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                if let Ok(text) = str::from_utf8(&bytes) {
                    let _ = read(text);
                }
            });
    }
}
