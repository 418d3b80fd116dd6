//! What is known to be wrong is found.

use pliantdb_cluster::mistakes::Mistake;
use pliantdb_simulator::caught;

/// Seeds from this one on are tried; without the mistake they hold ([`crate::seeds`]).
const FIRST: u64 = 1;

/// Fails unless a mistake is caught in so many seeds.
fn is_caught(mistake: Mistake, seeds: u64) {
    match caught(mistake, FIRST, seeds) {
        Some(caught) => println!(
            "{mistake:?}: caught in {} seeds, {:.0} virtual minutes: {}",
            caught.seeds, caught.virtual_minutes, caught.invariant
        ),
        None => panic!("{mistake:?} was planted and not caught in {seeds} seeds"),
    }
}

macro_rules! are_caught {
    ($($name:ident: $mistake:ident in $seeds:literal),* $(,)?) => {$(
        #[test]
        fn $name() {
            is_caught(Mistake::$mistake, $seeds);
        }
    )*};
}

are_caught! {
    acknowledging_before_the_sync: AcknowledgeBeforeSync in 200,
    exchanging_voters_in_one_step: OneStepChange in 800,
    forcing_blindly_during_a_switch: LossyFailoverDuringSwitch in 600,
    truncating_what_is_not_flushed: TruncateUnflushed in 200,
    a_wiped_voter_that_keeps_its_id: WipedVoterKeepsId in 400,
    a_leader_that_nobody_vouches_for: UnfencedLeader in 600,
    applying_with_the_wall_clock: ApplyWithWallClock in 200,
    applying_a_retry_twice: RetryAppliedTwice in 200,
    a_snapshot_without_a_marker: SnapshotWithoutMarker in 200,
    voting_right_after_a_start: VoteAfterRestart in 800,
    a_lease_after_handing_over: LeaseAfterTransfer in 200,
    a_lease_without_drift: LeaseWithoutDrift in 200,
    clocks_that_nobody_looks_at: DriftUnnoticed in 600,
    a_lease_that_is_trusted_asleep: LeaseWhileAsleep in 400,
    a_forced_replica_that_answers_at_once: AnswerUnconfirmed in 800,
    orders_without_epochs: OrdersWithoutEpoch in 600,
    a_diverged_replica_that_stays: DivergedReplicaStays in 200,
    handing_over_to_whoever_lacks_something: HandOverUnseen in 200,
}
