//! Clients that keep asking one machine for a while: they are on its side of a network that is cut.

use std::collections::BTreeMap;

use pliantdb_cluster::node::{Answer, Ask, Freshness, Refusal};
use pliantdb_core::{Operation as Command, Request, RequestId, Response, WriteAction};
use rand::RngExt;

use crate::clients::{Database, collection, document, put};
use crate::history::{Asked, Came, History, Object, Operation, Value};
use crate::world::{Happening, MS, Time, World};

/// The number of the object that they write and read.
const WATCHED: u32 = 50;
/// How long they wait for an answer before they ask for something else.
const PATIENCE: Time = 400 * MS;
/// They are known as clients from this number on.
const FIRST: usize = 1_000;

/// Clients that keep asking one machine.
#[derive(Default)]
pub struct Watchers {
    all: Vec<Watcher>,
    tokens: BTreeMap<u64, usize>,
    next_token: u64,
    next_value: Value,
}

struct Watcher {
    host: usize,
    database: Database,
    writes: bool,
    until: Time,
    /// What it waits for: by which token, and what it will have been.
    asked: Option<(u64, Operation)>,
}

impl Watchers {
    /// Lets somebody write to a machine, or read from it, from a moment on for a while.
    pub fn watch(
        &mut self,
        world: &mut World,
        host: usize,
        database: &Database,
        writes: bool,
        (after, lasting): (Time, Time),
    ) {
        self.all.push(Watcher {
            host,
            database: database.clone(),
            writes,
            until: world.now() + after + lasting,
            asked: None,
        });
        let watcher = self.all.len() - 1;
        world.schedule(after, Happening::Watch { watcher });
    }

    /// Nobody begins anything any more.
    pub fn close(&mut self) {
        for watcher in &mut self.all {
            watcher.until = 0;
        }
    }

    /// A watcher goes on.
    pub fn turn(&mut self, world: &mut World, history: &mut History, watcher: usize) {
        let Some(state) = self.all.get_mut(watcher) else {
            return;
        };
        let now = world.now();
        if let Some((token, operation)) = &state.asked {
            let is_over = now >= operation.began + PATIENCE || now >= state.until;
            if is_over {
                // Nobody knows whether it was done, or will be.
                self.tokens.remove(token);
                history
                    .operations
                    .extend(state.asked.take().map(|(_, operation)| operation));
            }
        }
        if now >= state.until {
            return;
        }
        let after = world.random.random_range(10 * MS..30 * MS);
        world.schedule(after, Happening::Watch { watcher });
        if state.asked.is_some() {
            return;
        }
        self.next_token += 1;
        let token = (1 << 48) + self.next_token;
        let group = state.database.group;
        let object = Object {
            group,
            number: WATCHED,
        };
        let id = document("watched");
        let (asked, ask) = match state.writes {
            true => {
                self.next_value += 1;
                let value = (1 << 40) + self.next_value;
                let wall = 1_800_000_000_000 + now / MS;
                let request = RequestId::new(wall, world.random.random());
                let action = WriteAction::Transact(vec![put(id, pliantdb_core::Precondition::None, value)]);
                let operation = Command::write(state.database.name.clone(), action, Some(request));
                (Asked::Write(value), Ask::Write { group, operation })
            }
            false => {
                let (collection, ids) = (collection(), vec![id]);
                let request = Request::Get { collection, ids };
                let freshness = Freshness::Linearizable;
                (
                    Asked::Read,
                    Ask::Read {
                        group,
                        request,
                        freshness,
                    },
                )
            }
        };
        let operation = Operation {
            client: FIRST + watcher,
            object,
            asked,
            began: now,
            ended: None,
            came: Came::Unknown,
            is_asked_again: false,
            at: None,
        };
        state.asked = Some((token, operation));
        self.tokens.insert(token, watcher);
        world.ask(state.host, token, ask);
    }

    /// Whether an answer is for one of them, who takes it then.
    pub fn answered(&mut self, world: &World, history: &mut History, token: u64, answer: &Answer) -> bool {
        let Some(watcher) = self.tokens.remove(&token) else {
            return token > 1 << 48;
        };
        let asked = self.all.get_mut(watcher).and_then(|state| state.asked.take());
        let Some((_, mut operation)) = asked.filter(|(of, _)| *of == token) else {
            return true;
        };
        let came = match answer {
            Answer::Written { at, result: Ok(_) } => Some((Came::Done, *at)),
            Answer::Read {
                at,
                result: Ok(Response::Documents(documents)),
            } => {
                let value = documents
                    .first()
                    .and_then(|document| document.body.as_str().parse().ok());
                Some((Came::Value(value.unwrap_or_default()), *at))
            }
            Answer::Refused(Refusal::Unknown) => None,
            // It was not done, and nobody has to know that it was asked.
            _ => return true,
        };
        if let Some((came, at)) = came {
            (operation.ended, operation.came, operation.at) = (Some(world.now()), came, Some(at));
        }
        history.operations.push(operation);
        true
    }
}
