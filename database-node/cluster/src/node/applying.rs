//! From committed entries to answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use pliantdb_core::{Clock, Command, GroupId, Timestamp};
use pliantdb_storage::StorageError;
use pliantdb_storage::group::{LogEntry, Position};
use pliantdb_storage::machine::CommandResult;
use pliantdb_storage::store::OrderedStore;

use super::replicas::{Aside, Unmatched, encode_config};
use super::{Answer, Event, Mark, Node, Room, SwitchPhase};
use crate::applier::Task;
use crate::group::config::GroupConfig;
use crate::group::payload::Payload;
use crate::group::{Committed, Group, Halt};
use crate::ids::{Epoch, Incarnation, LogPoint};
use crate::log;
use crate::meta::{Forced, META, MetaCommand};
use crate::timing::Now;

/// How far the groups have come in their logs.
#[derive(Default)]
pub(super) struct Applying {
    pub(super) aside: Aside,
    of: BTreeMap<GroupId, Progress>,
    is_flushing: bool,
    /// How many bytes of commands the applier was given and has not applied.
    under_way: u64,
    /// How many were applied since everything was flushed.
    unflushed: u64,
    /// The groups that have more to apply when there is room.
    waiting: BTreeSet<GroupId>,
}

#[derive(Default)]
struct Progress {
    /// The last entry that the applier was given.
    handed: u64,
    /// The bytes of what the applier was given and has not applied, each up to an entry.
    under_way: VecDeque<(u64, u64)>,
    /// The last that survives a crash.
    durable: u64,
    /// What the next entry has to carry along.
    next_config: Option<GroupConfig>,
    /// As what the replica is to go on alone.
    forcing: Option<(Incarnation, Option<Forced>)>,
    /// The last reason to stop that was told.
    halt: Option<Halt>,
    /// The term in which it was told that it leads.
    led: u64,
}

impl Applying {
    pub(super) fn opened(&mut self, id: GroupId, applied: u64) {
        let progress = self.of.entry(id).or_default();
        (progress.handed, progress.durable) = (applied, progress.durable.max(applied));
    }

    pub(super) fn removed(&mut self, id: GroupId) {
        self.failed(id);
        self.of.remove(&id);
    }

    /// How many bytes of a group's commands the applier may be given now, when it may have so many of all groups.
    pub(super) fn room(&self, id: GroupId, of_all: u64) -> u64 {
        if id == META {
            return u64::MAX;
        }
        let is_idle = self
            .of
            .get(&id)
            .is_none_or(|progress| progress.under_way.is_empty());
        let least = if is_idle { (of_all / LEAST_PART).max(1) } else { 0 };
        of_all.saturating_sub(self.under_way).max(least)
    }

    /// Whether a group has more to apply than there is room for.
    pub(super) fn note_waiting(&mut self, id: GroupId, waits: bool) {
        match waits {
            true => self.waiting.insert(id),
            false => self.waiting.remove(&id),
        };
    }

    fn given(&mut self, id: GroupId, index: u64, bytes: u64) {
        self.of.entry(id).or_default().under_way.push_back((index, bytes));
        self.under_way += bytes;
    }

    /// The applier has come up to an entry of a group.
    fn done(&mut self, id: GroupId, index: u64) {
        let Some(progress) = self.of.get_mut(&id) else {
            return;
        };
        while let Some((_, bytes)) = progress.under_way.pop_front_if(|(last, _)| *last <= index) {
            self.under_way -= bytes;
            self.unflushed += bytes;
        }
    }

    pub(super) fn handed(&self, id: GroupId) -> u64 {
        self.of.get(&id).map_or(0, |progress| progress.handed)
    }

    pub(super) fn set_next_config(&mut self, id: GroupId, config: GroupConfig) {
        self.of.entry(id).or_default().next_config = Some(config);
    }

    pub(super) fn force(&mut self, id: GroupId, incarnation: Incarnation, forced: Option<Forced>) {
        self.of.entry(id).or_default().forcing = Some((incarnation, forced));
    }

    pub(super) fn forcing(&self, id: GroupId) -> Option<(Incarnation, Option<Forced>)> {
        self.of.get(&id)?.forcing
    }

    pub(super) fn is_forcing(&self, id: GroupId) -> bool {
        self.forcing(id).is_some()
    }

    pub(super) fn force_no_more(&mut self, id: GroupId) {
        if let Some(progress) = self.of.get_mut(&id) {
            progress.forcing = None;
        }
    }

    pub(super) fn forced(&mut self, id: GroupId) {
        if let Some(progress) = self.of.get_mut(&id) {
            progress.forcing = None;
            progress.halt = None;
        }
    }

    /// Whether the halt of a replica is news.
    pub(super) fn note_halt(&mut self, id: GroupId, halt: &Halt) -> bool {
        let progress = self.of.entry(id).or_default();
        progress.halt.replace(halt.clone()).as_ref() != Some(halt)
    }

    /// Nothing more of a group is applied.
    pub(super) fn failed(&mut self, id: GroupId) {
        self.done(id, u64::MAX);
        self.waiting.remove(&id);
    }

    pub(super) fn flush_failed(&mut self) {
        self.is_flushing = false;
    }
}

/// A group of which nothing is being applied may always give so great a part of what all may, so that none waits for the
/// others.
const LEAST_PART: u64 = 256;

/// While a replica fetches a snapshot the log is kept behind it, up to so many times as much as else.
const MOST_HELD: u64 = 32;

impl<L: OrderedStore> Node<L> {
    /// Hands committed entries on to whoever applies them.
    pub(super) fn committed(&mut self, id: GroupId, committed: Vec<Committed>) {
        if id == META {
            self.apply_meta(committed);
            return;
        }
        let mut entries = Vec::with_capacity(committed.len());
        let mut given = 0;
        for Committed { at, payload, config } in committed {
            let command = match payload {
                None => None,
                Some(Payload::Command(bytes)) => match postcard::from_bytes::<Command>(&bytes) {
                    Ok(command) => {
                        given += bytes.len() as u64;
                        Some(command)
                    }
                    Err(error) => return self.stop(id, self.unreadable(&bytes, &error)),
                },
                Some(_) => return self.stop(id, Halt::State("an entry is not one of a shard".to_owned())),
            };
            let progress = self.applying.of.entry(id).or_default();
            progress.handed = at.index;
            let config = config.or_else(|| progress.next_config.take());
            progress.next_config = None;
            entries.push(LogEntry {
                index: at.index,
                term: at.term,
                command,
                config: config.as_ref().map(encode_config),
            });
        }
        self.applying.given(id, self.applying.handed(id), given);
        self.run(Task::Apply { group: id, entries });
    }

    /// Why a command cannot be read: one of a later version may be made of what is not known here.
    fn unreadable(&self, bytes: &[u8], error: &postcard::Error) -> Halt {
        let supported = self.settings.apply_version;
        Halt::State(match postcard::take_from_bytes(bytes) {
            Ok((found, _)) if found > supported => {
                StorageError::UnknownApplyVersion { found, supported }.to_string()
            }
            _ => format!("a command cannot be read: {error}"),
        })
    }

    fn stop(&mut self, id: GroupId, halt: Halt) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.stop(halt);
            self.touched.insert(id);
        }
    }

    /// Applies what the meta group has committed: at once, for everything here goes by it.
    fn apply_meta(&mut self, committed: Vec<Committed>) {
        for Committed { at, payload, config } in committed {
            let Some(checkpoint) = &mut self.meta else {
                return;
            };
            checkpoint.at = at;
            if let Some(config) = config.or_else(|| {
                let progress = self.applying.of.get_mut(&META)?;
                progress.next_config.take()
            }) {
                checkpoint.config = config;
            }
            let outcome = match payload {
                None => None,
                Some(Payload::Meta(command)) => {
                    let before = checkpoint.meta.switch();
                    let outcome = Arc::make_mut(&mut checkpoint.meta).apply(&command, at.index);
                    let after = checkpoint.meta.switch();
                    let confirmed = match command {
                        MetaCommand::ConfirmForce { group, .. } if outcome.is_ok() => {
                            let record = checkpoint.meta.group(group);
                            record.map(|record| (group, record.incarnation))
                        }
                        _ => None,
                    };
                    let only = outcome
                        .as_ref()
                        .ok()
                        .and_then(|outcome| command.only_group(outcome));
                    match only.filter(|_| before.is_none() && after.is_none()) {
                        Some(group) => self.unmatched.add(group),
                        None if outcome.is_ok() => self.unmatched = Unmatched::All,
                        None => {}
                    }
                    self.tell_of_switch(before, after);
                    if let Some((group, incarnation)) = confirmed {
                        self.event(Event::ForceConfirmed { group, incarnation });
                    }
                    match command {
                        MetaCommand::Force(_) if outcome.is_ok() => self.supervisor_forgets(),
                        MetaCommand::DeleteDatabase { .. } => self.supervisor_forgets_deleted(),
                        _ => {}
                    }
                    Some(outcome)
                }
                Some(_) => {
                    return self.stop(
                        META,
                        Halt::State("an entry is not one of the meta group".to_owned()),
                    );
                }
            };
            if let Some(group) = self.groups.get_mut(&META) {
                group.set_applied(at.index);
            }
            self.applying.of.entry(META).or_default().handed = at.index;
            self.note_forced(at);
            if let Some(outcome) = outcome {
                self.answer_changed(at, outcome);
            } else {
                self.refuse_overwritten(META, at);
            }
        }
        self.touched.insert(META);
    }

    fn tell_of_switch(&mut self, before: Option<crate::meta::Switch>, after: Option<crate::meta::Switch>) {
        let phase = match (before, after) {
            (None, Some(switch)) => (switch.id, SwitchPhase::Begun),
            (Some(switch), None) => (switch.id, SwitchPhase::Ended),
            (Some(before), Some(after)) if !before.is_aborting && after.is_aborting => {
                (after.id, SwitchPhase::Aborting)
            }
            _ => return,
        };
        let (id, phase): (Epoch, SwitchPhase) = phase;
        self.event(Event::Switch { id, phase });
    }

    /// Entries of a shard are applied.
    pub(super) fn applied(
        &mut self,
        now: Now,
        id: GroupId,
        position: &Position,
        results: Vec<(LogPoint, CommandResult)>,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.set_applied(position.index);
        self.applying.done(id, position.index);
        self.touched.extend(&self.applying.waiting);
        self.give_clock(id, position.timestamp);
        for (at, result) in results {
            self.written(now, id, at, result);
        }
        let position = LogPoint {
            index: position.index,
            term: position.term,
        };
        self.refuse_overwritten(id, position);
        self.touched.insert(id);
        self.flush_if_due(id);
    }

    /// A leader that has applied everything before its term knows the latest time stamp, of its life: those of what was lost
    /// with the life before it does not know, and must not give again.
    fn give_clock(&mut self, id: GroupId, timestamp: Timestamp) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let life = group.incarnation().before();
        if group.has_begun()
            && let Some(leadership) = group.leadership_mut()
            && !leadership.has_clock()
        {
            leadership.set_clock(Clock::of_life(timestamp, life));
        }
    }

    fn flush_if_due(&mut self, id: GroupId) {
        let applied = self.groups.get(&id).map_or(0, Group::applied);
        let durable = self.applying.of.get(&id).map_or(0, |progress| progress.durable);
        let limits = self.settings.limits;
        let is_due =
            applied >= durable + limits.flush_entries || self.applying.unflushed >= limits.flush_bytes;
        if is_due {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.applying.is_flushing {
            self.applying.is_flushing = true;
            self.applying.unflushed = 0;
            self.run(Task::Flush);
        }
    }

    /// Takes note of how much room there is. What logs keep for replicas that are behind is given back when it is needed.
    pub(super) fn room_is(&mut self, room: Room) {
        self.room = room;
        if room == Room::Enough {
            return;
        }
        let of = &self.applying.of;
        let is_unflushed = |(id, group): (&GroupId, &Group<L>)| {
            *id != META
                && of
                    .get(id)
                    .is_some_and(|progress| group.applied() > progress.durable)
        };
        if self.groups.iter().any(is_unflushed) {
            self.flush();
        }
        self.touched.extend(self.groups.keys());
    }

    /// So much of each shard survives a crash.
    pub(super) fn flushed(&mut self, durable: &BTreeMap<GroupId, u64>) {
        self.applying.is_flushing = false;
        for (id, index) in durable {
            if let Some(progress) = self.applying.of.get_mut(id) {
                progress.durable = progress.durable.max(*index);
                self.touched.insert(*id);
            }
        }
    }

    /// The snapshot that was put in place survives a crash.
    pub(super) fn note_installed(&mut self, id: GroupId, index: u64) {
        self.applying.done(id, u64::MAX);
        let progress = self.applying.of.entry(id).or_default();
        (progress.handed, progress.durable) = (index, index);
    }

    /// Drops entries that nobody needs any more.
    pub(super) fn look_at_log(&mut self, id: GroupId) {
        let limits = self.settings.limits;
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        let is_long = group.log().len() >= limits.tail_entries + limits.flush_entries;
        let must_shrink = self.room < Room::Enough && id != META;
        if group.is_installing() || !(is_long || must_shrink) {
            return;
        }
        let up_to = match id {
            META => self.meta.as_ref().map_or(0, |checkpoint| checkpoint.at.index),
            _ => self.applying.of.get(&id).map_or(0, |progress| progress.durable),
        };
        let up_to = up_to.min(group.applied());
        let by_length = up_to.saturating_sub(limits.tail_entries);
        let up_to = match (is_long, must_shrink) {
            (false, _) => up_to.min(group.had_by_all()),
            (true, true) => by_length.max(up_to.min(group.had_by_all())),
            (true, false) => by_length,
        };
        // Or whoever fetches would have the state, and not what came after it, however often it is sent.
        let may_hold = group.log().len() < MOST_HELD * (limits.tail_entries + limits.flush_entries);
        let held = self.fetched_up_to(id).filter(|_| may_hold);
        let up_to = up_to.min(held.unwrap_or(u64::MAX));
        if up_to <= group.log().truncated().index {
            return;
        }
        if let Err(error) = self.truncate(id, up_to) {
            self.stop(id, Halt::Log(error));
        }
    }

    fn truncate(&mut self, id: GroupId, up_to: u64) -> Result<(), pliantdb_storage::store::StoreError> {
        self.work.must_sync = true;
        if id == META
            && let Some(checkpoint) = &self.meta
        {
            log::put_checkpoint(&mut self.work.batch, checkpoint)?;
        }
        match self.groups.get_mut(&id) {
            Some(group) => group.log_mut().truncate(&mut self.work.batch, up_to),
            None => Ok(()),
        }
    }

    pub(super) fn look_at_leadership(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        let (incarnation, led) = (
            group.incarnation(),
            group.leadership().map(|leadership| leadership.term()),
        );
        let progress = self.applying.of.entry(id).or_default();
        match led {
            Some(term) if progress.led != term => {
                progress.led = term;
                self.sleeping.leadership_lost(id);
                self.event(Event::BecameLeader {
                    group: id,
                    incarnation,
                    term,
                });
            }
            Some(_) => {}
            None if progress.led != 0 => {
                progress.led = 0;
                self.sleeping.leadership_lost(id);
                // What was proposed may be committed by the next leader, or overwritten: that is seen here.
                self.refuse_reads(id);
            }
            None => {}
        }
        if id == META {
            self.look_at_supervisor();
        }
    }

    pub(super) fn answer_written(&mut self, id: GroupId, token: u64, at: LogPoint, result: CommandResult) {
        let Some(incarnation) = self.incarnation(id) else {
            return;
        };
        let at = Mark {
            incarnation,
            term: at.term,
            index: at.index,
        };
        self.reply(token, Answer::Written { at, result });
    }
}
