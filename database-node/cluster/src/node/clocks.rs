//! How fast the clocks of other nodes run against ours, as far as what they say shows it. Leases rest on it: a promise that
//! a clock measures which is too fast ends too early.
//!
//! A node says what its clock shows between two moments of ours: that at which we sent what it answers, and that at which
//! the answer came. Two such answers give bounds for how fast its clock runs against ours, however long messages take: it
//! counted so much, and ours at least from when the first had come to when the second was asked for, and at most from when
//! the first was asked for to when the second had come. So Marzullo and Owicki, "Maintaining the Time in a Distributed
//! System" (1983), and NTP, do for offsets.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pliantdb_storage::store::OrderedStore;

use super::Node;
use crate::ids::NodeId;
use crate::mistakes::{Mistake, has};
use crate::timing::{Instant, Now, Timing};
use crate::wire::raft::{Body, RaftMessage};

/// Answers are compared with earlier ones up to this age; and what was shown counts for as long.
const WINDOW: Duration = Duration::from_secs(16);
/// How far apart the answers are that are kept.
const SPACING: Duration = Duration::from_secs(1);
/// No more than one answer in this time is looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// A clock that seems to run faster or slower by this, in parts per million, is another: the process was started anew.
const ABSURD: (i128, i128) = (1_000_000, -500_000);

/// What a clock of another node showed, between two moments of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) sent: Instant,
    pub(super) theirs: Instant,
    pub(super) received: Instant,
}

impl Sample {
    /// What a message says of its sender's clock.
    pub(super) fn of(message: &RaftMessage, received: Instant) -> Option<Self> {
        let stamp = message.stamp?;
        let asked_at = stamp.asked_at?;
        let (sent, theirs) = match message.body {
            Body::Append { .. } | Body::Heartbeat { .. } | Body::Snapshot { .. } => (asked_at, stamp.sent_at),
            _ => (stamp.sent_at, asked_at),
        };
        Some(Self {
            sent,
            theirs,
            received,
        })
    }

    fn uncertainty(&self) -> Duration {
        self.received.since(self.sent)
    }

    /// By how much their clock ran faster than ours since an earlier sample, at least and at most, in parts per million.
    /// There is no upper bound when this was asked for before the earlier had come.
    fn rate_since(&self, earlier: &Self) -> (i128, Option<i128>) {
        let counted = i128::from(self.theirs.nanos()) - i128::from(earlier.theirs.nanos());
        let most = self.received.since(earlier.sent).as_nanos().max(1) as i128;
        let least = self.sent.since(earlier.received).as_nanos() as i128;
        let ppm = |ours: i128| (counted - ours) * 1_000_000 / ours;
        (ppm(most), (least > 0).then(|| ppm(least)))
    }
}

/// The clock of another node.
#[derive(Debug, Default)]
struct PeerClock {
    /// From the oldest to the newest.
    kept: VecDeque<Sample>,
    /// The most certain since the last that is kept.
    best: Option<Sample>,
    last: Option<Sample>,
    /// When it was last shown to run right.
    shown: Option<Instant>,
    is_off: bool,
}

/// The clocks of other nodes. Kept over leaderships and groups: it is nodes that have clocks.
#[derive(Debug)]
pub(super) struct Clocks {
    /// What was sent before is of another process.
    started: Instant,
    /// By how much a clock may run faster or slower than another, in parts per million.
    bound: i128,
    /// By how much more than that it may seem to.
    slack: i128,
    peers: BTreeMap<NodeId, PeerClock>,
}

impl Clocks {
    pub(super) fn new(started: Instant, timing: &Timing) -> Self {
        Self {
            started,
            bound: i128::from(timing.relative_drift_ppm()),
            slack: i128::from(timing.drift_ppm),
            peers: BTreeMap::new(),
        }
    }

    /// Takes what a clock showed; gives by how much it is wrong when that is news.
    pub(super) fn note(&mut self, node: NodeId, sample: Sample) -> Option<i64> {
        if sample.sent < self.started || sample.received < sample.sent {
            return None;
        }
        let (bound, slack) = (self.bound, self.slack);
        self.peers.entry(node).or_default().note(sample, bound, slack)
    }

    /// Whether a node's clock is known to run right, as far as leases need it.
    pub(super) fn trusts(&self, node: NodeId, now: Instant) -> bool {
        let shown = self.peers.get(&node).and_then(|clock| clock.shown);
        shown.is_some_and(|shown| now.since(shown) <= WINDOW) || has(Mistake::DriftUnnoticed)
    }

    /// Whether a node's clock is known to run wrong.
    pub(super) fn is_off(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|clock| clock.is_off) && !has(Mistake::DriftUnnoticed)
    }
}

impl PeerClock {
    fn note(&mut self, sample: Sample, bound: i128, slack: i128) -> Option<i64> {
        if let Some(last) = &self.last {
            if sample.received.since(last.received) < PAUSE {
                return None;
            }
            let (least, most) = sample.rate_since(last);
            if least > ABSURD.0 || most.is_some_and(|most| most < ABSURD.1) {
                *self = Self::default();
            } else if sample.theirs < last.theirs {
                // It was overtaken.
                return None;
            }
        }
        self.last = Some(sample);
        while self
            .kept
            .front()
            .is_some_and(|kept| sample.received.since(kept.received) > WINDOW)
        {
            self.kept.pop_front();
        }
        let (mut wrong, mut is_shown) = (None, false);
        for kept in &self.kept {
            let (least, most) = sample.rate_since(kept);
            if least > bound {
                wrong = Some(least);
            }
            let Some(most) = most else {
                continue;
            };
            if most < -bound {
                wrong = Some(most);
            }
            is_shown |= least >= -bound - slack && most <= bound + slack;
        }
        self.keep(sample);
        match wrong {
            Some(ppm) => {
                self.shown = None;
                let is_news = !std::mem::replace(&mut self.is_off, true);
                return is_news.then(|| i64::try_from(ppm).unwrap_or(i64::MAX));
            }
            None if is_shown => (self.shown, self.is_off) = (Some(sample.received), false),
            None => {}
        }
        None
    }

    fn keep(&mut self, sample: Sample) {
        let best = match self.best {
            Some(best) if best.uncertainty() <= sample.uncertainty() => best,
            _ => sample,
        };
        self.best = Some(best);
        let is_due = self
            .kept
            .back()
            .is_none_or(|kept| sample.received.since(kept.received) >= SPACING);
        if is_due {
            self.kept.push_back(best);
            self.best = None;
        }
    }
}

impl<L: OrderedStore> Node<L> {
    /// Whether the clock of another node is known to run right against this node's, as far as leases need it.
    #[must_use]
    pub fn trusts_clock_of(&self, node: NodeId, now: Now) -> bool {
        self.clocks.trusts(node, now.steady)
    }
}

#[cfg(test)]
mod tests;
