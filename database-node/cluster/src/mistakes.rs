//! Known mistakes, to be planted one at a time, so that the simulator can show that it finds them.
//!
//! Without the feature `mistakes` there are none, and the compiler removes every question about them.

/// A mistake that others have made, or that a reader might.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// What is written counts as safe before it is synced.
    AcknowledgeBeforeSync,
    /// A leader trusts its clock without allowing for drift and phase.
    LeaseWithoutDrift,
    /// Voters are exchanged in one step instead of through a joint configuration.
    OneStepChange,
    /// A group is forced although a change is under way that the decision does not know of.
    LossyFailoverDuringSwitch,
    /// The log is truncated up to what is applied, not up to what is applied for good.
    TruncateUnflushed,
    /// A voter that has lost its log comes back under its id.
    WipedVoterKeepsId,
    /// A leader acknowledges although its lease has run out.
    UnfencedLeader,
    /// What is applied depends on the clock of who applies it.
    ApplyWithWallClock,
    /// A write that is asked for again is made again.
    RetryAppliedTwice,
    /// A snapshot is installed without a mark that says so.
    SnapshotWithoutMarker,
    /// A process that was just started votes at once.
    VoteAfterRestart,
    /// A leader that hands over still trusts its lease.
    LeaseAfterTransfer,
    /// Nobody looks how fast the clocks of others run.
    DriftUnnoticed,
    /// Orders of a supervisor that was replaced are obeyed.
    OrdersWithoutEpoch,
    /// A replica with a diverged tail keeps it and its id after a forced promotion.
    DivergedReplicaStays,
    /// A leader that sleeps trusts that it would have been woken if there were another.
    LeaseWhileAsleep,
    /// A replica that was forced answers at once.
    AnswerUnconfirmed,
    /// Whoever is to take over is asked at once, and elected whatever it has.
    HandOverUnseen,
}

impl Mistake {
    /// Every one.
    pub const ALL: [Self; 18] = [
        Self::AcknowledgeBeforeSync,
        Self::LeaseWithoutDrift,
        Self::OneStepChange,
        Self::LossyFailoverDuringSwitch,
        Self::TruncateUnflushed,
        Self::WipedVoterKeepsId,
        Self::UnfencedLeader,
        Self::ApplyWithWallClock,
        Self::RetryAppliedTwice,
        Self::SnapshotWithoutMarker,
        Self::VoteAfterRestart,
        Self::LeaseAfterTransfer,
        Self::DriftUnnoticed,
        Self::OrdersWithoutEpoch,
        Self::DivergedReplicaStays,
        Self::LeaseWhileAsleep,
        Self::AnswerUnconfirmed,
        Self::HandOverUnseen,
    ];
}

#[cfg(feature = "mistakes")]
mod planted {
    use std::cell::Cell;

    use super::Mistake;

    thread_local! {
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Plants a mistake in this thread, or removes it.
    pub fn plant(mistake: Option<Mistake>) {
        PLANTED.set(mistake);
    }

    pub(crate) fn has(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }
}

#[cfg(feature = "mistakes")]
pub(crate) use planted::has;
#[cfg(feature = "mistakes")]
pub use planted::plant;

#[cfg(not(feature = "mistakes"))]
pub(crate) const fn has(_: Mistake) -> bool {
    false
}
