//! What a node gives for several inputs at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pliantdb_core::{
    Body, Expiry, KeyAction, KeyCondition, Operation, Request, Response, SlotCount, WriteAction,
};
use pliantdb_storage::store::{Durability, MemoryStore};

use super::super::*;
use crate::applier::Applier;
use crate::meta::{MetaCommand, MetaOutcome};
use crate::timing::Timing;

/// A node that founded its cluster, and what a driver does.
struct Alone {
    node: Node<MemoryStore>,
    applier: Applier<MemoryStore>,
    log: Arc<MemoryStore>,
    nanos: u64,
    replies: BTreeMap<u64, Answer>,
}

impl Alone {
    fn found(limits: Limits) -> Self {
        let (log, state) = (Arc::<MemoryStore>::default(), Arc::default());
        let settings = Settings {
            name: "alone".to_owned(),
            attributes: BTreeMap::new(),
            apply_version: pliantdb_core::APPLY_VERSION,
            seed: 1,
            timing: Timing::default(),
            limits,
        };
        let (applier, found) = Applier::open(state, settings.apply_version, ()).unwrap();
        let mut node = Node::open(settings, Arc::clone(&log), found, now(0)).unwrap();
        node.found(7, 1, now(0)).unwrap();
        Self {
            node,
            applier,
            log,
            nanos: 0,
            replies: BTreeMap::new(),
        }
    }

    /// Makes the first database, and gives its group.
    fn database(&mut self) -> GroupId {
        let outputs = self.at_once([]);
        self.finish(outputs);
        self.go_on(Duration::from_secs(3));
        let (name, slots) = ("first".parse().unwrap(), SlotCount::try_from(4).unwrap());
        let ask = Ask::Change(MetaCommand::CreateDatabase { name, slots });
        let outputs = self.at_once([Input::Ask { token: 1, ask }]);
        self.finish(outputs);
        let Some(Answer::Changed(Ok(MetaOutcome::Group(group)))) = self.replies.remove(&1) else {
            panic!("no database was made: {:?}", self.replies);
        };
        self.go_on(Duration::from_secs(3));
        group
    }

    /// Takes inputs one by one, and gives what follows from all.
    fn at_once(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        for input in inputs {
            self.nanos += 1;
            self.node.take(now(self.nanos), input);
        }
        self.node.give(now(self.nanos))
    }

    /// Does what is to be done, until nothing is.
    fn finish(&mut self, outputs: Vec<Output>) {
        let mut outputs = VecDeque::from(outputs);
        while let Some(output) = outputs.pop_front() {
            let input = match output {
                Output::Persist { number, batch, .. } => {
                    self.log.write(&batch, Durability::Synced).unwrap();
                    Some(Input::Persisted(number))
                }
                Output::Run(task) => self.applier.run(task).map(Input::Done),
                Output::Reply { token, answer } => {
                    self.replies.insert(token, answer);
                    None
                }
                Output::Send { .. } | Output::Event(_) => None,
            };
            outputs.extend(self.at_once(input));
        }
    }

    fn go_on(&mut self, duration: Duration) {
        let tick = Timing::default().tick;
        for _ in 0..duration.as_millis() / tick.as_millis() {
            self.nanos += u64::try_from(tick.as_nanos()).unwrap();
            let outputs = self.at_once([Input::Tick]);
            self.finish(outputs);
        }
    }
}

fn now(nanos: u64) -> Now {
    Now {
        steady: Instant::from_nanos(nanos),
        wall_ms: 1_000 + nanos / 1_000_000,
    }
}

fn set(group: GroupId, token: u64) -> Input {
    let action = WriteAction::ChangeKey {
        namespace: "test".parse().unwrap(),
        key: "key".parse().unwrap(),
        action: KeyAction::Set {
            value: Body::of(&token).unwrap(),
            expiry: Expiry::Never,
            condition: KeyCondition::Always,
        },
    };
    let operation = Operation::write("first".parse().unwrap(), action, None);
    let ask = Ask::Write { group, operation };
    Input::Ask { token, ask }
}

#[test]
fn what_comes_at_once_is_written_and_applied_together_and_in_order() {
    let mut alone = Alone::found(Limits::default());
    let group = alone.database();
    let request = Request::GetKey {
        namespace: "test".parse().unwrap(),
        key: "key".parse().unwrap(),
    };
    let read = |token, freshness| Input::Ask {
        token,
        ask: Ask::Read {
            group,
            request: request.clone(),
            freshness,
        },
    };
    let writes = (10..20).map(|token| set(group, token));
    let outputs = alone.at_once(writes.chain([read(20, Freshness::Linearizable)]));
    let (writes, others): (Vec<Output>, Vec<Output>) = outputs
        .into_iter()
        .partition(|output| matches!(output, Output::Persist { .. }));
    let [Output::Persist { number, batch, .. }] = writes.as_slice() else {
        panic!("not one batch: {writes:?}");
    };
    alone.finish(others);
    assert!(
        alone.replies.keys().all(|token| *token == 20),
        "nothing is safe yet"
    );
    alone.log.write(batch, Durability::Synced).unwrap();
    let outputs = alone.at_once([Input::Persisted(*number)]);
    let applied = outputs.iter().filter_map(|output| match output {
        Output::Run(Task::Apply { entries, .. }) => Some(entries.len()),
        _ => None,
    });
    assert_eq!(applied.collect::<Vec<_>>(), [10]);
    alone.finish(outputs);
    let mut index = 0;
    for token in 10..20 {
        match alone.replies.remove(&token) {
            Some(Answer::Written { at, result: Ok(_) }) => {
                assert!(at.index > index, "in the order in which they came");
                index = at.index;
            }
            answer => panic!("{answer:?}"),
        }
    }
    // A read that came with them need not see them, and one that comes after the answers must.
    assert!(matches!(
        alone.replies.remove(&20),
        Some(Answer::Read { result: Ok(_), .. })
    ));
    let outputs = alone.at_once([read(21, Freshness::Quorum)]);
    alone.finish(outputs);
    match alone.replies.remove(&21) {
        Some(Answer::Read {
            result: Ok(Response::Value(Some(value))),
            ..
        }) => assert_eq!(value.as_str(), "19"),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn what_cannot_be_applied_yet_waits_in_the_log() {
    let mut alone = Alone::found(Limits {
        apply_bytes: 1_000,
        ..Limits::default()
    });
    let group = alone.database();
    let mut waiting = VecDeque::new();
    let mut under_way = 0;
    let mut outputs = VecDeque::from(alone.at_once((1..=500).map(|token| set(group, token))));
    loop {
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Persist { number, batch, .. } => {
                    alone.log.write(&batch, Durability::Synced).unwrap();
                    outputs.extend(alone.at_once([Input::Persisted(number)]));
                }
                Output::Run(Task::Apply { group, entries }) => {
                    under_way += entries.len();
                    waiting.push_back(Task::Apply { group, entries });
                }
                Output::Run(task) => panic!("{task:?}"),
                Output::Reply { token, answer } => {
                    assert!(
                        matches!(answer, Answer::Written { result: Ok(_), .. }),
                        "{answer:?}"
                    );
                    let before = alone.replies.insert(token, answer);
                    assert!(
                        before.is_none() && alone.replies.len() as u64 == token,
                        "in order"
                    );
                }
                Output::Send { .. } | Output::Event(_) => {}
            }
        }
        // A command has some 28 bytes.
        assert!(under_way < 60, "{under_way} entries are under way");
        let Some(Task::Apply { group, entries }) = waiting.pop_front() else {
            break;
        };
        under_way -= entries.len();
        let done = alone.applier.run(Task::Apply { group, entries });
        outputs.extend(alone.at_once(done.map(Input::Done)));
    }
    assert_eq!(alone.replies.len(), 500);
}
