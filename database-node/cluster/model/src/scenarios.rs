//! The bounds that are checked. Each leaves out what another looks at, so that all of them can be looked at
//! whole; what is planted as a mistake is found within one of the small ones.

use crate::bound::{Bound, Mode, Policy};

/// One shard grows to three voters, with one crash, and may turn back on the way.
pub const GROW: Bound = Bound {
    shards: 1,
    coarse: true,
    writes: 1,
    terms: 2,
    crashes: 1,
    disks: 0,
    switches: 1,
    aborts: 1,
    promotions: 0,
    others: 0,
    policy: Policy::Manual,
    read_leases: false,
    start: Mode::OneLeader,
    liveness: true,
    symmetry: true,
    mistake: None,
};

/// One shard shrinks to one voter, with one crash, and may turn back on the way.
pub const SHRINK: Bound = Bound {
    start: Mode::Quorum,
    ..GROW
};

/// A promotion with proof while a shard grows.
pub const GROW_PROMOTE: Bound = Bound {
    promotions: 1,
    aborts: 0,
    ..GROW
};

/// A promotion with proof while a shard shrinks.
pub const SHRINK_PROMOTE: Bound = Bound {
    start: Mode::Quorum,
    ..GROW_PROMOTE
};

/// A lease runs out while a shard grows, and its node lives on.
pub const GROW_AUTOMATIC: Bound = Bound {
    policy: Policy::Automatic,
    crashes: 0,
    liveness: false,
    ..GROW_PROMOTE
};

/// A lease runs out, or its node crashes, with no switch about.
pub const AUTOMATIC: Bound = Bound {
    policy: Policy::Automatic,
    switches: 0,
    ..GROW_PROMOTE
};

/// A promotion that accepts a split brain while a shard grows.
pub const SPLIT_BRAIN: Bound = Bound {
    policy: Policy::AcceptSplitBrain,
    crashes: 0,
    liveness: false,
    ..GROW_PROMOTE
};

/// Reads under leases while voters restart.
pub const READS: Bound = Bound {
    read_leases: true,
    switches: 0,
    aborts: 0,
    terms: 3,
    liveness: false,
    ..SHRINK
};

/// Reads under leases while a lease of the leader node runs out and a shard grows.
pub const READS_AUTOMATIC: Bound = Bound {
    read_leases: true,
    ..GROW_AUTOMATIC
};

/// A voter loses its disk.
pub const DISK: Bound = Bound {
    disks: 1,
    crashes: 2,
    terms: 3,
    switches: 0,
    aborts: 0,
    liveness: false,
    ..SHRINK
};

/// A shard is forced, its replica crashes before it is confirmed, and another is taken.
pub const FORCE: Bound = Bound {
    switches: 0,
    crashes: 2,
    terms: 3,
    others: 1,
    ..GROW_PROMOTE
};

/// The same when a lease runs out and its node lives on.
pub const FORCE_AUTOMATIC: Bound = Bound {
    policy: Policy::Automatic,
    crashes: 1,
    ..FORCE
};

/// Two shards grow, of which a promotion forces some.
pub const TWO: Bound = Bound {
    shards: 2,
    writes: 1,
    liveness: false,
    ..GROW_PROMOTE
};

/// Two shards shrink, of which a promotion forces some.
pub const TWO_SHRINK: Bound = Bound {
    start: Mode::Quorum,
    terms: 1,
    ..TWO
};

/// A shard shrinks under automatic failover.
pub const SHRINK_AUTOMATIC: Bound = Bound {
    start: Mode::Quorum,
    terms: 1,
    ..GROW_AUTOMATIC
};

/// The bounds for every run of the tests.
pub const SMALL: [(&str, Bound); 15] = [
    ("grow", GROW),
    ("shrink", SHRINK),
    ("grow-promote", GROW_PROMOTE),
    ("shrink-promote", SHRINK_PROMOTE),
    ("grow-automatic", GROW_AUTOMATIC),
    ("automatic", AUTOMATIC),
    ("split-brain", SPLIT_BRAIN),
    ("reads", READS),
    ("reads-automatic", READS_AUTOMATIC),
    ("disk", DISK),
    ("force", FORCE),
    ("force-automatic", FORCE_AUTOMATIC),
    ("two", TWO),
    ("two-shrink", TWO_SHRINK),
    ("shrink-automatic", SHRINK_AUTOMATIC),
];

/// The bounds for a long look: some minutes on two cores, and a few GiB.
pub const BIG: [(&str, Bound); 23] = [
    (
        "big-grow",
        Bound {
            terms: 3,
            crashes: 2,
            ..GROW
        },
    ),
    ("big-both-ways", Bound { switches: 2, ..GROW }),
    (
        "big-two-grow",
        Bound {
            promotions: 1,
            aborts: 1,
            ..TWO
        },
    ),
    (
        "big-two-shrink",
        Bound {
            aborts: 1,
            promotions: 0,
            start: Mode::Quorum,
            ..TWO
        },
    ),
    (
        "big-two-ends",
        Bound {
            liveness: true,
            ..TWO
        },
    ),
    (
        "big-automatic",
        Bound {
            others: 1,
            ..GROW_AUTOMATIC
        },
    ),
    (
        "big-automatic-crash",
        Bound {
            crashes: 1,
            terms: 1,
            liveness: true,
            ..GROW_AUTOMATIC
        },
    ),
    (
        "big-two-automatic",
        Bound {
            shards: 2,
            writes: 0,
            terms: 1,
            ..GROW_AUTOMATIC
        },
    ),
    (
        "big-split-brain",
        Bound {
            liveness: true,
            ..SPLIT_BRAIN
        },
    ),
    (
        "big-force",
        Bound {
            others: 2,
            crashes: 3,
            ..FORCE
        },
    ),
    (
        "big-force-grow",
        Bound {
            switches: 1,
            terms: 2,
            ..FORCE
        },
    ),
    (
        "big-force-automatic",
        Bound {
            terms: 1,
            ..FORCE_AUTOMATIC
        },
    ),
    (
        "big-force-split-brain",
        Bound {
            others: 1,
            terms: 1,
            liveness: true,
            ..SPLIT_BRAIN
        },
    ),
    (
        "big-reads",
        Bound {
            read_leases: true,
            terms: 2,
            ..GROW
        },
    ),
    (
        "big-reads-automatic",
        Bound {
            crashes: 1,
            terms: 1,
            ..READS_AUTOMATIC
        },
    ),
    (
        "big-disk",
        Bound {
            disks: 1,
            promotions: 1,
            crashes: 1,
            ..SHRINK
        },
    ),
    (
        "big-two-shrink-promote",
        Bound {
            terms: 2,
            liveness: true,
            ..TWO_SHRINK
        },
    ),
    (
        "big-shrink-automatic",
        Bound {
            crashes: 1,
            terms: 2,
            ..SHRINK_AUTOMATIC
        },
    ),
    (
        "big-shrink-automatic-ends",
        Bound {
            crashes: 1,
            liveness: true,
            ..SHRINK_AUTOMATIC
        },
    ),
    (
        "big-shrink-automatic-other",
        Bound {
            crashes: 1,
            others: 1,
            ..SHRINK_AUTOMATIC
        },
    ),
    (
        "big-two-shrink-automatic",
        Bound {
            shards: 2,
            writes: 0,
            ..SHRINK_AUTOMATIC
        },
    ),
    (
        "big-two-automatic-write",
        Bound {
            shards: 2,
            terms: 1,
            ..GROW_AUTOMATIC
        },
    ),
    (
        "big-two-automatic-crash",
        Bound {
            shards: 2,
            writes: 0,
            terms: 1,
            crashes: 1,
            switches: 0,
            ..GROW_AUTOMATIC
        },
    ),
];

/// All bounds with their names.
pub fn all() -> impl Iterator<Item = (&'static str, Bound)> {
    SMALL.into_iter().chain(BIG)
}

/// The bound of a name.
pub fn named(name: &str) -> Option<Bound> {
    all().find(|(known, _)| *known == name).map(|(_, bound)| bound)
}
