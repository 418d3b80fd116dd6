//! Groups in which nothing happens sleep. Between the nodes one beat then stands for all of their heartbeats.

use std::collections::{BTreeMap, BTreeSet};

use pliantdb_core::GroupId;
use pliantdb_storage::store::OrderedStore;

use super::{Freshness, Node};
use crate::ids::{Incarnation, NodeId, ReplicaId};
use crate::meta::META;
use crate::timing::Now;
use crate::wire::raft::RaftMessage;
use crate::wire::{Beat, Message, Peer, Sleep};

/// Which groups sleep, and what keeps them so.
pub(super) struct Sleeping {
    /// The groups that count ticks.
    awake: BTreeSet<GroupId>,
    /// The groups that sleep and are led here, with the nodes that are to know that this one is there.
    led: BTreeMap<GroupId, BTreeSet<NodeId>>,
    /// How many of these groups each node has.
    listeners: BTreeMap<NodeId, usize>,
    /// The groups that sleep and are led elsewhere, with the leader's node.
    following: BTreeMap<GroupId, NodeId>,
    leaders: BTreeMap<NodeId, Watched>,
    /// The groups that were put to sleep since this node leads them.
    lulled: BTreeSet<GroupId>,
    pub(super) beat: Beat,
    naps: u64,
}

/// A node under which groups sleep, or did.
struct Watched {
    beat: Beat,
    /// The tick at which that was last heard.
    heard: u64,
    groups: BTreeSet<GroupId>,
}

impl Sleeping {
    /// Of a process that is known by what it drew when it was started.
    pub(super) fn new(process: u64) -> Self {
        Self {
            awake: BTreeSet::new(),
            led: BTreeMap::new(),
            listeners: BTreeMap::new(),
            following: BTreeMap::new(),
            leaders: BTreeMap::new(),
            lulled: BTreeSet::new(),
            beat: Beat { process, lost: 0 },
            naps: 0,
        }
    }

    /// A replica was opened.
    pub(super) fn opened(&mut self, id: GroupId) {
        self.removed(id);
        self.awake.insert(id);
    }

    /// A replica is no more.
    pub(super) fn removed(&mut self, id: GroupId) {
        self.leave(id);
        self.awake.remove(&id);
        self.leadership_lost(id);
    }

    /// This node leads a group no longer. Who sleeps for its sake may not be woken by anybody else.
    pub(super) fn leadership_lost(&mut self, id: GroupId) {
        if self.lulled.remove(&id) {
            self.beat.lost += 1;
        }
    }

    /// Takes a group out of those that sleep.
    fn leave(&mut self, id: GroupId) {
        for node in self.led.remove(&id).unwrap_or_default() {
            if let Some(count) = self.listeners.get_mut(&node) {
                *count -= 1;
                if *count == 0 {
                    self.listeners.remove(&node);
                }
            }
        }
        if let Some(node) = self.following.remove(&id)
            && let Some(watched) = self.leaders.get_mut(&node)
        {
            watched.groups.remove(&id);
        }
    }

    fn lead(&mut self, id: GroupId, nodes: BTreeSet<NodeId>) {
        self.awake.remove(&id);
        self.lulled.insert(id);
        self.naps += 1;
        for node in &nodes {
            *self.listeners.entry(*node).or_default() += 1;
        }
        self.led.insert(id, nodes);
    }

    fn follow(&mut self, id: GroupId, node: NodeId) {
        self.awake.remove(&id);
        self.following.insert(id, node);
        if let Some(watched) = self.leaders.get_mut(&node) {
            watched.groups.insert(id);
        }
    }

    /// What was heard of a node last, and how many groups sleep under it.
    #[cfg(test)]
    pub(super) fn watched(&self, node: NodeId) -> (Beat, usize) {
        let watched = &self.leaders[&node];
        (watched.beat, watched.groups.len())
    }

    /// For how many ticks nothing was heard of the node under which a group sleeps.
    fn silent_ticks(&self, id: GroupId, ticks: u64) -> u64 {
        let node = self.following.get(&id);
        let watched = node.and_then(|node| self.leaders.get(node));
        watched.map_or(0, |watched| ticks - watched.heard)
    }
}

impl<L: OrderedStore> Node<L> {
    /// How many of the groups here sleep: they cost no time until they are needed.
    #[must_use]
    pub fn asleep(&self) -> usize {
        self.sleeping.led.len() + self.sleeping.following.len()
    }

    /// How often this process has put a group to sleep that it leads.
    #[must_use]
    pub fn naps(&self) -> u64 {
        self.sleeping.naps
    }

    /// Time goes on for the groups that are awake.
    pub(super) fn tick_groups(&mut self, now: Now) {
        let knows_all = self.knows_all();
        let awake: Vec<GroupId> = self.sleeping.awake.iter().copied().collect();
        for id in awake {
            if id != META && (!knows_all || self.put_to_sleep(now, id)) {
                continue;
            }
            if let Some(group) = self.groups.get_mut(&id) {
                group.tick(&self.settings.timing);
                self.touched.insert(id);
            }
        }
        self.listen_for_beats();
        if self
            .ticks
            .is_multiple_of(u64::from(self.settings.timing.heartbeat_ticks))
        {
            let nodes: Vec<NodeId> = self.sleeping.listeners.keys().copied().collect();
            for node in nodes {
                self.tell(Peer::Node(node), Message::Beat(self.sleeping.beat));
            }
        }
    }

    /// Lets a group sleep that is led here, if nothing has happened for a while and nobody waits for anything.
    fn put_to_sleep(&mut self, now: Now, id: GroupId) -> bool {
        let going = self.stepping_aside.going(id);
        let Some(group) = self.groups.get_mut(&id) else {
            return false;
        };
        if !group.may_sleep(now, &self.settings.timing, going) || self.clients.wait_for(id) {
            return false;
        }
        let beat = self.sleeping.beat;
        let (from, term, last) = (group.replica(), group.term(), group.last());
        let incarnation = group.incarnation();
        let members = group.config().members.all();
        let others: Vec<ReplicaId> = members.filter(|replica| *replica != from).collect();
        group.fall_asleep(now.steady);
        let nodes = others.iter().map(|replica| replica.node()).collect();
        self.sleeping.lead(id, nodes);
        for to in others {
            let sleep = Sleep {
                group: id,
                incarnation,
                from,
                to,
                term,
                last,
                sent_at: now.steady,
                beat,
            };
            self.tell(Peer::Node(to.node()), Message::Sleep(sleep));
        }
        true
    }

    /// A leader says that its group sleeps. Whoever is not as far stays awake, and so wakes the leader after a while.
    pub(super) fn sleep_came(&mut self, node: NodeId, sleep: &Sleep) {
        let id = sleep.group;
        let is_known = self.beat_came(node, sleep.beat);
        let takes_part = id != META && self.knows_all() && !self.applying.is_forcing(id);
        if !is_known || !takes_part || self.clients.wait_for(id) || self.snapshots.is_fetching(id) {
            return;
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let is_meant = group.replica() == sleep.to && group.incarnation() == sleep.incarnation;
        let agrees = is_meant && group.agrees_to_sleep(sleep.from, sleep.term, sleep.last, sleep.sent_at);
        if agrees && !group.is_asleep() {
            group.fall_asleep(sleep.sent_at);
            self.sleeping.follow(id, node);
        }
    }

    /// A node is there. Gives whether that is what it says now: another process of it, or one that leads fewer groups,
    /// may have left groups asleep.
    pub(super) fn beat_came(&mut self, node: NodeId, beat: Beat) -> bool {
        let ticks = self.ticks;
        let watched = self.sleeping.leaders.entry(node).or_insert_with(|| Watched {
            beat,
            heard: ticks,
            groups: BTreeSet::new(),
        });
        if watched.beat.process == beat.process && watched.beat.lost > beat.lost {
            return false;
        }
        if watched.beat != beat {
            watched.beat = beat;
            self.wake_all_under(node);
        }
        if let Some(watched) = self.sleeping.leaders.get_mut(&node) {
            watched.heard = ticks;
        }
        true
    }

    fn wake_all_under(&mut self, node: NodeId) {
        let watched = self.sleeping.leaders.get(&node);
        let groups: Vec<GroupId> = watched
            .iter()
            .flat_map(|watched| &watched.groups)
            .copied()
            .collect();
        for id in groups {
            self.wake(id);
        }
    }

    /// Wakes what sleeps under a node that was not heard for an election timeout.
    fn listen_for_beats(&mut self) {
        let timeout = u64::from(self.settings.timing.election_ticks);
        let watched = self.sleeping.leaders.iter();
        let silent = watched.filter(|(_, watched)| self.ticks - watched.heard >= timeout);
        let silent: Vec<NodeId> = silent.map(|(node, _)| *node).collect();
        for node in silent {
            self.wake_all_under(node);
        }
    }

    /// A replica that is awake asks its leader to be it too.
    pub(super) fn wake_asked(
        &mut self,
        id: GroupId,
        incarnation: Incarnation,
        from: ReplicaId,
        to: ReplicaId,
    ) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let is_meant = group.replica() == to && group.incarnation() == incarnation;
        if is_meant && group.leadership().is_some() && group.config().members.contains(from) {
            group.stir();
            self.wake(id);
        }
    }

    /// Wakes a group, if it sleeps.
    pub(super) fn wake(&mut self, id: GroupId) {
        let silent = self.sleeping.silent_ticks(id, self.ticks);
        let Some(group) = self.groups.get_mut(&id).filter(|group| group.is_asleep()) else {
            return;
        };
        group.wake(silent, &self.settings.timing);
        self.sleeping.leave(id);
        self.sleeping.awake.insert(id);
        self.touched.insert(id);
    }

    /// Wakes the group that a message is for, unless the message was sent before it slept.
    pub(super) fn wake_for(&mut self, message: &RaftMessage) {
        let group = self.groups.get(&message.group);
        if group.is_some_and(|group| group.is_woken_by(message)) {
            self.wake(message.group);
        }
    }

    /// Something is read of a group. Where others have to confirm its leader, or the leader has to say how things stand,
    /// it does not sleep meanwhile.
    pub(super) fn wake_to_read(&mut self, now: Now, id: GroupId, freshness: Freshness) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let leads = group.leadership().is_some();
        match freshness {
            // Who does not lead refuses it.
            Freshness::Linearizable | Freshness::Quorum if !leads => {}
            Freshness::Linearizable | Freshness::Quorum => {
                let is_confirmed = freshness == Freshness::Linearizable
                    && group.has_lease(now.steady, &self.settings.timing);
                if !group.is_alone() {
                    group.stir();
                }
                if is_confirmed {
                    return;
                }
                match group.is_asleep() {
                    true => self.wake(id),
                    false => group.ask_for_confirmation(),
                }
            }
            Freshness::Within(_) if !group.is_alone() => {
                match leads {
                    true => group.stir(),
                    false => group.call_leader(&self.settings.timing),
                }
                self.wake(id);
            }
            Freshness::Within(_) | Freshness::AtLeast(_) => {}
        }
    }

    /// A group that is led here was read by what was published of it ([`Node::take_standings`]): where that rests on the word
    /// of others it does not sleep meanwhile.
    pub fn was_read(&mut self, id: GroupId) {
        let led = self.groups.get_mut(&id);
        if let Some(group) = led.filter(|group| group.leadership().is_some() && !group.is_alone()) {
            group.stir();
            self.wake(id);
        }
    }

    /// A group in which something happens wakes; and a replica that misses its leader says so.
    pub(super) fn look_at_sleep(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        let applied = group.applied();
        if group.is_asleep() && (!group.is_at_rest() || self.clients.wait_for_entry_after(id, applied)) {
            self.wake(id);
        }
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let (from, incarnation, others) = (group.replica(), group.incarnation(), group.take_call());
        for to in others {
            let wake = Message::Wake {
                group: id,
                incarnation,
                from,
                to,
            };
            self.tell(Peer::Node(to.node()), wake);
        }
    }
}
