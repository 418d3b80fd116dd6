//! The protocols hold within bounds small enough for every run, and the checker finds each planted mistake.

mod holds;
mod mistakes;

use std::collections::BTreeSet;

use pliantdb_cluster_model::Cluster;
use pliantdb_cluster_model::bound::Bound;
use stateright::{Checker, HasDiscoveries, Model};

/// What is found within a bound until `enough` is.
fn found(bound: Bound, enough: HasDiscoveries) -> BTreeSet<&'static str> {
    let checker = Cluster { bound }.checker().finish_when(enough).spawn_bfs().join();
    checker.discoveries().into_keys().collect()
}
