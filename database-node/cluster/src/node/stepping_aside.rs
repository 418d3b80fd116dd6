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

/// For how long it is tried.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same while another is promoted: between two leaders both are needed.
const PROMOTION_PATIENCE: Duration = Duration::from_secs(10);
/// For how long somebody is looked for who can take over: two election timeouts, in which whoever is there is heard.
const SEARCH: Duration = Duration::from_secs(2);
/// Who was not heard to step aside for so long is there again, or gone.
const REMEMBERED: Duration = Duration::from_secs(2);

/// Who steps aside.
#[derive(Default)]
pub(super) struct SteppingAside {
    own: Option<Own>,
    /// Others, and when they last said so.
    others: BTreeMap<NodeId, Instant>,
}

/// That this node does.
struct Own {
    since: Instant,
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

    /// Another is promoted by this entry.
    pub(super) fn note_promotion(&mut self, at: LogPoint) {
        if let Some(own) = &mut self.own {
            own.promotion = Some(at);
        }
    }
}

impl<L: OrderedStore> Node<L> {
    pub(super) fn step_aside_asked(&mut self, now: Now, token: u64) {
        if let Some(own) = &mut self.stepping_aside.own {
            own.tokens.push(token);
            return;
        }
        self.stepping_aside.own = Some(Own {
            since: now.steady,
            tokens: vec![token],
            promotion: None,
        });
        self.promote_before_stop(now);
        self.say_that_it_steps_aside();
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

    fn say_that_it_steps_aside(&mut self) {
        let own = self.id();
        let nodes = self
            .meta()
            .into_iter()
            .flat_map(|meta| meta.nodes().keys().copied());
        let others: Vec<NodeId> = nodes.filter(|node| Some(*node) != own).collect();
        for node in others {
            self.tell(Peer::Node(node), Message::StepsAside);
        }
    }

    /// Another node is about to stop.
    pub(super) fn steps_aside(&mut self, now: Now, node: NodeId) {
        let is_new = self.stepping_aside.others.insert(node, now.steady).is_none();
        if is_new {
            self.promote_before_stop(now);
        }
    }

    pub(super) fn tick_stepping_aside(&mut self, now: Now) {
        let is_recent = |at: &Instant| now.steady.since(*at) < REMEMBERED;
        self.stepping_aside.others.retain(|_, at| is_recent(at));
        let is_due = self
            .ticks
            .is_multiple_of(u64::from(self.settings.timing.heartbeat_ticks));
        if self.stepping_aside.own.is_some() && is_due {
            self.say_that_it_steps_aside();
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
            true => PROMOTION_PATIENCE,
            false => PATIENCE,
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
            // Whoever leads the meta group may begin with it.
            None => waited < SEARCH,
        }
    }
}
