//! One replica of a group: consensus about its log, and what a leader may do.

pub mod config;
mod guard;
mod leadership;
pub mod payload;
mod sleep;
mod steering;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::store::{Batch, OrderedStore, StoreError};
use raft::eraftpb::{ConfChangeV2, EntryType, HardState, MessageType};
use raft::{ProgressState, RawNode, SnapshotStatus, StateRole};
use slog::{Discard, Logger, o};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{Epoch, Incarnation, LogPoint, ReplicaId};
use crate::log::{Available, GroupLog, LogRecord};
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now, Timing};
use crate::wire::raft::{Body, RaftMessage, Stamp, raft_snapshot};
use config::{GroupConfig, Members, MembershipChange};
pub(crate) use leadership::Leadership;
use payload::{InvalidPayload, Payload};
pub(crate) use steering::{Order, Step};

/// The most bytes of entries in one message, unless one entry alone has more.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;
/// The most messages on their way to one replica.
const MAX_INFLIGHT: usize = 128;
/// The most bytes that are proposed and not committed; more are refused.
const MAX_UNCOMMITTED_BYTES: u64 = 64 << 20;
/// The most bytes of committed entries that are handed on at once.
const MAX_COMMITTED_BYTES: u64 = 4 << 20;

/// Why a replica had to stop. Others of the group go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// Its log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(StoreError),
    /// Its log and what the group says it has committed contradict each other: it has lost something.
    #[error("the log contradicts what the group has committed: {0}")]
    Diverged(String),
    /// An entry cannot be read here.
    #[error(transparent)]
    Payload(#[from] InvalidPayload),
    /// Its state cannot be read or written, or an entry is of a version that is not known here.
    #[error("the state machine stopped: {0}")]
    State(String),
    /// Its group goes on in another life, with another replica.
    #[error("the group goes on in another life")]
    Superseded,
    /// Consensus itself refused something that cannot be refused.
    #[error("consensus failed: {0}")]
    Consensus(String),
}

/// What a replica is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Role {
    /// It takes writes.
    Leader,
    /// It follows, or looks for a leader.
    Follower,
    /// It follows and does not vote.
    Learner,
}

/// An entry that is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) at: LogPoint,
    /// What it says, unless that was for the group itself.
    pub(crate) payload: Option<Payload>,
    /// The configuration of the group from here on, when that changed.
    pub(crate) config: Option<GroupConfig>,
}

/// What a replica wants done, of all replicas of a node together.
#[derive(Default)]
pub(crate) struct Work {
    /// To be written to the log.
    pub(crate) batch: Batch,
    /// Whether that has to be synced before anything rests on it.
    pub(crate) must_sync: bool,
    /// To be sent.
    pub(crate) messages: Vec<RaftMessage>,
}

/// A ready that is being written.
struct Writing {
    /// The number of the batch that has it.
    batch: u64,
    /// The library's number.
    ready: u64,
    /// Where the snapshot in it stands.
    snapshot: Option<u64>,
    /// The last entry in it.
    last: Option<u64>,
    /// Up to where it says that the log is committed, if it is synced.
    commit: u64,
    /// What may be sent when it is safe.
    messages: Vec<RaftMessage>,
}

/// What a replica knows of its leader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) leader: ReplicaId,
    pub(crate) term: u64,
    pub(crate) stamp: Stamp,
    /// When, by our clock.
    pub(crate) at: Instant,
}

/// How old what a replica has is at most: a leader that nobody had replaced had committed so much at a moment that was not
/// before this one of the replica's own clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fresh {
    pub(crate) as_of: Instant,
    pub(crate) committed: u64,
}

/// One replica of a group.
pub(crate) struct Group<L: OrderedStore> {
    id: GroupId,
    raft: RawNode<GroupLog<L>>,
    /// As of the last entry that was handed on.
    config: GroupConfig,
    seed: u64,
    /// How long a majority's word that this replica leads is good.
    lease: Duration,
    /// Counts elections that were begun, so that each waits for another time.
    campaigns: u64,
    writing: VecDeque<Writing>,
    heard: Option<Heard>,
    fresh: Option<Fresh>,
    /// When the process began: it votes for nobody for a while.
    started: Instant,
    leadership: Option<Leadership>,
    /// What a supervisor wants.
    order: Option<Order>,
    applied: u64,
    /// The last entry that was handed on to be applied.
    handed: u64,
    /// Committed entries that are not handed on yet: a change of members waits until it is safe that it is committed.
    held: VecDeque<raft::eraftpb::Entry>,
    /// Up to where it is safe on this disk that the log is committed.
    safe_commit: u64,
    /// The snapshot that consensus has accepted, while it is being put in place; nothing is taken from consensus then.
    installing: Option<LogPoint>,
    /// The snapshot that is in place, until consensus is told so.
    installed: Option<LogPoint>,
    rest: sleep::Rest,
    halt: Option<Halt>,
}

/// What a replica is opened with.
pub(crate) struct Opening<L> {
    pub(crate) id: GroupId,
    pub(crate) log: GroupLog<L>,
    pub(crate) config: GroupConfig,
    pub(crate) applied: u64,
    pub(crate) seed: u64,
    pub(crate) now: Now,
    /// Whether the only voter stands for election at once. Else it waits as long as any other, so that it hears of
    /// it when others were forced to go on without it.
    pub(crate) leads_at_once: bool,
}

impl<L: OrderedStore> Group<L> {
    pub(crate) fn open(opening: Opening<L>, timing: &Timing) -> Result<Self, Halt> {
        let Opening {
            id,
            mut log,
            config,
            applied,
            seed,
            now,
            leads_at_once,
        } = opening;
        log.set_members(config.members.clone());
        let safe_commit = log.record().commit;
        let election = timing.election_ticks as usize;
        let settings = raft::Config {
            id: log.replica().to_raft(),
            election_tick: election,
            heartbeat_tick: timing.heartbeat_ticks as usize,
            min_election_tick: election,
            max_election_tick: 2 * election + 1,
            applied,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: MAX_INFLIGHT,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_COMMITTED_BYTES,
            check_quorum: true,
            pre_vote: true,
            // It adds entries to an empty message that was meant to follow others, and counts them from there: the
            // receiver then says that it has entries that nobody has (raft 0.7, found by the simulator).
            batch_append: false,
            ..raft::Config::default()
        };
        let raft = RawNode::new(&settings, log, &Logger::root(Discard, o!()))
            .map_err(|error| Halt::Consensus(error.to_string()))?;
        let mut group = Self {
            id,
            raft,
            config,
            seed,
            lease: timing.leader_lease(),
            campaigns: 0,
            writing: VecDeque::new(),
            heard: None,
            fresh: None,
            started: now.steady,
            leadership: None,
            order: None,
            applied,
            handed: applied,
            held: VecDeque::new(),
            safe_commit,
            installing: None,
            installed: None,
            rest: sleep::Rest::default(),
            halt: None,
        };
        if leads_at_once && group.is_alone() {
            group.campaign();
        }
        group.check_log();
        Ok(group)
    }

    pub(crate) fn replica(&self) -> ReplicaId {
        self.raft.store().replica()
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.raft.store().record().incarnation
    }

    pub(crate) fn config(&self) -> &GroupConfig {
        &self.config
    }

    pub(crate) fn log(&self) -> &GroupLog<L> {
        self.raft.store()
    }

    pub(crate) fn log_mut(&mut self) -> &mut GroupLog<L> {
        self.raft.mut_store()
    }

    pub(crate) fn term(&self) -> u64 {
        self.raft.raft.term
    }

    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// The last entry that is known to be committed.
    pub(crate) fn committed(&self) -> u64 {
        self.raft.raft.raft_log.committed
    }

    /// The end of the log, what is not on disk yet included.
    pub(crate) fn last(&self) -> LogPoint {
        LogPoint {
            index: self.raft.raft.raft_log.last_index(),
            term: self.raft.raft.raft_log.last_term(),
        }
    }

    pub(crate) fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    pub(crate) fn stop(&mut self, halt: Halt) {
        self.halt.get_or_insert(halt);
        self.leadership = None;
    }

    pub(crate) fn leadership(&self) -> Option<&Leadership> {
        self.leadership.as_ref()
    }

    pub(crate) fn leadership_mut(&mut self) -> Option<&mut Leadership> {
        self.leadership.as_mut()
    }

    /// Whether it leads and has applied all that was before its term.
    pub(crate) fn has_begun(&self) -> bool {
        self.leadership
            .as_ref()
            .is_some_and(|leadership| self.applied >= leadership.first())
    }

    pub(crate) fn fresh(&self) -> Option<Fresh> {
        self.fresh
    }

    pub(crate) fn role(&self) -> Role {
        match self.raft.raft.state {
            StateRole::Leader if self.halt.is_none() => Role::Leader,
            _ if self.config.members.learners.contains(&self.replica()) => Role::Learner,
            _ => Role::Follower,
        }
    }

    /// Whether it could go on alone: it has a state and can use it.
    pub(crate) fn has_data(&self) -> bool {
        let is_whole = matches!(self.halt, None | Some(Halt::Superseded));
        is_whole && self.installing.is_none() && self.last().index > 0
    }

    /// The replica that leads, as far as this one knows.
    pub(crate) fn leader(&self) -> Option<ReplicaId> {
        match self.raft.raft.leader_id {
            0 => None,
            id => Some(ReplicaId::from_raft(id)),
        }
    }

    /// Whether it has heard of a leader lately. One that does not vote never stops taking the last for its leader.
    pub(crate) fn hears_leader(&self, now: Instant, timing: &Timing) -> bool {
        let heard = self.heard.filter(|heard| Some(heard.leader) == self.leader());
        heard.is_some_and(|heard| now.since(heard.at) < 2 * timing.silence_after_start())
    }

    /// Whether it is the only voter.
    pub(crate) fn is_alone(&self) -> bool {
        let members = &self.config.members;
        !members.is_joint() && members.voters.len() == 1 && members.voters.contains(&self.replica())
    }

    /// Whether everything that was to be written is written.
    pub(crate) fn is_written(&self) -> bool {
        self.writing.is_empty()
    }

    /// A part of time has passed.
    pub(crate) fn tick(&mut self, timing: &Timing) {
        if self.halt.is_some() {
            return;
        }
        self.count_rest(timing);
        // The library draws a time when it feels like it; before it looks, ours is put in its place.
        let election = u64::from(timing.election_ticks);
        let drawn = xxh3_64_with_seed(
            &[
                self.id.get(),
                self.replica().to_raft(),
                self.term(),
                self.campaigns,
            ]
            .map(u64::to_be_bytes)
            .concat(),
            self.seed,
        );
        let wait = election + 1 + drawn % election;
        self.raft
            .raft
            .set_randomized_election_timeout(usize::try_from(wait).unwrap_or(usize::MAX));
        let waited = self.raft.raft.election_elapsed as u64 + 1;
        self.raft.tick();
        // The next time it waits for another time.
        if waited >= wait {
            self.campaigns += 1;
        }
        self.look();
    }

    /// Stands for election at once.
    pub(crate) fn campaign(&mut self) {
        // It refuses only while changes of members that are committed wait to be applied.
        let _ = self.raft.campaign();
        self.look();
    }

    /// Takes a message of another replica, whose node's clock is trusted or not.
    pub(crate) fn receive(&mut self, now: Now, timing: &Timing, message: RaftMessage, is_trusted: bool) {
        if self.halt.is_some() {
            return;
        }
        if let Err(halt) = self.check(&message) {
            self.stop(halt);
            return;
        }
        if self.must_ignore_vote(now, timing, &message) {
            return;
        }
        let (from, term, stamp) = (message.from, message.term, message.stamp);
        let is_from_leader = matches!(
            message.body,
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. }
        );
        // Refused only when its sender is no member, or by a candidate of an old term.
        let _ = self.raft.step(message.into_raft());
        if let Some(stamp) = stamp {
            let follows = self.raft.raft.term == term && self.leader() == Some(from);
            if is_from_leader && follows && self.raft.raft.state == StateRole::Follower {
                let stamp = match self.heard {
                    Some(heard) if heard.term == term && heard.stamp.sent_at > stamp.sent_at => heard.stamp,
                    _ => stamp,
                };
                self.heard = Some(Heard {
                    leader: from,
                    term,
                    stamp,
                    at: now.steady,
                });
                self.note_fresh(stamp);
                self.note_leader_heard();
            }
            if !is_from_leader
                && self.raft.raft.term == term
                && let Some(leadership) = &mut self.leadership
            {
                leadership.confirm(from, stamp.sent_at);
                if is_trusted {
                    leadership.promise(from, stamp.sent_at);
                }
                if let Some(asked_at) = stamp.asked_at {
                    leadership.note_asked(from, asked_at);
                }
            }
        }
        self.look();
    }

    /// What a leader says that had heard of this replica at a moment is true as of that moment, however long it took to
    /// come.
    fn note_fresh(&mut self, stamp: Stamp) {
        let Some(as_of) = stamp.asked_at else {
            return;
        };
        if self.fresh.is_none_or(|fresh| fresh.as_of <= as_of) {
            let committed = stamp.committed;
            self.fresh = Some(Fresh { as_of, committed });
        }
    }

    /// Whether a candidate asks while this replica may have promised a leader not to listen.
    fn must_ignore_vote(&self, now: Now, timing: &Timing, message: &RaftMessage) -> bool {
        let Body::Vote { is_transfer, .. } = message.body else {
            return false;
        };
        // The leader has given its lease up before it asks for that.
        if is_transfer {
            return false;
        }
        let silence = timing.silence_after_start();
        if !has(Mistake::VoteAfterRestart) && now.steady.since(self.started) < silence {
            return true;
        }
        self.heard
            .is_some_and(|heard| now.steady.since(heard.at) < silence && message.from != heard.leader)
    }

    /// Proposes an entry; gives where it will be if it is committed. `None` when it is not taken: this replica does not
    /// lead, hands over, or has too much under way.
    pub(crate) fn propose(&mut self, payload: &Payload) -> Option<LogPoint> {
        if self.halt.is_some() || self.raft.raft.state != StateRole::Leader {
            return None;
        }
        self.raft.propose(Vec::new(), payload.encode()).ok()?;
        Some(self.last())
    }

    /// Proposes a change of the members.
    fn propose_change(&mut self, epoch: Epoch, change: MembershipChange) -> Option<LogPoint> {
        let raft_change = change.to_raft(&self.config.members)?;
        let context = Payload::Membership { epoch, change }.encode();
        self.raft.propose_conf_change(context, raft_change).ok()?;
        Some(self.last())
    }

    /// What is wanted of the group from now on.
    pub(crate) fn set_order(&mut self, order: Order) {
        let is_newer = self.order.as_ref().is_none_or(|known| known.epoch <= order.epoch);
        if is_newer || has(Mistake::OrdersWithoutEpoch) {
            self.order = Some(order);
        }
    }

    /// Whether it has not heard of this order yet.
    pub(crate) fn is_news(&self, order: &Order) -> bool {
        self.order.as_ref() != Some(order)
    }

    /// Takes the next step towards what is wanted, if this replica leads and the last one is done.
    pub(crate) fn steer(&mut self) {
        if self.halt.is_some() || self.leadership.is_none() {
            return;
        }
        let Some(step) = self.next_step() else {
            return;
        };
        match step {
            Step::Epoch(epoch) => {
                let is_proposed = self
                    .leadership
                    .as_ref()
                    .is_some_and(|leadership| leadership.has_fenced(epoch));
                if !is_proposed
                    && self.propose(&Payload::Epoch(epoch)).is_some()
                    && let Some(leadership) = &mut self.leadership
                {
                    leadership.note_fence(epoch);
                }
            }
            Step::Change(change) => {
                let epoch = self.config.epoch;
                self.propose_change(epoch, change);
            }
            Step::HandOver(to) => self.raft.transfer_leader(to.to_raft()),
        }
        self.look();
    }

    fn next_step(&mut self) -> Option<Step> {
        let order = self.order.clone()?;
        let last = self.last().index;
        // Everything before its term is known to the leader, the latest epoch and members above all.
        let knows_config = self
            .leadership
            .as_ref()
            .is_some_and(|leadership| self.handed >= leadership.first());
        let term_started = knows_config && self.raft.raft.commit_to_current_term();
        let is_handing_over = self.raft.raft.lead_transferee.is_some();
        let has_pending = self.raft.raft.has_pending_conf();
        let leadership = self.leadership.as_mut()?;
        if !term_started || is_handing_over {
            return None;
        }
        let catch_up = leadership.catch_up(order.epoch, last);
        let view = steering::View {
            replica: self.replica(),
            config: &self.config,
            has_pending,
            last,
            catch_up,
        };
        let progress = self.raft.raft.prs();
        let at = |replica: ReplicaId| {
            let progress = progress.get(replica.to_raft())?;
            // Between a snapshot and the next entry a replica is being probed, and has all the same.
            let is_live = progress.recent_active && progress.state != ProgressState::Snapshot;
            Some((progress.matched, is_live))
        };
        steering::next_step(&view, &order, at)
    }

    /// Asks everybody to confirm that this replica leads.
    pub(crate) fn ask_for_confirmation(&mut self) {
        self.raft.raft.ping();
    }

    /// Since when nobody else can have become leader, as far as confirmed by a majority: `None` when this replica does
    /// not lead, or has not committed anything yet in its term.
    pub(crate) fn confirmed_since(&self, now: Instant) -> Option<Instant> {
        self.followed_since(now, Leadership::confirmed)
    }

    fn followed_since(
        &self,
        now: Instant,
        of: impl Fn(&Leadership, ReplicaId) -> Option<Instant>,
    ) -> Option<Instant> {
        let leadership = self.leadership.as_ref().filter(|_| self.halt.is_none())?;
        if !self.raft.raft.commit_to_current_term() {
            return None;
        }
        let replica = self.replica();
        let value = |other: ReplicaId| match other == replica {
            true => Some(now),
            false => of(leadership, other),
        };
        self.config.members.quorum_value(value)?
    }

    /// Whether this replica leads, beyond doubt, at this moment.
    pub(crate) fn has_lease(&self, now: Instant, timing: &Timing) -> bool {
        if has(Mistake::LeaseWhileAsleep) && self.is_asleep() && self.leadership.is_some() {
            return true;
        }
        if has(Mistake::LeaseWithoutDrift) {
            let lease = timing.tick * 2 * timing.election_ticks;
            return self
                .confirmed_since(now)
                .is_some_and(|since| now < since.after(lease));
        }
        self.leads_surely(now)
    }

    fn leads_surely(&self, now: Instant) -> bool {
        let is_handed_over = self.leadership.as_ref().is_none_or(Leadership::is_handed_over);
        if is_handed_over && !has(Mistake::LeaseAfterTransfer) {
            // Alone there is nobody to hand over to.
            return self.is_alone() && self.leadership.is_some();
        }
        self.followed_since(now, Leadership::promised)
            .is_some_and(|since| now < since.after(self.lease))
    }

    /// A snapshot was sent and not fetched, or cannot be.
    pub(crate) fn snapshot_failed(&mut self, to: ReplicaId) {
        self.raft.report_snapshot(to.to_raft(), SnapshotStatus::Failure);
        self.look();
    }

    /// Offers a snapshot of the state to those who are too far behind.
    pub(crate) fn offer_snapshot(&mut self, snapshot: u128, at: LogPoint, members: &Members) {
        let snapshot = raft_snapshot(snapshot, at, members);
        self.log_mut().set_available(Some(Available {
            snapshot,
            index: at.index,
            members: members.clone(),
        }));
    }

    /// Whether consensus has accepted a snapshot; from then on nothing is taken from it until [`Group::installed`].
    pub(crate) fn begin_install(&mut self) -> Option<LogPoint> {
        if self.installing.is_some() || self.halt.is_some() {
            return None;
        }
        let metadata = self.raft.snap()?.get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        let at = LogPoint { index, term };
        self.installing = (index > 0 && self.installed != Some(at)).then_some(at);
        self.installing
    }

    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    /// The accepted snapshot is in place, and brought this configuration. What consensus has ready is to be taken at
    /// once.
    pub(crate) fn installed(&mut self, config: GroupConfig) {
        self.installed = self.installing.take();
        self.config = config;
    }

    /// Looks at what consensus may have changed.
    fn look(&mut self) {
        self.check_log();
        let raft = &self.raft.raft;
        let (state, term) = (raft.state, raft.term);
        if state != StateRole::Leader || self.halt.is_some() {
            self.leadership = None;
            return;
        }
        if self
            .leadership
            .as_ref()
            .is_none_or(|leadership| leadership.term() != term)
        {
            let first = raft.raft_log.last_index();
            self.leadership = Some(Leadership::new(term, first));
        }
        let is_handing_over = raft.lead_transferee.is_some();
        if is_handing_over && let Some(leadership) = &mut self.leadership {
            leadership.hand_over();
        }
    }

    fn check_log(&mut self) {
        if let Some(failure) = self.raft.store().failure() {
            self.stop(Halt::Log(failure));
        }
    }

    /// Takes what consensus has ready: what is to be written goes into the batch of this number, with what may be sent
    /// only when that is safe; gives what is committed.
    pub(crate) fn collect(&mut self, now: Now, number: u64, work: &mut Work) -> Result<Vec<Committed>, Halt> {
        let mut committed = Vec::new();
        while self.halt.is_none() && self.installing.is_none() && self.raft.has_ready() {
            self.take_ready(now, number, work, &mut committed)?;
        }
        self.release(&mut committed)?;
        self.secure_commit(number, work)?;
        Ok(committed)
    }

    /// Hands on what is committed, up to a change of members of which a crash could take the word back: raft goes by the
    /// members as of what is applied, so a replica that forgot would go by those before (decision 8, rule 11).
    fn release(&mut self, committed: &mut Vec<Committed>) -> Result<(), Halt> {
        while self.halt.is_none() && self.installing.is_none() {
            let is_free = |entry: &raft::eraftpb::Entry| {
                entry.get_entry_type() == EntryType::EntryNormal || entry.index <= self.safe_commit
            };
            let Some(entry) = self.held.pop_front_if(|entry| is_free(entry)) else {
                break;
            };
            self.handed = entry.index;
            let entry = self.hand_on(entry)?;
            committed.push(entry);
        }
        Ok(())
    }

    /// Sees to it that what holds entries back becomes safe.
    fn secure_commit(&mut self, number: u64, work: &mut Work) -> Result<(), Halt> {
        let Some(index) = self.held.front().map(|entry| entry.index) else {
            return Ok(());
        };
        if self.writing.iter().any(|writing| writing.commit >= index) {
            return Ok(());
        }
        let committed = self.committed();
        let log = self.raft.mut_store();
        log.put_commit(&mut work.batch, committed).map_err(Halt::Log)?;
        work.must_sync = true;
        self.writing.push_back(Writing {
            batch: number,
            ready: 0,
            snapshot: None,
            last: None,
            commit: committed,
            messages: Vec::new(),
        });
        Ok(())
    }

    fn take_ready(
        &mut self,
        now: Now,
        number: u64,
        work: &mut Work,
        committed: &mut Vec<Committed>,
    ) -> Result<(), Halt> {
        let mut ready = self.raft.ready();
        let mut is_writing = false;
        let at = LogPoint {
            index: ready.snapshot().get_metadata().index,
            term: ready.snapshot().get_metadata().term,
        };
        if at.index > 0 {
            let members = self.config.members.clone();
            self.raft
                .mut_store()
                .reset(&mut work.batch, at, members)
                .map_err(Halt::Log)?;
            (self.applied, self.handed) = (at.index, at.index);
            self.held.clear();
            self.installed = None;
            is_writing = true;
        }
        let entries = ready.take_entries();
        let last = entries.last().map(|entry| entry.index);
        if !entries.is_empty() {
            let appended = self.raft.mut_store().append(&mut work.batch, entries);
            appended.map_err(Halt::Log)?;
            is_writing = true;
        }
        let mut commit = 0;
        if let Some(state) = ready.hs() {
            let state: HardState = state.clone();
            if ready.must_sync() {
                commit = state.commit;
            }
            let noted = self.raft.mut_store().set_hard_state(&mut work.batch, &state);
            noted.map_err(Halt::Log)?;
            is_writing = true;
        }
        work.must_sync |= ready.must_sync();
        let messages = ready.take_messages();
        let persisted_messages = ready.take_persisted_messages();
        let entries = ready.take_committed_entries();
        let ready_number = ready.number();
        self.raft.advance_append_async(ready);
        for message in messages {
            let sent = self.outgoing(now, message);
            work.messages.extend(sent);
        }
        let messages: Vec<RaftMessage> = persisted_messages
            .into_iter()
            .filter_map(|message| self.outgoing(now, message))
            .collect();
        if is_writing || !self.writing.is_empty() {
            // What needs nothing written waits for what is being written before it.
            let batch = match is_writing {
                true => number,
                false => self.writing.back().map_or(number, |writing| writing.batch),
            };
            self.writing.push_back(Writing {
                batch,
                ready: ready_number,
                snapshot: (at.index > 0).then_some(at.index),
                last,
                commit,
                messages,
            });
            if has(Mistake::AcknowledgeBeforeSync) {
                let sent = self.persisted(number);
                work.messages.extend(sent);
            }
        } else {
            self.raft.on_persist_ready(ready_number);
            work.messages.extend(messages);
        }
        self.held.extend(entries);
        self.release(committed)?;
        self.look();
        Ok(())
    }

    /// A committed entry as it is to be applied. Those that are for the group itself are applied here.
    fn hand_on(&mut self, entry: raft::eraftpb::Entry) -> Result<Committed, Halt> {
        let at = LogPoint {
            index: entry.index,
            term: entry.term,
        };
        let is_membership = entry.get_entry_type() != EntryType::EntryNormal;
        let payload = match is_membership {
            true => Payload::decode(&entry.context)?,
            false => Payload::decode(&entry.data)?,
        };
        let (payload, config) = match payload {
            Some(Payload::Epoch(epoch)) if epoch > self.config.epoch => {
                self.config.epoch = epoch;
                (None, Some(self.config.clone()))
            }
            Some(Payload::Epoch(_)) => (None, None),
            Some(Payload::Membership { epoch, change }) => {
                let is_changed = self.change_members(at.index, epoch, &change)?;
                (None, is_changed.then(|| self.config.clone()))
            }
            payload => (payload, None),
        };
        Ok(Committed { at, payload, config })
    }

    /// Applies a change of members, unless it is by order of an epoch that is over, or does not fit any more.
    fn change_members(&mut self, index: u64, epoch: Epoch, change: &MembershipChange) -> Result<bool, Halt> {
        if epoch < self.config.epoch && !has(Mistake::OrdersWithoutEpoch) {
            return Ok(false);
        }
        let Some(raft_change) = change.to_raft(&self.config.members) else {
            return Ok(false);
        };
        let mut state = self.apply_change(&raft_change)?;
        if has(Mistake::OneStepChange) && matches!(change, MembershipChange::Enter { .. }) {
            state = self.apply_change(&ConfChangeV2::default())?;
        }
        self.config.members = Members::of(&state);
        self.config.changed_at = index;
        let votes = |members: &Members, replica| {
            members.voters.contains(&replica) || members.outgoing.contains(&replica)
        };
        let replica = self.replica();
        if self.raft.raft.state == StateRole::Leader && !votes(&self.config.members, replica) {
            let term = self.raft.raft.term;
            self.raft.raft.become_follower(term, 0);
        }
        self.look();
        Ok(true)
    }

    fn apply_change(&mut self, change: &ConfChangeV2) -> Result<raft::eraftpb::ConfState, Halt> {
        self.raft
            .apply_conf_change(change)
            .map_err(|error| Halt::Consensus(error.to_string()))
    }

    /// A message on its way out; `None` for what stays within.
    fn outgoing(&mut self, now: Now, message: raft::eraftpb::Message) -> Option<RaftMessage> {
        let stamp = match message.get_msg_type() {
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => {
                let to = ReplicaId::from_raft(message.to);
                let leadership = self.leadership.as_ref().filter(|_| self.leads_surely(now.steady));
                Some(Stamp {
                    sent_at: now.steady,
                    committed: self.committed(),
                    asked_at: leadership.and_then(|leadership| leadership.asked(to)),
                })
            }
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => {
                let to = ReplicaId::from_raft(message.to);
                let heard = self.heard;
                let heard = heard.filter(|heard| heard.term == message.term && heard.leader == to);
                heard.map(|heard| Stamp {
                    asked_at: Some(now.steady),
                    ..heard.stamp
                })
            }
            MessageType::MsgTimeoutNow => {
                if let Some(leadership) = &mut self.leadership {
                    leadership.hand_over();
                }
                None
            }
            _ => None,
        };
        RaftMessage::of(self.id, self.incarnation(), stamp, message)
    }

    /// Everything up to a batch is safe; gives what may be sent now.
    pub(crate) fn persisted(&mut self, batch: u64) -> Vec<RaftMessage> {
        let mut messages = Vec::new();
        while self.writing.front().is_some_and(|writing| writing.batch <= batch) {
            let Some(writing) = self.writing.pop_front() else {
                break;
            };
            if let Some(last) = writing.last {
                self.raft.mut_store().set_persisted(last);
            }
            self.safe_commit = self.safe_commit.max(writing.commit);
            self.raft.on_persist_ready(writing.ready);
            if let Some(snapshot) = writing.snapshot {
                self.raft.advance_apply_to(snapshot);
            }
            messages.extend(writing.messages);
        }
        self.look();
        messages
    }

    /// Everything up to an entry is applied.
    pub(crate) fn set_applied(&mut self, index: u64) {
        if index <= self.applied {
            return;
        }
        self.applied = index;
        // Where it was rewound, consensus has been told already, and ends the process when it is told less.
        if index > self.raft.raft.raft_log.applied {
            self.raft.advance_apply_to(index);
        }
        self.raft.mut_store().set_applied(index);
        self.look();
    }

    /// What was handed on is not all applied yet, as when a replica is opened anew while the applier is behind.
    pub(crate) fn rewind_applied(&mut self, index: u64) {
        self.applied = self.applied.min(index);
    }

    /// The replicas that were told to fetch a snapshot and have not come further since.
    pub(crate) fn waiting_for_snapshot(&self) -> Vec<ReplicaId> {
        if self.leadership.is_none() {
            return Vec::new();
        }
        let progress = self.raft.raft.prs().iter();
        let waiting = progress.filter(|(_, progress)| progress.state == ProgressState::Snapshot);
        let mut waiting: Vec<ReplicaId> = waiting.map(|(id, _)| ReplicaId::from_raft(*id)).collect();
        waiting.sort_unstable();
        waiting
    }

    /// Offers the snapshot no longer.
    pub(crate) fn withdraw_snapshot(&mut self) {
        self.log_mut().set_available(None);
    }

    /// The log, for a replica that is opened anew on it, or destroyed.
    pub(crate) fn record(&self) -> &LogRecord {
        self.raft.store().record()
    }
}
