//! A node of a cluster: the replicas that it holds, and what it does with what happens to it.
//!
//! [`Node::step`] takes the time and one [`Input`], and returns what is to be done; [`Node::take`] and [`Node::give`] do the
//! same for several at once. It reads the log, and does no other I/O: whoever drives it writes, sends and applies, in any
//! order that keeps each queue's own.
//!
//! - `io`: what goes in and comes out
//! - `replicas`: which replicas there are, as the meta group wants it
//! - `applying`: from committed entries to answers
//! - `clients`: what is asked of the node; `standing`: what need not be asked
//! - `snapshots`: how a replica that is far behind gets the state
//! - `reports`: what is told to the supervisor; `supervisor`: who brings all groups to where they are to be
//! - `clocks`: whose clocks run right
//! - `joining`: how a node becomes one; `founding`: the first one
//! - `sleep`: groups in which nothing happens
//! - `stepping_aside`: what a node does before it stops

mod applying;
mod clients;
mod clocks;
mod founding;
mod io;
mod joining;
mod replicas;
mod reports;
mod sleep;
mod snapshots;
mod standing;
mod stepping_aside;
mod supervisor;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use pliantdb_core::GroupId;
use pliantdb_storage::group::Position;
use pliantdb_storage::store::{Batch, OrderedStore, StoreError};
use serde::{Deserialize, Serialize};

use crate::applier::{Done, Found, Task};
use crate::group::config::GroupConfig;
use crate::group::{Group, Halt, MAX_MESSAGE_BYTES, Work};
use crate::ids::{LogPoint, NodeId};
use crate::log::{self, Identity};
use crate::meta::{META, Meta, NodeRecord, NodeState};
use crate::timing::{Instant, Now};
use crate::wire::raft::RaftMessage;
use crate::wire::{Envelope, Message, Peer, UNDERSTANDS};
use applying::Applying;
use clients::Clients;
use clocks::{Clocks, Sample};
pub use founding::Founder;
pub use io::{
    Answer, Ask, Event, Freshness, Input, Limits, Mark, Output, Refusal, Room, Settings, SwitchPhase,
};
use joining::Joining;
use replicas::Unmatched;
use reports::Reporting;
use sleep::Sleeping;
use snapshots::Snapshots;
pub use standing::Standing;
use stepping_aside::SteppingAside;
use supervisor::Supervisor;

/// What this node knows of the meta group, as of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) at: LogPoint,
    pub(crate) config: GroupConfig,
    /// Shared, so that the supervisor can look at it while it acts.
    pub(crate) meta: Arc<Meta>,
}

/// Why a node could not found a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoundError {
    /// It is one of a cluster: what it has belongs to that.
    #[error(
        "this is node {node} of cluster {cluster:032x} already; a new cluster needs a directory of its own"
    )]
    IsMember {
        /// As whom.
        node: NodeId,
        /// Of which.
        cluster: u128,
    },
    /// The log cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node.
pub struct Node<L: OrderedStore> {
    settings: Settings,
    log: Arc<L>,
    identity: Option<Identity>,
    /// `None` until the node has joined.
    meta: Option<Checkpoint>,
    groups: BTreeMap<GroupId, Group<L>>,
    /// The groups to look at before this step ends.
    touched: BTreeSet<GroupId>,
    /// The groups that were looked at since it was last told how they stand.
    looked_at: BTreeSet<GroupId>,
    /// What decided about all groups when it was.
    stood_on: Option<standing::Basis>,
    /// The groups that have something being written.
    writing: BTreeSet<GroupId>,
    unmatched: Unmatched,
    applying: Applying,
    clients: Clients,
    snapshots: Snapshots,
    reporting: Reporting,
    sleeping: Sleeping,
    stepping_aside: SteppingAside,
    joining: Option<Joining>,
    clocks: Clocks,
    /// How much room there is on the disks here.
    room: Room,
    /// There while this node leads the meta group.
    supervisor: Option<Supervisor>,
    /// Who asked to force the meta group, until that is done.
    forced_meta: Option<(u64, crate::meta::Consent)>,
    /// What was found when the state was opened, until the replicas are.
    found: Found,
    /// The number of the last batch.
    batch: u64,
    /// What is to be written besides what the groups write.
    work: Work,
    outgoing: BTreeMap<Peer, Vec<Message>>,
    outputs: Vec<Output>,
    last_tick: Instant,
    ticks: u64,
}

impl<L: OrderedStore> Node<L> {
    /// Opens a node on its log and what its applier has found in its state. One without an identity is in no cluster:
    /// [`Node::found`] or [`Node::join`] one.
    ///
    /// # Errors
    /// [`StoreError`] when the log cannot be read.
    pub fn open(settings: Settings, log: Arc<L>, found: Found, now: Now) -> Result<Self, StoreError> {
        let identity = log::read_identity(log.as_ref())?;
        let meta = log::read_checkpoint(log.as_ref())?;
        let clocks = Clocks::new(now.steady, &settings.timing);
        let mut node = Self {
            sleeping: Sleeping::new(settings.seed),
            settings,
            identity,
            meta,
            groups: BTreeMap::new(),
            touched: BTreeSet::new(),
            looked_at: BTreeSet::new(),
            stood_on: None,
            writing: BTreeSet::new(),
            unmatched: Unmatched::All,
            applying: Applying::default(),
            clients: Clients::default(),
            snapshots: Snapshots::default(),
            reporting: Reporting::default(),
            stepping_aside: SteppingAside::default(),
            joining: None,
            clocks,
            room: Room::default(),
            supervisor: None,
            forced_meta: None,
            found,
            batch: 0,
            work: Work::default(),
            outgoing: BTreeMap::new(),
            outputs: Vec::new(),
            last_tick: now.steady,
            ticks: 0,
            log,
        };
        node.open_replicas(now)?;
        Ok(node)
    }

    /// Founds a cluster of this node alone.
    ///
    /// # Errors
    /// [`FoundError`], and nothing has changed.
    pub fn found(&mut self, cluster: u128, token: u128, now: Now) -> Result<(), FoundError> {
        if let Some(Identity { cluster, node }) = self.identity {
            return Err(FoundError::IsMember { node, cluster });
        }
        let node = NodeId::FIRST;
        let founder = NodeRecord {
            name: self.settings.name.clone(),
            token,
            attributes: self.settings.attributes.clone(),
            state: NodeState::Active,
            apply_version: self.settings.apply_version,
        };
        let meta = Meta::found(cluster, founder);
        let identity = Identity { cluster, node };
        self.become_member(identity)?;
        Ok(self.found_meta(meta, now)?)
    }

    /// Asks nodes of a cluster to be one of them, until one answers.
    pub fn join(&mut self, token: u128, seeds: Vec<Peer>) {
        self.joining = Some(Joining::new(token, seeds));
    }

    /// Who this node is, once it is part of a cluster.
    #[must_use]
    pub fn id(&self) -> Option<NodeId> {
        self.identity.map(|identity| identity.node)
    }

    /// The cluster of which this node is part, once it is.
    #[must_use]
    pub fn cluster(&self) -> Option<u128> {
        self.identity.map(|identity| identity.cluster)
    }

    /// What this node knows of the cluster. It may be behind.
    #[must_use]
    pub fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref().map(|checkpoint| checkpoint.meta.as_ref())
    }

    /// The same, to be kept while the node goes on.
    #[must_use]
    pub fn shared_meta(&self) -> Option<Arc<Meta>> {
        self.meta.as_ref().map(|checkpoint| Arc::clone(&checkpoint.meta))
    }

    /// The leader of a group, as far as this node knows.
    #[must_use]
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.groups.get(&group)?.leader().map(|replica| replica.node())
    }

    /// The leader of a group as far as this node knows, with its term: who leads in a later one has taken its place.
    #[must_use]
    pub fn leader_in_term(&self, group: GroupId) -> Option<(NodeId, u64)> {
        let group = self.groups.get(&group)?;
        Some((group.leader()?.node(), group.term()))
    }

    /// The life of a group in which its replica here is.
    #[must_use]
    pub fn incarnation(&self, group: GroupId) -> Option<crate::ids::Incarnation> {
        self.groups.get(&group).map(Group::incarnation)
    }

    /// How far this node has applied the meta group's log.
    #[must_use]
    pub fn meta_applied(&self) -> u64 {
        self.meta.as_ref().map_or(0, |checkpoint| checkpoint.at.index)
    }

    /// Whether this node leads a group, as far as it knows.
    #[must_use]
    pub fn leads(&self, group: GroupId) -> bool {
        self.groups
            .get(&group)
            .is_some_and(|group| group.leadership().is_some())
    }

    /// Takes what happened, and gives what is to be done.
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Output> {
        self.take(now, input);
        self.give(now)
    }

    /// Takes what happened. What follows from it is looked at by [`Node::give`], once for all that was taken before: when
    /// much happens at once, a group's entries and messages go together, and what all have to write is one batch.
    pub fn take(&mut self, now: Now, input: Input) {
        // What happens next goes by the replicas that are to be here by now.
        self.match_replicas(now);
        match input {
            Input::Tick => self.tick(now),
            Input::Receive(envelope) => self.receive(now, envelope),
            Input::Persisted(batch) => self.persisted(batch),
            Input::Done(done) => self.done(now, done),
            Input::Space(room) => self.room_is(room),
            Input::Ask { token, ask } => self.ask(now, token, ask),
        }
    }

    /// What is to be done after all that was taken. Replies rest on this moment, so `now` must not be earlier.
    pub fn give(&mut self, now: Now) -> Vec<Output> {
        self.settle(now);
        mem::take(&mut self.outputs)
    }

    fn tick(&mut self, now: Now) {
        let timing = &self.settings.timing;
        // Time that was slept through is not made up for: messages that came meanwhile are still to be read.
        if now.steady.since(self.last_tick) < timing.tick {
            return;
        }
        self.last_tick = now.steady;
        self.ticks += 1;
        self.tick_groups(now);
        self.tick_snapshots(now);
        self.tick_clients(now);
        self.tick_joining(now);
        self.tick_stepping_aside(now);
        // Whoever was just started wants to know where things stand.
        if !self.knows_all()
            || self
                .ticks
                .is_multiple_of(u64::from(self.settings.timing.report_ticks))
        {
            self.report(now);
        }
        if self
            .ticks
            .is_multiple_of(u64::from(self.settings.timing.report_ticks))
        {
            self.supervise(now);
        }
    }

    fn receive(&mut self, now: Now, envelope: Envelope) {
        let (from, to) = (envelope.from, envelope.to);
        if let Some(identity) = self.identity {
            let is_for_us = envelope.to == Peer::Node(identity.node);
            let is_of_us = envelope.cluster == identity.cluster || matches!(from, Peer::Joiner(_));
            if !is_for_us || !is_of_us {
                return;
            }
        }
        for message in envelope.messages {
            match (message, from) {
                (Message::Raft(message), Peer::Node(node)) if message.from.node() == node => {
                    self.receive_raft(now, message);
                }
                (Message::Fetch(fetch), Peer::Node(node)) => self.fetch_asked(now, node, fetch),
                (Message::Chunk(chunk), Peer::Node(node)) => self.chunk_came(now, node, chunk),
                (Message::Report(report), Peer::Node(node)) => self.report_came(now, node, report),
                (Message::Heard(heard), Peer::Node(node)) => self.report_heard(node, heard),
                (
                    Message::Order {
                        group,
                        incarnation,
                        order,
                    },
                    Peer::Node(_),
                ) => self.order_came(group, incarnation, order),
                (Message::Sleep(sleep), Peer::Node(node)) if sleep.from.node() == node => {
                    self.sleep_came(node, &sleep);
                }
                (Message::Beat(beat), Peer::Node(node)) => {
                    self.beat_came(node, beat);
                }
                (
                    Message::Wake {
                        group,
                        incarnation,
                        from,
                        to,
                    },
                    Peer::Node(node),
                ) if from.node() == node => self.wake_asked(group, incarnation, from, to),
                (Message::StepsAside, Peer::Node(node)) => self.steps_aside(now, node),
                (Message::AwaitsPromotion { left }, Peer::Node(node)) => {
                    self.awaits_promotion(now, node, left);
                }
                (Message::Join(join), _) => self.join_asked(from, join),
                (Message::Joined { cluster, node }, Peer::Node(_)) if Some(to) == self.address() => {
                    self.joined(cluster, node);
                }
                _ => {}
            }
        }
    }

    fn receive_raft(&mut self, now: Now, message: RaftMessage) {
        let group_id = message.group;
        self.make_room_for(now, &message);
        let Some(group) = self.groups.get_mut(&group_id) else {
            return;
        };
        if message.to != group.replica() || message.incarnation != group.incarnation() {
            return;
        }
        if self.applying.is_forcing(group_id) || (group_id != META && !self.knows_all()) {
            return;
        }
        self.wake_for(&message);
        let node = message.from.node();
        self.note_clock(node, Sample::of(&message, now.steady));
        let Some(message) = self.take_snapshot_offer(now, message) else {
            return;
        };
        let is_trusted = self.clocks.trusts(node, now.steady);
        if let Some(group) = self.groups.get_mut(&group_id) {
            group.receive(now, &self.settings.timing, message, is_trusted);
            self.touched.insert(group_id);
        }
    }

    /// Takes what a node's clock showed.
    fn note_clock(&mut self, node: NodeId, sample: Option<Sample>) {
        if let Some(ppm) = sample.and_then(|sample| self.clocks.note(node, sample)) {
            self.event(Event::ClockDrift { node, ppm });
        }
    }

    /// Whether the clocks of a majority of the meta group's voters, this node's with them, run alike.
    fn counts_right(&self, now: Now) -> bool {
        let is_right = |node: NodeId| self.id() == Some(node) || self.clocks.trusts(node, now.steady);
        let meta = self.groups.get(&META);
        meta.is_some_and(|meta| {
            let members = &meta.config().members;
            members.has_quorum(|replica| is_right(replica.node()))
        })
    }

    fn order_came(
        &mut self,
        group: GroupId,
        incarnation: crate::ids::Incarnation,
        order: crate::group::Order,
    ) {
        let Some(here) = self
            .groups
            .get(&group)
            .filter(|here| here.incarnation() == incarnation)
        else {
            return;
        };
        if here.leadership().is_some() && here.is_news(&order) {
            self.wake(group);
        }
        if let Some(here) = self.groups.get_mut(&group) {
            here.set_order(order);
            self.touched.insert(group);
        }
    }

    fn persisted(&mut self, batch: u64) {
        let writing = std::mem::take(&mut self.writing);
        for id in writing {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            let messages = group.persisted(batch);
            self.work.messages.extend(messages);
            if !group.is_written() {
                self.writing.insert(id);
            }
            self.touched.insert(id);
        }
    }

    fn done(&mut self, now: Now, done: Done) {
        match done {
            Done::Applied {
                group,
                position,
                results,
            } => self.applied(now, group, &position, results),
            Done::Read {
                group,
                read,
                applied,
                result,
            } => self.read_done(now, group, read, applied, result),
            Done::SnapshotTaken {
                group,
                snapshot,
                position,
            } => self.snapshot_taken(now, group, snapshot, &position),
            Done::ChunkRead {
                group,
                snapshot,
                number,
                chunk,
                to,
            } => self.chunk_read(group, snapshot, number, chunk, to),
            Done::Staged { group, staged } => self.chunk_staged(now, group, staged),
            Done::Installed { group, position } => self.installed(group, &position),
            Done::Destroyed { group } => self.destroyed(group),
            Done::Flushed { durable } => self.flushed(&durable),
            Done::Failed { group, error } => self.task_failed(group, &error),
        }
    }

    /// Looks at every group that something happened to, until nothing is left to do.
    fn settle(&mut self, now: Now) {
        loop {
            let is_matched = self.match_replicas(now);
            match self.touched.pop_first() {
                Some(id) => self.look_at(now, id),
                None if is_matched => {}
                None => break,
            }
        }
        self.answer_stepped_aside(now);
        self.write();
        self.send();
    }

    fn look_at(&mut self, now: Now, id: GroupId) {
        let going = self.stepping_aside.going(id);
        self.looked_at.insert(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.steer(going);
        if group.begin_install().is_some() {
            self.install(id);
        }
        let number = self.batch + 1;
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let room = self.applying.room(id, self.settings.limits.apply_bytes);
        match group.collect(now, number, &mut self.work, room) {
            Ok(committed) if !committed.is_empty() => self.committed(id, committed),
            Ok(_) => {}
            Err(halt) => group.stop(halt),
        }
        let waits = self.groups.get(&id).is_some_and(Group::waits_for_room);
        self.applying.note_waiting(id, waits);
        if self.groups.get(&id).is_some_and(|group| !group.is_written()) {
            self.writing.insert(id);
        }
        self.look_at_halt(id);
        self.look_at_leadership(id);
        if id == META {
            self.answer_reports(now);
        }
        self.look_at_snapshot(id);
        self.look_at_reads(now, id);
        self.look_at_log(id);
        self.look_at_force(now, id);
        self.look_at_sleep(id);
        self.reporting.may_have_changed(id);
    }

    fn look_at_halt(&mut self, id: GroupId) {
        let Some(halt) = self.groups.get(&id).and_then(Group::halt).cloned() else {
            return;
        };
        if self.applying.note_halt(id, &halt) {
            if halt != Halt::Superseded {
                self.event(Event::Halted { group: id, halt });
            }
            self.refuse_all(id, &Refusal::Unknown);
        }
    }

    /// Hands what is to be written to the driver, as one batch.
    fn write(&mut self) {
        let Work { batch, must_sync, .. } = &mut self.work;
        if batch.is_empty() {
            return;
        }
        self.batch += 1;
        self.outputs.push(Output::Persist {
            number: self.batch,
            batch: mem::take(batch),
            must_sync: mem::take(must_sync),
        });
    }

    /// Hands what is to be sent to the driver, one envelope for each node, and in it one message of what follows each other:
    /// consensus makes one of every entry, which each would be answered.
    fn send(&mut self) {
        for message in mem::take(&mut self.work.messages) {
            let to = Peer::Node(message.to.node());
            let before = self.outgoing.entry(to).or_default();
            let message = match before.last_mut() {
                Some(Message::Raft(last)) => last.take_in(message, MAX_MESSAGE_BYTES),
                _ => Some(message),
            };
            before.extend(message.map(Message::Raft));
        }
        let Some(from) = self.address() else {
            self.outgoing.clear();
            return;
        };
        let cluster = self.identity.map_or(0, |identity| identity.cluster);
        for (to, messages) in mem::take(&mut self.outgoing) {
            let envelope = Envelope {
                cluster,
                from,
                to,
                messages,
            };
            self.outputs.push(Output::Send { to, envelope });
        }
    }

    /// As whom this node sends.
    fn address(&self) -> Option<Peer> {
        let joiner = || self.joining.as_ref().map(|joining| Peer::Joiner(joining.token()));
        self.id().map(Peer::Node).or_else(joiner)
    }

    /// Says something to another, unless that would not understand it: it would take what cannot be read for a broken
    /// connection, and lose what was said before.
    fn tell(&mut self, to: Peer, message: Message) {
        let needs = message.needs();
        if needs > 1 && self.understood_by(to) < needs {
            return;
        }
        self.outgoing.entry(to).or_default().push(message);
    }

    /// Which kinds of message another is known to understand.
    fn understood_by(&self, peer: Peer) -> u16 {
        let record = match peer {
            Peer::Node(node) => self.meta().and_then(|meta| meta.nodes().get(&node)),
            Peer::Joiner(_) => None,
        };
        let said = record.and_then(|record| record.attributes.get(UNDERSTANDS));
        said.and_then(|said| said.parse().ok()).unwrap_or(1)
    }

    fn run(&mut self, task: Task) {
        self.outputs.push(Output::Run(task));
    }

    fn reply(&mut self, token: u64, answer: Answer) {
        self.outputs.push(Output::Reply { token, answer });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push(Output::Event(event));
    }

    /// The batch that this step writes.
    fn batch(&mut self) -> &mut Batch {
        self.work.must_sync = true;
        &mut self.work.batch
    }

    fn log_failed(&mut self, error: &StoreError) {
        self.event(Event::LogFailed(error.to_string()));
    }

    fn task_failed(&mut self, group: Option<GroupId>, error: &pliantdb_storage::StorageError) {
        let halt = Halt::State(error.to_string());
        match group {
            Some(id) => {
                self.applying.failed(id);
                if let Some(group) = self.groups.get_mut(&id) {
                    group.stop(halt);
                    self.touched.insert(id);
                }
            }
            // A flush that failed leaves everything in the log.
            None => self.applying.flush_failed(),
        }
    }

    fn position_config(position: &Position) -> Result<GroupConfig, Halt> {
        postcard::from_bytes(&position.config)
            .map_err(|error| Halt::State(format!("the configuration of the group cannot be read: {error}")))
    }

    fn is_supervisor(&self) -> bool {
        self.groups
            .get(&META)
            .is_some_and(|group| group.leadership().is_some())
    }
}
