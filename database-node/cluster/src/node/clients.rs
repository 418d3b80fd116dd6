//! What is asked of the node, and when it may be answered.

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_core::{Command, Error, GroupId, Operation, Request, Response};
use pliantdb_storage::machine::CommandResult;
use pliantdb_storage::store::OrderedStore;

use super::{Answer, Ask, Freshness, Mark, Node, Refusal, Room};
use crate::applier::Task;
use crate::group::payload::Payload;
use crate::group::{Group, Halt};
use crate::ids::LogPoint;
use crate::meta::{META, MetaCommand, MetaOutcome, MetaRejection, Mode};
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now};

/// How long a write that a leader proposed before it was replaced waits for what becomes of it.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a read waits for its replica to catch up, or for a majority to confirm the leader.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that waits for an answer.
#[derive(Default)]
pub(super) struct Clients {
    /// By group and index: the term of the entry, and who waits for it.
    writes: BTreeMap<GroupId, BTreeMap<u64, (u64, u64)>>,
    /// By group and number.
    reads: BTreeMap<GroupId, BTreeMap<u64, Read>>,
    last_read: u64,
    /// The groups of which writes wait that this node does not lead any more, and since when.
    orphaned: BTreeMap<GroupId, Instant>,
}

/// A read on its way.
struct Read {
    token: u64,
    /// `None` for one that reads by itself when it may.
    request: Option<Request>,
    freshness: Freshness,
    since: Instant,
    /// The term of the leader that reads.
    term: u64,
    /// What has to be applied first.
    index: u64,
    state: ReadState,
}

impl Clients {
    /// Whether anybody waits for a group.
    pub(super) fn wait_for(&self, id: GroupId) -> bool {
        self.wait_for_writes(id) || self.reads.contains_key(&id)
    }

    /// Whether anybody waits for what becomes of a write.
    pub(super) fn wait_for_writes(&self, id: GroupId) -> bool {
        self.writes.get(&id).is_some_and(|writes| !writes.is_empty())
    }

    /// Whether a read waits for an entry behind this one.
    pub(super) fn wait_for_entry_after(&self, id: GroupId, index: u64) -> bool {
        let reads = self.reads.get(&id);
        reads.is_some_and(|reads| reads.values().any(|read| read.index > index))
    }

    /// The groups of which somebody reads.
    pub(super) fn read_groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.reads.keys().copied()
    }

    fn read(&mut self, id: GroupId, number: u64) -> Option<&mut Read> {
        self.reads.get_mut(&id)?.get_mut(&number)
    }

    fn take_read(&mut self, id: GroupId, number: u64) -> Option<Read> {
        let reads = self.reads.get_mut(&id)?;
        let read = reads.remove(&number);
        if reads.is_empty() {
            self.reads.remove(&id);
        }
        read
    }
}

enum ReadState {
    /// For the replica to have applied what has to be.
    Waiting,
    /// For the applier.
    Reading,
    /// For a majority to confirm that this leader still was one after the read had come.
    Answered {
        applied: u64,
        result: Option<Result<Response, Error>>,
    },
}

impl<L: OrderedStore> Node<L> {
    pub(super) fn ask(&mut self, now: Now, token: u64, ask: Ask) {
        if self.meta.is_none() {
            return self.refuse(token, Refusal::Busy("this node is not yet part of a cluster"));
        }
        match ask {
            Ask::Write { group, operation } => self.write_asked(now, token, group, operation),
            Ask::Read {
                group,
                request,
                freshness,
            } => self.read_asked(now, token, group, Some(request), freshness),
            Ask::Await { group, freshness } => self.read_asked(now, token, group, None, freshness),
            Ask::Change(command) => self.change_asked(now, token, command),
            Ask::Force { leader, consent } => self.force_asked(token, leader, consent),
            Ask::StepAside { within } => self.step_aside_asked(now, token, within),
            Ask::ForceMeta { consent } => self.force_meta_asked(now, token, consent),
        }
    }

    pub(super) fn refuse(&mut self, token: u64, refusal: Refusal) {
        self.reply(token, Answer::Refused(refusal));
    }

    /// A group that this node leads.
    fn led(&self, id: GroupId) -> Result<&Group<L>, Refusal> {
        let group = self.groups.get(&id);
        let group = group.ok_or_else(|| Refusal::NotLeader {
            leader: self.leader_by_meta(id),
        })?;
        if let Some(halt) = group.halt() {
            return Err(stopped(halt));
        }
        if group.leadership().is_none() {
            let leader = group.leader().map(|replica| replica.node());
            return Err(Refusal::NotLeader { leader });
        }
        Ok(group)
    }

    fn leader_by_meta(&self, id: GroupId) -> Option<crate::ids::NodeId> {
        self.meta()?.group(id).map(|record| record.leader)
    }

    fn write_asked(&mut self, now: Now, token: u64, id: GroupId, operation: Operation) {
        if id == META {
            return self.refuse(
                token,
                Refusal::Impossible("the meta group has no documents".to_owned()),
            );
        }
        let refusal = match self.led(id) {
            Err(refusal) => Some(refusal),
            Ok(group)
                if group
                    .leadership()
                    .is_some_and(|leadership| !leadership.has_clock()) =>
            {
                Some(Refusal::Busy(
                    "the leader is new, and still reads what was before it",
                ))
            }
            Ok(_) if !self.has_room_for(&operation) => Some(Refusal::DiskFull),
            Ok(_) if !self.is_vouched_for(now, id) => Some(Refusal::Busy("the leader waits for its lease")),
            Ok(_) => None,
        };
        if let Some(refusal) = refusal {
            return self.refuse(token, refusal);
        }
        let version = self.writes_version();
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Some(timestamp) = group
            .leadership_mut()
            .and_then(|leadership| Some(leadership.clock()?.next(now.wall_ms)))
        else {
            return;
        };
        let command = Command {
            version,
            timestamp,
            operation,
        };
        let bytes = match postcard::to_stdvec(&command) {
            Ok(bytes) => bytes,
            Err(error) => return self.refuse(token, Refusal::Impossible(error.to_string())),
        };
        match group.propose(&Payload::Command(bytes)) {
            Some(at) => self.wait_for(id, at, token),
            None => self.refuse(
                token,
                Refusal::Busy("the leader has too much to do, or hands over"),
            ),
        }
    }

    fn has_room_for(&self, operation: &Operation) -> bool {
        self.room
            >= match operation.frees() {
                true => Room::Little,
                false => Room::Enough,
            }
    }

    /// The version of the commands that this node writes. What it knows of the gate may be old, and the version lower
    /// then: the gate never closes, so every node can apply it all the same.
    fn writes_version(&self) -> u16 {
        let own = self.settings.apply_version;
        self.meta().map_or(own, |meta| meta.apply_version().min(own))
    }

    fn wait_for(&mut self, id: GroupId, at: LogPoint, token: u64) {
        let writes = self.clients.writes.entry(id).or_default();
        // What waited here was of a term before, and this takes its place.
        if let Some((_, replaced)) = writes.insert(at.index, (at.term, token)) {
            self.refuse(replaced, Refusal::NotLeader { leader: None });
        }
        self.touched.insert(id);
    }

    /// What a command came to.
    pub(super) fn written(&mut self, now: Now, id: GroupId, at: LogPoint, result: CommandResult) {
        let Some((term, token)) = self.take_write(id, at.index) else {
            return;
        };
        if term != at.term {
            return self.refuse(token, Refusal::NotLeader { leader: None });
        }
        // Whoever may have been replaced without knowing says so.
        let is_sure = self.is_vouched_for(now, id);
        match is_sure {
            true => self.answer_written(id, token, at, result),
            false => self.refuse(token, Refusal::Unknown),
        }
    }

    fn take_write(&mut self, id: GroupId, index: u64) -> Option<(u64, u64)> {
        self.clients.writes.get_mut(&id)?.remove(&index)
    }

    pub(super) fn answer_changed(&mut self, at: LogPoint, outcome: Result<MetaOutcome, MetaRejection>) {
        self.joined_by(at, &outcome);
        if let Some((term, token)) = self.take_write(META, at.index) {
            match term == at.term {
                true => self.reply(token, Answer::Changed(outcome)),
                false => self.refuse(token, Refusal::NotLeader { leader: None }),
            }
        }
    }

    /// Whoever waits for an entry up to this one waits in vain: another has taken its place.
    pub(super) fn refuse_overwritten(&mut self, id: GroupId, at: LogPoint) {
        let Some(writes) = self.clients.writes.get_mut(&id) else {
            return;
        };
        let later = writes.split_off(&(at.index + 1));
        let gone = std::mem::replace(writes, later);
        for (_, token) in gone.into_values() {
            self.refuse(token, Refusal::NotLeader { leader: None });
        }
    }

    /// Whoever waits for the group is told why it is in vain.
    pub(super) fn refuse_all(&mut self, id: GroupId, refusal: &Refusal) {
        for (_, token) in self.clients.writes.remove(&id).unwrap_or_default().into_values() {
            self.refuse(token, refusal.clone());
        }
        self.refuse_reads(id);
    }

    /// Whoever reads from the group is to ask its leader.
    pub(super) fn refuse_reads(&mut self, id: GroupId) {
        for read in self.clients.reads.remove(&id).unwrap_or_default().into_values() {
            self.refuse(read.token, Refusal::NotLeader { leader: None });
        }
    }

    /// Whether this node knows all that was decided before it was started. Until then it takes no part in any group but
    /// the meta group: what it has may be of a life that is over (decision 8, rule 14).
    pub(super) fn knows_all(&self) -> bool {
        self.reporting
            .start()
            .is_some_and(|start| self.meta_applied() >= start)
    }

    /// Whether a group was forced, and may yet give way to another life of it: nobody is answered then, neither in the
    /// new life nor in any other.
    pub(super) fn is_unconfirmed(&self, id: GroupId) -> bool {
        let record = self.meta().and_then(|meta| meta.group(id));
        record.is_some_and(|record| record.unconfirmed().is_some()) && !has(Mistake::AnswerUnconfirmed)
    }

    /// Whether a replica here is of another life than the one in which its group goes on, as far as is known here.
    fn is_of_another_life(&self, id: GroupId) -> bool {
        let record = self.meta().and_then(|meta| meta.group(id));
        id != META && record.map(|record| record.incarnation) != self.incarnation(id)
    }

    /// Whether this node may act as the leader of a group. Where others vote their answers say so. The only voter can be
    /// replaced without being asked.
    pub(super) fn is_vouched_for(&self, now: Now, id: GroupId) -> bool {
        let (Some(meta), Some(group)) = (self.meta(), self.groups.get(&id)) else {
            return false;
        };
        if self.is_unconfirmed(id) || self.is_of_another_life(id) {
            return false;
        }
        if !group.is_alone() || has(Mistake::UnfencedLeader) {
            return true;
        }
        match meta.failover() {
            _ if !self.knows_all() => false,
            crate::meta::Failover::Manual => true,
            crate::meta::Failover::Automatic { delay } => {
                let lease = self.settings.timing.granted_lease(delay);
                self.reporting
                    .vouched()
                    .is_some_and(|since| now.steady < since.after(lease))
            }
        }
    }

    fn read_asked(
        &mut self,
        now: Now,
        token: u64,
        id: GroupId,
        request: Option<Request>,
        freshness: Freshness,
    ) {
        let is_by_leader = matches!(freshness, Freshness::Linearizable | Freshness::Quorum);
        self.wake_to_read(now, id, freshness);
        let checked = match is_by_leader {
            true => self.led(id).map(|group| (group.term(), group.committed())),
            false => self.readable(now, id, freshness),
        };
        let (term, index) = match checked {
            Ok(found) => found,
            Err(refusal) => return self.refuse(token, refusal),
        };
        // Before its first entry is committed a leader does not know what is.
        let index = match self.groups.get(&id).and_then(Group::leadership) {
            Some(leadership) if is_by_leader => index.max(leadership.first()),
            _ => index,
        };
        self.clients.last_read += 1;
        let read = Read {
            token,
            request,
            freshness,
            since: now.steady,
            term,
            index,
            state: ReadState::Waiting,
        };
        let reads = self.clients.reads.entry(id).or_default();
        reads.insert(self.clients.last_read, read);
        self.touched.insert(id);
    }

    /// What any replica can answer, and from which entry on.
    fn readable(&self, now: Now, id: GroupId, freshness: Freshness) -> Result<(u64, u64), Refusal> {
        let group = self.groups.get(&id).ok_or(Refusal::UnknownGroup(id))?;
        if let Some(halt) = group.halt() {
            return Err(stopped(halt));
        }
        if self.is_unconfirmed(id) {
            return Err(Refusal::Busy(
                "the group was forced, and with which replica it goes on is not confirmed",
            ));
        }
        match freshness {
            Freshness::AtLeast(mark) if mark.incarnation == group.incarnation() => {
                Ok((group.term(), mark.index))
            }
            Freshness::AtLeast(_) => Err(Refusal::OtherLife {
                now: group.incarnation(),
            }),
            Freshness::Within(allowed) if group.leadership().is_none() => {
                // What the leader had committed then must be applied, and that is how old the answer is.
                let fresh = group.fresh();
                let behind = fresh.map_or(Duration::MAX, |fresh| now.steady.since(fresh.as_of));
                match fresh {
                    Some(fresh) if behind <= allowed => Ok((group.term(), fresh.committed)),
                    _ => Err(Refusal::Stale { behind, allowed }),
                }
            }
            Freshness::Within(allowed) => {
                let since = group.confirmed_since(now.steady);
                let behind = since.map_or(Duration::MAX, |since| now.steady.since(since));
                match behind <= allowed {
                    true => Ok((group.term(), group.committed())),
                    false => Err(Refusal::Stale { behind, allowed }),
                }
            }
            _ => Ok((group.term(), group.committed())),
        }
    }

    /// Goes on with the reads of a group.
    pub(super) fn look_at_reads(&mut self, now: Now, id: GroupId) {
        let Some(reads) = self.clients.reads.get(&id) else {
            return;
        };
        let reads: Vec<u64> = reads.keys().copied().collect();
        for number in reads {
            self.look_at_read(now, id, number);
        }
    }

    fn look_at_read(&mut self, now: Now, id: GroupId, number: u64) {
        let is_vouched_for = self.is_vouched_for(now, id);
        let (Some(read), Some(group)) = (self.clients.read(id, number), self.groups.get(&id)) else {
            return;
        };
        let is_by_leader = matches!(read.freshness, Freshness::Linearizable | Freshness::Quorum);
        if is_by_leader
            && group
                .leadership()
                .is_none_or(|leadership| leadership.term() != read.term)
        {
            let (token, leader) = (read.token, group.leader().map(|replica| replica.node()));
            self.clients.take_read(id, number);
            return self.refuse(token, Refusal::NotLeader { leader });
        }
        if matches!(read.state, ReadState::Waiting) && group.applied() >= read.index && !group.is_installing()
        {
            let Some(request) = read.request.take() else {
                let applied = group.applied();
                read.state = ReadState::Answered {
                    applied,
                    result: None,
                };
                return self.look_at_read(now, id, number);
            };
            read.state = ReadState::Reading;
            let (group, read) = (id, number);
            return self.run(Task::Read { group, read, request });
        }
        match &read.state {
            ReadState::Answered { .. } => {
                let is_confirmed = group
                    .confirmed_since(now.steady)
                    .is_some_and(|since| since >= read.since);
                let by_lease = read.freshness == Freshness::Linearizable
                    && group.has_lease(now.steady, &self.settings.timing);
                let is_sure = !is_by_leader || is_confirmed || by_lease;
                if !is_sure {
                    return;
                }
                if is_by_leader && !is_vouched_for {
                    return;
                }
                let (incarnation, term) = (group.incarnation(), group.term());
                let Some(read) = self.clients.take_read(id, number) else {
                    return;
                };
                if let ReadState::Answered { applied, result } = read.state {
                    let at = Mark {
                        incarnation,
                        term,
                        index: applied,
                    };
                    let answer = match result {
                        Some(result) => Answer::Read { at, result },
                        None => Answer::Ready { at },
                    };
                    self.reply(read.token, answer);
                }
            }
            ReadState::Waiting | ReadState::Reading => {}
        }
    }

    pub(super) fn read_done(
        &mut self,
        now: Now,
        id: GroupId,
        number: u64,
        applied: u64,
        result: Result<Response, Error>,
    ) {
        if let Some(read) = self.clients.read(id, number) {
            let result = Some(result);
            read.state = ReadState::Answered { applied, result };
            self.look_at_read(now, id, number);
        }
        self.touched.insert(id);
    }

    /// Gives up what has waited too long.
    pub(super) fn tick_clients(&mut self, now: Now) {
        self.give_up_orphaned(now);
        let is_late = |read: &Read| now.steady.since(read.since) > READ_PATIENCE;
        let reads = self.clients.reads.iter();
        let reads =
            reads.flat_map(|(id, reads)| reads.iter().map(move |(number, read)| (*id, *number, read)));
        let late = reads.filter(|(_, _, read)| is_late(read));
        let late: Vec<(GroupId, u64)> = late.map(|(id, number, _)| (id, number)).collect();
        for (id, number) in late {
            if let Some(read) = self.clients.take_read(id, number) {
                self.refuse(
                    read.token,
                    Refusal::Busy("the replica could not catch up, or no majority confirms it"),
                );
            }
        }
    }

    /// Gives up writes of a term in which this node leads no more: when it leads again, nothing need ever take their place.
    fn give_up_orphaned(&mut self, now: Now) {
        let mut orphaned = BTreeMap::new();
        let mut late = Vec::new();
        for (id, writes) in &self.clients.writes {
            let leadership = self.groups.get(id).and_then(Group::leadership);
            let led = leadership.map(|leadership| leadership.term());
            let is_orphaned = |(term, _): &(u64, u64)| Some(*term) != led;
            if !writes.values().any(is_orphaned) {
                continue;
            }
            let since = self.clients.orphaned.get(id).copied().unwrap_or(now.steady);
            if now.steady.since(since) <= WRITE_PATIENCE {
                orphaned.insert(*id, since);
                continue;
            }
            let given_up = writes.iter().filter(|(_, write)| is_orphaned(write));
            late.extend(given_up.map(|(index, _)| (*id, *index)));
        }
        self.clients.orphaned = orphaned;
        for (id, index) in late {
            if let Some((_, token)) = self.take_write(id, index) {
                self.refuse(token, Refusal::Unknown);
            }
        }
    }

    fn change_asked(&mut self, now: Now, token: u64, command: MetaCommand) {
        if let Err(refusal) = self.led(META) {
            return self.refuse(token, refusal);
        }
        if matches!(
            command,
            MetaCommand::Force(_)
                | MetaCommand::ForceAnother { .. }
                | MetaCommand::ConfirmForce { .. }
                | MetaCommand::Settled { .. }
                | MetaCommand::AddNode { .. }
                | MetaCommand::SetApplyVersion { .. }
                | MetaCommand::ArmFailover { .. }
        ) {
            let reason = "only the cluster itself decides that".to_owned();
            return self.refuse(token, Refusal::Impossible(reason));
        }
        if let MetaCommand::Switch {
            to: Mode::OneLeader { leader },
        } = command
            && !self.is_heard(now, leader)
        {
            // One that has just begun to supervise has not heard those who are there.
            if self.supervises_since_lately(now) {
                return self.refuse(
                    token,
                    Refusal::Busy("who decides has just begun to, and hears who is there"),
                );
            }
            let reason = format!("node {leader} was not heard for a while; a leader has to be there");
            return self.refuse(token, Refusal::Impossible(reason));
        }
        self.propose_for(token, command);
    }

    /// Proposes a change of what the meta group knows.
    pub(super) fn propose_change(&mut self, command: MetaCommand) -> Option<LogPoint> {
        let at = self.groups.get_mut(&META)?.propose(&Payload::Meta(command))?;
        self.touched.insert(META);
        Some(at)
    }

    /// The same, for somebody who waits for what comes of it.
    pub(super) fn propose_for(&mut self, token: u64, command: MetaCommand) -> Option<LogPoint> {
        let at = self.propose_change(command);
        match at {
            Some(at) => self.wait_for(META, at, token),
            None => self.refuse(token, Refusal::Busy("the leader hands over")),
        }
        at
    }
}

/// What a replica that has stopped says to who asks it: not ever, or not until its group goes on.
fn stopped(halt: &Halt) -> Refusal {
    match halt {
        Halt::Superseded => Refusal::Busy("the group goes on in another life"),
        halt => Refusal::Halted(halt.to_string()),
    }
}
