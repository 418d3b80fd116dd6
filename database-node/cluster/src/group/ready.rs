//! What consensus has ready: to be written, sent and applied, in an order that a crash cannot harm.

use pliantdb_storage::store::OrderedStore;
use raft::StateRole;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType, HardState, MessageType};

use super::config::{Members, MembershipChange};
use super::held::bytes_of;
use super::payload::Payload;
use super::{Committed, Group, Halt, Work, Writing};
use crate::ids::{Epoch, LogPoint, ReplicaId};
use crate::mistakes::{Mistake, has};
use crate::timing::Now;
use crate::wire::raft::{RaftMessage, Stamp};

impl<L: OrderedStore> Group<L> {
    /// Takes what consensus has ready: what is to be written goes into the batch of this number, with what may be sent
    /// only when that is safe; gives what is committed, about so many bytes of it at most.
    pub(crate) fn collect(
        &mut self,
        now: Now,
        number: u64,
        work: &mut Work,
        mut room: u64,
    ) -> Result<Vec<Committed>, Halt> {
        let mut committed = Vec::new();
        if self.halt.is_some()
            && let Some(at) = self.installed.take()
        {
            self.begin_anew(at, number, work)?;
        }
        while self.halt.is_none() && self.installing.is_none() && self.raft.has_ready() {
            self.take_ready(now, number, work)?;
            self.release(&mut committed, &mut room)?;
            self.look();
        }
        self.release(&mut committed, &mut room)?;
        self.secure_commit(number, work)?;
        Ok(committed)
    }

    /// Whether a replica that forgot that an entry is committed would do no harm: raft goes by the members as of what is
    /// applied, and it would go by those before (decision 8, rule 11).
    fn is_free(&self, entry: &Entry) -> bool {
        entry.get_entry_type() == EntryType::EntryNormal || entry.index <= self.safe_commit
    }

    /// Whether something is committed that is held back only until there is room to apply it.
    pub(crate) fn waits_for_room(&self) -> bool {
        self.halt.is_none()
            && !self.held.is_empty()
            && self.held.front().is_none_or(|entry| self.is_free(entry))
    }

    /// Hands on what is committed while there is room, up to a change of members of which a crash could take the word back.
    fn release(&mut self, committed: &mut Vec<Committed>, room: &mut u64) -> Result<(), Halt> {
        while *room > 0 && self.halt.is_none() && self.installing.is_none() {
            let (log, first) = (self.raft.store(), self.handed + 1);
            let refilled = self.held.refill(|last, limit| log.read(first, last + 1, limit));
            refilled.map_err(Halt::Log)?;
            let Some(entry) = self.held.front().filter(|entry| self.is_free(entry)) else {
                break;
            };
            *room = room.saturating_sub(bytes_of(entry));
            if let Some(entry) = self.held.pop() {
                self.handed = entry.index;
                let entry = self.hand_on(entry)?;
                committed.push(entry);
            }
        }
        Ok(())
    }

    /// Sees to it that a change of members that holds entries back becomes safe.
    fn secure_commit(&mut self, number: u64, work: &mut Work) -> Result<(), Halt> {
        let Some(index) = self
            .held
            .front()
            .filter(|entry| !self.is_free(entry))
            .map(|entry| entry.index)
        else {
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
            commit: committed,
            messages: Vec::new(),
        });
        Ok(())
    }

    fn take_ready(&mut self, now: Now, number: u64, work: &mut Work) -> Result<(), Halt> {
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
                commit,
                messages,
            });
            if has(Mistake::AcknowledgeBeforeSync) {
                let sent = self.persisted(number);
                work.messages.extend(sent);
            }
        } else {
            let committed = self.committed();
            self.raft.on_persist_ready(ready_number);
            self.tell_commit(committed);
            work.messages.extend(messages);
        }
        self.held.push(entries);
        Ok(())
    }

    /// A committed entry as it is to be applied. Those that are for the group itself are applied here.
    fn hand_on(&mut self, entry: Entry) -> Result<Committed, Halt> {
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
            self.safe_commit = self.safe_commit.max(writing.commit);
            let committed = self.committed();
            self.raft.on_persist_ready(writing.ready);
            self.tell_commit(committed);
            // What consensus says by the terms: others may have taken the place of what was written, and wait for a later batch.
            let persisted = self.raft.raft.raft_log.persisted;
            self.raft.mut_store().set_persisted(persisted);
            if let Some(snapshot) = writing.snapshot {
                self.raft.advance_apply_to(snapshot);
            }
            messages.extend(writing.messages);
        }
        self.look();
        messages
    }
}
