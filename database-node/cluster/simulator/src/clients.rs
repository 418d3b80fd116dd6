//! Who writes and reads: a few clients, one operation each at a time, each asked again until its answer is known.

mod things;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pliantdb_cluster::NodeId;
use pliantdb_cluster::node::{Answer, Ask, Freshness, Mark, Refusal};
use pliantdb_core::{ChangeOutcome, DatabaseName, Document, GroupId, Outcome, RequestId, Response, Revision};
use rand::RngExt;

use crate::history::{Asked, Came, History, Object, Operation, Value};
use crate::watchers::Watchers;
use crate::world::{Happening, MS, SECOND, Time, World};

use things::{COUNTER, PAIRS, REGISTERS, Requested, SET, requested};
pub use things::{Contents, contents};
pub(crate) use things::{collection, document, put};

/// How long an answer is waited for before asking again, maybe somebody else.
const PATIENCE: Time = 2 * SECOND;
/// How long an operation is tried.
const PERSISTENCE: Time = 20 * SECOND;
/// How long a read is tried by whoever was not answered before.
const IMPATIENCE: Time = SECOND;
/// So many operations are to be begun; whoever is behind that rests for a quarter of the time only.
pub(crate) const LEAST: usize = 500;
/// How long all clients are busy, before and after they rest together.
const BUSY: std::ops::Range<Time> = 5 * SECOND..15 * SECOND;
/// How long they then rest. A group falls asleep after two seconds.
const LULL: std::ops::Range<Time> = 3 * SECOND..11 * SECOND;

/// A database, as clients know it.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its name.
    pub name: DatabaseName,
    /// The group that has it.
    pub group: GroupId,
}

struct Client {
    /// The node that led each group when it was last heard.
    leaders: BTreeMap<GroupId, usize>,
    /// The last entry that it knows of.
    seen: BTreeMap<GroupId, Mark>,
    /// What each register was when it was last read.
    read: BTreeMap<Object, (Value, Revision)>,
    doing: Option<Doing>,
    /// Whether nobody has answered its last operation: it then reads until somebody does.
    is_unanswered: bool,
    turn: u64,
}

struct Doing {
    /// Of the history.
    operation: usize,
    request: Requested,
    token: u64,
    group: GroupId,
    began: Time,
    /// Whether an answer may be on its way that says it was done.
    is_doubtful: bool,
}

/// All clients.
pub struct Clients {
    clients: Vec<Client>,
    databases: Vec<Database>,
    /// The one that the owner deletes and makes again, each time that it was made.
    passing: Vec<Database>,
    /// Those of them that were asked to be deleted.
    leaving: BTreeSet<GroupId>,
    tokens: BTreeMap<u64, usize>,
    next_token: u64,
    next_value: Value,
    /// The mean pause between two operations of a client.
    pause: Time,
    /// When the first begins, and when the last is to.
    time: std::ops::Range<Time>,
    /// When no client begins anything, in order.
    lulls: Vec<std::ops::Range<Time>>,
    /// Whether new operations are begun.
    pub is_open: bool,
    /// Until when nobody writes to a group.
    resting: BTreeMap<GroupId, Time>,
    /// Those who ask one machine.
    pub watchers: Watchers,
    /// What was asked and answered.
    pub history: History,
}

impl Clients {
    /// Clients that do nothing yet.
    #[must_use]
    pub fn new(count: usize, databases: Vec<Database>, operations: u64, duration: Duration) -> Self {
        let client = || Client {
            leaders: BTreeMap::new(),
            seen: BTreeMap::new(),
            read: BTreeMap::new(),
            doing: None,
            is_unanswered: false,
            turn: 0,
        };
        let nanos = duration.as_nanos() as u64;
        Self {
            clients: (0..count).map(|_| client()).collect(),
            databases,
            passing: Vec::new(),
            leaving: BTreeSet::new(),
            tokens: BTreeMap::new(),
            next_token: 1 << 32,
            next_value: 0,
            pause: nanos * count as u64 / operations.max(1),
            time: 0..nanos,
            lulls: Vec::new(),
            is_open: true,
            resting: BTreeMap::new(),
            watchers: Watchers::default(),
            history: History::default(),
        }
    }

    /// Lets all clients rest together now and then for so long, and do as much as otherwise.
    pub fn take_lulls(&mut self, world: &mut World, duration: Duration) {
        let duration = duration.as_nanos() as u64;
        let end = world.now() + duration;
        let (mut at, mut resting) = (world.now(), 0);
        loop {
            let begin = at + world.random.random_range(BUSY);
            at = begin + world.random.random_range(LULL);
            if at > end {
                break;
            }
            resting += at - begin;
            self.lulls.push(begin..at);
        }
        self.pause = self.pause / MS * (duration - resting) / (duration / MS);
    }

    /// Lets every client begin.
    pub fn begin(&mut self, world: &mut World) {
        self.time = world.now()..world.now() + self.time.end;
        for client in 0..self.clients.len() {
            self.rest(world, client);
        }
    }

    /// Whether every operation has ended.
    #[must_use]
    pub fn are_idle(&self) -> bool {
        self.clients.iter().all(|client| client.doing.is_none())
    }

    /// Whether fewer operations were begun than should have been by now.
    fn are_behind(&self, now: Time) -> bool {
        let (passed, whole) = (now - self.time.start, self.time.end - self.time.start);
        (self.begun() as u64) * whole < LEAST as u64 * passed
    }

    fn rest(&mut self, world: &mut World, client: usize) {
        let pause = match self.are_behind(world.now()) {
            true => self.pause / 4,
            false => self.pause,
        };
        let after = world.random.random_range(MS..2 * pause.max(2 * MS));
        let at = world.now() + after;
        let lull = self.lulls.iter().find(|lull| lull.contains(&at));
        // Whoever would begin amid one begins as long after it.
        let after = lull.map_or(after, |lull| after + lull.end - lull.start.max(world.now()));
        self.wake(world, client, after);
    }

    fn wake(&mut self, world: &mut World, client: usize, after: Time) {
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        state.turn += 1;
        let turn = state.turn;
        world.schedule(after, Happening::Client { client, turn });
    }

    /// One of those who ask one machine goes on.
    pub fn watch_turn(&mut self, world: &mut World, watcher: usize) {
        self.watchers.turn(world, &mut self.history, watcher);
    }

    /// A client goes on: it begins something, or asks again.
    pub fn turn(&mut self, world: &mut World, client: usize, turn: u64) {
        let Some(state) = self.clients.get(client).filter(|state| state.turn == turn) else {
            return;
        };
        let persistence = match self.is_open && state.is_unanswered {
            true => IMPATIENCE,
            false => PERSISTENCE,
        };
        match &state.doing {
            Some(doing) if world.now() - doing.began > persistence => {
                self.end(world, client, Came::Unknown, None);
            }
            Some(_) => self.ask(world, client, true),
            None if self.is_open => self.choose(world, client),
            None => {}
        }
    }

    fn choose(&mut self, world: &mut World, client: usize) {
        let Some(database) = self.choose_database(world) else {
            return;
        };
        self.next_value += 1;
        let value = self.next_value;
        let group = database.group;
        let object = |number| Object { group, number };
        let register = object(world.random.random_range(0..REGISTERS));
        let pair = object(REGISTERS + world.random.random_range(0..PAIRS));
        let (object, asked) = match world.random.random_range(0..100) {
            0..18 => (register, Asked::Write(value)),
            18..40 => (register, Asked::Read),
            40..50 => {
                let known = self
                    .clients
                    .get(client)
                    .and_then(|state| state.read.get(&register));
                match known {
                    Some((from, _)) => (
                        register,
                        Asked::Exchange {
                            from: *from,
                            to: value,
                        },
                    ),
                    None => (register, Asked::Read),
                }
            }
            50..58 => (pair, Asked::Write(value)),
            58..66 => (pair, Asked::Read),
            66..70 => (register, Asked::ReadWithin(world.random.random_range(400..3_000))),
            70..76 => {
                let seen = self.clients.get(client).and_then(|state| state.seen.get(&group));
                let seen = seen.copied();
                (register, Asked::ReadAtLeast { seen })
            }
            76..88 => (object(COUNTER), Asked::Count),
            _ => (object(SET), Asked::Insert(value)),
        };
        let is_resting = self.resting.get(&group).is_some_and(|until| *until > world.now());
        let is_unanswered = self.clients.get(client).is_some_and(|state| state.is_unanswered);
        let (object, asked) = match is_resting || is_unanswered {
            true => (register, Asked::Read),
            false => (object, asked),
        };
        self.start(world, client, &database, object, asked);
    }

    fn choose_database(&self, world: &mut World) -> Option<Database> {
        let passing = self.passing.last();
        let passing = passing.filter(|database| !self.leaving.contains(&database.group));
        if let Some(database) = passing
            && world.random.random_bool(0.15)
        {
            return Some(database.clone());
        }
        let place = world.random.random_range(0..self.databases.len());
        self.databases.get(place).cloned()
    }

    /// There is a database that will not stay.
    pub fn enter(&mut self, database: Database) {
        let is_new = self.passing.iter().all(|known| known.group != database.group);
        if is_new {
            self.passing.push(database);
        }
    }

    /// A group is about to be deleted with its database: nobody begins anything there any more.
    pub fn leave(&mut self, group: GroupId) {
        self.leaving.insert(group);
    }

    /// Nobody begins to write to a group before a moment.
    pub fn rest_from_writing(&mut self, group: GroupId, until: Time) {
        self.resting.insert(group, until);
    }

    /// Lets others ask machines, each its own, whether to write or to read, from a moment on for a while.
    pub fn watch(
        &mut self,
        world: &mut World,
        group: GroupId,
        machines: &[(usize, bool)],
        time: (Time, Time),
    ) {
        let Some(database) = self.databases.iter().find(|database| database.group == group) else {
            return;
        };
        for (host, writes) in machines {
            self.watchers.watch(world, *host, database, *writes, time);
        }
    }

    /// Begins one operation.
    pub fn start(
        &mut self,
        world: &mut World,
        client: usize,
        database: &Database,
        object: Object,
        asked: Asked,
    ) {
        let wall = 1_800_000_000_000 + world.now() / MS;
        let id = RequestId::new(wall, world.random.random());
        let Some(state) = self.clients.get(client) else {
            return;
        };
        let revision = state.read.get(&object).map(|(_, revision)| *revision);
        let request = requested(world, database, object, &asked, id, revision);
        self.history.operations.push(Operation {
            client,
            object,
            asked,
            began: world.now(),
            ended: None,
            came: Came::Unknown,
            is_asked_again: false,
            at: None,
        });
        let operation = self.history.operations.len() - 1;
        if let Some(state) = self.clients.get_mut(client) {
            state.doing = Some(Doing {
                operation,
                request,
                token: 0,
                group: database.group,
                began: world.now(),
                is_doubtful: false,
            });
        }
        self.ask(world, client, false);
    }

    /// Asks, the leader as far as known or else anybody.
    fn ask(&mut self, world: &mut World, client: usize, is_again: bool) {
        let hosts = world.hosts.len();
        let anybody = world.random.random_range(0..hosts);
        self.next_token += 1;
        let token = self.next_token;
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        let Some(doing) = &mut state.doing else {
            return;
        };
        if is_again {
            // Nobody knows what became of what was asked before.
            doing.is_doubtful = true;
            if let Some(operation) = self.history.operations.get_mut(doing.operation) {
                operation.is_asked_again = true;
            }
        }
        doing.token = token;
        let is_anywhere = matches!(
            &doing.request,
            Requested::Read(_, Freshness::AtLeast(_) | Freshness::Within(_))
        );
        let host = match state.leaders.get(&doing.group) {
            Some(leader) if !is_anywhere => *leader,
            _ => anybody,
        };
        let ask = match doing.request.clone() {
            Requested::Write(operation) => Ask::Write {
                group: doing.group,
                operation,
            },
            // Every other one reads by itself, as soon as it may.
            Requested::Read(_, freshness) if token.is_multiple_of(2) => Ask::Await {
                group: doing.group,
                freshness,
            },
            Requested::Read(request, freshness) => Ask::Read {
                group: doing.group,
                request,
                freshness,
            },
        };
        self.tokens.insert(token, client);
        world.ask(host, token, ask);
        let patience = PATIENCE + world.random.random_range(0..500 * MS);
        // A host that does not answer may not be the leader any more.
        if is_again && let Some(state) = self.clients.get_mut(client) {
            let group = state.doing.as_ref().map(|doing| doing.group);
            if let Some(group) = group {
                state.leaders.remove(&group);
            }
        }
        self.wake(world, client, patience);
    }

    /// An answer has come.
    pub fn answered(&mut self, world: &mut World, token: u64, answer: Answer, from: usize) {
        if self.watchers.answered(world, &mut self.history, token, &answer) {
            return;
        }
        let Some(client) = self.tokens.remove(&token) else {
            return;
        };
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        let Some(doing) = state.doing.as_mut().filter(|doing| doing.token == token) else {
            return;
        };
        let group = doing.group;
        let answer = match (answer, &doing.request) {
            (Answer::Ready { at }, Requested::Read(request, _)) => match world.read(from, group, request) {
                Some(result) => Answer::Read { at, result },
                None => Answer::Refused(Refusal::UnknownGroup(group)),
            },
            (answer, _) => answer,
        };
        match answer {
            Answer::Refused(Refusal::NotLeader { leader }) => {
                let host = leader.and_then(|leader: NodeId| world.host_of(leader));
                match host.filter(|host| *host != from) {
                    Some(host) => state.leaders.insert(group, host),
                    None => state.leaders.remove(&group),
                };
                let after = world.random.random_range(10 * MS..200 * MS);
                self.wake(world, client, after);
            }
            Answer::Refused(Refusal::OtherLife { .. }) => {
                state.seen.remove(&group);
                self.end(world, client, Came::Unknown, None);
            }
            Answer::Refused(_) if self.leaving.contains(&group) => {
                self.end(world, client, Came::Unknown, None);
            }
            Answer::Refused(_) => {
                let after = world.random.random_range(20 * MS..300 * MS);
                self.wake(world, client, after);
            }
            Answer::Written { at, result } => {
                state.leaders.insert(group, from);
                let came = match &result {
                    Ok(Outcome::Key(outcome)) => {
                        let current = outcome
                            .current
                            .as_ref()
                            .and_then(|value| value.as_str().parse().ok());
                        Came::Counted(current.unwrap_or_default())
                    }
                    Ok(_) => Came::Done,
                    // What was asked before may have been done, and be rejected now for just that.
                    Err(_) if doing.is_doubtful => Came::Unknown,
                    Err(_) => Came::Rejected,
                };
                if let Ok(Outcome::Transacted(outcomes)) = &result {
                    self.note_written(client, outcomes);
                }
                self.end(world, client, came, Some(at));
            }
            Answer::Read { at, result } => {
                if let Requested::Read(_, Freshness::Linearizable) = doing.request {
                    state.leaders.insert(group, from);
                }
                match result {
                    Ok(Response::Documents(documents)) => {
                        let value = self.note_read(client, &documents);
                        self.end(world, client, Came::Value(value), Some(at));
                    }
                    _ => self.wake(world, client, 100 * MS),
                }
            }
            Answer::Changed(_) | Answer::Ready { .. } | Answer::SteppedAside { .. } => {}
        }
    }

    fn object(&self, client: usize) -> Option<Object> {
        let doing = self.clients.get(client)?.doing.as_ref()?;
        Some(self.history.operations.get(doing.operation)?.object)
    }

    fn note_written(&mut self, client: usize, outcomes: &[ChangeOutcome]) {
        let Some(object) = self.object(client) else {
            return;
        };
        let operation = self.clients.get(client).and_then(|state| state.doing.as_ref());
        let asked = operation.and_then(|doing| self.history.operations.get(doing.operation));
        let value = match asked.map(|operation| &operation.asked) {
            Some(Asked::Write(value) | Asked::Exchange { to: value, .. }) => *value,
            _ => return,
        };
        if let (Some(ChangeOutcome::Written { revision, .. }), Some(state)) =
            (outcomes.first(), self.clients.get_mut(client))
        {
            state.read.insert(object, (value, *revision));
        }
    }

    fn note_read(&mut self, client: usize, documents: &[Document]) -> Value {
        let value = |document: &Document| document.body.as_str().parse::<Value>().unwrap_or_default();
        let (Some(object), first) = (self.object(client), documents.first()) else {
            return 0;
        };
        let is_pair = (REGISTERS..REGISTERS + PAIRS).contains(&object.number);
        let is_torn = documents.len() == 1
            || documents
                .iter()
                .any(|document| Some(value(document)) != first.map(value));
        if is_pair && !documents.is_empty() && is_torn {
            let seen = documents.iter().map(|document| document.body.as_str());
            let seen = format!("{object:?}: {:?}", seen.collect::<Vec<_>>());
            self.history.torn.push(seen);
        }
        if let (Some(first), Some(state)) = (first, self.clients.get_mut(client)) {
            state.read.insert(object, (value(first), first.revision));
        }
        first.map_or(0, value)
    }

    fn end(&mut self, world: &mut World, client: usize, came: Came, seen: Option<Mark>) {
        let now = world.now();
        let Some(state) = self.clients.get_mut(client) else {
            return;
        };
        let Some(doing) = state.doing.take() else {
            return;
        };
        state.is_unanswered = came == Came::Unknown;
        if let Some(operation) = self.history.operations.get_mut(doing.operation) {
            operation.ended = (came != Came::Unknown).then_some(now);
            operation.came = came;
            operation.at = seen;
            if let Some(seen) = seen {
                let known = state.seen.entry(doing.group).or_insert(seen);
                if (known.incarnation, known.index) < (seen.incarnation, seen.index) {
                    *known = seen;
                }
            }
        }
        self.rest(world, client);
    }

    /// Forgets what a client has seen of a group: another life of it has other entries.
    pub fn forget(&mut self, group: GroupId) {
        for state in &mut self.clients {
            state.seen.remove(&group);
            state.read.retain(|object, _| object.group != group);
        }
    }

    /// Reads everything once more, with one client after the other.
    pub fn read_all(&self) -> Vec<(Database, Object, Asked)> {
        let mut all = Vec::new();
        for database in &self.databases {
            let group = database.group;
            for number in 0..REGISTERS + PAIRS {
                all.push((database.clone(), Object { group, number }, Asked::Read));
            }
        }
        all
    }

    /// Writes something to each database.
    pub fn write_each(&mut self) -> Vec<(Database, Object, Asked)> {
        let mut all = Vec::new();
        for database in &self.databases {
            self.next_value += 1;
            let group = database.group;
            let object = Object { group, number: 0 };
            all.push((database.clone(), object, Asked::Write(self.next_value)));
        }
        all
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The databases, also those that may have been deleted.
    pub fn databases(&self) -> impl Iterator<Item = &Database> {
        self.databases.iter().chain(&self.passing)
    }

    /// How many operations were begun.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.history.operations.len()
    }

    /// Whether a client is idle.
    #[must_use]
    pub fn is_idle(&self, client: usize) -> bool {
        self.clients
            .get(client)
            .is_some_and(|state| state.doing.is_none())
    }
}
