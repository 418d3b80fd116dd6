//! When it is decided that groups are forced, and who has not heard of that yet.

use std::collections::{BTreeMap, BTreeSet};

use pliantdb_cluster::wire::{Envelope, Message};
use pliantdb_cluster::{META, Meta};
use pliantdb_core::GroupId;

use super::{SECOND, Time, World};
use crate::forcing::{Apart, Decision, Decisions};

/// Who is not heard for so long may be taken to be away: 3 s, by a clock that may run fast by 35 %.
const AWAY: Time = 2 * SECOND;

/// How somebody hears of another.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    /// When it last did.
    last: Time,
    /// When it did again after it had not for long.
    again: Time,
}

/// What was decided, and who has heard whom.
#[derive(Default)]
pub(super) struct Deciding {
    pub(super) decisions: Decisions,
    heard: BTreeMap<(usize, usize), Heard>,
}

impl Deciding {
    /// A message arrives at a machine.
    pub(super) fn delivered(&mut self, from: usize, to: usize, envelope: &Envelope, now: Time) {
        let is_report = |message: &Message| matches!(message, Message::Report(_));
        if !envelope.messages.iter().any(is_report) {
            return;
        }
        let heard = self.heard.entry((from, to)).or_default();
        if now >= heard.last + AWAY {
            heard.again = now;
        }
        heard.last = now;
    }

    /// Until when a machine had not been heard by another, at times.
    fn unheard_until(&self, from: usize, to: usize, now: Time) -> Time {
        let heard = self.heard.get(&(from, to)).copied().unwrap_or_default();
        match now >= heard.last + AWAY {
            true => now,
            false => heard.again,
        }
    }

    /// A process has ended.
    pub(super) fn crashed(&mut self, host: usize, now: Time) {
        let decisions = self.decisions.values_mut();
        // Whoever was part of a life of the meta group that is over finds in it no other that knows better.
        for decision in decisions.filter(|decision| !decision.is_of_meta) {
            decision.end(host, now);
        }
    }

    /// A machine has lost its disks.
    pub(super) fn wiped(&mut self, host: usize, now: Time) {
        let decisions = self.decisions.values_mut();
        decisions.for_each(|decision| decision.end(host, now));
    }

    /// A machine knows something of the cluster.
    fn learned(&mut self, host: usize, meta: &Meta, now: Time) {
        for decision in self.decisions.values_mut() {
            let record = meta.group(decision.group);
            if record.is_none_or(|record| record.incarnation >= decision.incarnation) {
                decision.end(host, now);
            }
        }
    }
}

impl Decision {
    fn end(&mut self, host: usize, now: Time) {
        let apart = self.apart.iter_mut().filter(|apart| apart.host == host);
        apart.for_each(|apart| apart.ended = apart.ended.or(Some(now)));
    }
}

impl World {
    /// What was decided about groups that were forced.
    #[must_use]
    pub fn decisions(&self) -> &Decisions {
        &self.deciding.decisions
    }

    /// Looks at what a node has learned of the cluster, as of which entry.
    pub(super) fn notice_decisions(
        &mut self,
        host: usize,
        before: Option<&(u64, Meta)>,
        after: (u64, &Meta),
    ) {
        let (applied, meta) = after;
        for (group, record) in meta.groups() {
            let Some((at, known)) = before.and_then(|(at, before)| Some((at, before.group(*group)?))) else {
                continue;
            };
            if *group == META || known.incarnation == record.incarnation {
                continue;
            }
            let was_open = before.is_some_and(|(_, before)| before.switch().is_some());
            let is_amid_switch = at + 1 == applied && was_open && known.unconfirmed().is_none();
            let life_of_meta =
                |meta: Option<&Meta>| meta.and_then(|meta| Some(meta.group(META)?.incarnation));
            let is_of_meta = life_of_meta(before.map(|(_, meta)| meta)) != life_of_meta(Some(meta));
            let key = (*group, record.incarnation);
            if let Some(decision) = self.deciding.decisions.get_mut(&key) {
                decision.is_amid_switch |= is_amid_switch;
                continue;
            }
            let decision = Decision {
                group: *group,
                incarnation: record.incarnation,
                at: self.now,
                is_of_meta,
                is_amid_switch,
                apart: self.apart(host, *group, is_of_meta),
            };
            self.say(|| format!("it is decided: {decision:?}"));
            self.deciding.decisions.insert(key, decision);
        }
        self.deciding.learned(host, meta, self.now);
    }

    /// Until when each other machine had not heard one, at times.
    fn unheard_until(&self, from: usize) -> BTreeMap<usize, Time> {
        let others = (0..self.hosts.len()).filter(|to| *to != from);
        let until = |to| self.deciding.unheard_until(from, to, self.now);
        others.map(|to| (to, until(to))).collect()
    }

    /// Who takes part in a group, besides the machine that has learned first that it is forced.
    fn apart(&self, first: usize, group: GroupId, is_of_meta: bool) -> Vec<Apart> {
        let configs = self.noticed.configs.iter();
        let of_group = configs.filter(|((_, of), _)| *of == group);
        let members = of_group.flat_map(|(_, config)| config.members.all().collect::<Vec<_>>());
        let hosts: BTreeSet<usize> = members
            .filter_map(|replica| self.host_of(replica.node()))
            .collect();
        let is_up = |host: &usize| self.hosts.get(*host).is_some_and(super::Host::is_up);
        let apart = hosts
            .into_iter()
            .filter(|host| *host != first && (is_of_meta || is_up(host)));
        let apart = apart.map(|host| Apart {
            host,
            unheard_until: self.unheard_until(host),
            ended: None,
        });
        apart.collect()
    }
}
