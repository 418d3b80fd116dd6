//! A node alone, with its applier, on stores that sync at once.

use std::collections::VecDeque;
use std::sync::Arc;

use pliantdb_core::{
    Body, DocumentAction, DocumentChange, GroupId, Operation, Precondition, Request, SlotCount, WriteAction,
};
use pliantdb_storage::store::{Durability, MemoryStore};

use super::super::*;
use crate::applier::Applier;
use crate::meta::MetaCommand;
use crate::timing::Timing;

struct Alone {
    node: Node<MemoryStore>,
    log: Arc<MemoryStore>,
    applier: Applier<MemoryStore>,
    now: Now,
    answers: Vec<Answer>,
}

impl Alone {
    fn new() -> Self {
        let (log, state) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let settings = Settings {
            name: "alone".to_owned(),
            attributes: BTreeMap::new(),
            apply_version: pliantdb_core::APPLY_VERSION,
            seed: 1,
            timing: Timing::default(),
            limits: Limits::default(),
        };
        let (applier, found) = Applier::open(state).unwrap();
        let steady = Instant::from_nanos(1_000_000_000_000);
        let now = Now {
            steady,
            wall_ms: 1_800_000_000_000,
        };
        let mut node = Node::open(settings, Arc::clone(&log), found, now).unwrap();
        node.found(7, 1, now).unwrap();
        let mut alone = Self {
            node,
            log,
            applier,
            now,
            answers: Vec::new(),
        };
        alone.pass(50);
        assert!(alone.node.leads(META));
        alone
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now.steady = self.now.steady.after(Timing::default().tick);
            self.step(Input::Tick);
        }
    }

    /// Does what comes of an input, and of that, to the end.
    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.node.step(self.now, input) {
                match output {
                    Output::Persist { number, batch, .. } => {
                        self.log.write(&batch, Durability::Synced).unwrap();
                        inputs.push_back(Input::Persisted(number));
                    }
                    Output::Run(task) => inputs.extend(self.applier.run(task).map(Input::Done)),
                    Output::Reply { answer, .. } => self.answers.push(answer),
                    Output::Send { .. } | Output::Event(_) => {}
                }
            }
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        self.step(Input::Ask { token: 1, ask });
        self.pass(1);
        assert_eq!(self.answers.len(), 1, "{:?}", self.answers);
        self.answers.remove(0)
    }
}

#[test]
fn a_leader_that_is_short_of_room_answers_reads_and_refuses_writes() {
    let mut alone = Alone::new();
    let (name, slots) = ("shop".parse().unwrap(), SlotCount::try_from(4).unwrap());
    let made = alone.ask(Ask::Change(MetaCommand::CreateDatabase { name, slots }));
    assert!(matches!(made, Answer::Changed(Ok(_))), "{made:?}");
    alone.pass(50);
    let group = GroupId::new(1);
    let put = |text: &str| DocumentChange {
        collection: "things".parse().unwrap(),
        id: "one".parse().unwrap(),
        precondition: Precondition::None,
        action: DocumentAction::Put {
            body: Body::parse(text.to_owned().into_bytes()).unwrap(),
            emitted: Vec::new(),
        },
    };
    let write = |text: &str| {
        let action = WriteAction::Transact(vec![put(text)]);
        let operation = Operation::write("shop".parse().unwrap(), action, None);
        Ask::Write { group, operation }
    };
    let read = |freshness| {
        let request = Request::Get {
            collection: "things".parse().unwrap(),
            ids: vec!["one".parse().unwrap()],
        };
        Ask::Read {
            group,
            request,
            freshness,
        }
    };
    let written = alone.ask(write("1"));
    assert!(
        matches!(written, Answer::Written { result: Ok(_), .. }),
        "{written:?}"
    );

    alone.step(Input::Space { is_short: true });
    assert_eq!(alone.ask(write("2")), Answer::Refused(Refusal::DiskFull));
    for freshness in [Freshness::Linearizable, Freshness::Quorum] {
        let answer = alone.ask(read(freshness));
        let Answer::Read {
            result: Ok(pliantdb_core::Response::Documents(found)),
            ..
        } = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!(found.first().map(|document| document.body.as_str()), Some("1"));
    }
    // What the cluster itself has to note goes on.
    let (name, slots) = ("other".parse().unwrap(), SlotCount::try_from(4).unwrap());
    let made = alone.ask(Ask::Change(MetaCommand::CreateDatabase { name, slots }));
    assert!(matches!(made, Answer::Changed(Ok(_))), "{made:?}");

    alone.step(Input::Space { is_short: false });
    let written = alone.ask(write("3"));
    assert!(
        matches!(written, Answer::Written { result: Ok(_), .. }),
        "{written:?}"
    );
}
