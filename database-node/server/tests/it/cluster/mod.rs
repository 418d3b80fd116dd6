//! Nodes of clusters, as processes.

mod administration;
mod nodes;
mod starting;
