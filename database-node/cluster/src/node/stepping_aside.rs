//! What a node does before it stops: it hands over what it leads, and says so, lest it is handed anything again. Those who
//! ask something of its groups then wait for some round trips and not for an election timeout.

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::{Answer, Node};
use crate::group::Going;
use crate::ids::{LogPoint, NodeId};
use crate::meta::{META, Mode};
use crate::timing::{Instant, Now};
use crate::wire::{Message, Peer};

/// For how long it is tried at most, when nobody is being promoted.
const PATIENCE: Duration = Duration::from_secs(5);
/// For how long somebody is looked for who can take over: two election timeouts, in which whoever is there is heard.
const SEARCH: Duration = Duration::from_secs(2);
/// Who was not heard to step aside for so long is there again, or gone.
const REMEMBERED: Duration = Duration::from_secs(2);
/// A promotion begins so soon after the leader was asked to step aside, or not at all: it waits longer than that for one to
/// begin, so that it has heard of it before it stops.
const BEGINNING: Duration = Duration::from_secs(1);
/// No promotion is begun when the leader waits for less than this: between two leaders both are needed.
const PROMOTION_TIME: Duration = Duration::from_secs(4);
/// Nobody is believed to wait for longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// Who steps aside.
#[derive(Default)]
pub(super) struct SteppingAside {
    own: Option<Own>,
    /// Others, and when they last said so.
    others: BTreeMap<NodeId, Instant>,
    /// Others that wait for another to be promoted in their place.
    waiting: BTreeMap<NodeId, Waiting>,
}

/// How long a leader waits for another to be promoted.
struct Waiting {
    /// When it was first heard to.
    since: Instant,
    until: Instant,
}

impl Waiting {
    /// Whether a promotion that begins now ends in time.
    fn suffices(&self, now: Instant) -> bool {
        now.since(self.since) < BEGINNING && self.until.since(now) >= PROMOTION_TIME
    }
}

/// That this node does.
struct Own {
    since: Instant,
    /// How long whoever waits for it does.
    within: Duration,
    /// Who waits for it.
    tokens: Vec<u64>,
    /// The entry by which another is promoted, until it is applied: this node leads the meta group until then.
    promotion: Option<LogPoint>,
}

impl SteppingAside {
    /// Who is not to lead a group.
    pub(super) fn going(&self, id: GroupId) -> Going<'_> {
        let promotes = |own: &Own| own.promotion.is_some() && id == META;
        Going {
            here: self.own.as_ref().is_some_and(|own| !promotes(own)),
            others: &self.others,
        }
    }

    /// Whether a node is about to stop, as far as is known here.
    pub(super) fn has(&self, node: NodeId, own: Option<NodeId>) -> bool {
        let is_own = self.own.is_some() && own == Some(node);
        is_own || self.others.contains_key(&node)
    }

    /// Whether a leader that is about to stop waits for long enough yet for another to be promoted in its place.
    pub(super) fn has_time(&self, leader: NodeId, own: Option<NodeId>, now: Instant) -> bool {
        match own == Some(leader) {
            true => self.own.as_ref().is_some_and(|own| {
                let waiting = own.waiting();
                waiting.is_some_and(|waiting| waiting.suffices(now))
            }),
            false => self
                .waiting
                .get(&leader)
                .is_some_and(|waiting| waiting.suffices(now)),
        }
    }

    /// Another is promoted by this entry.
    pub(super) fn note_promotion(&mut self, at: LogPoint) {
        if let Some(own) = &mut self.own {
            own.promotion = Some(at);
        }
    }
}

impl Own {
    /// How long it waits for another to be promoted; `None` when it was answered.
    fn waiting(&self) -> Option<Waiting> {
        (!self.tokens.is_empty()).then(|| Waiting {
            since: self.since,
            until: self.since.after(self.within),
        })
    }
}

impl<L: OrderedStore> Node<L> {
    pub(super) fn step_aside_asked(&mut self, now: Now, token: u64, within: Duration) {
        if let Some(own) = &mut self.stepping_aside.own {
            own.tokens.push(token);
            return;
        }
        self.stepping_aside.own = Some(Own {
            since: now.steady,
            within: within.min(LONGEST),
            tokens: vec![token],
            promotion: None,
        });
        self.promote_before_stop(now);
        self.say_that_it_steps_aside(now);
        let led: Vec<GroupId> = self.groups.keys().copied().filter(|id| self.leads(*id)).collect();
        for id in led {
            self.wake(id);
            // Whoever is there is heard within a round trip.
            if let Some(group) = self.groups.get_mut(&id) {
                group.ask_for_confirmation();
            }
            self.touched.insert(id);
        }
    }

    fn say_that_it_steps_aside(&mut self, now: Now) {
        let own = self.id();
        let waiting = self.stepping_aside.own.as_ref().and_then(Own::waiting);
        let waiting =
            waiting.filter(|waiting| own.is_some() && self.leased() == own && waiting.suffices(now.steady));
        let left = waiting.map(|waiting| waiting.until.since(now.steady));
        let nodes = self
            .meta()
            .into_iter()
            .flat_map(|meta| meta.nodes().keys().copied());
        let others: Vec<NodeId> = nodes.filter(|node| Some(*node) != own).collect();
        for node in others {
            self.tell(Peer::Node(node), Message::StepsAside);
            if let Some(left) = left {
                self.tell(Peer::Node(node), Message::AwaitsPromotion { left });
            }
        }
    }

    /// The leader that may be replaced by itself.
    fn leased(&self) -> Option<NodeId> {
        Some(self.meta()?.leased()?.0)
    }

    /// Another node is about to stop.
    pub(super) fn steps_aside(&mut self, now: Now, node: NodeId) {
        self.stepping_aside.others.insert(node, now.steady);
    }

    /// And waits for another to be promoted in its place.
    pub(super) fn awaits_promotion(&mut self, now: Now, node: NodeId, left: Duration) {
        let until = now.steady.after(left.min(LONGEST));
        let known = self.stepping_aside.waiting.get(&node);
        let (since, is_new) = (known.map_or(now.steady, |known| known.since), known.is_none());
        self.stepping_aside.waiting.insert(node, Waiting { since, until });
        if is_new {
            self.promote_before_stop(now);
        }
    }

    pub(super) fn tick_stepping_aside(&mut self, now: Now) {
        let is_recent = |at: &Instant| now.steady.since(*at) < REMEMBERED;
        self.stepping_aside.others.retain(|_, at| is_recent(at));
        self.stepping_aside
            .waiting
            .retain(|_, waiting| now.steady < waiting.until);
        if self
            .stepping_aside
            .waiting
            .values()
            .any(|waiting| waiting.suffices(now.steady))
        {
            self.promote_before_stop(now);
        }
        let is_due = self
            .ticks
            .is_multiple_of(u64::from(self.settings.timing.heartbeat_ticks));
        if self.stepping_aside.own.is_some() && is_due {
            self.say_that_it_steps_aside(now);
        }
    }

    /// Tells who waits for it when this node leads nothing any more that others could, or it was tried for long enough.
    pub(super) fn answer_stepped_aside(&mut self, now: Now) {
        let applied = self.meta_applied();
        let Some(own) = &mut self.stepping_aside.own else {
            return;
        };
        if own.promotion.is_some_and(|at| at.index <= applied) {
            own.promotion = None;
            self.touched.insert(META);
        }
        if let Some(own) = &self.stepping_aside.own
            && !own.tokens.is_empty()
            && let Some(kept) = self.stepped_aside(now, own)
        {
            let own = self.stepping_aside.own.as_mut();
            for token in own.map(|own| std::mem::take(&mut own.tokens)).unwrap_or_default() {
                self.reply(token, Answer::SteppedAside { kept });
            }
        }
    }

    /// How many groups this node leads still, when that is all that could be done.
    fn stepped_aside(&self, now: Now, own: &Own) -> Option<usize> {
        let waited = now.steady.since(own.since);
        let is_promoting = self.waits_for_promotion(own, waited);
        let (mut kept, mut waits) = (0, false);
        for (id, group) in &self.groups {
            if group.leadership().is_none() {
                waits |= self.clients.wait_for_writes(*id);
                waits |= is_promoting && *id != META && group.votes();
                continue;
            }
            kept += 1;
            let has_others = !group.is_alone();
            let is_under_way = group.is_handing_over() || waited < SEARCH;
            let goes_on = || is_under_way || group.successor(self.stepping_aside.going(*id)).is_some();
            waits |= is_promoting || (has_others && goes_on());
        }
        let patience = match is_promoting {
            true => own.within,
            false => PATIENCE.min(own.within),
        };
        (!waits || waited >= patience).then_some(kept)
    }

    /// Whether another is being promoted in the place of this node, or about to be.
    fn waits_for_promotion(&self, own: &Own, waited: Duration) -> bool {
        let Some(meta) = self.meta() else {
            return false;
        };
        if meta.leased().map(|(leader, _)| leader) != self.id() {
            return false;
        }
        match meta.switch() {
            Some(_) => matches!(meta.goal(), Mode::OneLeader { leader } if Some(leader) != self.id()),
            None if self.is_supervisor() => own.promotion.is_some(),
            // Whoever leads the meta group may begin with it, or may have by an entry that is not known to be committed.
            None => {
                let meta = self.groups.get(&META);
                let is_behind = meta.is_some_and(|meta| meta.last().index > self.meta_applied());
                waited < SEARCH || (is_behind && own.within >= PROMOTION_TIME)
            }
        }
    }
}
