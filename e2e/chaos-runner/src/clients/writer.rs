//! A client that reads and writes, one operation after the other, and writes down each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::Shared;
use super::ask::{Answer, Ask, Client, Trouble, When};
use super::http::HttpClient;
use crate::dice::Dice;
use crate::history::{Door, Kind, Operation, Outcome};

/// Between two operations, at most.
const PAUSE_MS: u64 = 40;

/// Each write of a document has a number of its own.
static NEXT: AtomicI64 = AtomicI64::new(1);

/// A writer.
pub struct Writer {
    shared: Arc<Shared>,
    number: u32,
    door: Door,
    dice: Dice,
    client: Client,
    /// The last revision that it knows of each document.
    revisions: BTreeMap<String, String>,
}

impl Writer {
    /// One that begins at a node.
    #[must_use]
    pub fn new(shared: &Arc<Shared>, number: u32, door: Door, node: usize, seed: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            number,
            door,
            dice: Dice::new(seed, 1000 + u64::from(number)),
            client: Client::new(shared, door, node),
            revisions: BTreeMap::new(),
        }
    }

    /// One by HTTP that asks one node only.
    #[must_use]
    pub fn pinned(shared: &Arc<Shared>, number: u32, node: usize) -> Self {
        Self {
            client: Client::Http(HttpClient::pinned(Arc::clone(shared), node)),
            ..Self::new(shared, number, Door::Http, node, 0)
        }
    }

    /// Works until the load is to end.
    pub async fn run(mut self) {
        while !self.shared.is_ending() {
            let ask = self.draw();
            self.step(&ask).await;
            tokio::time::sleep(Duration::from_millis(self.dice.any() % PAUSE_MS)).await;
        }
    }

    fn draw(&mut self) -> Ask {
        let value = NEXT.fetch_add(1, Ordering::Relaxed);
        let dice = &mut self.dice;
        let choice = dice.below(100);
        let id = self.shared.keys.document(dice);
        let key = self.shared.keys.number(dice);
        let known = match self.revisions.get(&id) {
            Some(revision) => When::At(revision.clone()),
            None => When::Absent,
        };
        match choice {
            0..25 => Ask::Get { id },
            25..42 => Ask::Put {
                id,
                value,
                when: When::Always,
            },
            42..60 => Ask::Put {
                id,
                value,
                when: known,
            },
            60..64 => Ask::Put {
                id,
                value,
                when: When::Absent,
            },
            64..68 if known != When::Absent => Ask::Delete { id, when: known },
            64..71 => Ask::Delete {
                id,
                when: When::Always,
            },
            71..77 => Ask::Read { key },
            77..79 => Ask::Set {
                key,
                value: value * 1000,
            },
            79..89 => Ask::Add { key, by: 1 },
            _ => {
                let count = 1 + dice.below(2);
                let ids = (0..count).map(|number| format!("{value}-{number}")).collect();
                Ask::Append { ids, value }
            }
        }
    }

    /// Asks, and writes down what came of it.
    pub async fn step(&mut self, ask: &Ask) {
        let call = self.shared.recorder.now();
        let answer = self.client.ask(ask).await;
        let mut operation = Operation {
            client: self.number,
            door: self.door,
            node: self
                .shared
                .place(self.client.node())
                .map_or_else(String::new, |place| place.name.clone()),
            key: String::new(),
            call,
            end: Some(self.shared.recorder.now()),
            kind: ask.kind(),
            value: 0,
            when: String::new(),
            result: Outcome::Ok,
            revision: String::new(),
            found: None,
            ids: Vec::new(),
            reason: String::new(),
        };
        describe(ask, self.number, &mut operation);
        conclude(answer, &mut operation);
        self.remember(&operation);
        self.shared.keys.count(operation.result == Outcome::Unknown);
        self.shared.recorder.operation(&operation);
    }

    fn remember(&mut self, operation: &Operation) {
        let Some(id) = operation.key.strip_prefix("documents/") else {
            return;
        };
        if matches!(operation.result, Outcome::Unknown | Outcome::Failed) {
            return;
        }
        match (operation.kind, operation.revision.as_str()) {
            (Kind::Get | Kind::Put, "") | (Kind::Delete, _) => drop(self.revisions.remove(id)),
            (_, revision) => drop(self.revisions.insert(id.to_owned(), revision.to_owned())),
        }
        // Of objects that were given up nothing need be known.
        if self.revisions.len() > 100 {
            self.revisions.clear();
        }
    }
}

/// What was asked.
fn describe(ask: &Ask, client: u32, operation: &mut Operation) {
    match ask {
        Ask::Get { id } => operation.key = format!("documents/{id}"),
        Ask::Put { id, value, when } => {
            operation.key = format!("documents/{id}");
            operation.value = *value;
            operation.when = shown(when);
        }
        Ask::Delete { id, when } => {
            operation.key = format!("documents/{id}");
            operation.when = shown(when);
        }
        Ask::Read { key } => operation.key = format!("numbers/{key}"),
        Ask::Set { key, value } | Ask::Add { key, by: value } => {
            operation.key = format!("numbers/{key}");
            operation.value = *value;
        }
        Ask::Append { ids, value } => {
            operation.key = format!("ledger/{client}");
            (operation.ids, operation.value) = (ids.clone(), *value);
        }
    }
}

fn shown(when: &When) -> String {
    match when {
        When::Always => String::new(),
        When::Absent => "absent".to_owned(),
        When::At(revision) => revision.clone(),
    }
}

/// What came of it.
fn conclude(answer: Result<Answer, Trouble>, operation: &mut Operation) {
    match answer {
        Ok(Answer::Document(Some((revision, value)))) => {
            (operation.revision, operation.found) = (revision, Some(value));
        }
        Ok(Answer::Document(None) | Answer::Deleted | Answer::Done) => {}
        Ok(Answer::Written(revision)) => operation.revision = revision,
        Ok(Answer::Missing) => operation.result = Outcome::Missing,
        Ok(Answer::Conflict(current)) => {
            operation.result = Outcome::Conflict;
            operation.revision = current.unwrap_or_default();
        }
        Ok(Answer::Number(found)) => operation.found = found,
        Err(Trouble::Unknown(reason)) => (operation.result, operation.reason) = (Outcome::Unknown, reason),
        Err(Trouble::Failed(reason)) => (operation.result, operation.reason) = (Outcome::Failed, reason),
    }
}
