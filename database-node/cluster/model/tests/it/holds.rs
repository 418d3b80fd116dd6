use pliantdb_cluster_model::bound::{Bound, Mode};
use pliantdb_cluster_model::{Cluster, scenarios};
use stateright::{Expectation, HasDiscoveries, Model};

use crate::found;

/// Everything that must hold does, and what is named is reached.
#[track_caller]
fn holds(bound: Bound, reached: &[&str]) {
    let found = found(bound, HasDiscoveries::AnyFailures);
    let properties = Cluster { bound }.properties();
    let failures: Vec<_> = properties
        .iter()
        .filter(|property| property.expectation != Expectation::Sometimes && found.contains(property.name))
        .map(|property| property.name)
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
    for name in reached {
        assert!(properties.iter().any(|property| property.name == *name), "{name}");
        assert!(found.contains(name), "not reached: {name}");
    }
}

#[test]
fn growing_ends_with_quorum_or_without_a_trace() {
    let reached = [
        "a switch to Quorum is published",
        "an abort ends where the switch began",
        "a restarted node leads again",
    ];
    holds(scenarios::GROW, &reached);
}

#[test]
fn shrinking_ends_with_one_leader_or_without_a_trace() {
    let reached = [
        "a switch to OneLeader is published",
        "an abort ends where the switch began",
        "a restarted node leads again",
    ];
    holds(scenarios::SHRINK, &reached);
}

#[test]
fn a_promotion_ends_a_switch_to_quorum() {
    let reached = [
        "a promotion ends a switch to Quorum",
        "a promotion declares a loss",
    ];
    holds(scenarios::GROW_PROMOTE, &reached);
}

#[test]
fn a_promotion_while_a_shard_shrinks() {
    let reached = [
        "a switch to OneLeader is published",
        "a promotion declares a loss",
    ];
    holds(scenarios::SHRINK_PROMOTE, &reached);
}

#[test]
fn a_lease_ends_before_its_node_has_a_successor() {
    let reached = [
        "a lease expires and its node gets a successor",
        "a promotion declares a loss",
    ];
    holds(
        Bound {
            terms: 1,
            ..scenarios::GROW_AUTOMATIC
        },
        &reached,
    );
}

#[test]
fn an_accepted_split_brain_loses_what_was_declared() {
    holds(
        Bound {
            terms: 1,
            ..scenarios::SPLIT_BRAIN
        },
        &["a promotion declares a loss"],
    );
}

#[test]
fn a_forced_replica_that_is_gone_gives_way_to_another() {
    let reached = [
        "a promotion declares a loss",
        "another is confirmed instead of the one that was forced",
        "one that was given up comes back in the life that was confirmed",
    ];
    holds(scenarios::FORCE, &reached);
}

#[test]
fn the_one_that_was_forced_first_may_be_taken_again() {
    let bound = Bound {
        others: 2,
        liveness: false,
        ..scenarios::FORCE
    };
    let reached = [
        "another is confirmed instead of the one that was forced",
        "the one that was forced first is taken again",
    ];
    holds(bound, &reached);
}

#[test]
fn another_is_forced_while_the_old_leader_lives() {
    let bound = Bound {
        terms: 1,
        crashes: 0,
        ..scenarios::FORCE_AUTOMATIC
    };
    let reached = [
        "another is confirmed instead of the one that was forced",
        "a promotion declares a loss",
    ];
    holds(bound, &reached);
}

#[test]
fn reads_under_leases_are_fresh() {
    holds(
        scenarios::READS,
        &[
            "a lease of several voters answers",
            "a restarted node leads again",
        ],
    );
}

#[test]
fn a_lost_disk_loses_nothing_in_quorum() {
    holds(scenarios::DISK, &["a restarted node leads again"]);
}

#[test]
fn of_two_shards_a_promotion_forces_the_one_that_cannot_elect() {
    let bound = Bound {
        start: Mode::OneLeader,
        ..scenarios::TWO
    };
    let reached = [
        "a promotion forces one shard and elects in the other",
        "a switch to Quorum is published",
        "a promotion ends a switch to Quorum",
    ];
    holds(bound, &reached);
}

#[test]
fn a_promotion_while_two_shards_shrink() {
    let reached = [
        "a switch to OneLeader is published",
        "a promotion declares a loss",
    ];
    holds(scenarios::TWO_SHRINK, &reached);
}

#[test]
fn a_lease_ends_while_a_shard_has_shrunk() {
    let reached = [
        "a switch to OneLeader is published",
        "a lease expires and its node gets a successor",
    ];
    holds(scenarios::SHRINK_AUTOMATIC, &reached);
}
