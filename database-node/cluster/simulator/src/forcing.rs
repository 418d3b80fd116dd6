//! Who was asked to force groups, what was decided, and who may not have heard of it yet.

use std::collections::BTreeMap;

use pliantdb_cluster::Incarnation;
use pliantdb_cluster::meta::Consent;
use pliantdb_cluster::node::{Answer, Refusal};
use pliantdb_core::GroupId;

use crate::world::{MS, SECOND, Time};

/// For how long an answer is on its way at most, with something to spare.
pub(crate) const ON_ITS_WAY: Time = 2 * MS;
/// For how long something may yet be decided of which nobody knows what came of it.
const UNDECIDED: Time = 60 * SECOND;

/// What became of what an owner asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nobody knows, or not yet.
    Unknown,
    /// It was decided.
    Decided {
        /// When the answer came.
        at: Time,
    },
    /// It was refused.
    Refused,
}

/// An owner has asked to force what cannot go on.
#[derive(Debug, Clone)]
struct Asked {
    token: u64,
    at: Time,
    /// Which machine was asked.
    host: usize,
    consent: Consent,
    /// Whether it was the meta group that was to be forced.
    is_meta: bool,
    outcome: Outcome,
}

/// What owners asked for.
#[derive(Debug, Default)]
pub struct Owners {
    asked: Vec<Asked>,
}

/// A machine that takes part in a group and is not known to have heard that it was forced.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    pub(crate) host: usize,
    /// Until when each machine had not heard it, at times.
    pub(crate) unheard_until: BTreeMap<usize, Time>,
    /// When it heard of the decision, or its process ended: the next one asks what was decided before it takes part.
    pub(crate) ended: Option<Time>,
}

/// It was decided that a group is forced.
#[derive(Debug, Clone)]
pub struct Decision {
    pub(crate) group: GroupId,
    /// The life that begins.
    pub(crate) incarnation: Incarnation,
    /// When a node has applied it first.
    pub(crate) at: Time,
    /// Whether the meta group was forced as well: who was part of it and is away goes by what it knows, also when it
    /// starts again.
    pub(crate) is_of_meta: bool,
    /// Whether it was the first of this group and a switch was open.
    pub(crate) is_amid_switch: bool,
    pub(crate) apart: Vec<Apart>,
}

/// What was decided, in the order of groups and their lives.
pub type Decisions = BTreeMap<(GroupId, Incarnation), Decision>;

impl Owners {
    /// An owner asks to force groups.
    pub(crate) fn ask(&mut self, token: u64, at: Time, host: usize, consent: Consent, is_meta: bool) {
        self.asked.push(Asked {
            token,
            at,
            host,
            consent,
            is_meta,
            outcome: Outcome::Unknown,
        });
    }

    /// An answer has come, to whatever it is.
    pub(crate) fn answered(&mut self, token: u64, at: Time, answer: &Answer) {
        let mut asked = self.asked.iter_mut();
        if let Some(asked) = asked.find(|asked| asked.token == token) {
            asked.outcome = match answer {
                Answer::Changed(Ok(_)) => Outcome::Decided { at },
                Answer::Refused(Refusal::Unknown) => Outcome::Unknown,
                _ => Outcome::Refused,
            };
        }
    }

    /// Whatever may have led to a decision.
    fn of<'a>(&'a self, decision: &'a Decision) -> impl Iterator<Item = &'a Asked> {
        self.asked.iter().filter(|asked| asked.led_to(decision))
    }

    /// Whether an owner may have asked for what was decided.
    #[must_use]
    pub fn have_asked_for(&self, decision: &Decision) -> bool {
        self.of(decision).next().is_some()
    }

    /// Whether somebody may have acknowledged in a life before the decision, until a moment, because the owner accepted
    /// that or said of a process which was only away that it is gone.
    #[must_use]
    pub fn let_go_on(&self, decision: &Decision, until: Time) -> bool {
        let is_accepted = self
            .of(decision)
            .any(|asked| asked.consent == Consent::AcceptSplitBrain);
        let may_go_on = |apart: &Apart| {
            let is_unheard = |asked: &Asked| {
                let unheard_until = apart.unheard_until.get(&asked.host);
                unheard_until.is_some_and(|until| *until >= asked.at)
            };
            let is_away = self.of(decision).any(is_unheard);
            let has_time = apart.ended.is_none_or(|ended| until <= ended + ON_ITS_WAY);
            has_time && (is_away || is_accepted || decision.is_of_meta)
        };
        decision.at <= until && decision.apart.iter().any(may_go_on)
    }
}

impl Asked {
    fn led_to(&self, decision: &Decision) -> bool {
        let is_before = self.at <= decision.at;
        // What this node alone had decided it brings to the others whenever that can be.
        if self.is_meta || decision.is_of_meta {
            return is_before && self.is_meta && decision.is_of_meta;
        }
        is_before
            && match self.outcome {
                Outcome::Unknown => decision.at <= self.at + UNDECIDED,
                Outcome::Decided { at } => decision.at <= at && at <= decision.at + UNDECIDED,
                Outcome::Refused => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use pliantdb_cluster::NodeId;
    use pliantdb_cluster::meta::{MetaOutcome, MetaRejection};

    use super::*;

    /// Decided at 10 s: machine 1 was heard all the time, and 2 not until 8 s.
    fn decision() -> Decision {
        let apart = |host, unheard_until| Apart {
            host,
            unheard_until: BTreeMap::from([(0, unheard_until)]),
            ended: None,
        };
        Decision {
            group: GroupId::new(1),
            incarnation: Incarnation::FIRST.next(NodeId::new(1)),
            at: 10 * SECOND,
            is_of_meta: false,
            is_amid_switch: false,
            apart: vec![apart(1, 0), apart(2, 8 * SECOND)],
        }
    }

    fn asking(at: Time, consent: Consent) -> Owners {
        let mut owners = Owners::default();
        owners.ask(1, at, 0, consent, false);
        owners
    }

    #[test]
    fn only_what_may_have_led_to_a_decision_counts() {
        let (decision, until) = (decision(), 11 * SECOND);
        assert!(
            !Owners::default().have_asked_for(&decision) && !Owners::default().let_go_on(&decision, until)
        );
        let mut owners = asking(7 * SECOND, Consent::AcceptSplitBrain);
        assert!(owners.let_go_on(&decision, until), "nobody knows what came of it");
        owners.answered(1, 10 * SECOND, &Answer::Changed(Ok(MetaOutcome::Done)));
        assert!(owners.let_go_on(&decision, until));
        let refusal = Answer::Changed(Err(MetaRejection::NothingToDo));
        owners.answered(1, 10 * SECOND, &refusal);
        assert!(!owners.have_asked_for(&decision) && !owners.let_go_on(&decision, until));
        let later = asking(10 * SECOND + 1, Consent::AcceptSplitBrain);
        assert!(!later.have_asked_for(&decision) && !later.let_go_on(&decision, until));
        let mut earlier = asking(7 * SECOND, Consent::AcceptSplitBrain);
        earlier.answered(1, 9 * SECOND, &Answer::Changed(Ok(MetaOutcome::Done)));
        assert!(!earlier.have_asked_for(&decision), "it led to another");
    }

    #[test]
    fn whoever_was_said_to_be_gone_and_was_heard_is_fenced() {
        let mut decision = decision();
        let until = 11 * SECOND;
        assert!(asking(7 * SECOND, Consent::ProcessGone).let_go_on(&decision, until));
        assert!(!asking(9 * SECOND, Consent::ProcessGone).let_go_on(&decision, until));
        decision.apart.pop();
        assert!(!asking(7 * SECOND, Consent::ProcessGone).let_go_on(&decision, until));
        assert!(asking(7 * SECOND, Consent::AcceptSplitBrain).let_go_on(&decision, until));
    }

    #[test]
    fn nobody_goes_on_who_has_heard() {
        let mut decision = decision();
        for apart in &mut decision.apart {
            apart.ended = Some(12 * SECOND);
        }
        let owners = asking(7 * SECOND, Consent::AcceptSplitBrain);
        assert!(owners.let_go_on(&decision, 12 * SECOND + ON_ITS_WAY));
        assert!(!owners.let_go_on(&decision, 12 * SECOND + ON_ITS_WAY + 1));
    }
}
