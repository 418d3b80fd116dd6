//! What a leader knows in its term, and nobody after it needs to.

use std::collections::{BTreeMap, BTreeSet};

use pliantdb_core::Clock;

use crate::ids::{Epoch, ReplicaId};
use crate::timing::Instant;

/// A leader's term.
pub(crate) struct Leadership {
    term: u64,
    /// The entry that the leader began its term with.
    first: u64,
    /// The latest moment as of which each replica has confirmed that it follows, by our clock.
    confirmed: BTreeMap<ReplicaId, Instant>,
    /// The same, of those whose clocks were known to run right when they did.
    promised: BTreeMap<ReplicaId, Instant>,
    /// The latest moment of each replica's own clock at which it is known to have sent something.
    asked: BTreeMap<ReplicaId, Instant>,
    is_handed_over: bool,
    /// Who was asked to take over.
    asked_to_lead: BTreeSet<ReplicaId>,
    /// How far a replica must have come before it may vote by order of an epoch.
    catch_up: Option<(Epoch, u64)>,
    /// The epoch of the last fence that was proposed: what a leader has proposed stays in its log while it leads.
    fenced: Option<Epoch>,
    /// Hands out the time stamps of commands, once everything before the term is applied.
    clock: Option<Clock>,
}

impl Leadership {
    pub(crate) fn new(term: u64, first: u64) -> Self {
        Self {
            term,
            first,
            confirmed: BTreeMap::new(),
            promised: BTreeMap::new(),
            asked: BTreeMap::new(),
            is_handed_over: false,
            asked_to_lead: BTreeSet::new(),
            catch_up: None,
            fenced: None,
            clock: None,
        }
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// The entry that the term began with: a leader that has applied it has applied all that was before.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn confirm(&mut self, replica: ReplicaId, at: Instant) {
        let confirmed = self.confirmed.entry(replica).or_default();
        *confirmed = at.max(*confirmed);
    }

    pub(crate) fn confirmed(&self, replica: ReplicaId) -> Option<Instant> {
        self.confirmed.get(&replica).copied()
    }

    /// A replica that confirmed this leader has promised to vote for nobody else, by a clock that runs right.
    pub(crate) fn promise(&mut self, replica: ReplicaId, at: Instant) {
        let promised = self.promised.entry(replica).or_default();
        *promised = at.max(*promised);
    }

    pub(crate) fn promised(&self, replica: ReplicaId) -> Option<Instant> {
        self.promised.get(&replica).copied()
    }

    pub(crate) fn note_asked(&mut self, replica: ReplicaId, at: Instant) {
        let asked = self.asked.entry(replica).or_default();
        *asked = at.max(*asked);
    }

    pub(crate) fn asked(&self, replica: ReplicaId) -> Option<Instant> {
        self.asked.get(&replica).copied()
    }

    /// Another was asked to stand for election, or will be. The request may arrive whenever it likes, so there is no
    /// lease any more in this term.
    pub(crate) fn hand_over(&mut self) {
        self.is_handed_over = true;
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.is_handed_over
    }

    pub(crate) fn note_asked_to_lead(&mut self, replica: ReplicaId) {
        self.asked_to_lead.insert(replica);
    }

    /// Whether a replica was asked to take over in this term, and has not.
    pub(crate) fn has_asked(&self, replica: ReplicaId) -> bool {
        self.asked_to_lead.contains(&replica)
    }

    /// How far a replica must have come before it may vote: to the end of the log as it was when the order of this epoch
    /// was first heard.
    pub(crate) fn catch_up(&mut self, epoch: Epoch, last: u64) -> u64 {
        match self.catch_up {
            Some((known, index)) if known == epoch => index,
            _ => {
                self.catch_up = Some((epoch, last));
                last
            }
        }
    }

    pub(crate) fn has_fenced(&self, epoch: Epoch) -> bool {
        self.fenced >= Some(epoch)
    }

    pub(crate) fn note_fence(&mut self, epoch: Epoch) {
        self.fenced = Some(epoch);
    }

    pub(crate) fn clock(&mut self) -> Option<&mut Clock> {
        self.clock.as_mut()
    }

    pub(crate) fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }
}
