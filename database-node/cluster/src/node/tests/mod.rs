//! Small clusters whose messages arrive at once.

mod databases;
mod force;
mod founding;
mod sleep;
mod snapshots;
mod space;
mod standing;
mod stepping_aside;
mod taking;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::{
    Body, CollectionName, DocumentAction, DocumentChange, DocumentId, GroupId, Operation, Precondition,
    Request, RequestId, Response, SlotCount, WriteAction,
};
use pliantdb_storage::store::{Durability, MemoryStore, OrderedStore};

use super::*;
use crate::Applier;
use crate::meta::{MetaCommand, Mode};
use crate::timing::Timing;

const TICK: Duration = Duration::from_millis(100);
/// A group falls asleep when nothing has happened for 20 ticks; clusters here have had time for that.
const QUIET: u32 = 40;
/// The first database.
const GROUP: GroupId = GroupId::new(1);

struct Machine {
    log: Arc<MemoryStore>,
    state: Arc<MemoryStore>,
    apply_version: u16,
    process: Option<(Node<MemoryStore>, Applier<MemoryStore>)>,
}

/// Machines, of which the one at place 0 has node 1.
struct Cluster {
    machines: Vec<Machine>,
    now: Instant,
    starts: u64,
    sent: VecDeque<(usize, usize, Envelope)>,
    /// From whom to whom nothing comes through.
    cut: BTreeSet<(usize, usize)>,
    /// What was delivered since this was emptied.
    heard: Vec<Message>,
    /// Who was sent a kind of message that not all versions understand.
    later: BTreeSet<usize>,
    /// The versions of the commands that were given to appliers since this was emptied.
    versions: Vec<u16>,
    answers: BTreeMap<u64, Answer>,
    /// What each node has published.
    standings: BTreeMap<(usize, GroupId), Standing>,
    tokens: u64,
    /// By how much all walls are ahead, in milliseconds.
    ahead: u64,
}

fn node(host: usize) -> NodeId {
    NodeId::new(u32::try_from(host).unwrap() + 1)
}

impl Cluster {
    /// So many nodes with so many databases, where everything sleeps.
    fn asleep(nodes: usize, databases: usize, is_quorum: bool) -> Self {
        let mut cluster = Self {
            machines: Vec::new(),
            now: Instant::from_nanos(1 << 40),
            starts: 0,
            sent: VecDeque::new(),
            cut: BTreeSet::new(),
            heard: Vec::new(),
            later: BTreeSet::new(),
            versions: Vec::new(),
            answers: BTreeMap::new(),
            standings: BTreeMap::new(),
            tokens: 0,
            ahead: 0,
        };
        for host in 0..nodes {
            cluster.machines.push(Machine {
                log: Arc::default(),
                state: Arc::default(),
                apply_version: pliantdb_core::APPLY_VERSION,
                process: None,
            });
            cluster.start(host);
            let now = cluster.now();
            match host {
                0 => cluster.node_mut(0).found(7, 0, now).unwrap(),
                _ => {
                    let token = u128::try_from(host).unwrap();
                    cluster.node_mut(host).join(token, vec![Peer::Node(node(0))]);
                }
            }
            cluster.until(100, |cluster| {
                let is_in = |meta: &Meta| meta.nodes().len() == host + 1;
                cluster.node(0).meta().is_some_and(is_in) && cluster.node(host).id() == Some(node(host))
            });
            assert_eq!(cluster.node(host).cluster(), Some(7));
        }
        for number in 0..databases {
            cluster.change(MetaCommand::CreateDatabase {
                name: format!("database-{number}").parse().unwrap(),
                slots: SlotCount::try_from(4).unwrap(),
            });
        }
        if is_quorum {
            cluster.switch(Mode::Quorum);
        }
        cluster.until(200, |cluster| cluster.are_all_asleep());
        cluster.heard.clear();
        cluster
    }

    fn now(&self) -> Now {
        Now {
            steady: self.now,
            wall_ms: 1_800_000_000_000 + self.ahead + self.now.nanos() / 1_000_000,
        }
    }

    fn start(&mut self, host: usize) {
        self.starts += 1;
        let settings = Settings {
            name: format!("machine-{host}"),
            attributes: BTreeMap::from([(UNDERSTANDS.to_owned(), crate::wire::UNDERSTOOD.to_string())]),
            apply_version: self.machines[host].apply_version,
            seed: self.starts,
            timing: Timing::default(),
            limits: Limits::default(),
        };
        let now = self.now();
        let machine = &mut self.machines[host];
        let (applier, found) = Applier::open(Arc::clone(&machine.state), settings.apply_version, ()).unwrap();
        let node = Node::open(settings, Arc::clone(&machine.log), found, now).unwrap();
        machine.process = Some((node, applier));
    }

    fn stop(&mut self, host: usize) {
        let machine = &mut self.machines[host];
        machine.process = None;
        self.standings.retain(|(of, _), _| *of != host);
        machine.log.crash();
        machine.state.crash();
    }

    fn node(&self, host: usize) -> &Node<MemoryStore> {
        &self.machines[host].process.as_ref().unwrap().0
    }

    fn node_mut(&mut self, host: usize) -> &mut Node<MemoryStore> {
        &mut self.machines[host].process.as_mut().unwrap().0
    }

    fn up(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.machines.len()).filter(|host| self.machines[*host].process.is_some())
    }

    fn are_all_asleep(&self) -> bool {
        let mut nodes = self.up().map(|host| self.node(host));
        nodes.all(|node| node.asleep() + 1 == node.groups.len())
    }

    /// The one that leads a group, if only one does.
    fn leader(&self, group: GroupId) -> Option<usize> {
        let mut leaders = self.up().filter(|host| self.node(*host).leads(group));
        leaders.next().filter(|_| leaders.next().is_none())
    }

    fn is_asleep(&self, host: usize, group: GroupId) -> bool {
        self.node(host).groups[&group].is_asleep()
    }

    /// Gives a node something, and does all that comes of it on that machine at once.
    fn step(&mut self, host: usize, input: Input) {
        let now = self.now();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Machine { log, process, .. } = &mut self.machines[host];
            let Some((node, applier)) = process else {
                return;
            };
            let outputs = node.step(now, input);
            for (group, standing) in node.take_standings(now) {
                match standing {
                    Some(standing) => self.standings.insert((host, group), standing),
                    None => self.standings.remove(&(host, group)),
                };
            }
            for output in outputs {
                match output {
                    Output::Persist { number, batch, .. } => {
                        log.write(&batch, Durability::Synced).unwrap();
                        inputs.push_back(Input::Persisted(number));
                    }
                    Output::Run(task) => {
                        if let Task::Apply { entries, .. } = &task {
                            let commands = entries.iter().filter_map(|entry| entry.command.as_ref());
                            self.versions.extend(commands.map(|command| command.version));
                        }
                        inputs.extend(applier.run(task).map(Input::Done));
                    }
                    Output::Send { to, envelope } => {
                        let to = match to {
                            Peer::Node(node) => node.get() as usize - 1,
                            Peer::Joiner(token) => usize::try_from(token).unwrap(),
                        };
                        self.sent.push_back((host, to, envelope));
                    }
                    Output::Reply { token, answer } => {
                        self.answers.insert(token, answer);
                    }
                    Output::Event(_) => {}
                }
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, envelope)) = self.sent.pop_front() {
            if !self.cut.contains(&(from, to)) && self.machines[to].process.is_some() {
                if envelope.messages.iter().any(|message| message.needs() > 1) {
                    self.later.insert(to);
                }
                self.heard.extend(envelope.messages.clone());
                self.step(to, Input::Receive(envelope));
            }
        }
    }

    /// Lets so many ticks pass.
    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now.after(TICK);
            for host in self.up().collect::<Vec<_>>() {
                self.step(host, Input::Tick);
                self.deliver();
            }
        }
    }

    /// Lets ticks pass until something is so; gives how many that were.
    fn until(&mut self, most: u32, mut is_so: impl FnMut(&mut Self) -> bool) -> u32 {
        for passed in 0..most {
            if is_so(self) {
                return passed;
            }
            self.pass(1);
        }
        panic!("not so after {most} ticks");
    }

    fn ask(&mut self, host: usize, ask: Ask) -> u64 {
        self.tokens += 1;
        let token = self.tokens;
        self.step(host, Input::Ask { token, ask });
        self.deliver();
        token
    }

    /// What comes of a question within a second.
    fn answer(&mut self, host: usize, ask: Ask) -> Option<Answer> {
        let token = self.ask(host, ask);
        for _ in 0..10 {
            if self.answers.contains_key(&token) {
                break;
            }
            self.pass(1);
        }
        self.answers.remove(&token)
    }

    fn change(&mut self, command: MetaCommand) {
        let leader = self.leader(META).unwrap();
        let answer = self.answer(leader, Ask::Change(command));
        assert!(matches!(answer, Some(Answer::Changed(Ok(_)))), "{answer:?}");
    }

    /// Begins a switch, and waits for its end.
    fn switch(&mut self, to: Mode) {
        self.change(MetaCommand::Switch { to });
        self.until(300, |cluster| {
            let leader = cluster.leader(META);
            leader.is_some_and(|leader| cluster.node(leader).meta().unwrap().mode() == to)
        });
    }

    fn write(&mut self, host: usize, group: GroupId) -> Mark {
        let operation = self.operation(group);
        match self.answer(host, Ask::Write { group, operation }) {
            Some(Answer::Written { at, result: Ok(_) }) => at,
            answer => panic!("{answer:?}"),
        }
    }

    fn operation(&mut self, group: GroupId) -> Operation {
        self.tokens += 1;
        let id = RequestId::new(self.now().wall_ms, self.tokens.into());
        let change = DocumentChange {
            collection: collection(),
            id: document(),
            precondition: Precondition::None,
            action: DocumentAction::Put {
                body: Body::parse(b"1".to_vec()).unwrap(),
                emitted: Vec::new(),
            },
        };
        let action = WriteAction::Transact(vec![change]);
        let name = self.database_of(group);
        Operation::write(name, action, Some(id))
    }

    fn database_of(&self, group: GroupId) -> pliantdb_core::DatabaseName {
        let meta = self.up().find_map(|host| self.node(host).meta()).unwrap();
        meta.group(group).unwrap().shard.clone().unwrap().database
    }

    fn read(&mut self, host: usize, freshness: Freshness) -> Option<Answer> {
        let request = Request::Get {
            collection: collection(),
            ids: vec![document()],
        };
        self.answer(
            host,
            Ask::Read {
                group: GROUP,
                request,
                freshness,
            },
        )
    }

    /// Whether a read gives the document.
    fn finds(&mut self, host: usize, freshness: Freshness) -> bool {
        match self.read(host, freshness) {
            Some(Answer::Read {
                result: Ok(Response::Documents(documents)),
                ..
            }) => documents.len() == 1,
            _ => false,
        }
    }

    /// Nothing comes through between one and all others.
    fn isolate(&mut self, host: usize) {
        for other in 0..self.machines.len() {
            if other != host {
                self.cut.extend([(host, other), (other, host)]);
            }
        }
    }
}

fn collection() -> CollectionName {
    "things".parse().unwrap()
}

fn document() -> DocumentId {
    "thing".parse().unwrap()
}
