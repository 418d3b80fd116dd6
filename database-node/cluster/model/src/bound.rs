//! How much of the world is looked at, and which mistake is planted in it.

/// How lossy failover is decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// By a person, with proof that the old process has ended.
    Manual,
    /// By a person who accepts that the old leader may go on for a while.
    AcceptSplitBrain,
    /// By the meta group, once the lease of the leader has run out.
    Automatic,
}

/// The mode in which a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Each shard has one voter, the home node.
    OneLeader,
    /// Each shard has a voter on every node.
    Quorum,
}

/// What a run may contain. Everything that can happen without end is counted here, so that the states are
/// finitely many.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Shards, 1 or 2.
    pub shards: usize,
    /// Whether the second shard is looked at less closely: it has no writes, its leaders bring all that they
    /// reach up to date in one step, and it elects when it has no leader or another one is wanted. What the
    /// shards have to do with each other stays, and the states become few enough.
    pub coarse: bool,
    /// Writes for each shard, at most 3.
    pub writes: u8,
    /// The highest term that an election may reach. The first leaders have term 1.
    pub terms: u8,
    /// Crashes of nodes. Restarts are not counted: a node that is down may come back at any time.
    pub crashes: u8,
    /// How many of the crashes may lose the disk.
    pub disks: u8,
    /// Switches that begin.
    pub switches: u8,
    /// Switches that are turned round on the way.
    pub aborts: u8,
    /// Forced promotions.
    pub promotions: u8,
    /// How often another replica is forced instead of one that was forced and is not confirmed.
    pub others: u8,
    /// How promotions are decided on.
    pub policy: Policy,
    /// Whether leaders of several voters answer reads under a lease. Without it they are not looked at, which
    /// saves the states of the promises.
    pub read_leases: bool,
    /// The mode at the beginning.
    pub start: Mode,
    /// Whether each state is healed, with every node and without each, to see that the switch ends.
    pub liveness: bool,
    /// Whether states that differ only by the names of shards and nodes count as one.
    pub symmetry: bool,
    /// The mistake that is planted.
    pub mistake: Option<Mistake>,
}

impl Bound {
    /// Whether `mistake` is the one that is planted.
    pub fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// This bound with a mistake planted.
    pub fn with(self, mistake: Mistake) -> Self {
        Self {
            mistake: Some(mistake),
            ..self
        }
    }
}

/// A rule of the protocol that is left out. Each must give a counterexample, or the rule is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mistake {
    /// {L} becomes {L, A, B} in one step.
    OneStep,
    /// A failover that was decided on before a switch does not compare the epoch, and forces every shard
    /// with the log of the node that it names.
    BlindFailover,
    /// The stronger guarantee is published when the leaders have the final configuration.
    PublishEarly,
    /// That a configuration was applied is not made durable before anything rests on it, as in raft-rs by
    /// itself.
    ConfigurationForgotten,
    /// The weaker guarantee is published when the switch ends.
    WeakenLate,
    /// A restarted voter votes at once.
    VoteAfterRestart,
    /// The leader of a single voter acknowledges without its lease.
    LeaseIgnored,
    /// The meta group takes a lease for expired while its holder still believes in it.
    LeaseWithoutDrift,
    /// A voter that lost its disk comes back as the same voter.
    WipedKeepsId,
    /// Shards take orders of any epoch.
    NoEpochs,
    /// A shard that has nothing to undo is not told of the abort.
    AbortWithoutFence,
    /// The commit index is not written with the entries, so a crash may take it back as far as it likes.
    CommitForgotten,
    /// A restarted node takes part before it has asked the meta group.
    RestartWithoutMeta,
    /// The node that was given up takes part again while the promotion is still under way.
    GivenUpReturns,
    /// A force is confirmed while others of the replicas may still go on.
    ConfirmWithoutFence,
    /// A force is confirmed while promises to the old leader are in force.
    ForceInsideLease,
    /// A force is confirmed although another replica that is there has a longer log.
    ConfirmShorter,
    /// A confirmation does not compare what it was decided on: it confirms a replica that another has replaced.
    ConfirmOutdated,
    /// A forced replica acknowledges and answers before it is confirmed.
    AnswerUnconfirmed,
    /// The other replicas are wiped before the forced one is confirmed.
    WipeUnconfirmed,
    /// When the forced replica is gone, another is taken whatever it has, and no log is compared any more.
    AnotherShorter,
    /// When the forced replica is gone, nobody else is taken.
    NoOther,
    /// A replica that waits to be forced still is when it hears that another was forced instead, and is not silent: what
    /// is not confirmed is another life than its own.
    ForceOutdated,
    /// A forced replica that another has replaced goes on when it hears of that, and is silent only as long as its own
    /// life is the newest.
    SupersededStays,
    /// A replica that is no voter by its own configuration does not vote.
    OutgoingRefusesVotes,
    /// A replica that does not stay among the voters leads them into the joint configuration and out of it.
    OutgoingLeads,
    /// Replicas become voters before they have come into the incarnation of the shard.
    EnterBehind,
    /// Only the leader that entered a joint configuration leaves it.
    LeaveOnce,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::OneStep,
        Self::BlindFailover,
        Self::PublishEarly,
        Self::ConfigurationForgotten,
        Self::WeakenLate,
        Self::VoteAfterRestart,
        Self::LeaseIgnored,
        Self::LeaseWithoutDrift,
        Self::WipedKeepsId,
        Self::NoEpochs,
        Self::AbortWithoutFence,
        Self::CommitForgotten,
        Self::RestartWithoutMeta,
        Self::GivenUpReturns,
        Self::ConfirmWithoutFence,
        Self::ForceInsideLease,
        Self::ConfirmShorter,
        Self::ConfirmOutdated,
        Self::AnswerUnconfirmed,
        Self::WipeUnconfirmed,
        Self::AnotherShorter,
        Self::NoOther,
        Self::ForceOutdated,
        Self::SupersededStays,
        Self::OutgoingRefusesVotes,
        Self::OutgoingLeads,
        Self::EnterBehind,
        Self::LeaveOnce,
    ];

    /// The mistake of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mistake| format!("{mistake:?}") == name)
    }
}
