//! A client by WebSocket or QUIC: the Rust client, which makes its connection anew and asks again by itself. When it gives
//! up, the next is of another node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pliantdb_client::protocol::{Credentials, Secret};
use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Body, Change, ChangeAction, ChangeOutcome, Error, Expiry, KeyAction,
    KeyCondition, Number, Options, Precondition, Rejection, Request, Response, StorageConnection,
};
use serde_json::json;

use super::Shared;
use super::ask::{Answer, Ask, DATABASE, DOCUMENTS, LEDGER, NUMBERS, Trouble, When};
use crate::history::Door;

/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(2);
/// Between two attempts of what was not done.
const PAUSE: Duration = Duration::from_millis(50);

/// Connects to a node by that door, and opens the database.
///
/// # Errors
/// Any [`Error`].
pub async fn connect(shared: &Shared, door: Door, node: usize) -> Result<AsyncRemoteDatabase, Error> {
    let place = shared
        .place(node)
        .ok_or_else(|| Error::Invalid("there is no node".to_owned()))?;
    let options = Options {
        credentials: Some(Credentials::Token(Secret::new(shared.token.clone()))),
        connect_timeout: CONNECTING,
        answer_timeout: Some(shared.patience),
        // What each node answers is what is looked at.
        finds_nodes: false,
        ..Options::default()
    };
    let address = match door {
        Door::Quic => place.quic(),
        Door::Http | Door::WebSocket => place.websocket(),
    };
    let client = AsyncClient::connect(&address, options).await?;
    client.database::<()>(DATABASE).await
}

/// A client.
pub struct RemoteClient {
    shared: Arc<Shared>,
    door: Door,
    node: usize,
    database: Option<AsyncRemoteDatabase>,
}

impl RemoteClient {
    /// One that begins at a node.
    #[must_use]
    pub fn new(shared: Arc<Shared>, door: Door, node: usize) -> Self {
        Self {
            shared,
            door,
            node,
            database: None,
        }
    }

    /// The node that is asked.
    #[must_use]
    pub fn node(&self) -> usize {
        self.node % self.shared.places.len().max(1)
    }

    /// The database over a connection that is there; another node's, if it has none.
    ///
    /// # Errors
    /// Why the last node could not be reached.
    pub async fn database(&mut self) -> Result<AsyncRemoteDatabase, Error> {
        if let Some(database) = &self.database {
            return Ok(database.clone());
        }
        match connect(&self.shared, self.door, self.node).await {
            Ok(database) => Ok(self.database.insert(database).clone()),
            Err(error) => {
                self.node += 1;
                Err(error)
            }
        }
    }

    /// Goes to the next node.
    pub fn leave(&mut self) {
        self.database = None;
        self.node += 1;
    }

    /// Asks. The client asks again by itself; what it says was not done, this asks again as long as patience lasts.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn ask(&mut self, ask: &Ask) -> Result<Answer, Trouble> {
        let began = Instant::now();
        let request = request(ask).map_err(|error| Trouble::Failed(error.to_string()))?;
        // The client has a limit of its own; one that hangs all the same is found out.
        let limit = self.shared.patience * 2 + Duration::from_secs(5);
        loop {
            let asked = async {
                let database = self.database().await?;
                database.execute(request.clone()).await
            };
            let result = match tokio::time::timeout(limit, asked).await {
                Ok(result) => understand(ask, result),
                Err(_) => Err(Trouble::Unknown(format!("the client hung for {limit:?}"))),
            };
            let not_done = match result {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Failed(reason)) => reason,
                Err(unknown) => {
                    self.leave();
                    return Err(unknown);
                }
            };
            self.leave();
            if began.elapsed() + PAUSE >= self.shared.patience {
                return Err(Trouble::Failed(not_done));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn request(ask: &Ask) -> Result<Request, Error> {
    let body = |value: i64| Body::of(&json!({ "value": value })).map_err(Error::invalid);
    let document = |action| {
        Ok::<_, Error>(Request::Transact(vec![Change {
            collection: DOCUMENTS.parse().map_err(Error::invalid)?,
            action,
        }]))
    };
    let number = |key: &str, action| {
        Ok::<_, Error>(Request::ChangeKey {
            namespace: NUMBERS.parse().map_err(Error::invalid)?,
            key: key.parse().map_err(Error::invalid)?,
            action,
        })
    };
    match ask {
        Ask::Get { id } => Ok(Request::Get {
            collection: DOCUMENTS.parse().map_err(Error::invalid)?,
            ids: vec![id.parse().map_err(Error::invalid)?],
        }),
        Ask::Put { id, value, when } => document(ChangeAction::Put {
            id: id.parse().map_err(Error::invalid)?,
            body: body(*value)?,
            precondition: precondition(when)?,
        }),
        Ask::Delete { id, when } => document(ChangeAction::Delete {
            id: id.parse().map_err(Error::invalid)?,
            precondition: precondition(when)?,
        }),
        Ask::Read { key } => Ok(Request::GetKey {
            namespace: NUMBERS.parse().map_err(Error::invalid)?,
            key: key.parse().map_err(Error::invalid)?,
        }),
        Ask::Set { key, value } => {
            let action = KeyAction::Set {
                value: Number::from(*value).to_json(),
                expiry: Expiry::Never,
                condition: KeyCondition::Always,
            };
            number(key, action)
        }
        Ask::Add { key, by } => {
            let by = Number::from(*by);
            number(key, KeyAction::Increment { by })
        }
        Ask::Append { ids, value } => {
            let changes = ids.iter().map(|id| {
                Ok::<_, Error>(Change {
                    collection: LEDGER.parse().map_err(Error::invalid)?,
                    action: ChangeAction::Insert {
                        id: Some(id.parse().map_err(Error::invalid)?),
                        body: body(*value)?,
                    },
                })
            });
            Ok(Request::Transact(changes.collect::<Result<_, _>>()?))
        }
    }
}

fn precondition(when: &When) -> Result<Precondition, Error> {
    Ok(match when {
        When::Always => Precondition::None,
        When::Absent => Precondition::Absent,
        When::At(revision) => Precondition::Revision(revision.parse().map_err(Error::invalid)?),
    })
}

/// What a result means.
fn understand(ask: &Ask, result: Result<Response, Error>) -> Result<Answer, Trouble> {
    let error = match result {
        Ok(response) => {
            let unexpected = || Trouble::Unknown(format!("an unexpected answer: {response:?}"));
            return answer(&response).ok_or_else(unexpected);
        }
        Err(error) => error,
    };
    if let Error::Rejected(rejection) = &error {
        match rejection {
            Rejection::PreconditionFailed { current, .. } => {
                return Ok(Answer::Conflict(current.map(|revision| revision.to_string())));
            }
            Rejection::UnknownDocument { .. } if matches!(ask, Ask::Delete { .. }) => {
                return Ok(Answer::Missing);
            }
            _ => {}
        }
    }
    let may_be_done = matches!(
        &error,
        Error::TimedOut
            | Error::Disconnected(_)
            | Error::UnknownOutcome(_)
            | Error::Storage(_)
            | Error::Corrupt(_)
            // It changed nothing now, but may have before.
            | Error::Rejected(Rejection::RequestExpired { .. })
    );
    match may_be_done && ask.kind().is_write() {
        true => Err(Trouble::Unknown(error.to_string())),
        false => Err(Trouble::Failed(error.to_string())),
    }
}

fn answer(response: &Response) -> Option<Answer> {
    let number = |body: &Body| match Number::from_json(body.as_str()) {
        Some(Number::Integer(number)) => Some(number),
        _ => None,
    };
    Some(match response {
        Response::Documents(documents) => match documents.first() {
            None => Answer::Document(None),
            Some(document) => {
                let contents: serde_json::Value = document.body.read().ok()?;
                Answer::Document(Some((
                    document.revision.to_string(),
                    contents.get("value")?.as_i64()?,
                )))
            }
        },
        Response::Transacted(outcomes) => match outcomes.first()? {
            ChangeOutcome::Written { revision, .. } => Answer::Written(revision.to_string()),
            ChangeOutcome::Deleted => Answer::Deleted,
            ChangeOutcome::Checked => return None,
        },
        Response::Value(None) => Answer::Number(None),
        Response::Value(Some(body)) => Answer::Number(Some(number(body)?)),
        Response::Key(outcome) => Answer::Number(outcome.current.as_ref().and_then(number)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put() -> Ask {
        Ask::Put {
            id: "a".to_owned(),
            value: 7,
            when: When::Always,
        }
    }

    #[test]
    fn what_may_have_been_done_is_told_from_what_was_not() {
        let trouble = |ask: &Ask, error| understand(ask, Err(error));
        let get = Ask::Get { id: "a".to_owned() };
        assert!(matches!(
            trouble(&put(), Error::TimedOut),
            Err(Trouble::Unknown(_))
        ));
        assert!(matches!(trouble(&get, Error::TimedOut), Err(Trouble::Failed(_))));
        for error in [Error::Busy, Error::Closed, Error::Unreachable("gone".to_owned())] {
            assert!(matches!(trouble(&put(), error), Err(Trouble::Failed(_))));
        }
    }

    #[test]
    fn every_question_can_be_asked() {
        let (id, key) = ("a".to_owned(), "a".to_owned());
        let ids = vec!["a".to_owned(), "b".to_owned()];
        for ask in [
            put(),
            Ask::Get { id: id.clone() },
            Ask::Delete {
                id,
                when: When::At("01a1fc69ce4f0000".to_owned()),
            },
            Ask::Read { key: key.clone() },
            Ask::Set {
                key: key.clone(),
                value: 1,
            },
            Ask::Add { key, by: 1 },
            Ask::Append { ids, value: 7 },
        ] {
            assert!(request(&ask).is_ok(), "{ask:?}");
        }
    }
}
