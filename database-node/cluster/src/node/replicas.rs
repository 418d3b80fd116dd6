//! Which replicas there are on this node: as the meta group wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pliantdb_core::GroupId;
use pliantdb_storage::group::{Position, Shard};
use pliantdb_storage::store::{OrderedStore, StoreError};

use super::{Checkpoint, Event, Node};
use crate::applier::Task;
use crate::group::config::{GroupConfig, Members};
use crate::group::{Group, Halt, Opening};
use crate::ids::{Epoch, Incarnation, LogPoint, ReplicaId};
use crate::log::{self, GroupLog, Identity, LogRecord, Removed};
use crate::meta::{Forced, GroupRecord, META, Meta};
use crate::mistakes::{Mistake, has};
use crate::timing::Now;
use crate::wire::raft::{RaftMessage, WireEntry};

/// Where the log of a new group begins: behind an entry that founds it and that nobody has to read.
pub(super) const FOUNDATION: LogPoint = LogPoint { index: 1, term: 1 };

/// The most bytes of a lost tail that are kept for inspection.
const TAIL_BYTES: u64 = 64 << 20;

/// The replicas whose log is here and that cannot be opened, and those that are on their way out.
#[derive(Default)]
pub(super) struct Aside {
    /// Their state is not there, and may only have to be made anew.
    pub(super) stateless: BTreeMap<GroupId, LogRecord>,
    /// The applier is removing them.
    pub(super) leaving: BTreeSet<GroupId>,
    /// The last one that was removed in this process; that of others is in the log.
    pub(super) removed: BTreeMap<GroupId, (Incarnation, ReplicaId)>,
}

/// The groups whose replicas here may not be as the meta group wants it.
#[derive(Debug)]
pub(super) enum Unmatched {
    Only(BTreeSet<GroupId>),
    All,
}

impl Default for Unmatched {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Unmatched {
    pub(super) fn add(&mut self, group: GroupId) {
        if let Self::Only(groups) = self {
            groups.insert(group);
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Only(groups) if groups.is_empty())
    }
}

impl<L: OrderedStore> Node<L> {
    /// Opens the replicas whose logs are here.
    pub(super) fn open_replicas(&mut self, now: Now) -> Result<(), StoreError> {
        let records = log::read_records(self.log.as_ref())?;
        // What a replica left behind whose log is gone belongs to nobody.
        let known = self
            .found
            .positions
            .keys()
            .chain(self.found.staged.keys())
            .chain(self.found.failed.keys());
        let orphans: BTreeSet<GroupId> = known.filter(|id| !records.contains_key(id)).copied().collect();
        for id in orphans {
            self.applying.aside.leaving.insert(id);
            self.found.staged.remove(&id);
            self.run(Task::Destroy { group: id });
        }
        for (id, record) in records {
            let position = match id {
                META => self.meta.as_ref().map(|meta| (meta.at, meta.config.clone())),
                _ => match self.found.positions.get(&id) {
                    Some(position) => {
                        let at = LogPoint {
                            index: position.index,
                            term: position.term,
                        };
                        let config = Self::position_config(position);
                        Some((at, config.map_err(|halt| StoreError::Corrupt(halt.to_string()))?))
                    }
                    None => None,
                },
            };
            match position {
                Some((at, config)) => self.open_replica(now, id, record, at, config)?,
                // One whose snapshot could not be put in place to the end needs another replica in its place.
                None if record.truncated.index == 0 && !self.found.failed.contains_key(&id) => {
                    let config = empty_config(record.incarnation);
                    self.open_replica(now, id, record, LogPoint::default(), config)?;
                }
                None => {
                    self.applying.aside.stateless.insert(id, record);
                }
            }
        }
        Ok(())
    }

    fn open_replica(
        &mut self,
        now: Now,
        id: GroupId,
        record: LogRecord,
        at: LogPoint,
        config: GroupConfig,
    ) -> Result<(), StoreError> {
        let config = match &record.forced {
            Some(forced) if config.incarnation < forced.incarnation => forced.clone(),
            _ => config,
        };
        let truncated = record.truncated;
        if at.index < truncated.index {
            self.applying.aside.stateless.insert(id, record);
            return Ok(());
        }
        let members = config.members.clone();
        let store = Arc::clone(&self.log);
        let mut log = GroupLog::open(store, id, record, members.clone(), at.index)?;
        let is_in_log = log.term_at(at.index) == Some(at.term);
        if at.index > truncated.index && !is_in_log {
            // A snapshot was put in place, and the process ended before the log was begun anew behind it.
            log.reset(self.batch(), at, members)?;
        }
        // What is found after a start has survived it.
        self.applying.opened(id, at.index);
        let is_alone = self.meta().is_some_and(|meta| meta.nodes().len() == 1);
        self.add(now, id, log, config, at.index, is_alone);
        Ok(())
    }

    fn add(
        &mut self,
        now: Now,
        id: GroupId,
        log: GroupLog<L>,
        config: GroupConfig,
        applied: u64,
        leads_at_once: bool,
    ) {
        let opening = Opening {
            id,
            log,
            config,
            applied,
            seed: self.settings.seed,
            now,
            leads_at_once,
            held_bytes: self.settings.limits.held_bytes,
        };
        match Group::open(opening, &self.settings.timing) {
            Ok(group) => {
                self.groups.insert(id, group);
                self.sleeping.opened(id);
                self.touched.insert(id);
            }
            Err(halt) => self.event(Event::Halted { group: id, halt }),
        }
    }

    /// Notes who this node is.
    pub(super) fn become_member(&mut self, identity: Identity) -> Result<(), StoreError> {
        log::put_identity(self.batch(), identity)?;
        self.identity = Some(identity);
        self.event(Event::Joined(identity.node));
        Ok(())
    }

    /// Makes the first replica of the meta group.
    pub(super) fn found_meta(&mut self, meta: Meta, now: Now) -> Result<(), StoreError> {
        let Some(founders) = meta.group(META).map(|record| record.founders.clone()) else {
            return Ok(());
        };
        let Some(replica) = founders.voters.first().copied() else {
            return Ok(());
        };
        let checkpoint = Checkpoint {
            at: FOUNDATION,
            config: founding_config(founders, Incarnation::FIRST),
            meta: Arc::new(meta),
        };
        log::put_checkpoint(self.batch(), &checkpoint)?;
        let config = checkpoint.config.clone();
        self.meta = Some(checkpoint);
        self.make(
            now,
            META,
            new_record(replica, Incarnation::FIRST, FOUNDATION, Epoch::default()),
            config,
        )
    }

    /// Makes a replica with an empty log.
    fn make(
        &mut self,
        now: Now,
        id: GroupId,
        record: LogRecord,
        config: GroupConfig,
    ) -> Result<(), StoreError> {
        let applied = record.truncated.index;
        let log = GroupLog::create(Arc::clone(&self.log), id, record, config.members.clone());
        log.put_record(self.batch())?;
        self.applying.opened(id, applied);
        self.add(now, id, log, config, applied, true);
        Ok(())
    }

    /// Makes a replica that a message is for, when it is to be here and is not yet. It waits for a snapshot.
    pub(super) fn make_room_for(&mut self, now: Now, message: &RaftMessage) {
        let (id, replica) = (message.group, message.to);
        if self.id() != Some(replica.node()) || self.applying.aside.leaving.contains(&id) {
            return;
        }
        let created = match id {
            META => self.meta_replica_for(message),
            _ => self.replica_for(message),
        };
        let Some(created) = created else {
            return;
        };
        if !self.is_new_here(id, message.incarnation, replica) {
            return;
        }
        let record = new_record(replica, message.incarnation, LogPoint::default(), created);
        let config = empty_config(message.incarnation);
        if let Err(error) = self.make(now, id, record, config) {
            self.log_failed(&error);
        }
    }

    /// Whether a replica is later than any that was removed here. One that was removed has forgotten what it promised, and
    /// what this node knows of the meta group may be older than that.
    fn is_new_here(&mut self, id: GroupId, incarnation: Incarnation, replica: ReplicaId) -> bool {
        if let Some(removed) = self.applying.aside.removed.get(&id) {
            return is_newer((incarnation, replica), *removed);
        }
        match log::read_removed(self.log.as_ref(), id) {
            Ok(None) => true,
            Ok(Some(removed)) => is_newer((incarnation, replica), (removed.incarnation, removed.replica)),
            Err(error) => {
                self.log_failed(&error);
                false
            }
        }
    }

    /// Of the meta group a node knows only what it is told: a replica of a later generation takes the place of the one
    /// that is here.
    fn meta_replica_for(&mut self, message: &RaftMessage) -> Option<Epoch> {
        if let Some(group) = self.groups.get(&META) {
            if !is_newer(
                (message.incarnation, message.to),
                (group.incarnation(), group.replica()),
            ) {
                return None;
            }
            self.remove_replica(META, None);
            // What it knew may be of a life that is over.
            self.meta = None;
            self.look_at_supervisor();
        }
        Some(Epoch::default())
    }

    fn replica_for(&self, message: &RaftMessage) -> Option<Epoch> {
        if self.groups.contains_key(&message.group)
            || self.applying.aside.stateless.contains_key(&message.group)
        {
            return None;
        }
        let record = self.meta()?.group(message.group)?;
        let is_wanted = record.replicas.get(&message.to.node()) == Some(&message.to);
        (is_wanted && record.incarnation == message.incarnation).then_some(record.epoch)
    }

    /// Brings the replicas here to what the meta group wants; whether there was anything to look at.
    pub(super) fn match_replicas(&mut self, now: Now) -> bool {
        let (Some(node), Some(meta)) = (self.id(), self.meta()) else {
            return false;
        };
        if self.unmatched.is_empty() || !meta.nodes().contains_key(&node) {
            return false;
        }
        let groups: Vec<GroupId> = match &self.unmatched {
            Unmatched::Only(groups) => groups.iter().copied().collect(),
            Unmatched::All => meta.groups().keys().copied().collect(),
        };
        let deleted = self.groups.keys().chain(self.applying.aside.stateless.keys());
        let deleted: Vec<GroupId> = match &self.unmatched {
            Unmatched::Only(_) => Vec::new(),
            Unmatched::All => deleted.filter(|id| meta.is_deleted(**id)).copied().collect(),
        };
        self.unmatched = Unmatched::default();
        for id in deleted {
            self.remove_replica(id, None);
        }
        for id in groups {
            if id == META || self.applying.aside.leaving.contains(&id) {
                continue;
            }
            let Some(record) = self.meta().and_then(|meta| meta.group(id)).cloned() else {
                continue;
            };
            self.match_replica(now, id, record.replicas.get(&node).copied(), &record);
        }
        true
    }

    fn match_replica(&mut self, now: Now, id: GroupId, wanted: Option<ReplicaId>, record: &GroupRecord) {
        let here = self.groups.get(&id).map(|group| group.record().clone());
        let here = here.or_else(|| self.applying.aside.stateless.get(&id).cloned());
        if let (Some(here), Some(_)) = (&here, record.unconfirmed())
            && record.is_left(here.incarnation)
            && record.former.get(&here.replica.node()) == Some(&here.replica)
        {
            return self.supersede(id);
        }
        match (here, wanted) {
            (None, Some(replica)) => {
                let is_founder = record.founders.contains(replica) && record.forced.is_none();
                if is_founder && self.is_new_here(id, record.incarnation, replica) {
                    self.found_shard(now, id, replica, record);
                }
            }
            (Some(here), None) => {
                // It is in no configuration any more when the group was seen to be as wanted.
                if record.is_settled() && record.epoch > here.created {
                    let is_forked = record.incarnation > here.incarnation;
                    self.remove_replica(id, record.forced.filter(|_| is_forked));
                }
            }
            (Some(here), Some(replica))
                if !record
                    .forced
                    .is_some_and(|forced| forced.replica == here.replica && replica == here.replica)
                    && is_newer((record.incarnation, replica), (here.incarnation, here.replica)) =>
            {
                if has(Mistake::DivergedReplicaStays) && record.forced.is_some() {
                    return;
                }
                // One that only lost something in the same life has nothing that others lack.
                let is_forked = record.incarnation > here.incarnation;
                self.remove_replica(id, record.forced.filter(|_| is_forked));
            }
            (Some(here), Some(replica)) if replica == here.replica => {
                let forced = record.forced.filter(|forced| forced.replica == replica);
                if forced.is_some() && record.is_left(here.incarnation) {
                    self.looked_at.insert(id);
                    self.applying.force(id, record.incarnation, forced);
                    self.touched.insert(id);
                }
                if self.applying.aside.stateless.contains_key(&id) {
                    self.found_state_anew(now, id, record);
                }
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Lets a replica take no part any more: its group goes on in another life. It is kept, for one of them may be
    /// needed (decision 8, rule 21).
    fn supersede(&mut self, id: GroupId) {
        // It may have waited for its log to go on in a life that was given up since.
        self.applying.force_no_more(id);
        if let Some(group) = self.groups.get_mut(&id).filter(|group| group.halt().is_none()) {
            group.stop(Halt::Superseded);
            self.touched.insert(id);
        }
    }

    /// Makes a founder's replica: everybody begins with the same empty state.
    fn found_shard(&mut self, now: Now, id: GroupId, replica: ReplicaId, record: &GroupRecord) {
        let config = founding_config(record.founders.clone(), record.incarnation);
        let Some(shard) = record.shard.clone() else {
            return;
        };
        self.create_state(id, shard, &config);
        let log = new_record(replica, record.incarnation, FOUNDATION, record.epoch);
        if let Err(error) = self.make(now, id, log, config) {
            self.log_failed(&error);
        }
    }

    fn create_state(&mut self, id: GroupId, shard: Shard, config: &GroupConfig) {
        let position = Position {
            index: FOUNDATION.index,
            term: FOUNDATION.term,
            config: encode_config(config),
            ..Position::default()
        };
        self.run(Task::Create {
            group: id,
            shard,
            position,
        });
    }

    /// A founder's state that a crash took before it was flushed comes back from the log, which is still whole.
    fn found_state_anew(&mut self, now: Now, id: GroupId, record: &GroupRecord) {
        let Some(log) = self.applying.aside.stateless.get(&id).cloned() else {
            return;
        };
        let (Some(shard), true) = (
            record.shard.clone(),
            log.truncated == FOUNDATION && record.founders.contains(log.replica),
        ) else {
            return;
        };
        self.applying.aside.stateless.remove(&id);
        // One that was forced goes by that from the beginning: the founders are of a life that is over.
        let founding = || founding_config(record.founders.clone(), record.incarnation);
        let config = log.forced.clone().unwrap_or_else(founding);
        self.create_state(id, shard, &config);
        if let Err(error) = self.open_replica(now, id, log, FOUNDATION, config) {
            self.log_failed(&error);
        }
    }

    /// Removes a replica. What it has beyond the fork of a forced group is handed out first.
    pub(super) fn remove_replica(&mut self, id: GroupId, forced: Option<Forced>) {
        self.looked_at.insert(id);
        let group = self.groups.remove(&id);
        let stateless = self.applying.aside.stateless.remove(&id);
        let record = group.as_ref().map(|group| group.record().clone()).or(stateless);
        let Some(record) = record else {
            return;
        };
        let (replica, incarnation) = (record.replica, record.incarnation);
        if let Some(forced) = forced {
            let tail = match &group {
                Some(group) => Some(tail_of(group.log(), forced)),
                None => {
                    let (store, applied) = (Arc::clone(&self.log), record.truncated.index);
                    let log = GroupLog::open(store, id, record, Members::default(), applied);
                    log.ok().map(|log| tail_of(&log, forced))
                }
            };
            if let Some((from, tail)) = tail {
                self.event(Event::Removed {
                    group: id,
                    replica,
                    from,
                    tail,
                });
            }
        }
        self.refuse_all(id, &super::Refusal::Unknown);
        self.applying.aside.removed.insert(id, (incarnation, replica));
        let removed = Removed { incarnation, replica };
        if let Err(error) = GroupLog::<L>::destroy(id, self.batch(), removed) {
            self.log_failed(&error);
        }
        self.forget_snapshots(id);
        self.applying.removed(id);
        self.sleeping.removed(id);
        if id != META {
            self.applying.aside.leaving.insert(id);
            self.run(Task::Destroy { group: id });
        }
    }

    pub(super) fn destroyed(&mut self, id: GroupId) {
        self.applying.aside.leaving.remove(&id);
        self.unmatched.add(id);
    }

    /// Lets a replica go on alone, once everything that it has is written.
    pub(super) fn look_at_force(&mut self, now: Now, id: GroupId) {
        let Some((incarnation, forced)) = self.applying.forcing(id) else {
            return;
        };
        // A snapshot on its way into the state is waited for: the log begins anew behind it.
        let is_whole = |group: &&Group<L>| group.is_written() && !group.is_installing();
        let Some(group) = self.groups.get(&id).filter(is_whole) else {
            return;
        };
        let config = GroupConfig {
            incarnation,
            members: Members::new(BTreeSet::from([group.replica()]), BTreeSet::new()),
            epoch: forced.map_or_else(|| group.config().epoch.next(), |forced| forced.epoch),
            changed_at: group.last().index,
        };
        // What it added in a life that was given up is nothing that others could lack.
        let meta_record = self.meta().and_then(|meta| meta.group(id));
        let is_retried = meta_record.is_some_and(|record| record.tried.contains(&group.incarnation()));
        let before = group.record().fork.filter(|_| is_retried);
        let fork = before.unwrap_or_else(|| group.last());
        let (applied, handed) = (group.applied(), self.applying.handed(id).max(group.applied()));
        let mut record = group.record().clone();
        record.incarnation = incarnation;
        record.forced = Some(config.clone());
        record.fork = Some(fork);
        self.refuse_all(id, &super::Refusal::Unknown);
        // Also those of snapshots: they are of the life that is over.
        self.forget_snapshots(id);
        self.looked_at.insert(id);
        self.groups.remove(&id);
        self.applying.forced(id);
        let opened = GroupLog::open(Arc::clone(&self.log), id, record, config.members.clone(), handed);
        let opened = opened.and_then(|log| log.put_record(self.batch()).map(|()| log));
        match opened {
            Ok(log) => {
                self.event(Event::Forced {
                    group: id,
                    incarnation,
                    fork,
                });
                // Not at once: this replica may have confirmed the leader before, which reads by that (decision 8, rule 22).
                self.add(now, id, log, config.clone(), handed, false);
                if let Some(group) = self.groups.get_mut(&id) {
                    group.rewind_applied(applied);
                }
                self.applying.set_next_config(id, config);
            }
            Err(error) => self.log_failed(&error),
        }
    }
}

/// What a log has beyond the fork of its group, and from which entry on.
fn tail_of<L: OrderedStore>(log: &GroupLog<L>, forced: Forced) -> (u64, Vec<WireEntry>) {
    let (first, last) = (log.truncated().index + 1, log.last().index);
    let from = first.max(forced.fork.index + 1);
    let tail = match from <= last {
        true => log.read(from, last + 1, TAIL_BYTES).unwrap_or_default(),
        false => Vec::new(),
    };
    (from, tail.into_iter().map(WireEntry::of).collect())
}

/// Whether a replica is of a later life of its group, or a later one of the same life. Lives that were forced apart count
/// their replicas apart, so the same id can come up in both.
fn is_newer(replica: (Incarnation, ReplicaId), than: (Incarnation, ReplicaId)) -> bool {
    (replica.0, replica.1.generation()) > (than.0, than.1.generation())
}

pub(super) fn encode_config(config: &GroupConfig) -> Vec<u8> {
    // Writing plain types to memory does not fail.
    postcard::to_stdvec(config).unwrap_or_default()
}

/// The same for all founders, however much each knows of what was decided since.
pub(super) fn founding_config(founders: Members, incarnation: Incarnation) -> GroupConfig {
    GroupConfig {
        incarnation,
        members: founders,
        epoch: Epoch::default(),
        changed_at: FOUNDATION.index,
    }
}

pub(super) fn empty_config(incarnation: Incarnation) -> GroupConfig {
    GroupConfig {
        incarnation,
        members: Members::default(),
        epoch: Epoch::default(),
        changed_at: 0,
    }
}

pub(super) fn new_record(
    replica: ReplicaId,
    incarnation: Incarnation,
    truncated: LogPoint,
    created: Epoch,
) -> LogRecord {
    LogRecord {
        replica,
        incarnation,
        term: truncated.term,
        vote: 0,
        commit: truncated.index,
        truncated,
        created,
        forced: None,
        fork: None,
    }
}
