//! The bounds that are checked. A scenario leaves out what another looks at, so that each can be looked at
//! whole.

use crate::bound::{Bound, Mode, Policy};

/// One shard, one write, a switch to quorum that may be aborted, and one crash.
pub const GROW: Bound = Bound {
    shards: 1,
    writes: 1,
    terms: 2,
    crashes: 1,
    disks: 0,
    switches: 1,
    aborts: 1,
    promotions: 0,
    policy: Policy::Manual,
    read_leases: false,
    start: Mode::OneLeader,
    liveness: true,
    symmetry: true,
    mistake: None,
};

pub const SMALL: [(&str, Bound); 6] = [
    ("grow", GROW),
    (
        "shrink",
        Bound {
            start: Mode::Quorum,
            ..GROW
        },
    ),
    (
        "grow-promote",
        Bound {
            promotions: 1,
            aborts: 0,
            ..GROW
        },
    ),
    (
        "shrink-promote",
        Bound {
            promotions: 1,
            aborts: 0,
            start: Mode::Quorum,
            ..GROW
        },
    ),
    (
        "grow-auto",
        Bound {
            promotions: 1,
            aborts: 0,
            policy: Policy::Automatic,
            ..GROW
        },
    ),
    (
        "grow-reads",
        Bound {
            read_leases: true,
            aborts: 0,
            ..GROW
        },
    ),
];

pub const BIG: [(&str, Bound); 1] = [("grow-2", Bound { shards: 2, ..GROW })];

pub fn all() -> impl Iterator<Item = (&'static str, Bound)> {
    SMALL.into_iter().chain(BIG)
}

pub fn named(name: &str) -> Option<Bound> {
    all().find(|(known, _)| *known == name).map(|(_, bound)| bound)
}
