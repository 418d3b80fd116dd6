//! One replica of a group: consensus about its log, and what a leader may do.

pub mod config;
mod guard;
mod held;
mod leadership;
mod lease;
pub mod payload;
mod ready;
mod sleep;
mod snapshots;
mod steering;
mod successor;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::store::{Batch, OrderedStore, StoreError};
use raft::{ProgressState, RawNode, StateRole};
use slog::{Discard, Logger, o};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{Epoch, Incarnation, LogPoint, ReplicaId};
use crate::log::{GroupLog, LogRecord};
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now, Timing};
use crate::wire::raft::{Body, RaftMessage, Stamp};
use config::{GroupConfig, MembershipChange};
use held::Held;
pub(crate) use leadership::Leadership;
use payload::{InvalidPayload, Payload};
pub(crate) use steering::{Order, Step};
pub(crate) use successor::Going;

/// The most bytes of entries in one message, unless one entry alone has more.
pub(crate) const MAX_MESSAGE_BYTES: u64 = 1 << 20;
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
    /// Committed entries that are not handed on yet: a change of members waits until it is safe that it is committed, and
    /// all wait until there is room to apply them.
    held: Held,
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
    /// About so many bytes of committed entries are held, and as many that are not applied stay in the log's memory.
    pub(crate) held_bytes: u64,
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
            held_bytes,
        } = opening;
        log.set_members(config.members.clone());
        log.keep_unapplied(held_bytes);
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
            // `tell_commit` does, when nothing else will.
            skip_bcast_commit: true,
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
            held: Held::within(held_bytes),
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

    /// The end of the log, what is not on disk yet included. Of one that has stopped, what it has handed to the disk:
    /// what consensus still holds never comes there.
    pub(crate) fn last(&self) -> LogPoint {
        if self.halt.is_some() {
            return self.log().last();
        }
        LogPoint {
            index: self.raft.raft.raft_log.last_index(),
            term: self.raft.raft.raft_log.last_term(),
        }
    }

    pub(crate) fn halt(&self) -> Option<&Halt> {
        self.halt.as_ref()
    }

    /// Stops for a reason. That it cannot go on counts more than that it need not.
    pub(crate) fn stop(&mut self, halt: Halt) {
        if matches!(self.halt, None | Some(Halt::Superseded)) {
            self.halt = Some(halt);
        }
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
    pub(crate) fn receive(&mut self, now: Now, timing: &Timing, mut message: RaftMessage, is_trusted: bool) {
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
        if has(Mistake::HandOverUnseen)
            && let Body::Vote {
                is_transfer: true,
                last,
                ..
            } = &mut message.body
        {
            *last = self.last().max(*last);
        }
        let (from, term, stamp) = (message.from, message.term, message.stamp);
        let is_from_leader = matches!(
            message.body,
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. }
        );
        let committed = self.committed();
        // Refused only when its sender is no member, or by a candidate of an old term.
        let _ = self.raft.step(message.into_raft());
        self.tell_commit(committed);
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

    /// Tells the others how far the log is committed, when that is further than before. As long as entries are under way it is
    /// told with the next ones, or when those are committed: a message for itself each time is a message more to be answered.
    fn tell_commit(&mut self, before: u64) {
        let raft = &mut self.raft.raft;
        let is_all = raft.raft_log.committed == raft.raft_log.last_index();
        if raft.state == StateRole::Leader && raft.raft_log.committed > before && is_all {
            raft.bcast_append();
        }
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
    pub(crate) fn steer(&mut self, going: Going<'_>) {
        if self.halt.is_some() || self.leadership.is_none() {
            return;
        }
        let Some(step) = self.next_step(going) else {
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
            Step::HandOver(to) => {
                if let Some(leadership) = &mut self.leadership {
                    leadership.note_asked_to_lead(to);
                }
                self.raft.transfer_leader(to.to_raft());
                if has(Mistake::HandOverUnseen) {
                    self.raft.raft.send_timeout_now(to.to_raft());
                }
            }
        }
        self.look();
    }

    fn next_step(&mut self, going: Going<'_>) -> Option<Step> {
        let last = self.last().index;
        // Everything before its term is known to the leader, the latest epoch and members above all.
        let knows_config = self
            .leadership
            .as_ref()
            .is_some_and(|leadership| self.handed >= leadership.first());
        let term_started = knows_config && self.raft.raft.commit_to_current_term();
        let is_handing_over = self.raft.raft.lead_transferee.is_some();
        let has_pending = self.raft.raft.has_pending_conf();
        if !term_started || is_handing_over {
            return None;
        }
        if going.here
            && !has_pending
            && let Some(successor) = self.successor(going)
        {
            return Some(Step::HandOver(successor));
        }
        let order = self.order.clone()?;
        let leadership = self.leadership.as_mut()?;
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
            Some((progress.matched, is_live && !going.has(replica)))
        };
        steering::next_step(&view, &order, at)
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

    /// The log, for a replica that is opened anew on it, or destroyed.
    pub(crate) fn record(&self) -> &LogRecord {
        self.raft.store().record()
    }
}
