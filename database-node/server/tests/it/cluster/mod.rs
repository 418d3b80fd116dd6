//! Nodes of clusters, as processes.

mod administration;
mod cli;
mod nodes;
mod starting;
