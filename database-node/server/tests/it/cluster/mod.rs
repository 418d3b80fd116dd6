//! Nodes of clusters, as processes.

mod administration;
mod anywhere;
mod cli;
mod guide;
mod nodes;
mod starting;
mod stopping;
