//! What a reconciliation came to. The status and the events are made from it.

use super::error::Error;
use super::validate::FieldError;

/// What a reconciliation came to.
#[derive(Debug)]
pub enum Verdict {
    /// Everything is as the spec says, as far as the operator is concerned.
    UpToDate,
    /// The operator would build the nodes differently than they are, but the spec has not changed since they
    /// were built.
    UpdateHeld,
    /// The owner asked the operator to change nothing.
    Paused,
    /// A node was stopped, to start again with what the spec says.
    Restarting(String),
    /// The StatefulSet makes way for one with another claim template.
    Remaking,
    /// The spec is wrong.
    Invalid(Vec<FieldError>),
    /// The storage class does not let the volumes grow.
    ResizeRefused(String),
    /// An object could not be read or applied.
    Failed(Error),
}
