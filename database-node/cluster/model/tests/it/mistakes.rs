//! Each rule that was found to matter is left out in turn, and the checker says what breaks.

use pliantdb_cluster_model::bound::{Bound, Mistake};
use pliantdb_cluster_model::scenarios;

use stateright::HasDiscoveries;

use crate::found;

const LOSS: &str = "no acknowledged write is lost undeclared";
const HISTORY: &str = "one history is committed in an incarnation";
const VOICE: &str = "at most one leader of a shard answers";
const OVER: &str = "an incarnation that is over acknowledges nothing";
const QUORUM: &str = "published Quorum survives any one node";
const REST: &str = "at rest every shard is as the mode says";
const ENDS: &str = "whatever happens, the switch ends";
const DECLARED: &str = "losses are declared in one-leader mode only";
const PRESENT: &str = "a confirmed force loses nothing that another who is there has";
const WIPED: &str = "nobody is wiped who has what the leader lacks and nobody declared lost";
const SUCCESSOR: &str = "of one life at most one other is confirmed";
const SILENT: &str = "nobody was answered in a life that was given up";
const NEEDLESS: &str = "a promotion loses nothing that an election would keep";

/// With the mistake there is a counterexample to the property, and without it there is none (holds.rs).
#[track_caller]
fn breaks(mistake: Mistake, bound: Bound, property: &'static str) {
    let enough = HasDiscoveries::AllOf([property].into());
    let found = found(bound.with(mistake), enough);
    assert!(found.contains(property), "{found:?}");
}

/// The bound without looking at whether the switch ends.
fn safety(bound: Bound) -> Bound {
    Bound {
        liveness: false,
        ..bound
    }
}

#[test]
fn one_step_instead_of_a_joint_configuration() {
    breaks(Mistake::OneStep, safety(scenarios::GROW), LOSS);
}

#[test]
fn two_histories_by_one_step() {
    breaks(Mistake::OneStep, safety(scenarios::GROW), HISTORY);
}

#[test]
fn a_failover_that_compares_nothing() {
    breaks(Mistake::BlindFailover, safety(scenarios::GROW_PROMOTE), DECLARED);
}

#[test]
fn a_failover_that_forces_what_could_elect() {
    breaks(Mistake::BlindFailover, safety(scenarios::GROW_PROMOTE), NEEDLESS);
}

#[test]
fn publishing_before_every_shard_is_final() {
    breaks(Mistake::PublishEarly, safety(scenarios::TWO), QUORUM);
}

#[test]
fn a_configuration_that_is_forgotten() {
    breaks(Mistake::ConfigurationForgotten, safety(scenarios::GROW), QUORUM);
}

#[test]
fn a_switch_that_never_ends_by_a_forgotten_configuration() {
    breaks(Mistake::ConfigurationForgotten, scenarios::GROW, ENDS);
}

#[test]
fn shrinking_before_publishing() {
    breaks(Mistake::WeakenLate, safety(scenarios::SHRINK), QUORUM);
}

#[test]
fn a_vote_after_a_restart_inside_a_lease() {
    breaks(Mistake::VoteAfterRestart, scenarios::READS, VOICE);
}

#[test]
fn acknowledging_without_the_lease() {
    breaks(Mistake::LeaseIgnored, scenarios::GROW_AUTOMATIC, OVER);
}

#[test]
fn a_lease_without_the_drift_of_clocks() {
    breaks(Mistake::LeaseWithoutDrift, scenarios::GROW_AUTOMATIC, OVER);
}

#[test]
fn a_wiped_voter_that_keeps_its_id() {
    breaks(Mistake::WipedKeepsId, scenarios::DISK, LOSS);
}

#[test]
fn orders_without_epochs() {
    breaks(Mistake::NoEpochs, safety(scenarios::GROW), REST);
}

#[test]
fn an_abort_that_does_not_reach_every_shard() {
    breaks(Mistake::AbortWithoutFence, safety(scenarios::GROW), REST);
}

#[test]
fn a_commit_index_that_is_forgotten() {
    breaks(Mistake::CommitForgotten, safety(scenarios::GROW), HISTORY);
}

#[test]
fn a_restart_without_asking_the_meta_group() {
    breaks(Mistake::RestartWithoutMeta, safety(scenarios::GROW_PROMOTE), OVER);
}

#[test]
fn the_given_up_node_returns_too_early() {
    breaks(Mistake::GivenUpReturns, safety(scenarios::GROW_PROMOTE), OVER);
}

#[test]
fn confirming_a_force_before_the_others_have_stopped() {
    breaks(Mistake::ConfirmWithoutFence, scenarios::GROW_AUTOMATIC, OVER);
}

#[test]
fn confirming_a_force_although_another_has_more() {
    breaks(Mistake::ConfirmShorter, safety(scenarios::FORCE), PRESENT);
}

#[test]
fn confirming_a_force_that_another_has_replaced() {
    breaks(Mistake::ConfirmOutdated, safety(scenarios::FORCE), SUCCESSOR);
}

#[test]
fn acknowledging_before_the_force_is_confirmed() {
    breaks(Mistake::AnswerUnconfirmed, safety(scenarios::FORCE), SILENT);
}

#[test]
fn wiping_the_others_before_the_force_is_confirmed() {
    breaks(Mistake::WipeUnconfirmed, safety(scenarios::FORCE), WIPED);
}

#[test]
fn a_force_that_the_wiped_others_cannot_take_over() {
    breaks(Mistake::WipeUnconfirmed, scenarios::FORCE, ENDS);
}

#[test]
fn forcing_another_that_has_less() {
    breaks(Mistake::AnotherShorter, safety(scenarios::FORCE), PRESENT);
}

#[test]
fn a_forced_replica_that_is_gone_and_has_no_successor() {
    breaks(Mistake::NoOther, scenarios::FORCE, ENDS);
}

#[test]
fn two_leaders_of_which_one_was_forced_too_late() {
    breaks(Mistake::ForceOutdated, safety(scenarios::FORCE), VOICE);
}

#[test]
fn a_superseded_replica_that_goes_on() {
    breaks(Mistake::SupersededStays, safety(scenarios::FORCE), SILENT);
}

#[test]
fn two_leaders_of_which_one_was_superseded() {
    breaks(Mistake::SupersededStays, safety(scenarios::FORCE), VOICE);
}

#[test]
fn forcing_inside_a_read_lease() {
    breaks(Mistake::ForceInsideLease, scenarios::READS_AUTOMATIC, VOICE);
}

#[test]
fn outgoing_voters_that_do_not_vote() {
    breaks(Mistake::OutgoingRefusesVotes, scenarios::GROW, ENDS);
}

#[test]
fn an_outgoing_leader_that_closes_the_door() {
    breaks(
        Mistake::OutgoingLeads,
        Bound {
            writes: 0,
            crashes: 2,
            terms: 3,
            ..scenarios::GROW
        },
        ENDS,
    );
}

#[test]
fn voters_of_an_incarnation_that_is_over() {
    breaks(
        Mistake::EnterBehind,
        Bound {
            crashes: 1,
            liveness: true,
            ..scenarios::GROW_AUTOMATIC
        },
        ENDS,
    );
}

#[test]
fn a_joint_configuration_left_by_one_leader_only() {
    breaks(Mistake::LeaveOnce, scenarios::GROW, ENDS);
}
