//! A few replicas that talk as a test tells them to: promises and leases, and what the library must not be led to.

mod lease;
mod votes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pliantdb_storage::store::{Durability, MemoryStore};

use super::config::Members;
use super::*;
use crate::ids::NodeId;
use crate::wire::raft::{Rejected, WireEntry};

const GROUP: GroupId = GroupId::new(1);
const FOUNDATION: LogPoint = LogPoint { index: 1, term: 1 };

fn replica(node: u32) -> ReplicaId {
    ReplicaId::new(NodeId::new(node), 1)
}

fn set(nodes: &[u32]) -> BTreeSet<ReplicaId> {
    nodes.iter().copied().map(replica).collect()
}

struct Host {
    group: Group<MemoryStore>,
    store: Arc<MemoryStore>,
    batch: u64,
    /// Whether what is committed is applied at once.
    applies: bool,
}

fn open(
    store: &Arc<MemoryStore>,
    record: LogRecord,
    config: GroupConfig,
    applied: u64,
    now: Now,
) -> Group<MemoryStore> {
    let log = GroupLog::open(Arc::clone(store), GROUP, record, config.members.clone(), applied).unwrap();
    let opening = Opening {
        id: GROUP,
        log,
        config,
        applied,
        seed: 7,
        now,
        leads_at_once: false,
        held_bytes: 4 << 20,
    };
    Group::open(opening, &Timing::default()).unwrap()
}

/// Replicas, and what is on its way between them.
struct Net {
    hosts: BTreeMap<u32, Host>,
    timing: Timing,
    now: Instant,
    /// Whose clocks nobody trusts.
    distrusted: BTreeSet<u32>,
    sent: VecDeque<RaftMessage>,
}

impl Net {
    /// Voters that were started long ago and know no leader.
    fn new(nodes: &[u32]) -> Self {
        let mut net = Self {
            hosts: BTreeMap::new(),
            timing: Timing::default(),
            now: Instant::from_nanos(100_000_000_000),
            sent: VecDeque::new(),
            distrusted: BTreeSet::new(),
        };
        let config = GroupConfig {
            incarnation: Incarnation::FIRST,
            members: Members::new(set(nodes), BTreeSet::new()),
            epoch: Epoch::default(),
            changed_at: FOUNDATION.index,
        };
        for node in nodes {
            let store = Arc::new(MemoryStore::default());
            let record = LogRecord {
                replica: replica(*node),
                incarnation: Incarnation::FIRST,
                term: FOUNDATION.term,
                vote: 0,
                commit: FOUNDATION.index,
                truncated: FOUNDATION,
                created: Epoch::default(),
                forced: None,
                fork: None,
            };
            let log = GroupLog::create(Arc::clone(&store), GROUP, record.clone(), config.members.clone());
            let mut batch = Batch::default();
            log.put_record(&mut batch).unwrap();
            store.write(&batch, Durability::Synced).unwrap();
            let group = open(&store, record, config.clone(), FOUNDATION.index, net.now());
            let host = Host {
                group,
                store,
                batch: 0,
                applies: true,
            };
            net.hosts.insert(*node, host);
        }
        net.pass(net.timing.silence_after_start());
        net
    }

    /// With a leader that all follow.
    fn led_by(leader: u32, nodes: &[u32]) -> Self {
        let mut net = Self::new(nodes);
        net.elect(leader);
        net
    }

    fn now(&self) -> Now {
        Now {
            steady: self.now,
            wall_ms: 0,
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn host(&mut self, node: u32) -> &mut Host {
        self.hosts.get_mut(&node).unwrap()
    }

    fn group(&mut self, node: u32) -> &mut Group<MemoryStore> {
        &mut self.host(node).group
    }

    fn elect(&mut self, node: u32) {
        self.group(node).campaign();
        self.settle();
        assert_eq!(self.group(node).role(), Role::Leader);
    }

    /// Writes what a replica has ready, and puts what it says on its way.
    fn collect(&mut self, node: u32) {
        let now = self.now();
        let host = self.hosts.get_mut(&node).unwrap();
        loop {
            host.batch += 1;
            let mut work = Work::default();
            let committed = host.group.collect(now, host.batch, &mut work, u64::MAX).unwrap();
            host.store.write(&work.batch, Durability::Synced).unwrap();
            let mut messages = work.messages;
            messages.extend(host.group.persisted(host.batch));
            if let Some(last) = committed.last().filter(|_| host.applies) {
                host.group.set_applied(last.at.index);
            }
            for message in &messages {
                is_true(&host.group, message);
            }
            let is_done = messages.is_empty() && committed.is_empty() && work.batch.is_empty();
            self.sent.extend(messages);
            if is_done {
                return;
            }
        }
    }

    fn collect_all(&mut self) {
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.collect(node);
        }
    }

    fn receive(&mut self, message: RaftMessage) {
        let (now, timing) = (self.now(), self.timing.clone());
        let is_trusted = !self.distrusted.contains(&message.from.node().get());
        self.group(message.to.node().get())
            .receive(now, &timing, message, is_trusted);
    }

    /// Delivers everything that `arrives`, and what is said to that, at once; the rest is lost.
    fn settle_where(&mut self, arrives: impl Fn(&RaftMessage) -> bool) {
        self.collect_all();
        while let Some(message) = self.sent.pop_front() {
            if arrives(&message) {
                let to = message.to.node().get();
                self.receive(message);
                self.collect(to);
            }
        }
    }

    fn settle(&mut self) {
        self.settle_where(|_| true);
    }

    fn propose(&mut self, node: u32, number: u8) -> LogPoint {
        self.group(node).propose(&Payload::Command(vec![number])).unwrap()
    }

    fn has_lease(&mut self, node: u32) -> bool {
        let (now, timing) = (self.now, self.timing.clone());
        self.group(node).has_lease(now, &timing)
    }

    fn tick(&mut self, node: u32, ticks: u32) {
        let timing = self.timing.clone();
        for _ in 0..ticks {
            self.group(node).tick(&timing);
        }
    }

    /// A process ends and is started again.
    fn restart(&mut self, node: u32) {
        let now = self.now();
        let host = self.hosts.get_mut(&node).unwrap();
        host.store.crash();
        let record = crate::log::read_records(host.store.as_ref())
            .unwrap()
            .remove(&GROUP)
            .unwrap();
        let (config, applied) = (host.group.config().clone(), host.group.applied());
        host.group = open(&host.store, record, config, applied, now);
    }

    /// Everybody has the same log.
    fn assert_same(&mut self) {
        let logs: BTreeSet<Vec<(u64, u64)>> = self
            .hosts
            .values()
            .map(|host| {
                let log = host.group.log();
                let entries = log.read(2, log.last().index + 1, u64::MAX).unwrap();
                entries.iter().map(|entry| (entry.index, entry.term)).collect()
            })
            .collect();
        assert_eq!(logs.len(), 1, "{logs:?}");
    }
}

/// A replica sends the entries that it has, where it has them, and acknowledges none that it has not.
fn is_true(group: &Group<MemoryStore>, message: &RaftMessage) {
    match &message.body {
        Body::Append {
            previous, entries, ..
        } => {
            let first = previous.index + 1;
            let end = first + entries.len() as u64;
            let here = group.log().read(first, end, u64::MAX).unwrap_or_default();
            let here: Vec<WireEntry> = here.into_iter().map(WireEntry::of).collect();
            assert_eq!(*entries, here, "entries of another place, behind {previous:?}");
        }
        Body::Appended {
            index,
            rejected: None,
            ..
        } => assert!(
            *index <= group.last().index,
            "it acknowledges more than it has: {message:?}"
        ),
        _ => {}
    }
}

fn appended(from: u32, to: u32, term: u64, index: u64, rejected: Option<Rejected>) -> RaftMessage {
    RaftMessage {
        group: GROUP,
        incarnation: Incarnation::FIRST,
        from: replica(from),
        to: replica(to),
        term,
        stamp: None,
        body: Body::Appended {
            index,
            commit: 0,
            rejected,
        },
    }
}

fn rejected(hint: u64, hint_term: u64) -> Option<Rejected> {
    Some(Rejected {
        hint,
        hint_term,
        request_snapshot: 0,
    })
}

#[test]
fn a_fence_is_proposed_once() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    let last = net.group(1).last().index;
    let epoch = Epoch::default().next();
    for epoch in [epoch, epoch.next()] {
        net.group(1).set_order(Order {
            epoch,
            voters: set(&[1, 2, 3]),
            learners: BTreeSet::new(),
            leader: replica(1),
        });
        // Nobody answers.
        for _ in 0..20 {
            net.group(1).steer(Going::nobody());
            net.collect(1);
        }
    }
    net.sent.clear();
    assert_eq!(net.group(1).last().index, last + 2);
    net.tick(1, 3);
    net.settle();
    net.tick(1, 3);
    net.settle();
    assert_eq!(net.group(1).config().epoch, epoch.next());
    assert_eq!(net.group(2).config().epoch, epoch.next());
}

#[test]
fn the_only_voter_needs_nobody() {
    let mut net = Net::led_by(1, &[1]);
    assert!(net.has_lease(1));
    net.pass(Duration::from_secs(1000));
    assert!(net.has_lease(1));
}

/// raft 0.7.0 does not have https://github.com/tikv/raft-rs/pull/557: a late refusal in a probe sets the next entry to
/// send before those that are known to match.
#[test]
fn a_late_refusal_costs_a_message_and_nothing_else() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    for number in 0..5 {
        net.propose(1, number);
        net.settle();
    }
    let term = net.group(1).term();
    let last = net.group(1).last().index;
    // One that is on its way does not fit, so the leader probes from what is known to match.
    net.propose(1, 5);
    net.collect(1);
    net.sent.clear();
    net.receive(appended(2, 1, term, last + 1, rejected(last, term)));
    // And then comes what was said long ago.
    net.receive(appended(2, 1, term, last, rejected(1, 1)));
    let raft = &net.group(1).raft.raft;
    let progress = raft.prs().get(replica(2).to_raft()).unwrap();
    assert!(
        progress.next_idx <= progress.matched,
        "the mistake is there, or this shows nothing"
    );
    net.settle();
    net.tick(1, 3);
    net.settle();
    let raft = &net.group(1).raft.raft;
    let progress = raft.prs().get(replica(2).to_raft()).unwrap();
    assert!(progress.next_idx > progress.matched && progress.matched == last + 1);
    net.assert_same();
    assert!(net.hosts.values().all(|host| host.group.halt().is_none()));
}

/// The same, when the leader no longer has what it would send.
#[test]
fn a_late_refusal_behind_the_log_asks_for_a_snapshot_that_is_not_needed() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    for number in 0..5 {
        net.propose(1, number);
        net.settle();
    }
    let term = net.group(1).term();
    let last = net.group(1).last();
    let mut batch = Batch::default();
    net.group(1)
        .log_mut()
        .truncate(&mut batch, last.index - 1)
        .unwrap();
    net.propose(1, 5);
    net.collect(1);
    net.sent.clear();
    net.receive(appended(2, 1, term, last.index + 1, rejected(last.index, term)));
    net.receive(appended(2, 1, term, last.index, rejected(1, 1)));
    net.settle();
    assert!(net.group(1).log().take_wanted());
    let members = net.group(1).config().members.clone();
    net.group(1).offer_snapshot(9, last, &members);
    net.tick(1, 3);
    net.settle();
    net.tick(1, 3);
    net.settle();
    assert!(net.group(2).begin_install().is_none(), "it has all that is in it");
    assert_eq!(net.group(2).last().index, last.index + 1);
    assert!(net.hosts.values().all(|host| host.group.halt().is_none()));
}

/// raft 0.7.0 does not have https://github.com/tikv/raft-rs/pull/543: it ends the process when more is said to be applied
/// than is committed and persisted, and so it must never be told so.
#[test]
fn what_was_applied_before_a_start_is_committed_and_persisted() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    for number in 0..5 {
        net.propose(1, number);
        net.settle();
    }
    let host = net.host(2);
    let (applied, config) = (host.group.applied(), host.group.config().clone());
    let mut record = host.group.record().clone();
    // The word of what is committed comes with a batch that a crash may take.
    record.commit = FOUNDATION.index;
    let now = net.now();
    let host = net.host(2);
    host.group = open(&host.store, record, config, applied, now);
    assert_eq!((host.group.committed(), host.group.applied()), (applied, applied));
    net.propose(1, 9);
    net.tick(1, 3);
    net.settle();
    net.tick(1, 3);
    net.settle();
    assert_eq!(net.group(2).applied(), applied + 1);
    net.assert_same();
}

/// The same: entries are handed on only when they are on this disk too.
#[test]
fn what_is_committed_elsewhere_is_not_applied_before_it_is_written_here() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    let before = net.group(1).applied();
    net.propose(1, 1);
    // The leader's disk is slow, and the others have the entry.
    let (now, mut work) = (net.now(), Work::default());
    let committed = net.group(1).collect(now, 1000, &mut work, u64::MAX).unwrap();
    assert!(committed.is_empty());
    net.sent.extend(std::mem::take(&mut work.messages));
    while let Some(message) = net.sent.pop_front() {
        let to = message.to.node().get();
        net.receive(message);
        if to != 1 {
            net.collect(to);
        }
    }
    assert_eq!(net.group(1).committed(), before + 1);
    let mut later = Work::default();
    let committed = net.group(1).collect(now, 1001, &mut later, u64::MAX).unwrap();
    assert!(committed.is_empty(), "it is not written here");
    let host = net.host(1);
    host.store.write(&work.batch, Durability::Synced).unwrap();
    host.store.write(&later.batch, Durability::Synced).unwrap();
    host.batch = 1001;
    let messages = host.group.persisted(1001);
    net.sent.extend(messages);
    net.settle();
    assert_eq!(net.group(1).applied(), before + 1);
}

/// What a leader has written here and another has replaced is not safe when the word of the first batch comes.
#[test]
fn what_others_have_replaced_stays_in_memory_until_it_is_written_here() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    net.settle();
    let (now, timing) = (net.now(), net.timing.clone());
    let (before, term) = (net.group(2).last(), net.group(2).term());
    net.group(2).log_mut().keep_unapplied(2_000);
    let append = |from: u32, term: u64, count: usize| {
        let entry = WireEntry {
            term,
            is_membership: false,
            payload: vec![7; 1_000],
        };
        RaftMessage {
            group: GROUP,
            incarnation: Incarnation::FIRST,
            from: replica(from),
            to: replica(2),
            term,
            stamp: None,
            body: Body::Append {
                previous: before,
                entries: vec![entry; count],
                commit: before.index,
            },
        }
    };
    let (mut first, mut second) = (Work::default(), Work::default());
    net.group(2).receive(now, &timing, append(1, term, 20), true);
    net.group(2).collect(now, 1000, &mut first, u64::MAX).unwrap();
    net.group(2).receive(now, &timing, append(3, term + 1, 30), true);
    net.group(2).collect(now, 1001, &mut second, u64::MAX).unwrap();
    let host = net.host(2);
    host.store.write(&first.batch, Durability::Synced).unwrap();
    host.group.persisted(1000);
    let read = |group: &Group<MemoryStore>| {
        let log = group.log();
        let entries = log
            .read(before.index + 1, log.last().index + 1, u64::MAX)
            .unwrap();
        let terms: Vec<u64> = entries.iter().map(|entry| entry.term).collect();
        (terms, log.cached_bytes())
    };
    let (terms, _) = read(&host.group);
    assert_eq!(terms, vec![term + 1; 30]);
    host.store.write(&second.batch, Durability::Synced).unwrap();
    host.group.persisted(1001);
    let (terms, cached) = read(&host.group);
    assert_eq!(terms, vec![term + 1; 30]);
    assert!(cached <= 2_000, "{cached}");
}

/// A replica that is opened anew while the applier is behind, as when it is forced, is told later what was applied.
#[test]
fn what_was_handed_on_before_a_replica_was_opened_anew_is_applied_later() {
    let mut net = Net::led_by(1, &[1]);
    let applied = net.group(1).applied();
    net.host(1).applies = false;
    for number in 0..4 {
        net.propose(1, number);
        net.settle();
    }
    let host = net.host(1);
    let (record, config, handed) = (
        host.group.record().clone(),
        host.group.config().clone(),
        host.group.last().index,
    );
    let now = net.now();
    let host = net.host(1);
    host.group = open(&host.store, record, config, handed, now);
    host.group.rewind_applied(applied);
    for index in applied + 1..=handed {
        host.group.set_applied(index);
        assert_eq!(host.group.applied(), index);
    }
}

/// With `batch_append`, raft 0.7.0 adds entries to an empty message that stands behind others.
#[test]
fn entries_are_sent_from_where_they_are() {
    let mut net = Net::led_by(1, &[1, 2, 3]);
    let term = net.group(1).term();
    let known = net.group(1).last().index;
    for number in 0..3 {
        net.propose(1, number);
    }
    net.collect(1);
    // Both get the entries, and only one is heard.
    for message in std::mem::take(&mut net.sent) {
        net.receive(message);
    }
    for node in [2, 3] {
        net.collect(node);
    }
    let answers = std::mem::take(&mut net.sent);
    let (from_second, from_third): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|message| message.from == replica(2));
    // The leader commits with it, and tells everybody in messages without entries.
    for message in from_third {
        net.receive(message);
    }
    assert_eq!(net.group(1).committed(), known + 3);
    // Before those are sent comes a refusal that was overtaken: the leader begins again behind what it knows to match.
    net.receive(appended(2, 1, term, known + 3, rejected(known, term)));
    net.collect(1);
    net.settle();
    for message in from_second {
        net.receive(message);
    }
    net.settle();
    net.propose(1, 9);
    net.settle();
    net.tick(1, 3);
    net.settle();
    assert_eq!(net.group(2).last().index, known + 4);
    net.assert_same();
}
